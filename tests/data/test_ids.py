import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygen.data.ids import MAX_BYTES, check_pairs, fault, refuse_collisions, safe_id
from harmonygen.errors import UsageError
from harmonygen.records import FileSource, Pair


@pytest.mark.parametrize("text", ["", "..", "../a", "a/b", "a\\b", "a\0b", "/etc/passwd", ".", "x" * (MAX_BYTES + 1)])
def test_ids_that_could_leave_their_folder_are_refused(text):
    with pytest.raises(UsageError, match="cannot name a file"):
        safe_id(text)


@pytest.mark.parametrize("text", ["a0001", "d1048-20120628-200951", "IMG_12.v2", "été", "夏"])
def test_ordinary_names_stay_as_they_are(text):
    assert safe_id(text) == text


@given(st.text(max_size=60))
def test_an_id_is_refused_or_becomes_one_plain_file_name(text):
    if fault(text):
        return
    cleaned = safe_id(text)
    assert cleaned
    assert not cleaned.startswith(".")
    assert not set(cleaned) & set('/\\:*?"<>| \0\n')
    assert safe_id(cleaned) == cleaned


def test_collisions_are_named_with_their_files():
    with pytest.raises(UsageError, match=r"'IMG' \(a/IMG.png\) and 'img' \(a/img.png\)"):
        refuse_collisions([("IMG", "a/IMG.png"), ("img", "a/img.png")], "photo id")


def test_only_the_first_five_faults_are_named(tmp_path):
    pairs = [_pair(f"p{n}", f"{n}", tmp_path) for n in range(7)] * 2
    with pytest.raises(
        UsageError, match=r"^7 pair id\(s\) stand for several pairs: 'p0', 'p1', 'p2', 'p3', 'p4' and 2 more:"
    ):
        check_pairs(pairs)


def test_one_photo_id_for_two_files_is_refused(tmp_path):
    first, second = _pair("a_1", "a", tmp_path / "x"), _pair("a_2", "a", tmp_path / "y")
    with pytest.raises(UsageError, match="photo id"):
        check_pairs([first, second])


def _pair(pair_id, real_id, folder):
    return Pair(pair_id, real_id, "1", FileSource(folder / "r.png"), FileSource(folder / f"{pair_id}.png"))
