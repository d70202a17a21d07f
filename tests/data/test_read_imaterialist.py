import json
import os
import random
import re
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco
from skimage import data as pictures

from harmonygen.data import imaterialist as module
from harmonygen.data import read_pairs
from harmonygen.data.imaterialist import read_imaterialist, split_row
from harmonygen.data.photo_masks import Unions
from harmonygen.errors import InputError, UsageError
from harmonygen.pictures.images import read_image
from harmonygen.pictures.masks import decode_segmentation, mask_to_runs, read_mask, runs_to_mask, runs_to_rle

SHARED = Path(os.environ.get("HARMONYGEN_SHARED", Path(__file__).resolve().parents[2].parent / "shared")) / "data"
CONTEST = SHARED / "fashion_imaterialist.tar"
HEAD = "ImageId,EncodedPixels,Height,Width,ClassId,AttributesIds\n"
HEIGHT, WIDTH = 32, 48
LABELS = {
    "categories": [
        {"id": 0, "name": "shirt, blouse", "supercategory": "upperbody", "level": 2},
        {"id": 3, "name": "skirt", "supercategory": "lowerbody", "level": 2},
        {"id": 12, "name": "cape", "supercategory": "wholebody", "level": 2},
        {"id": 23, "name": "shoe", "supercategory": "legs and feet", "level": 2},
    ]
}

BROKEN = {
    "odd": (b"{0},1 2 3,{1},{2},3,", r"has 3 numbers: 'start length' pairs are needed"),
    "unsorted": (b"{0},20 3 1 2,{1},{2},3,", r"is not sorted or its runs overlap"),
    "overlap": (b"{0},5 6 8 2,{1},{2},3,", r"is not sorted or its runs overlap"),
    "past the end": (b"{0},1 99999999,{1},{2},3,", r"past the end of \d+ pixels: check Height and Width"),
    "from zero": (b"{0},0 4,{1},{2},3,", r"starts are 1-based"),
    "no number": (b"{0},1 2 x 4,{1},{2},3,", r"a value that is not a whole number"),
    "other size": (b"{0},1 2,{2},{1},3,", r"Height and Width of .* are \d+ and \d+ but those of '.*jpg' are"),
    "no height": (b"{0},1 2,,{2},3,", r"Height of '.*' is '', not a whole number from 0"),
    "field missing": (b"{0},1 2,{1}", r"has 3 fields but train.csv has 6"),
    "open quote": (b'{0},1 2,{1},{2},3,"1,2', r"a quote that is not closed"),
}
MORE_BROKEN = {
    "empty": (b"{0},,{1},{2},3,", r"has 0 numbers"),
    "negative length": (b"{0},3 -4,{1},{2},3,", r"a length below 1"),
    "zero height": (b"{0},1 2,0,{2},3,", r"are 0 and \d+: they must be 1 or more"),
    "half height": (b"{0},1 2,31.5,{2},3,", r"Height of '.*' is '31.5', not a whole number"),
    "huge": (b"{0},1 2,999999,999999,3,", r"178956970 pixels at most"),
    "field too many": (b"{0},1 2,{1},{2},3,1,2", r"has 7 fields but train.csv has 6"),
    "not text": (b"{0},\xff\xfe,{1},{2},3,", r"is not UTF-8 text"),
    "no class": (b"{0},1 2,{1},{2},,", r"ClassId of '.*' is ''"),
    "other class": (b"{0},1 2,{1},{2},77,", r"class 77 is not in '.*label_descriptions.json' \(\d+ categories\)"),
    "attributes": (b'{0},1 2,{1},{2},3,"1,x"', r"AttributesIds of '.*' is 'x'"),
    "no id": (b",1 2,{1},{2},3,", r"row \d+ has no ImageId"),
}


def box(top, left):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + 8, left : left + 10] = True
    return mask


def folder(path, rows, labels=None):
    (path / "train").mkdir()
    for name in ("a1", "b2"):
        Image.fromarray(pictures.astronaut()).resize((WIDTH, HEIGHT)).save(path / "train" / f"{name}.jpg")
    write_rows(path, rows)
    if labels:
        (path / "label_descriptions.json").write_text(json.dumps(labels))
    return path


def write_rows(path, rows):
    lines = [row if isinstance(row, bytes) else row.encode() for row in rows]
    (path / "train.csv").write_bytes(HEAD.encode() + b"".join(line + b"\n" for line in lines))


def row(name, mask, class_id="3", height=HEIGHT, width=WIDTH, attributes="2,1"):
    return f'{name},{mask_to_runs(mask)},{height},{width},{class_id},"{attributes}"'


def broken(kind, name="a1", height=HEIGHT, width=WIDTH):
    line = {**BROKEN, **MORE_BROKEN}[kind][0]
    for number, value in enumerate((name, height, width)):
        line = line.replace(b"{%d}" % number, str(value).encode())
    return line


def masks_of(pairs):
    return {pair.real_id: (decode_segmentation(pair.mask).tobytes(), dict(pair.extra)) for pair in pairs}


def test_a_photos_mask_is_the_union_of_its_segments(tmp_path):
    rows = [row("a1", box(2, 2), "12_115_138"), row("b2", box(5, 5)), row("a1", box(6, 8), "3")]
    pairs = read_pairs(folder(tmp_path, rows))
    assert pairs.layout == "imaterialist"
    assert [pair.pair_id for pair in pairs] == ["a1_union", "b2_union"]
    assert pairs[0].extra == {"class_ids": "3 12", "attributes": "[1, 2, 115, 138]", "segments": "2"}
    assert (read_mask(pairs[0].mask, read_image(pairs[0].real)) == (box(2, 2) | box(6, 8))).all()


@pytest.mark.parametrize("kind", [*BROKEN, *MORE_BROKEN])
def test_a_broken_row_costs_its_own_segment_alone(tmp_path, kind):
    rows = [row("a1", box(2, 2)), broken(kind), row("b2", box(1, 1)), row("a1", box(9, 9))]
    pairs = read_pairs(folder(tmp_path, rows, LABELS))
    (fault,) = pairs.bad
    unknown = kind in ("no id", "not text", "open quote")
    assert fault.id == ("? row 2" if unknown else "a1 row 2")
    assert re.search({**BROKEN, **MORE_BROKEN}[kind][1], fault.message)
    assert [pair.extra["segments"] for pair in pairs] == ["2", "1"]
    assert (read_mask(pairs[0].mask, read_image(pairs[0].real)) == (box(2, 2) | box(9, 9))).all()


def spoilt(clean, photos, rng):
    """Shuffle rows with five broken ones of each of ten kinds; return them and the kind by row number."""
    names = sorted(photos)
    marked = [(line, "") for line in clean]
    for kind in BROKEN:
        for _ in range(5):
            name = names[rng.randrange(len(names))]
            marked.append((broken(kind, name, *photos[name]), kind))
    rng.shuffle(marked)
    return [line for line, _ in marked], {number: kind for number, (_, kind) in enumerate(marked, 1) if kind}


def check_spoilt(found, kinds, before):
    """Each broken row is quarantined for its own reason and all else is as it was."""
    assert len(kinds) == len(found.bad) == 50
    for fault in found.bad:
        assert re.search(BROKEN[kinds.pop(int(fault.id.split()[-1]))][1], fault.message), fault
    assert masks_of(found) == before


def test_fifty_broken_rows_of_ten_kinds_change_nothing_else(tmp_path):
    clean = [row(name, box(top, left)) for name in ("a1", "b2") for top in range(0, 20, 4) for left in (1, 30)]
    before = masks_of(read_imaterialist(folder(tmp_path, clean)))
    lines, kinds = spoilt(clean, {"a1": (HEIGHT, WIDTH), "b2": (HEIGHT, WIDTH)}, random.Random(4))
    write_rows(tmp_path, lines)
    check_spoilt(read_imaterialist(tmp_path), kinds, before)


@pytest.fixture(scope="module")
def contest(tmp_path_factory):
    if not CONTEST.is_file():
        pytest.skip("the shared data is not here")
    path = tmp_path_factory.mktemp("contest")
    with tarfile.open(CONTEST) as packed:
        packed.extractall(path, (each for each in packed if not each.name.startswith("person")), filter="data")
    return path


def test_all_unions_of_the_contest_folder_are_as_expected(contest):
    pairs = read_pairs(contest)
    found = {pair.real_id: decode_segmentation(pair.mask) for pair in pairs}
    expected = {path.stem: np.asarray(Image.open(path).convert("L")) > 127 for path in contest.glob("expected*/*.png")}
    assert (len(expected), len(found), pairs.bad) == (863, 862, ())
    assert [row.id for row in pairs.left_out] == ["0536"]  # which has no row: its union is empty
    for name, mask in expected.items():
        assert np.array_equal(found.get(name, np.zeros_like(mask)), mask), name


def test_the_contest_folder_shuffled_with_fifty_broken_rows_is_the_same(contest, tmp_path):
    before = masks_of(read_imaterialist(contest))
    head, *clean = (contest / "train.csv").read_bytes().splitlines()
    assert head.decode() + "\n" == HEAD
    sizes = {line.split(b",")[0].decode(): tuple(map(int, line.split(b",")[2:4])) for line in clean}
    tall = {name: size for name, size in sizes.items() if size[0] != size[1]}
    lines, kinds = spoilt(clean, tall, random.Random(7))
    (tmp_path / "train").symlink_to(contest / "train")
    write_rows(tmp_path, lines)
    check_spoilt(read_imaterialist(tmp_path, anywhere=True), kinds, before)


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 400))
def test_the_order_of_rows_does_not_matter_nor_when_segments_are_merged(rng, waiting):
    rows = [row(name, box(top, left), str(top)) for name in ("a1", "b2") for top in (0, 5, 9) for left in (1, 6, 30)]
    rng.shuffle(rows)
    with tempfile.TemporaryDirectory() as made:
        unions = Unions("row", waiting)
        for number, line in enumerate(rows):
            name, runs, _, _, class_id, *_ = line.split(",")
            unions.add(name, number, runs_to_rle(runs, HEIGHT, WIDTH, name), int(class_id), ())
        merged = unions.pair_set("x", Path(made), lambda name: folder_of(made) / "train" / f"{name}.jpg")
        write_rows(folder_of(made), rows)
        found = read_imaterialist(Path(made))
    whole = np.logical_or.reduce([box(top, left) for top in (0, 5, 9) for left in (1, 6, 30)])
    assert [pair.mask for pair in found] == [pair.mask for pair in merged]
    assert all((decode_segmentation(pair.mask) == whole).all() for pair in found)
    assert {pair.extra["class_ids"] for pair in found} == {"0 5 9"}


def folder_of(made):
    path = Path(made)
    return path if (path / "train").is_dir() else folder(path, [])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), min_size=1, max_size=4))
def test_runs_become_the_rle_of_their_mask(corners):
    mask = np.zeros((8, 9), bool)
    for top, left in corners:
        mask[top : top + 3, left : left + 3] = True
    assert runs_to_rle(mask_to_runs(mask), 8, 9, "m") == coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert (runs_to_mask(mask_to_runs(mask), 8, 9, "m") == mask).all()


def test_a_photo_left_with_nothing_is_quarantined_beside_its_rows(tmp_path):
    pairs = read_pairs(folder(tmp_path, [broken("odd"), broken("other size"), row("b2", box(1, 1))]))
    assert [row.id for row in pairs.bad] == ["a1 row 1", "a1 row 2", "a1"]
    assert "none of the 2 rows of 'a1' can be used" in pairs.bad[-1].message
    assert [pair.real_id for pair in pairs] == ["b2"]


@pytest.mark.parametrize("damage", ["missing", "cut", "text"])
def test_a_photo_that_cannot_be_read_is_quarantined_once(tmp_path, damage):
    made = folder(tmp_path, [row("a1", box(2, 2)), row("a1", box(9, 9)), row("b2", box(1, 1))])
    photo = made / "train" / "a1.jpg"
    {
        "missing": photo.unlink,
        "cut": lambda: photo.write_bytes(photo.read_bytes()[:20]),
        "text": lambda: photo.write_text("no"),
    }[damage]()
    pairs = read_pairs(made)
    assert [row.id for row in pairs.bad] == ["a1"]
    assert "2 rows of 'a1' are lost" in pairs.bad[0].message
    assert "a1.jpg" in pairs.bad[0].message


def test_rows_may_state_the_size_of_a_turned_photo_upright_or_as_in_the_file(tmp_path):
    made = folder(tmp_path, [row("a1", box(2, 2).T, "3", WIDTH, HEIGHT), row("b2", box(2, 2))])
    for name in ("a1", "b2"):
        exif = Image.Exif()
        exif[0x0112] = 6
        with Image.open(made / "train" / f"{name}.jpg") as photo:
            photo.save(made / "train" / f"{name}.jpg", exif=exif)
    pairs = read_pairs(made)
    assert pairs.bad == ()
    for pair in pairs:
        assert read_mask(pair.mask, read_image(pair.real)).shape == (WIDTH, HEIGHT)


@pytest.mark.parametrize("name", ["../a1", "a/b", "a\\b", "a\0b"])
def test_image_ids_that_lead_out_of_the_folder_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match="photo name"):
        read_pairs(folder(tmp_path, [row(name, box(2, 2)), row("b2", box(2, 2))]))


def test_image_ids_may_have_a_suffix_as_in_2019(tmp_path):
    pairs = read_pairs(folder(tmp_path, [row("a1.jpg", box(2, 2)), row("a1", box(9, 9))]))
    assert [(pair.real_id, pair.extra["segments"]) for pair in pairs] == [("a1", "2")]


def test_a_table_with_a_mark_other_line_ends_another_order_and_without_attributes_is_read(tmp_path):
    made = folder(tmp_path, [])
    lines = ["Width,Height,ClassId,ImageId,EncodedPixels", f"{WIDTH},{HEIGHT}.0,3,a1,{mask_to_runs(box(2, 2))}", ""]
    (made / "train.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    (pair,) = read_pairs(made)
    assert (decode_segmentation(pair.mask) == box(2, 2)).all()
    assert pair.extra == {"class_ids": "3", "attributes": "[]", "segments": "1"}


def test_a_line_without_an_end_is_never_held(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_LINE", 400)
    pairs = read_pairs(folder(tmp_path, [row("a1", box(2, 2)), "b2," + "1 2 " * 5000, row("b2", box(2, 2))]))
    assert [row.id for row in pairs.bad] == ["? row 2"]
    assert "over 400 bytes long" in pairs.bad[0].message
    assert len(pairs) == 2


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\n")), min_size=1))
def test_a_row_is_split_as_the_csv_module_does(fields):
    import csv
    import io

    opened = io.StringIO()
    csv.writer(opened, quoting=csv.QUOTE_ALL).writerow(fields)
    assert split_row(opened.getvalue().encode(), 1) == fields


@pytest.mark.parametrize("line", [b'a,"b', b'a,"b"c', b'a,b"c', b'"'])
def test_a_stray_quote_is_refused(line):
    with pytest.raises(InputError, match="row 7 has a quote"):
        split_row(line, 7)


def test_a_folder_without_the_columns_is_refused(tmp_path):
    (tmp_path / "train.csv").write_text("ImageId,Label\n")
    with pytest.raises(UsageError, match=r"no layout fits"):
        read_pairs(tmp_path)
    with pytest.raises(UsageError, match=r"train\.csv with columns ImageId"):
        read_pairs(tmp_path, layout="imaterialist")


@pytest.mark.parametrize("text", ["{", "[]", '{"categories": [{"name": "x"}]}', '{"categories": 3}'])
def test_labels_that_cannot_be_read_are_refused(tmp_path, text):
    made = folder(tmp_path, [row("a1", box(2, 2))])
    (made / "label_descriptions.json").write_text(text)
    with pytest.raises(UsageError, match=r"label_descriptions\.json' does not describe labels"):
        read_pairs(made)
