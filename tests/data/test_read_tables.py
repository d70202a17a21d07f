"""Tables of paths and Parquet files of images."""

import io

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data as pictures

from harmonygen.data import parquet, read_pairs
from harmonygen.data.files import cannot_read
from harmonygen.errors import InputError, StorageError, UsageError
from harmonygen.pictures.images import read_image
from harmonygen.pictures.masks import read_mask
from harmonygen.storage.parquet_cells import image_cell, image_schema


@pytest.fixture(scope="module")
def photo():
    return Image.fromarray(pictures.astronaut()).resize((48, 32))


@pytest.fixture(scope="module")
def mask():
    whole = np.zeros((32, 48), np.uint8)
    whole[8:20, 10:30] = 255
    return Image.fromarray(whole)


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def decoded(pair):
    photo = read_image(pair.real)
    return photo.image_u8, read_mask(pair.mask, photo)


@pytest.fixture
def paths(tmp_path, photo, mask):
    (tmp_path / "p").mkdir()
    photo.save(tmp_path / "p" / "a.png")
    photo.save(tmp_path / "p" / "b.png")
    for name in ("a_1", "a_left_eye", "b"):
        mask.save(tmp_path / f"{name}.gif")
    return tmp_path


def test_a_csv_of_paths_relative_to_its_folder(paths, photo):
    (paths / "t.csv").write_text(
        f"\ufeffreal, mask,note\np/b.png,b.gif,x\np/a.png,a_1.gif,\n{paths}/p/a.png,a_left_eye.gif,z\n,a_1.gif,\n",
        encoding="utf-8",
    )
    for data in (paths / "t.csv", paths):
        pairs = read_pairs(data)
        assert pairs.layout == "table"
        assert [pair.pair_id for pair in pairs] == ["a_1", "a_left-eye", "b_0"]
        assert pairs[2].extra == {"note": "x"}
        assert [row.id for row in pairs.bad] == ["row 4"]
        image_u8, mask = decoded(pairs[1])
        assert (image_u8 == np.asarray(photo)).all()
        assert mask.sum() == 240


def test_a_parquet_of_paths_with_ids(paths):
    columns = {"real": ["p/a.png", "p/b.png"], "mask": ["a_1.gif", "b.gif"], "pair_id": ["S/x_1", "S/y_1"]}
    pq.write_table(pa.table(columns | {"real_id": ["S/x", "S/y"], "subset": ["S", "S"]}), paths / "t.parquet")
    pairs = read_pairs(paths / "t.parquet")
    assert pairs.layout == "table"
    assert [(pair.pair_id, pair.real_id, pair.subset) for pair in pairs] == [
        ("S/x_1", "S/x", "S"),
        ("S/y_1", "S/y", "S"),
    ]
    assert decoded(pairs[0])[1].sum() == 240


@pytest.mark.parametrize("pair_id", ["../x", "a/b/c", "/a", "a\\b", "a/..", "a/"])
def test_ids_of_a_table_that_lead_out_of_their_folder_are_refused(paths, pair_id):
    (paths / "t.csv").write_text(f"real,mask,pair_id\np/a.png,a_1.gif,{pair_id}\n")
    with pytest.raises(UsageError, match="cannot name a file"):
        read_pairs(paths / "t.csv")


def test_two_rows_of_one_id_and_two_photos_of_one_name_are_refused(paths):
    (paths / "t.csv").write_text("real,mask\np/a.png,a_1.gif\np/a.png,a_1.gif\n")
    with pytest.raises(UsageError, match="'a_1'"):
        read_pairs(paths / "t.csv")
    (paths / "t.csv").write_text("real,mask\np/a.png,a_1.gif\nq/a.png,a_left_eye.gif\n")
    with pytest.raises(UsageError, match="photo id"):
        read_pairs(paths / "t.csv")


def test_a_table_without_the_columns_lists_the_layouts(paths):
    (paths / "t.csv").write_text("image,mask\np/a.png,a_1.gif\n")
    with pytest.raises(UsageError, match=r"no layout fits .* file of type '\.csv'"):
        read_pairs(paths / "t.csv")
    with pytest.raises(UsageError, match=r"found columns image, mask"):
        read_pairs(paths / "t.csv", layout="table")


@pytest.fixture
def written(tmp_path, photo, mask):
    """A dataset folder as Hugging Face datasets writes it: train in two files, and a test split."""
    features = datasets.Features(
        {"pair_id": datasets.Value("string"), "real": datasets.Image(), "mask": datasets.Image()}
    )
    for number, (split, ids) in enumerate([("train", ["S/a_1", "S/b_1"]), ("train", ["S/c_1"]), ("test", ["S/d_1"])]):
        rows = {"pair_id": ids, "real": [photo] * len(ids), "mask": [mask] * len(ids)}
        part, count = (number, 2) if split == "train" else (0, 1)
        path = tmp_path / "set" / "data" / f"{split}-{part:05d}-of-{count:05d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    return tmp_path / "set"


def test_a_hugging_face_dataset_folder_gives_its_training_pairs(written, photo):
    for data in (written, written / "data"):
        pairs = read_pairs(data)
        assert pairs.layout == "parquet"
        assert [pair.pair_id for pair in pairs] == ["S/a_1", "S/b_1", "S/c_1"]
    for pair in pairs:
        image_u8, mask = decoded(pair)
        assert (image_u8 == np.asarray(photo)).all()
        assert mask.sum() == 240


def test_a_named_file_gives_its_own_split(written):
    (pair,) = read_pairs(written / "data" / "test-00000-of-00001.parquet")
    assert pair.pair_id == "S/d_1"


def test_binary_columns_without_ids_are_named_by_file_and_row(tmp_path, photo, mask):
    columns = {"real": [png(photo)] * 3, "mask": [png(mask), None, png(mask)]}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet", row_group_size=2)
    pairs = read_pairs(tmp_path)
    assert [pair.pair_id for pair in pairs] == ["x-000000", "x-000001", "x-000002"]
    assert decoded(pairs[2])[1].sum() == 240
    with pytest.raises(InputError, match="row 1"):
        decoded(pairs[1])


def test_the_composites_of_a_built_dataset_are_one_pair(tmp_path, photo, mask):
    columns = {"real": [png(photo)] * 3, "mask": [png(mask)] * 3, "pair_id": ["a_1", "a_1", "a_2"]}
    ids = {"real_id": ["a"] * 3, "mask_id": ["1", "1", "2"]}
    pq.write_table(pa.table(columns | ids), tmp_path / "x.parquet")
    pairs = read_pairs(tmp_path)
    assert [(pair.pair_id, pair.real_id, pair.mask.row) for pair in pairs] == [("a_1", "a", 0), ("a_2", "a", 2)]


def test_repeated_pair_ids_without_mask_ids_are_refused(tmp_path, photo, mask):
    columns = {"real": [png(photo)] * 2, "mask": [png(mask)] * 2, "pair_id": ["a", "a"]}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(UsageError, match=r"collide .* 'a' \(.*row 1\]\)"):
        read_pairs(tmp_path)


def test_a_truncated_parquet_file_is_refused_with_a_remedy(written):
    path = written / "data" / "train-00000-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UsageError, match="not a whole Parquet file"):
        read_pairs(written)


def test_a_hub_dataset_is_read_from_its_snapshot(written, monkeypatch):
    asked = {}

    def snapshot(repo, **options):
        asked.update(options, repo=repo)
        return str(written)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    pairs = read_pairs("hf://datasets/someone/photos@v2/data")
    assert len(pairs) == 3
    assert (asked["repo"], asked["revision"], asked["repo_type"]) == ("someone/photos", "v2", "dataset")
    assert asked["allow_patterns"] == ["data*.parquet"]


def test_no_network_is_a_storage_error_with_a_remedy(monkeypatch):
    def fail(repo, **options):
        raise ConnectionError("no route to host\nmore")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(StorageError, match=r"no route to host\): check the network"):
        read_pairs("hf://datasets/someone/photos")


@pytest.mark.parametrize("address", ["hf://someone/photos", "hf://datasets/photos", "hf://datasets/"])
def test_malformed_hub_addresses_are_refused(address):
    with pytest.raises(UsageError, match="hf://datasets/<user>/<name>"):
        parquet.download(address)


def test_a_flipped_byte_of_a_parquet_file_is_no_trouble_of_the_disk(tmp_path):
    """Arrow's errors are bare OSErrors then: exit code 4 told people to check permissions."""
    path = tmp_path / "train.parquet"
    row = {"real": image_cell(b"1", "r.png"), "mask": image_cell(b"2", "m.png"), "pair_id": "a", "real_id": "a"}
    schema = image_schema({"real": "image", "mask": "image", "pair_id": "string", "real_id": "string"})
    pq.write_table(pa.Table.from_pylist([row] * 1, schema=schema), path)
    whole, refused = path.read_bytes(), 0
    for place in range(4, len(whole), 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            read_pairs(path)
        except UsageError:
            refused += 1
    assert refused > 20


def test_a_disk_that_fails_is_told_from_a_file_that_is_damaged():
    assert isinstance(cannot_read("x", OSError("Couldn't deserialize thrift")), UsageError)
    assert isinstance(cannot_read("x", OSError(5, "Input/output error")), StorageError)
    assert isinstance(cannot_read("x", ConnectionError("the Hub is gone")), StorageError)
