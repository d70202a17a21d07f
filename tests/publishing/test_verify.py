import hashlib
import io
import itertools
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fakes"))
from small_dataset import SCHEMA, build, row, seal

from harmonygen.data.manifest import read_manifest, write_manifest
from harmonygen.errors import UsageError
from harmonygen.publishing import verify_parquet
from harmonygen.publishing.front_matter import matches, read_card
from harmonygen.publishing.verify import published_entries, verify

TRAIN = "data/train-00000-of-00002.parquet"


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    return build(tmp_path_factory.mktemp("verify") / "built", {"train": 8, "test": 2})


@pytest.fixture
def folder(original, tmp_path):
    return Path(shutil.copytree(original, tmp_path / "built"))


def faults(folder, sample=4):
    return [str(fault) for fault in verify(folder, published_entries(folder), sample).faults]


def rewrite(folder, change, path=TRAIN, **options):
    """Write a part again from changed rows, with its schema, and the manifest after it."""
    rows = [change(dict(each)) for each in pq.read_table(folder / path).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, schema=options.pop("schema", SCHEMA)), folder / path, **options)
    seal(folder)


def readme(folder, old, new):
    path = folder / "README.md"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    seal(folder)


def test_a_sound_folder_has_no_fault_and_its_images_are_decoded(folder):
    told = []
    verified = verify(folder, published_entries(folder), 4, progress=lambda *done: told.append(done))
    assert verified.faults == ()
    assert (verified.images, verified.left, len(verified.entries)) == (3 * 4 + 3 * 2, 2, 5)
    assert told[-1] == (verified.bytes, verified.bytes)


def test_each_kind_of_fault_is_found_and_says_what_to_do(folder):
    def cell(each, column, **changes):
        return {**each, column: {**each[column], **changes}}

    def check(told, act, *arguments, **options):
        place = Path(shutil.copytree(folder, folder.parent / f"changed{next(count)}"))  # cells are cached by path
        act(place, *arguments, **options)
        found = faults(place)
        assert any(told in each for each in found), (told, found)
        assert all(each.count(": ") >= 2 for each in found)
        shutil.rmtree(place)

    first, count = dict(row(0)), itertools.count()
    other = pa.schema([field if field.name != "p_composite" else field.with_type(pa.string()) for field in SCHEMA])
    check("is not a complete Parquet file", lambda at: _sealed_cut(at))
    check("has 4 rows, the manifest says 9", _relist, rows=9)
    check("bytes, the manifest says", lambda at: pq.write_table(pq.read_table(at / TRAIN)[:3], at / TRAIN))
    check("SHA-256 differs", lambda at: _flip(at / TRAIN))
    check("in the manifest but not in the folder", lambda at: (at / TRAIN).unlink())
    check("'p_composite' is string, not double", rewrite, lambda r: {**r, "p_composite": "a"}, schema=other)
    check("has other columns than", rewrite, lambda r: r, schema=pa.schema(list(SCHEMA)[:-1]))
    check("hold no image bytes", rewrite, lambda r: cell(r, "real", bytes=None, path="x.png"))
    check("named by a path of this machine", rewrite, lambda r: cell(r, "mask", path="/home/me/x.png"))
    check("'real' of row", rewrite, lambda r: cell(r, "real", bytes=first["real"]["bytes"][:300]))
    check("looks like an access token", rewrite, dict, schema=SCHEMA.with_metadata({"x": "hf_" + "a1" * 18}))
    check("looks like an access token", readme, "# A small", "hf_" + "b2" * 18)
    check("says that default/train has 9 rows", readme, "num_examples: 8", "num_examples: 9")
    check("dataset_info has no split 'test'", readme, "- name: test\n", "- name: validation\n")
    check("does not fit the features", readme, "name: pair_id", "name: pair")
    check("shows 'assets/more.png', which is not published", readme, "assets/examples.png", "assets/more.png")
    check("no file fits the pattern data/valid-*", readme, "data/test-*", "data/valid-*")
    check("no config of the card names it", readme, "data/test-*", "data/valid-*")
    check("does not parse", readme, "configs:", "configs: [")
    check("has no 'configs'", readme, "configs:", "config:")
    check("does not begin with YAML", readme, "---\n", "")
    check("is not in the manifest", lambda at: shutil.copy(at / TRAIN, at / "data" / "train-00002-of-00003.parquet"))
    check("unfinished part", lambda at: (at / "data" / ".train-00002.parquet.tmp").touch())
    check("the card says default/train, the manifest says default/test", _relist, split="test")
    check("hidden or temporary", _relist, path="data/.train-0.parquet")
    check("not a plain path inside the folder", _relist, path="../train.parquet")
    check("a link to a file outside the folder", _link_out)
    check("the Hub takes 50 GB", _relist, bytes=60_000_000_000)


def _sealed_cut(folder):
    entries = read_manifest(folder)
    content = (folder / TRAIN).read_bytes()[:-100]
    (folder / TRAIN).write_bytes(content)
    cut = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    write_manifest(folder, [replace(each, **cut) if each.path == TRAIN else each for each in entries])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)


def _relist(folder, **changes):
    entries = read_manifest(folder)
    write_manifest(folder, [replace(each, **changes) if each.path == TRAIN else each for each in entries])


def _link_out(folder):
    outside = folder.parent / "outside.parquet"
    shutil.copy(folder / TRAIN, outside)
    (folder / TRAIN).unlink()
    (folder / TRAIN).symlink_to(outside)


def test_a_row_group_over_the_viewers_limit_is_a_fault(folder, monkeypatch):
    monkeypatch.setattr(verify_parquet, "MAX_ROW_GROUP_BYTES", 20_000)
    assert any("has a row group of" in each for each in faults(folder))


def test_the_sample_is_seeded(folder):
    looked = []
    for seed in (0, 0, 1):
        parts = verify(folder, published_entries(folder), 2, seed)
        assert parts.faults == ()
        looked.append([str(cell) for cell in _sampled(folder, seed)])
    assert looked[0] == looked[1] != looked[2]


def _sampled(folder, seed):
    seen = []
    read = verify_parquet.read_cell
    verify_parquet.read_cell = lambda cell: seen.append(cell) or read(cell)
    try:
        verify(folder, published_entries(folder), 2, seed)
    finally:
        verify_parquet.read_cell = read
    return seen


@pytest.mark.parametrize(
    ("stated", "patterns"),
    [
        ("data_files: data/*.parquet", {("default", "train"): ("data/*.parquet",)}),
        ("data_files: [a.parquet, b.parquet]", {("default", "train"): ("a.parquet", "b.parquet")}),
        ("data_files: {test: t-*}", {("default", "test"): ("t-*",)}),
        ("data_files: [{split: test, path: [x, y]}]", {("default", "test"): ("x", "y")}),
    ],
)
def test_every_form_of_data_files_is_read(stated, patterns):
    assert dict(read_card(f"---\nconfigs:\n- config_name: default\n  {stated}\n---\n").patterns) == patterns


@pytest.mark.parametrize(
    "front", ["[1, 2]", "configs: [3]", "configs: [{data_files: 3}]", "configs: [{data_files: [[]]}]"]
)
def test_other_forms_are_refused(front):
    with pytest.raises(UsageError):
        read_card(f"---\n{front}\n---\n")


def test_patterns_stay_in_their_folder():
    assert matches("candidates/train-0.parquet", ("**/train-*",))
    assert not matches("candidates/train-0.parquet", ("train-*",))


def test_what_is_no_built_dataset_is_refused(tmp_path):
    for told, folder in (("is not a folder", tmp_path / "none"), ("has no README.md", tmp_path)):
        with pytest.raises(UsageError, match=told):
            published_entries(folder)
    (tmp_path / "README.md").write_text("# nothing")
    with pytest.raises(UsageError, match="does not begin with YAML"):
        published_entries(tmp_path)


def picture(each, column):
    return np.array(Image.open(io.BytesIO(each[column]["bytes"])))


def with_picture(each, column, array, image_format="PNG", **options):
    held = io.BytesIO()
    Image.fromarray(array).save(held, image_format, **options)
    return {**each, column: {**each[column], "bytes": held.getvalue()}}


def background(each):
    """Return (row, column) of a pixel outside a row's mask."""
    return tuple(np.argwhere(picture(each, "mask").mean(axis=2) < 127.5)[0])


def one_value_off(each):
    composite = picture(each, "composite")
    composite[background(each)][1] ^= 1
    return with_picture(each, "composite", composite)


def test_one_background_value_that_differs_is_found(folder):
    rewrite(folder, one_value_off)
    found = faults(folder, 100)
    assert len(found) == pq.read_metadata(folder / TRAIN).num_rows
    assert found[0].startswith(f"{TRAIN}: row 0: 1 background pixels of the composite are not the photo's")


def test_the_backgrounds_of_originals_are_their_makers(folder):
    for path in sorted((folder / "data").glob("*.parquet")):
        rows = pq.read_table(path).to_pylist()
        rows = [{**one_value_off(each), "source": ("original", "harmonygen")[n == 0]} for n, each in enumerate(rows)]
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA.append(pa.field("source", pa.string()))), path)
    seal(folder)
    found = [each for each in faults(folder, 100) if "background" in each]
    assert len(found) == len(list((folder / "data").glob("*.parquet")))
    assert all(": row 0: " in each for each in found)


def test_a_photo_that_readers_decode_otherwise_is_found(folder):
    """Transparency hides pixels that the composite was not made from."""

    def hidden(each):
        real = picture(each, "real")
        alpha = np.full((*real.shape[:2], 1), 128, np.uint8)
        white = np.rint(real * (128 / 255) + 255 * (127 / 255)).astype(np.uint8)
        mask = picture(each, "mask").mean(axis=2, keepdims=True) >= 127.5
        composite = np.where(mask, picture(each, "composite"), white)
        return with_picture(with_picture(each, "composite", composite), "real", np.concatenate([real, alpha], axis=2))

    rewrite(folder, hidden)
    assert any("background pixels" in each for each in faults(folder))


def test_a_jpeg_composite_may_differ_by_what_jpeg_does_and_no_more(folder):
    def lossy(each, shift=0):
        composite = np.clip(picture(each, "composite").astype(int) + shift, 0, 255).astype(np.uint8)
        return with_picture(each, "composite", composite, "JPEG", quality=95, subsampling=0)

    rewrite(folder, lossy)
    assert faults(folder, 100) == []
    rewrite(folder, lambda each: lossy(each, 12))
    assert any("background pixels" in each for each in faults(folder, 100))


def test_a_mask_that_cannot_be_understood_is_found(folder):
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    rewrite(folder, lambda each: with_picture(each, "mask", noise))
    assert any("the mask is not of two values" in each for each in faults(folder))


def test_pictures_of_different_sizes_are_found(folder):
    rewrite(folder, lambda each: with_picture(each, "composite", picture(each, "composite")[:-1]))
    assert any("photo, mask and composite are of different sizes (48x48, 48x48, 48x47)" in f for f in faults(folder))


def test_the_front_matter_is_checked_against_the_hubs_lists(folder):
    front = "license: cc-by-5.0\nlanguage: [en, English]\nsize_categories: n<2K\ntags: [1]\npretty_name: 3\n"
    front += "annotations_creators: nobody\nmultilinguality: some\n"
    readme(folder, "configs:", f"{front}configs:")
    found = [each for each in faults(folder) if each.startswith("README.md: ")]
    told = (
        "'license' has 'cc-by-5.0', which the Hub does not know: did you mean cc-by-",
        "'language' has 'English'",
        "'size_categories' has 'n<2K', which the Hub does not know: did you mean n<1K",
        "'tags' is [1], not a list of texts",
        "'pretty_name' is 3, not text",
        "'annotations_creators' has 'nobody'",
        "'multilinguality' has 'some'",
    )
    assert [each for each in told if not any(each in fault for fault in found)] == []
    assert len(found) == len(told)


def test_what_the_hubs_libraries_cannot_read_is_a_fault(folder):
    readme(folder, "path: data/test-*", "path: data/test-*\n    more: 1")
    assert any("the Hub's libraries cannot read its front matter" in each for each in faults(folder))


def test_what_the_hub_only_warns_of_is_a_note(folder):
    readme(folder, "configs:", "license: other\ntask_categories: [image-harmonization]\nconfigs:")
    verified = verify(folder, published_entries(folder), 4)
    assert verified.faults == ()
    first, second = verified.notes
    assert "'task_categories' has 'image-harmonization', which is none of the Hub's tasks" in first
    assert "license is 'other': a 'license_name'" in second
