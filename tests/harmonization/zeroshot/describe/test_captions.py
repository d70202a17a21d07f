"""Caption files: which line is a photo's, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harmonygen.errors import InputError, UsageError
from harmonygen.harmonization.zeroshot.describe import load_describer
from harmonygen.harmonization.zeroshot.describe.captions import CaptionDescriber
from harmonygen.pictures.photo import Photo
from harmonygen.records import CellSource, FileSource, Pair

HEADER = "name,foreground,background\n"


def pair(pair_id="Set/a_1_1", path="in/a_1_1.jpg"):
    source = FileSource(Path(path))
    return Pair(pair_id, pair_id, "0", source, source)


def photo(of=None):
    grey, mask = np.full((4, 4, 3), 99, np.uint8), np.eye(4, dtype=bool)
    return Photo(of or pair(), grey, mask, grey, mask, False)


def write(folder, text, name="captions.csv"):
    (folder / name).write_bytes(text.encode())
    return folder / name


def described(folder, text, of=None, **options):
    return CaptionDescriber.from_file(write(folder, text), **options)(photo(of))


@pytest.mark.parametrize("key", ["pair_id", "file_name", "name"])
@pytest.mark.parametrize("name", ["Set/a_1_1", "a_1_1.jpg", "a_1_1"])
def test_a_line_is_found_by_pair_id_file_name_or_stem(tmp_path, key, name):
    text = f'{key},foreground,background,note\nb,"cat, dim",lit,\n{name},"girl, sunny","dark, night",x\n'
    assert described(tmp_path, text)[0].prompts == ("girl, sunny", "girl, dark, night")


def test_json_lines_are_read_alike(tmp_path):
    row = {"file_name": "a_1_1.jpg", "foreground": "girl, sunny", "background": "dark, night"}
    path = write(tmp_path, f"\n{json.dumps(row)}\n", "captions.jsonl")
    assert CaptionDescriber.from_file(path)(photo())[0].prompts == ("girl, sunny", "girl, dark, night")


def test_a_spreadsheets_file_with_byte_order_mark_and_crlf_is_read(tmp_path):
    text = "\ufeff" + (HEADER + 'a_1_1.jpg,"girl, sunny",dark\n\n').replace("\n", "\r\n")
    assert len(described(tmp_path, text)) == 1


def test_several_lines_for_one_photo_are_alternatives_in_order(tmp_path):
    text = HEADER + 'a_1_1,"girl, lit",dark\na_1_1,"girl, dim",dark\na_1_1,"girl, lit",dark\na_1_1,"girl, grey",dark\n'
    describer = CaptionDescriber.from_file(write(tmp_path, text))
    assert [each.foreground[0] for each in describer(photo(), 3)] == ["lit", "dim", "grey"]
    assert [each.foreground[0] for each in describer(photo(), 2)] == ["lit", "dim"]


def test_a_photo_without_a_line_alone_is_refused_and_told_what_to_add(tmp_path):
    describer = CaptionDescriber.from_file(write(tmp_path, HEADER + 'b,"girl, lit",dark\n'))
    with pytest.raises(InputError) as caught:
        describer(photo())
    for part in (str(tmp_path / "captions.csv"), "Set/a_1_1", "a_1_1.jpg", 'Set/a_1_1,"girl, sunny","dark, night"'):
        assert part in str(caught.value)
    assert describer(photo(pair("b", "b.png")))


def test_lines_under_two_names_of_one_photo_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"lines 3 \('a_1_1.jpg'\), 2 \('a_1_1'\).*keep one name"):
        described(tmp_path, HEADER + 'a_1_1,"girl, lit",dark\na_1_1.jpg,"girl, dim",dark\n')


def test_a_name_that_fits_two_photos_is_refused_for_both(tmp_path):
    two = [pair(), pair("Other/a_1_1", "other/a_1_1.png")]
    text = HEADER + 'a_1_1,"girl, lit",dark\n'
    for each in two:
        with pytest.raises(InputError, match=r"line 2 .* fits .*Set/a_1_1.*|line 2 .* fits .*Other/a_1_1"):
            described(tmp_path, text, each, pairs=two)
    assert described(tmp_path, HEADER + 'a_1_1.png,"girl, lit",dark\n', two[1], pairs=two)


def test_cells_of_a_parquet_file_are_found_by_pair_id_alone(tmp_path):
    cell = CellSource(Path("a.parquet"), "composite", 3)
    of = Pair("a-000003", "a-000003", "0", cell, cell)
    assert described(tmp_path, HEADER + 'a-000003,"girl, lit",dark\n', of)
    with pytest.raises(InputError, match="no line"):
        described(tmp_path, HEADER + 'a,"girl, lit",dark\n', of)


@pytest.mark.parametrize("name", ["../../etc/passwd", "=HYPERLINK(1)", "C:\\x\\a_1_1.jpg", "/etc/passwd"])
def test_names_that_lead_elsewhere_are_compared_and_nothing_else(tmp_path, name):
    with pytest.raises(InputError, match="no line"):
        described(tmp_path, HEADER + f'{name},"girl, lit",dark\n')


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ('a,"girl, lit",dark\na,girl,dark\n', ["1 faulty", "line 3: the foreground has no word"]),
        (',"girl, lit",dark\n', ["line 2: names no photo: fill name"]),
        ('a,"girl, lit"\n', ["line 2: the background has no word"]),
        ("a,girl, lit,dark\n", ["line 2", "4 cells, its header 3", "between quotes"]),
        ('a,"girl, lit,dark\n', ["not CSV"]),
        ('"a\nb",girl,dark\nc,girl,dark\n', ["2 faulty", "line 2:", "line 4:"]),
        ("a,girl,dark\n" * 9, ["9 faulty", "and 4 more"]),
        ("", ["no line with words"]),
    ],
)
def test_faulty_rows_refuse_the_file_with_their_numbers(tmp_path, rows, told):
    with pytest.raises(UsageError) as caught:
        CaptionDescriber.from_file(write(tmp_path, HEADER + rows))
    assert all(part in str(caught.value) for part in told), str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("c.csv", "name,words\na,b\n", "has name, words: it needs foreground, background and one of"),
        ("c.csv", "", "has nothing"),
        ("c.jsonl", "{\n", "line 1 .* is not JSON"),
        ("c.jsonl", "\n[1]\n", "line 2 .* holds a list"),
        ("c.jsonl", '{"name": "a", "foreground": "x, y", "background": 3}\n', "line 1 .* holds a int under background"),
        ("c.jsonl", '{"name": "a"}\n', "line 1 .* has name: it needs"),
        ("c.jsonl", "[" * 100_000 + "\n", "line 1 .* is not JSON"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, name, text, told):
    with pytest.raises(UsageError, match=told):
        CaptionDescriber.from_file(write(tmp_path, text, name))


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "c.csv").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(UsageError, match="UTF-8"):
        CaptionDescriber.from_file(tmp_path / "c.csv")


def test_the_digest_changes_with_the_words_and_not_with_the_place(tmp_path):
    (tmp_path / "x").mkdir()
    text = HEADER + 'a,"girl, lit",dark\n'
    first, same, other = (
        CaptionDescriber.from_file(write(folder, content)).digest
        for folder, content in ((tmp_path, text), (tmp_path / "x", text), (tmp_path / "x", text.replace("lit", "dim")))
    )
    assert first == same != other


def test_load_describer_gives_hands_words_to_every_photo(tmp_path):
    describer = load_describer("hand", foreground="girl, sunny", background="dark, night")
    assert [each.prompts for each in describer(photo())] == [("girl, sunny", "girl, dark, night")]
    assert load_describer("hand", captions=write(tmp_path, HEADER + 'a_1_1,"girl, lit",dark\n'))(photo())


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("hand", {}, "found none of them"),
        ("hand", {"foreground": "girl, lit"}, "found foreground"),
        ("hand", {"foreground": "girl, lit", "background": "dark", "captions": "c.csv"}, "or a caption file"),
        ("model", {}, "takes a model"),
        ("rules", {"captions": "c.csv"}, "found captions"),
        ("magic", {}, "rules, model, hand"),
    ],
)
def test_load_describer_refuses_options_that_do_not_belong_together(kind, options, told):
    with pytest.raises(UsageError, match=told):
        load_describer(kind, **options)
