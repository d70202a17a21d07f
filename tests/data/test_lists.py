"""Lists in every spelling: found, read, united for guards; and the splits that Parquet files are named after."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from harmonygen.data import read_pairs
from harmonygen.data.composites import composites_of, held_out_of
from harmonygen.data.lists import find_lists, held_out, place_of
from harmonygen.data.parquet import parquet_files
from harmonygen.data.splits import is_held_out, split_of
from harmonygen.errors import UsageError
from harmonygen.evaluation.cases import read_cases

STEMS = ("IHD_{}", "ihd_{}", "HX_{}", "hx_{}", "{}", "HX/HX_{}", "HX/{}", "HX/IHD_{}")
ENDINGS = (".txt", ".jsonl", ".txt.gz", ".jsonl.gz", ".TXT", ".JSONL.GZ")
SPELLINGS = [f"{stem}{ending}" for stem in STEMS for ending in ENDINGS]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree of two subsets, HX with the photos f1 .. f4 and HY with g1; the images are empty files."""
    for subset, photo in (*(("HX", f"f{number}") for number in (1, 2, 3, 4)), ("HY", "g1")):
        names = {"composite_images": f"{photo}_1_1.jpg", "masks": f"{photo}_1.png", "real_images": f"{photo}.jpg"}
        for folder, name in names.items():
            (tmp_path / subset / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / subset / folder / name).touch()
    return tmp_path


def write(path: Path, *photos: str, bare: bool = False) -> Path:
    """Write a list of the first composites of HX's photos, in the format that its name says."""
    lines = [f"{photo}_1_1.jpg" if bare else f"HX/composite_images/{photo}_1_1.jpg" for photo in photos]
    if ".jsonl" in path.name.lower():
        lines = [json.dumps({"file_name": line}) for line in lines]
    text = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix.lower() == ".gz" else text)
    return path


@pytest.mark.parametrize("role", ["train", "test"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_found_by_its_role_and_no_other(spelling, role, root):
    path = write(root / spelling.format(role), "f1")
    other = "test" if role == "train" else "train"
    assert [listed.path for listed in find_lists(root, role)] == [path]
    assert find_lists(root, other) == []


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_guard_learns_the_photos_of_a_test_list_in_every_spelling(spelling, bare, root):
    write(root / spelling.format("test"), "f2", "f3", bare=bare)
    found = held_out(root)
    assert {"HX/f2", "HX/f3"} <= found.photos
    assert not {"HX/f1", "HX/f4"} & found.photos
    assert Path(spelling.format("test")).name in found.told


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_readers_take_the_training_list_and_scores_the_test_list_in_every_spelling(spelling, root):
    write(root / spelling.format("train"), "f1", "f4")
    write(root / spelling.format("test"), "f2")
    assert [pair.real_id for pair in read_pairs(root)] == ["HX/f1", "HX/f4"]
    assert [each.name for each in composites_of(root)] == ["HX/f1_1_1", "HX/f4_1_1"]
    scored = read_cases(root)
    assert [each.name for each in scored] == ["HX/f2_1_1"]
    assert scored.chosen_by == Path(spelling.format("test")).name


def test_names_that_are_no_list_are_not_taken_for_one(root):
    for name in ("latest.txt", "IHD_test.csv", "IHD_testing.txt", "IHD_test.txt.bak", ".IHD_test.txt", "IHD_all.txt"):
        write(root / name, "f1")
    (root / "test.txt").mkdir()
    assert find_lists(root, "test") == []


def test_spellings_that_agree_are_one_list(root):
    for name in ("IHD_train.jsonl", "IHD_train.txt", "train.txt.gz"):
        write(root / name, "f1", "f2")
    assert [pair.originals for pair in read_pairs(root)] == [
        ("HX/composite_images/f1_1_1.jpg",),
        ("HX/composite_images/f2_1_1.jpg",),
    ]


@pytest.mark.parametrize(
    "other", ["IHD_test.jsonl", "IHD_test.txt.gz", "ihd_TEST.Jsonl.Gz", "test.txt"], ids=lambda name: name
)
def test_spellings_that_differ_are_refused_for_reading_and_united_for_guards(other, root):
    write(root / "IHD_test.txt", "f1", "f2")
    write(root / other, "f2", "f3", "f4")
    assert held_out(root).photos == {"HX/f1", "HX/f2", "HX/f3", "HX/f4"}
    said = r"IHD_test.txt' and .* two spellings of one list .* \(1 only in the first, 2 only in the second\)"
    with pytest.raises(UsageError, match=said):
        read_cases(root)
    assert len(read_cases(root, list_file="IHD_test.txt")) == 2


def test_a_guard_unites_the_lists_of_the_whole_of_subsets_and_of_other_names(root):
    write(root / "IHD_test.txt", "f1")
    write(root / "HX_test.jsonl", "f2")
    write(root / "HX" / "test.txt", "f3", bare=True)
    write(root / "mine_test.txt", "f4")
    assert held_out(root).photos == {"HX/f1", "HX/f2", "HX/f3", "HX/f4"}
    assert [each.name for each in read_cases(root)] == ["HX/f1_1_1"]


def test_a_bare_name_whose_subset_is_unknown_counts_for_every_subset(root):
    write(root / "test.txt", "g1", bare=True)
    assert held_out(root).photos == {"HX/g1", "HY/g1"}


def test_what_a_guard_cannot_read_is_told_and_a_list_of_the_dataset_is_refused(root):
    write(root / "IHD_test.txt", "f1")
    (root / "unit_test.txt").write_text("/home/me/notes\nno composite\n")
    (root / "more_test.txt").write_text("HX/real_images/f2.jpg\nHX/composite_images/f3_1_1.jpg\n")
    found = held_out(root)
    assert found.photos == {"HX/f1", "HX/f3"}
    assert "2 lines or lists that name no composite were not" in found.told
    (root / "HX_test.txt").write_text("../HX/composite_images/f1_1_1.jpg\n")
    with pytest.raises(UsageError, match="leave their folder"):
        held_out(root)


def test_a_dataset_without_a_test_list_is_told_so(root):
    write(root / "IHD_train.txt", "f1")
    assert held_out_of(root).told.startswith(f"no test list in '{root}'")
    assert held_out_of(root).told.endswith("nothing was compared")


def test_the_root_is_found_from_a_subset_a_list_and_a_run(root, tmp_path_factory):
    write(root / "IHD_test.txt", "f1")
    run = tmp_path_factory.mktemp("run")
    (run / "candidates").mkdir()
    (run / "plan.json").write_text(
        json.dumps({"verb": "synthesize", "data_root": str(root), "settings": {}, "shards": []})
    )
    assert place_of(root / "HX") == (root, "HX")
    assert place_of(root / "IHD_test.txt") == place_of(root) == (root, None)
    for data in (root, root / "HX", root / "IHD_test.txt", write(root / "HX" / "mine.txt", "f2"), run):
        assert held_out_of(data).photos == {"HX/f1"}


def test_training_lists_alone_are_not_scored(root):
    write(root / "train.jsonl.gz", "f1")
    with pytest.raises(UsageError, match=r"training lists but no IHD_test\.txt"):
        read_cases(root)


HELD_OUT = ("test", "testing", "eval", "evaluation", "validation", "valid", "val", "dev")


@pytest.mark.parametrize("form", ["{}.parquet", "{}-00000-of-00001.parquet", "my_{}.parquet", "photos-{}1.PARQUET"])
@pytest.mark.parametrize("word", [*HELD_OUT, *map(str.upper, HELD_OUT)])
def test_the_hubs_words_for_a_held_out_split_are_known(word, form):
    assert is_held_out(Path("data") / form.format(word))


@pytest.mark.parametrize("name", ["train.parquet", "training-00000-of-00001.parquet", "contest.parquet", "test.csv"])
def test_other_names_are_not_held_out(name):
    assert not is_held_out(Path(name))


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("names", "train", "test"),
    [
        (("train.parquet", "test.parquet"), ["train.parquet"], ["test.parquet"]),
        (("training-0.parquet", "dev.parquet", "eval.parquet"), ["training-0.parquet"], ["eval.parquet"]),
        (("people-0.parquet", "valid.parquet"), ["people-0.parquet"], ["valid.parquet"]),
        (("train.parquet", "more.parquet"), ["train.parquet"], ["train.parquet"]),
        (("a.parquet", "b.parquet"), ["a.parquet", "b.parquet"], ["a.parquet", "b.parquet"]),
        (("test.parquet",), ["test.parquet"], ["test.parquet"]),
    ],
)
def test_a_folder_gives_the_files_of_its_split(names, train, test, tmp_path):
    folder = files(tmp_path, *names)
    assert [path.name for path in parquet_files(folder)] == train
    assert [path.name for path in parquet_files(folder, "test")] == test
    assert parquet_files(folder / names[-1]) == [folder / names[-1]]


def test_splits_none_of_which_is_to_train_on_are_refused_unless_one_is_wanted(tmp_path):
    folder = files(tmp_path, "dev.parquet", "test.parquet")
    with pytest.raises(UsageError, match="the splits test, validation and none to train on"):
        parquet_files(folder)
    assert [path.name for path in parquet_files(folder, "test")] == ["test.parquet"]


def test_a_name_with_words_of_two_splits_is_held_out():
    assert split_of("train_test.parquet") == "test"
    assert split_of("train-val.parquet") == "validation"
