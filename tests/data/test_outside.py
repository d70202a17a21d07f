"""Data of others cannot carry off private pictures, hang a run or take all memory: paths, devices, types, sizes."""

import json
import os
import socket
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harmonygen.data import parquet, read_pairs
from harmonygen.data.composites import read_composites
from harmonygen.data.files import photo_sizes, read_text
from harmonygen.data.parquet import read_parquet, read_texts
from harmonygen.errors import HarmonygenError, InputError, UsageError
from harmonygen.pictures.images import encode, read_bytes
from harmonygen.records import CellSource, FileSource, ReadOptions
from harmonygen.storage import bounded, parquet_cells
from harmonygen.storage.parquet_cells import read_cell

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
PICTURE = encode(np.full((16, 16, 3), 90, np.uint8))


@pytest.fixture
def place(tmp_path):
    """Return a data set's folder beside a private picture; a link in the folder leads to it."""
    data, private = tmp_path / "data", tmp_path / "private"
    for folder in (data, private):
        folder.mkdir()
        (folder / "p.png").write_bytes(PICTURE)
        mask = np.zeros((16, 16), np.uint8)
        mask[4:9, 4:9] = 255
        Image.fromarray(mask).save(folder / "m.png")
    (data / "link.png").symlink_to(private / "p.png")
    (data / "linked").symlink_to(private)
    return data


def paths_out(place):
    return [
        "../private/p.png",
        str(place.parent / "private" / "p.png"),
        "link.png",
        "linked/p.png",
        "./x/../../private/p.png",
        "linked/../private/p.png",
    ]


def cells(path, values, column="real", kind=STRUCT):
    pq.write_table(pa.table({column: pa.array(values, kind), "mask": pa.array(values, kind)}), path)
    return path


def test_cells_that_name_files_outside_are_refused_unless_allowed(place, monkeypatch):
    opened: list[str] = []
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(os.path.realpath(path)) or read(path))
    names = paths_out(place)
    cells(place / "a.parquet", [{"bytes": None, "path": path} for path in [*names, "p.png", str(place / "p.png")]])
    bound, free = read_pairs(place), read_pairs(place, reading=ReadOptions(allow_outside=True))
    for pair in bound.pairs[: len(names)]:
        with pytest.raises(InputError, match=r"lies outside the data's folder|cannot read"):
            read_bytes(pair.real)
    assert not opened
    assert [read_bytes(pair.real) for pair in bound.pairs[len(names) :]] == [PICTURE] * 2
    assert [read_bytes(free.pairs[row].real) for row in range(4)] == [PICTURE] * 4


@pytest.mark.parametrize("layout", ["csv", "parquet"])
def test_tables_that_name_files_outside_are_refused_unless_allowed(place, layout):
    for number, path in enumerate(names := paths_out(place)[:4]):
        names[number] = path.replace("p.png", f"p{number}.png") if "link.png" not in path else path
        (place.parent / "private" / f"p{number}.png").write_bytes(PICTURE)
    rows = {"real": names, "mask": ["m.png"] * 4, "composite": names, "real_id": [f"a{n}" for n in range(4)]}
    if layout == "csv":
        lines = [",".join(rows), *(",".join(row) for row in zip(*rows.values(), strict=True))]
        (place / "t.csv").write_text("\n".join(lines))
    else:
        pq.write_table(pa.table(rows), place / "t.parquet")
    path = place / f"t.{layout}"
    allowed = ReadOptions(allow_outside=True)
    for pair in read_pairs(path):
        with pytest.raises(InputError, match=r"outside the data's folder.*--allow-outside"):
            read_bytes(pair.real)
        assert read_bytes(pair.mask)
    for composite in read_composites(path, reading=ReadOptions()):
        with pytest.raises(InputError, match="outside the data's folder"):
            read_bytes(composite.composite)
    assert [read_bytes(pair.real) for pair in read_pairs(path, reading=allowed)] == [PICTURE] * 4
    assert [read_bytes(each.composite) for each in read_composites(path, reading=allowed)] == [PICTURE] * 4


def test_composite_cells_are_bound_too(place):
    table = {name: pa.array([{"bytes": None, "path": "../private/p.png"}], STRUCT) for name in ("real", "mask")}
    pq.write_table(pa.table({**table, "composite": table["real"]}), place / "a.parquet")
    [composite] = read_composites(place / "a.parquet", reading=ReadOptions())
    with pytest.raises(InputError, match="outside"):
        read_bytes(composite.composite)


def test_an_images_header_outside_is_not_read_either(place):
    with pytest.raises(InputError, match="outside"):
        photo_sizes(place / "../private/p.png", place)
    assert photo_sizes(place / "p.png", place) == ((16, 16),)


def test_links_of_hugging_faces_cache_are_inside(tmp_path):
    repository = tmp_path / "datasets--a--b"
    snapshot = repository / "snapshots" / "1234"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "blobs" / "ff").write_bytes(PICTURE)
    (snapshot / "p.png").symlink_to("../../blobs/ff")
    assert read_bytes(FileSource(snapshot / "p.png", within=snapshot)) == PICTURE


@pytest.mark.parametrize("name", ["images/../../private/p.png", "/etc/passwd", "..\\p.png", "a\0b.png"])
def test_coco_names_cannot_lead_out(place, name):
    image = {"id": 1, "file_name": name, "height": 16, "width": 16}
    annotation = {"id": 1, "image_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]}
    (place / "i.json").write_text(json.dumps({"images": [image], "annotations": [annotation]}))
    with pytest.raises(UsageError):
        read_pairs(place / "i.json", layout="coco")


@pytest.mark.parametrize("kind", ["fifo", "socket", "device", "folder", "link to a device"])
def test_what_is_no_plain_file_is_refused_without_being_opened(tmp_path, kind, monkeypatch):
    path = tmp_path / "a.png"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind("a.png")
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = type(path)("/dev/zero")
    else:
        path.symlink_to("/dev/zero")
    for read in (lambda: read_bytes(FileSource(path)), lambda: photo_sizes(path)):
        with pytest.raises(InputError, match="no picture file"):
            read()
    if kind != "folder":
        with pytest.raises(UsageError, match="not a plain file"):
            read_text(path)


def test_files_and_cells_over_the_limit_are_refused_without_being_read(tmp_path, monkeypatch):
    path = tmp_path / "sparse.png"
    with path.open("wb") as opened:
        opened.truncate(bounded.MAX_FILE + 1)
    with pytest.raises(InputError, match="over the limit"):
        read_bytes(FileSource(path))
    cells(tmp_path / "a.parquet", [PICTURE] * 4, kind=pa.binary())
    monkeypatch.setattr(parquet_cells, "_MAX_GROUP", 10)
    with pytest.raises(InputError, match="in one row group, over the limit"):
        read_cell(CellSource(tmp_path / "a.parquet", "real", 0))
    monkeypatch.undo()
    monkeypatch.setattr(parquet_cells, "MAX_FILE", 10)
    with pytest.raises(InputError, match="over the limit of 10"):
        read_cell(CellSource(tmp_path / "a.parquet", "real", 1))


WRONG = {
    "bytes: int": (
        pa.struct([("bytes", pa.int64()), ("path", pa.string())]),
        {"bytes": 6_000_000_000, "path": "p.png"},
    ),
    "bytes: text": (pa.struct([("bytes", pa.string()), ("path", pa.string())]), {"bytes": "hello", "path": "p.png"}),
    "bytes: list": (pa.struct([("bytes", pa.list_(pa.int64())), ("path", pa.string())]), {"bytes": [300], "path": "x"}),
    "bytes: bool": (pa.struct([("bytes", pa.bool_()), ("path", pa.string())]), {"bytes": True, "path": "p.png"}),
    "path: int": (pa.struct([("bytes", pa.binary()), ("path", pa.int64())]), {"bytes": None, "path": 7}),
    "path: struct": (
        pa.struct([("bytes", pa.binary()), ("path", pa.struct([("a", pa.int8())]))]),
        {"bytes": None, "path": {"a": 1}},
    ),
    "list": (pa.list_(pa.binary()), [PICTURE]),
    "float": (pa.float64(), 1e300),
    "map": (pa.map_(pa.string(), pa.binary()), [("bytes", PICTURE)]),
}


@pytest.mark.parametrize("name", WRONG)
def test_image_columns_of_wrong_types_are_refused_by_name(place, name):
    kind, value = WRONG[name]
    path = cells(place / "a.parquet", [value], kind=kind)
    with pytest.raises(UsageError, match="has no image column real or mask"):
        read_parquet(path)
    with pytest.raises(InputError, match=r"holds no image|cannot read"):
        read_cell(CellSource(path, "real", 0, place))


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"bytes": None, "path": None},
        {"bytes": b"", "path": ""},
        {"bytes": None, "path": "a\0b.png"},
        {"bytes": None, "path": "x" * 5000},
        {"bytes": None, "path": "."},
        {"bytes": None, "path": ".."},
        {"bytes": None, "path": "gone.png"},
    ],
)
def test_cells_without_a_picture_are_refused_one_by_one(place, value):
    path = cells(place / "a.parquet", [value, {"bytes": PICTURE, "path": None}])
    pairs = read_parquet(path).pairs
    with pytest.raises(InputError):
        read_bytes(pairs[0].real)
    assert read_bytes(pairs[1].real) == PICTURE


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.float64(), pa.binary(), pa.struct([("a", pa.int8())])])
def test_ids_of_wrong_types_are_refused_by_column(place, kind):
    value = (
        {"a": 1}
        if pa.types.is_struct(kind)
        else ["a"]
        if pa.types.is_list(kind)
        else b"a"
        if kind == pa.binary()
        else 1.5
    )
    picture = pa.array([PICTURE], pa.binary())
    pq.write_table(
        pa.table({"pair_id": pa.array([value], kind), "real": picture, "mask": picture}), place / "a.parquet"
    )
    with pytest.raises(UsageError, match=r"column pair_id of .* holds"):
        read_parquet(place / "a.parquet")


def test_texts_that_repeat_are_counted_before_they_are_unpacked(tmp_path):
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1_000_000, np.int32)), pa.array(["x" * 2000]))
    pq.write_table(pa.table({"pair_id": text}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 1_000_000
    with pytest.raises(UsageError, match="2000000000 bytes of text, over the limit"):
        read_texts(tmp_path / "a.parquet", ["pair_id"])


def test_rows_beyond_number_are_refused_from_the_footer(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_ROWS", 5)
    path = cells(tmp_path / "a.parquet", [PICTURE] * 6, kind=pa.binary())
    for read in (lambda: read_texts(path, ["real"]), lambda: read_parquet(path)):
        with pytest.raises(UsageError, match="has 6 rows, over the limit"):
            read()


def test_texts_kept_once_are_texts(place):
    rows = {"real": ["p.png"], "mask": ["m.png"]}
    table = pa.table({name: pa.array(values).dictionary_encode() for name, values in rows.items()})
    pq.write_table(table, place / "t.parquet")
    [pair] = read_pairs(place / "t.parquet")
    assert read_bytes(pair.real) == PICTURE


def test_every_error_is_one_of_ours(place):
    for name, (kind, value) in WRONG.items():
        path = cells(place / "a.parquet", [value], kind=kind)
        with pytest.raises(HarmonygenError):
            read_bytes(read_pairs(path).pairs[0].real)
        assert name
