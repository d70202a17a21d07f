"""What is done to a data set: to bytes, names, kinds of file, picture headers, JSON, tables and Parquet schemas.

Each mutation draws what it needs from hypothesis, so that an example that fails is made smaller and can be replayed.
``outside`` is a folder beside the data that nothing may open; some mutations point at it.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from PIL import Image

Draw = Callable[[Any], Any]
Mutation = Callable[[Draw, Path, Path], None]

ODD_NAMES = (
    b"a\nb",
    b"\x1b[31mred",
    "e\u0301te\u0301".encode(),
    b" ",
    b"-rf",
    b"CON",
    b"..",
    b"a" * 240,
    b"\xff\xfe",
    b"\xe9t\xe9",
    "\u202egnp".encode(),
    b"[/v2]",
    b"%s{0}",
    b"ann_1_2",
    b"ann.mask",
)
ODD_VALUES = (None, True, -1, 0, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "x", "../a")
ODD_VALUES += ([], {}, [[]], [None], ["a"], {"size": [1, 1]}, "\x00", "\x1b[31m", [1, 2, 3], "ann.png", 1, 255)


def files(root: Path) -> list[Path]:
    """Return the files of a data set, sorted."""
    return sorted(
        path for path in root.rglob("*") if path.is_file() and not path.is_symlink() and path.stat().st_size < 2**20
    )


def one_of(draw: Draw, root: Path, *suffixes: str) -> Path | None:
    """Draw a file, of one of some suffixes if any are given; None if there is none."""
    found = [path for path in files(root) if not suffixes or path.suffix.lower() in suffixes]
    return draw(st.sampled_from(found)) if found else None


def some_bytes(draw: Draw, root: Path, _outside: Path) -> None:
    """Cut, change, insert, blank or exchange bytes of a file."""
    path = one_of(draw, root)
    if path is None:
        return
    raw = bytearray(path.read_bytes())
    place = draw(st.integers(0, max(0, len(raw) - 1)))
    what = draw(st.sampled_from(("cut", "flip", "insert", "blank", "random", "other", "empty", "twice")))
    if what == "cut":
        raw = raw[:place]
    elif what == "flip" and raw:
        raw[place] ^= draw(st.integers(1, 255))
    elif what == "insert":
        raw[place:place] = draw(st.binary(min_size=1, max_size=64))
    elif what == "blank":
        raw[place : place + 32] = bytes(len(raw[place : place + 32]))
    elif what == "random":
        raw = bytearray(draw(st.binary(max_size=200)))
    elif what == "other":
        other = one_of(draw, root)
        raw = bytearray(other.read_bytes()) if other else raw
    elif what == "empty":
        raw = bytearray()
    else:
        raw = raw * 2
    path.write_bytes(raw)


def odd_name(draw: Draw, root: Path, _outside: Path) -> None:
    """Rename a file or a folder, or add a file, under an odd name."""
    found = sorted(root.rglob("*"))
    path = draw(st.sampled_from(found))
    stem = draw(st.sampled_from(ODD_NAMES) | st.binary(min_size=1, max_size=12))
    suffix = draw(st.sampled_from((b".png", b".jpg", b".JPG", b".gif", b".avif", b"", b".json", b".tar.gz", b".Png")))
    name = (stem + suffix).replace(b"/", b"").replace(b"\x00", b"")[:250]
    if name in (b"", b".", b".."):
        return
    target = os.path.join(os.fsencode(path.parent), name)
    if not os.path.lexists(target):
        plain = path.is_file() and not path.is_symlink() and path.stat().st_size < 2**20
        if draw(st.booleans()) and plain:
            shutil.copy(os.fsencode(path), target)
        else:
            os.rename(os.fsencode(path), target)


def odd_kind(draw: Draw, root: Path, outside: Path) -> None:
    """Put another kind of thing in a file's place: folder, FIFO, link to outside, to itself, to a device."""
    path = one_of(draw, root)
    if path is None:
        return
    what = draw(st.sampled_from(("folder", "fifo", "outside", "circle", "zero", "gone", "sparse", "up")))
    path.unlink()
    if what == "folder":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "outside":
        path.symlink_to(outside / "secret.png")
    elif what == "circle":
        path.symlink_to(path.name)
    elif what == "zero":
        path.symlink_to("/dev/zero")
    elif what == "sparse":
        with path.open("wb") as opened:
            opened.truncate(3 * 2**30)
    elif what == "up":
        (path.parent / "round").symlink_to("..", target_is_directory=True)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(draw: Draw, root: Path, _outside: Path) -> None:
    """State another size, depth or colour type in a PNG, or add a chunk, its checksum right."""
    path = one_of(draw, root, ".png")
    if path is None or not path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n"):
        return
    raw = path.read_bytes()
    width, height = struct.unpack(">II", raw[16:24])
    rest = list(raw[24:29])
    sizes = st.sampled_from((0, 1, 2, 2**14, 2**16, 2**31 - 1, 2**32 - 1))
    what = draw(st.sampled_from(("width", "height", "both", "depth", "type", "chunk")))
    if what in ("width", "both"):
        width = draw(sizes)
    if what in ("height", "both"):
        height = draw(sizes)
    if what == "depth":
        rest[0] = draw(st.sampled_from((1, 2, 4, 8, 16, 0, 255)))
    if what == "type":
        rest[1] = draw(st.integers(0, 7))
    header = _chunk(b"IHDR", struct.pack(">II", width, height) + bytes(rest))
    more = b""
    if what == "chunk":
        kind = draw(st.sampled_from((b"iCCP", b"eXIf", b"tRNS", b"tEXt", b"zTXt", b"gAMA", b"PLTE", b"acTL", b"iTXt")))
        text = b"k\x00\x00" + zlib.compress(b"x" * draw(st.sampled_from((10, 3 * 10**6))))
        more = _chunk(kind, draw(st.sampled_from((text, b"", b"\x00" * 9)) | st.binary(max_size=60)))
    path.write_bytes(raw[:8] + header + more + raw[33:])


def odd_mode(draw: Draw, root: Path, _outside: Path) -> None:
    """Store a picture in another colour mode or format under the name it has."""
    path = one_of(draw, root, ".png", ".jpg")
    if path is None:
        return
    try:
        picture = Image.open(path).convert("RGB")
    except Exception:  # an earlier mutation has damaged it
        return
    grey = np.asarray(picture.convert("L")).astype(np.uint16)
    modes: dict[str, Callable[[], tuple[Image.Image, str]]] = {
        "I;16": lambda: (Image.fromarray(grey * 257), "PNG"),
        "I": lambda: (Image.fromarray(grey.astype(np.int32) * 70000), "TIFF"),
        "F": lambda: (Image.fromarray(np.where(grey > 200, np.nan, grey / 255).astype(np.float32)), "TIFF"),
        "1": lambda: (picture.convert("1"), "PNG"),
        "P": lambda: (picture.quantize(draw(st.integers(2, 40))), "PNG"),
        "LA": lambda: (picture.convert("LA"), "PNG"),
        "RGBA": lambda: (picture.convert("RGBA"), "WEBP"),
        "CMYK": lambda: (picture.convert("CMYK"), "JPEG"),
        "LAB": lambda: (picture.convert("LAB"), "TIFF"),
        "gif": lambda: (picture.quantize(16), "GIF"),
        "bmp": lambda: (picture, "BMP"),
        "turned": lambda: (picture.transpose(Image.Transpose.ROTATE_90), "PNG"),
        "small": lambda: (picture.resize((draw(st.integers(1, 30)), draw(st.integers(1, 30)))), "PNG"),
        "blank": lambda: (Image.new("L", picture.size, draw(st.sampled_from((0, 1, 7, 128, 255)))), "PNG"),
        "labels": lambda: (Image.fromarray((grey // draw(st.integers(8, 120))).astype(np.uint8)), "PNG"),
    }
    turned, kind = modes[draw(st.sampled_from(sorted(modes)))]()
    buffer = io.BytesIO()
    exif = Image.Exif()
    orientation = draw(st.sampled_from((None, None, 1, 2, 3, 6, 8, 0, 9, 65535)))
    if orientation is not None and kind in ("JPEG", "PNG", "WEBP"):
        exif[0x0112] = orientation
        turned.save(buffer, kind, exif=exif)
    else:
        turned.save(buffer, kind)
    path.write_bytes(buffer.getvalue())


def _nodes(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(node for key, each in inner for node in _nodes(each, (*at, key)))]


def odd_json(draw: Draw, root: Path, outside: Path) -> None:
    """Exchange, drop or double one value of a JSON file."""
    path = one_of(draw, root, ".json")
    if path is None:
        return
    try:
        told = json.loads(path.read_text())
    except ValueError:
        return
    nodes = [node for node in _nodes(told) if node]
    if not nodes:
        return
    *above, last = draw(st.sampled_from(nodes))
    place = told
    for key in above:
        place = place[key]
    what = draw(st.sampled_from(("value", "drop", "double", "outside")))
    if what == "drop":
        del place[last]
    elif what == "double" and isinstance(place, list):
        place.append(place[last])
    else:
        place[last] = str(outside / "secret.png") if what == "outside" else draw(st.sampled_from(ODD_VALUES))
    path.write_text(json.dumps(told))


def odd_csv(draw: Draw, root: Path, outside: Path) -> None:
    """Exchange a cell, a column's name, the separator or the encoding of a CSV file or a list."""
    path = one_of(draw, root, ".csv", ".txt")
    if path is None:
        return
    try:
        rows = list(csv.reader(io.StringIO(path.read_text())))
    except (ValueError, csv.Error):
        return
    if not rows or not rows[0]:
        return
    row = draw(st.integers(0, len(rows) - 1))
    column = draw(st.integers(0, max(0, len(rows[row]) - 1)))
    odd = (*map(str, ODD_VALUES), str(outside / "secret.png"), "../outside/secret.png", "1 " * 5000, "/etc/passwd")
    what = draw(st.sampled_from(("cell", "cell", "drop", "double", "semicolon", "utf-16", "quote", "wide")))
    if what == "cell" and rows[row]:
        rows[row][column] = draw(st.sampled_from(odd) | st.text(max_size=20))
    elif what == "drop":
        del rows[row]
    elif what == "double":
        rows.append(rows[row])
    elif what == "wide":
        rows[row] = rows[row] * 50
    text = io.StringIO()
    csv.writer(text, delimiter=";" if what == "semicolon" else ",").writerows(rows)
    told = text.getvalue() + ('"' if what == "quote" else "")
    path.write_bytes(told.encode("utf-16" if what == "utf-16" else "utf-8", "surrogatepass"))


def odd_parquet(draw: Draw, root: Path, outside: Path) -> None:
    """Exchange a column's type, name or cells, or the schema's notes, of a Parquet file."""
    path = one_of(draw, root, ".parquet")
    if path is None:
        return
    try:
        found = pq.read_table(path)
    except Exception:  # an earlier mutation has damaged it
        return
    number = draw(st.integers(0, found.num_columns - 1))
    name, rows = found.column_names[number], found.num_rows
    secret = str(outside / "secret.png")
    columns: dict[str, Callable[[], pa.Array]] = {
        "null": lambda: pa.nulls(rows),
        "ints": lambda: pa.array(list(range(rows))),
        "floats": lambda: pa.array([float("nan")] * rows),
        "text": lambda: pa.array([draw(st.sampled_from(("x", "", "ann.png", secret, "/dev/zero")))] * rows),
        "bytes": lambda: pa.array([draw(st.binary(max_size=50))] * rows),
        "lists": lambda: pa.array([[1, 2]] * rows),
        "maps": lambda: pa.array([[("a", 1)]] * rows, pa.map_(pa.string(), pa.int64())),
        "paths": lambda: pa.array([{"bytes": None, "path": secret}] * rows),
        "above": lambda: pa.array([{"bytes": None, "path": "../outside/secret.png"}] * rows),
        "struct": lambda: pa.array([{"bytes": 5, "path": 7}] * rows),
        "more": lambda: pa.array([{"bytes": b"", "path": None, "x": 1}] * rows),
        "times": lambda: pa.array([1] * rows, pa.timestamp("us")),
        "words": lambda: pa.array(["x"] * rows).dictionary_encode(),
        "large": lambda: pa.array([b"x" * 2**20] * rows, pa.large_binary()),
    }
    what = draw(st.sampled_from((*sorted(columns), "rename", "drop", "no rows", "many", "notes")))
    if what == "rename":
        found = found.rename_columns([draw(st.sampled_from(("Real", "x", "mask"))), *found.column_names[1:]])
    elif what == "drop":
        found = found.drop_columns([name])
    elif what == "no rows":
        found = found.slice(0, 0)
    elif what == "many":
        found = pa.concat_tables([found] * 200)
    elif what == "notes":
        notes = st.sampled_from((b"{}", b"not json", b'{"info": 3}', b'{"info": {"features": {"real": 1}}}'))
        found = found.replace_schema_metadata({b"huggingface": draw(notes)})
    else:
        found = found.set_column(number, name, columns[what]())
    pq.write_table(found, path)


MUTATIONS: dict[str, Mutation] = {
    each.__name__: each
    for each in (some_bytes, odd_name, odd_kind, png_header, odd_mode, odd_json, odd_csv, odd_parquet)
}
