import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygen.data.composite_names import CompositeName
from harmonygen.data.write_tree import image_suffix, new_composite, new_variant, place, write_lists
from harmonygen.errors import StorageError, UsageError

ids = st.from_regex(r"[a-z][a-z0-9-]{0,8}(_[a-z0-9]{1,3})?", fullmatch=True)


@given(ids, st.from_regex(r"[a-z0-9-]{1,5}", fullmatch=True), st.integers(0, 500))
def test_new_names_parse_back_to_their_pair(real, mask, k):
    name = CompositeName.parse(new_composite(f"S/masks/{real}_{mask}.png", "hg", k, ".png"))
    assert (name.real, name.mask, name.subset) == (real, mask, "S")


@given(st.sets(st.sampled_from(["hg00", "hg7", "hga01", "hgb3", "1", "12", "hgx", "x"])), st.integers(0, 99))
def test_new_variants_never_collide_with_the_originals(variants, k):
    originals = {f"S/composite_images/a_1_{variant}.jpg" for variant in variants}
    prefix = new_variant(originals)
    made = new_composite("S/masks/a_1.png", prefix, k, ".jpg")
    assert made not in originals


def test_all_prefixes_taken_is_said():
    with pytest.raises(UsageError, match="all 27 names"):
        new_variant(["a_1_hg0.png", *(f"a_1_hg{letter}0.png" for letter in "abcdefghijklmnopqrstuvwxyz")])


@pytest.mark.parametrize("link", ["hard", "sym", "copy"])
def test_placing_twice_changes_nothing_and_never_the_source(tmp_path, link):
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"photo")
    assert place(source, target, link)
    mark = target.lstat()
    assert not place(source, target, link)
    assert (target.lstat().st_ino, target.lstat().st_mtime_ns) == (mark.st_ino, mark.st_mtime_ns)
    assert target.read_bytes() == source.read_bytes() == b"photo"


@pytest.mark.parametrize("link", ["hard", "sym", "copy"])
def test_a_stale_target_is_replaced_without_touching_what_it_was_linked_to(tmp_path, link):
    source, target, other = tmp_path / "a", tmp_path / "b", tmp_path / "other"
    source.write_bytes(b"photo")
    other.write_bytes(b"another")
    os.link(other, target)
    assert place(source, target, link)
    assert target.read_bytes() == b"photo"
    assert other.read_bytes() == b"another"


def test_a_dangling_symlink_is_replaced(tmp_path):
    (tmp_path / "a").write_bytes(b"photo")
    (tmp_path / "b").symlink_to(tmp_path / "gone")
    assert place(tmp_path / "a", tmp_path / "b", "hard")


def test_a_link_that_the_disk_refuses_says_what_to_pass(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    (tmp_path / "a").write_bytes(b"photo")
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StorageError, match=r"one file system.*--link copy"):
        place(tmp_path / "a", tmp_path / "b", "hard")


def test_lists_by_subset_hold_bare_names(tmp_path):
    for subset in "AB":
        (tmp_path / subset).mkdir()
    names = ["A/composite_images/x_1_1.jpg", "B/composite_images/y_1_1.jpg", "A/composite_images/x_1_hg00.png"]
    write_lists(tmp_path, names, "train")
    assert (tmp_path / "IHD_train.txt").read_text().splitlines() == names
    assert (tmp_path / "A/A_train.txt").read_text().splitlines() == ["x_1_1.jpg", "x_1_hg00.png"]


def test_bytes_that_are_no_image_are_refused():
    with pytest.raises(StorageError, match="no PNG, JPEG or WebP"):
        image_suffix(b"GIF89a..", "x")
