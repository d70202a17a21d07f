import gzip
import json
import os
import tarfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as pictures

from harmonygen.data import read_pairs
from harmonygen.data.composite_names import CompositeName
from harmonygen.data.iharmony4 import pairs_from_names
from harmonygen.data.lists import read_lines
from harmonygen.errors import InputError, UsageError
from harmonygen.pictures.images import read_image
from harmonygen.pictures.masks import read_mask

SHARED = Path(os.environ.get("HARMONYGEN_SHARED", Path(__file__).resolve().parents[2].parent / "shared")) / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not here")


@pytest.fixture
def tree(tmp_path):
    """Two subsets; HFlickr has a photo of two masks, Hday2night ids with dashes and a grey JPEG mask."""
    photo = Image.fromarray(pictures.chelsea()).resize((60, 40))
    mask = Image.fromarray(np.pad(np.full((20, 30), 255, np.uint8), ((10, 10), (10, 20))))
    for name in ("HFlickr/f_1_1_1", "HFlickr/f_1_1_2", "HFlickr/f_1_2_1", "Hday2night/d1048-20120628-200951_1_3"):
        subset, stem = name.split("/")
        for kind in ("composite_images", "masks", "real_images"):
            (tmp_path / subset / kind).mkdir(parents=True, exist_ok=True)
        photo.save(tmp_path / subset / "composite_images" / f"{stem}.jpg")
        photo.save(tmp_path / subset / "real_images" / f"{stem.rsplit('_', 2)[0]}.jpg")
        suffix = "JPG" if subset == "Hday2night" else "png"
        mask.save(tmp_path / subset / "masks" / f"{stem.rsplit('_', 1)[0]}.{suffix}")
    return tmp_path


def test_a_tree_without_lists_gives_every_pair_in_order_with_its_composites(tree):
    pairs = read_pairs(tree)
    assert pairs.layout == "iharmony4"
    assert [pair.pair_id for pair in pairs] == ["HFlickr/f_1_1", "HFlickr/f_1_2", "Hday2night/d1048-20120628-200951_1"]
    assert pairs[0].originals == ("HFlickr/composite_images/f_1_1_1.jpg", "HFlickr/composite_images/f_1_1_2.jpg")
    assert (pairs[0].real_id, pairs[1].real_id, pairs[1].mask_id) == ("HFlickr/f_1", "HFlickr/f_1", "2")
    assert all((pairs.root / name).is_file() for pair in pairs for name in pair.originals)


def test_every_pair_of_the_tree_decodes_whatever_the_masks_suffix(tree):
    for pair in read_pairs(tree):
        photo = read_image(pair.real)
        assert read_mask(pair.mask, photo).sum() == 600


def test_one_subset_folder_is_the_same_as_the_root_with_that_subset(tree):
    inside, named = read_pairs(tree / "Hday2night"), read_pairs(tree, subset="Hday2night")
    assert inside.pairs == named.pairs
    assert inside.root == named.root == tree
    assert len(inside) == 1


def test_the_training_list_is_read_unless_another_is_named(tree):
    (tree / "IHD_train.txt").write_text("HFlickr/composite_images/f_1_1_2.jpg\r\n\r\n")
    (tree / "IHD_test.txt").write_text("HFlickr/composite_images/f_1_2_1.jpg\n")
    assert [pair.originals for pair in read_pairs(tree)] == [("HFlickr/composite_images/f_1_1_2.jpg",)]
    assert [pair.pair_id for pair in read_pairs(tree, list_file="IHD_test.txt")] == ["HFlickr/f_1_2"]
    assert [pair.pair_id for pair in read_pairs(tree / "IHD_test.txt")] == ["HFlickr/f_1_2"]


def test_the_test_list_is_read_when_it_is_the_only_one(tree):
    (tree / "IHD_test.txt").write_text("HFlickr/composite_images/f_1_2_1.jpg\n")
    assert [pair.pair_id for pair in read_pairs(tree)] == ["HFlickr/f_1_2"]


@pytest.mark.parametrize("place", ["HFlickr_train.txt", "HFlickr/HFlickr_train.txt"])
def test_a_subsets_list_may_hold_bare_names(tree, place):
    (tree / place).write_text("f_1_2_1.jpg\n")
    for pairs in (read_pairs(tree, subset="HFlickr"), read_pairs(tree / "HFlickr"), read_pairs(tree, list_file=place)):
        assert [pair.originals for pair in pairs] == [("HFlickr/composite_images/f_1_2_1.jpg",)]


def test_jsonl_and_gzip_lists_are_read_by_file_name(tree):
    line = json.dumps({"file_name": "HFlickr/composite_images/f_1_1_1.jpg", "text": ""})
    (tree / "some.jsonl").write_text(f"{line}\n{line}\n")
    (tree / "some.jsonl.gz").write_bytes(gzip.compress(f"{line}\n".encode()))
    for name in ("some.jsonl", "some.jsonl.gz", tree / "some.jsonl"):
        assert [len(pair.originals) for pair in read_pairs(tree, list_file=name)] == [1]


def test_a_jsonl_line_without_file_name_is_refused_with_its_number(tree):
    (tree / "some.jsonl").write_text('{"file_name": "HFlickr/composite_images/f_1_1_1.jpg"}\n{"name": "x"}\n')
    with pytest.raises(UsageError, match=r"line 2 .* has no text 'file_name'"):
        read_pairs(tree, list_file="some.jsonl")


def test_a_listed_file_that_is_missing_surfaces_when_the_pair_is_decoded(tree):
    (tree / "IHD_train.txt").write_text("HFlickr/composite_images/f9_1_1.jpg\n")
    (pair,) = read_pairs(tree)
    with pytest.raises(InputError, match=r"real_images/f9\.jpg"):
        read_image(pair.real)


def test_lines_that_name_no_composite_are_set_aside(tree):
    (tree / "IHD_train.txt").write_text(
        "HFlickr/composite_images/f_1_1_1.jpg\nHFlickr/real_images/f_1_1_1.jpg\nx.jpg\n"
    )
    pairs = read_pairs(tree)
    assert len(pairs) == 1
    assert [(row.id, row.stage) for row in pairs.bad] == [
        ("HFlickr/real_images/f_1_1_1.jpg", "read"),
        ("x.jpg", "read"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "../composite_images/a_1_1.jpg",
        "HFlickr/composite_images/../../x/a_1_1.jpg",
        "/data/HFlickr/composite_images/a_1_1.jpg",
        "HFlickr\\composite_images\\a_1_1.jpg",
        "HFlickr/composite_images/sub/a_1_1.jpg",
        "HFlickr/composite_images/a\0_1_1.jpg",
        "C:/x/composite_images/a_1_1.jpg",
        "HFlickr/composite_images/a.._1_1.jpg",
    ],
)
def test_lines_that_lead_out_of_their_folder_are_refused_and_named(tree, line):
    (tree / "IHD_train.txt").write_text(f"HFlickr/composite_images/f_1_1_1.jpg\n{line}\n")
    with pytest.raises(UsageError, match=r"rename them|leave their folder"):
        read_pairs(tree)
    with pytest.raises(UsageError):
        pairs_from_names([line])


def test_ids_that_differ_by_case_alone_are_refused():
    names = [f"S/composite_images/{name}_1_1.jpg" for name in ("Photo", "photo", "other")]
    from harmonygen.data.ids import check_pairs

    with pytest.raises(UsageError, match=r"'S/Photo_1' .* and 'S/photo_1'"):
        check_pairs(pairs_from_names(names))


def test_an_unknown_subset_or_list_says_what_there_is(tree):
    with pytest.raises(UsageError, match="no composite is named"):
        read_pairs(tree, subset="HCOCO")
    (tree / "IHD_train.txt").write_text("HFlickr/composite_images/f_1_1_1.jpg\n")
    with pytest.raises(UsageError, match="which has HFlickr"):
        read_pairs(tree, subset="HCOCO")
    with pytest.raises(UsageError, match=r"list 'nope\.txt' is not a file"):
        read_pairs(tree, list_file="nope.txt")


def test_composite_names_give_mask_and_photo():
    name = CompositeName.parse("Hday2night/composite_images/d1_a-2_7_3.png")
    assert (name.subset, name.real, name.mask, name.variant) == ("Hday2night", "d1_a-2", "7", "3")
    assert name.composite_name == "Hday2night/composite_images/d1_a-2_7_3.png"
    assert name.mask_name == "Hday2night/masks/d1_a-2_7.png"
    assert name.real_name == "Hday2night/real_images/d1_a-2.jpg"
    assert (name.pair_id, name.real_id) == ("Hday2night/d1_a-2_7", "Hday2night/d1_a-2")


@needs_shared
def test_the_authentic_triplets_are_ten_pairs_that_decode(tmp_path):
    with tarfile.open(SHARED / "iharmony4_triplets.tar") as packed:
        packed.extractall(tmp_path, filter="data")
    pairs = read_pairs(tmp_path)
    assert Counter(pair.subset for pair in pairs) == {"HAdobe5k": 5, "HFlickr": 5}
    assert not pairs.bad
    for pair in pairs[4:6]:
        assert 0 < read_mask(pair.mask, read_image(pair.real)).mean() < 1


@needs_shared
def test_the_published_test_list_has_the_published_counts():
    pairs = read_pairs(SHARED / "iHarmony4_test_7404.jsonl.gz")
    counts = Counter(name.partition("/")[0] for pair in pairs for name in pair.originals)
    assert counts == {"HCOCO": 4283, "HAdobe5k": 2160, "HFlickr": 828, "Hday2night": 133}  # REFERENCE section 1
    assert not pairs.bad


@needs_shared
def test_the_large_training_list_is_grouped_by_names_alone_and_fast():
    lines = read_lines(SHARED / "iHarmony4_le50_train_64255.txt.gz")
    start = time.process_time()
    pairs = pairs_from_names(lines)
    assert time.process_time() - start < 10  # about 1 s of an idle core
    counts = Counter(name.partition("/")[0] for pair in pairs for name in pair.originals)
    assert counts == {"HCOCO": 38327, "HAdobe5k": 18652, "HFlickr": 6967, "Hday2night": 309}
    assert len({pair.pair_id for pair in pairs}) == len(pairs) == 42922
    assert [pair.pair_id for pair in pairs] == sorted(pair.pair_id for pair in pairs)
