"""Small files that stand for enormous ones: refused from the header, in bounded memory."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from faults import samples
from faults.alone import alone, peak_mebibytes
from faults.table import Row

HUGE = 100_000
MOST_MEBIBYTES = 2048
DEEP = "[" * 200_000


def rows(place: Path, quick: bool = False) -> Iterator[Row]:
    """Look at every bomb in a process of its own."""
    peaks, wrong = [], []
    for name in BOMBS:
        found = alone(look, name, place / name.replace(" ", "-").replace("/", "-"))
        if isinstance(found, str):
            wrong.append(f"{name}: {found}")
        else:
            said, peak = found
            peaks.append(peak)
            if said or peak > MOST_MEBIBYTES:
                wrong.append(f"{name}: {said or f'{peak} MiB'}")
    told = f"most memory of a process {max(peaks, default=0)} MiB" + (f"; WRONG: {'; '.join(wrong)}" if wrong else "")
    yield Row(f"bombs: {', '.join(BOMBS)}", len(BOMBS), len(BOMBS) - len(wrong), note=told)


def look(name: str, place: Path) -> tuple[str, int]:
    """Read a bomb as harmonygen does; return what went wrong and the most memory held."""
    from harmonygen.errors import HarmonygenError

    place.mkdir(parents=True)
    make, read, may_pass = BOMBS[name]
    path = make(place)
    try:
        read(path)
        said = "" if may_pass else "it was read"
    except HarmonygenError as error:
        said = "" if error.exit_code != 1 else str(error)
    except Exception as error:
        said = f"{type(error).__name__}: {str(error)[:100]}"
    return said, peak_mebibytes()


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes, pixels: bytes = b"") -> bytes:
    """Return a PNG whose header says any size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def zeros(mebibytes: int) -> bytes:
    """Return zlib's form of so many mebibytes of zeros: a thousandth of them."""
    packer = zlib.compressobj(9)
    return b"".join([*(packer.compress(bytes(2**20)) for _ in range(mebibytes)), packer.flush()])


def _file(name: str, content: Callable[[], bytes]) -> Callable[[Path], Path]:
    def make(place: Path) -> Path:
        (place / name).write_bytes(content())
        return place / name

    return make


def _patched(image_format: str, offset: Callable[[bytes], int], size: bytes) -> bytes:
    """Return a small picture whose header's size is overwritten."""
    buffer = io.BytesIO()
    Image.fromarray(samples.picture()).save(buffer, image_format)
    content = bytearray(buffer.getvalue())
    place = offset(bytes(content))
    content[place : place + len(size)] = size
    return bytes(content)


def _read_picture(path: Path) -> None:
    from harmonygen.pictures.images import read_image
    from harmonygen.records import FileSource

    read_image(FileSource(path))


def _read_pairs(path: Path) -> None:
    from harmonygen.data import read_pairs
    from harmonygen.errors import InputError
    from harmonygen.pictures.photo import Sizing, load_photo

    pairs = read_pairs(str(path))
    for pair in pairs:
        load_photo(pair, Sizing(32, 8))
    if pairs.bad:
        raise InputError(pairs.bad[0].message)


def _coco(place: Path) -> Path:
    samples.save(samples.picture(), place / "images" / "p.png")
    image = {"id": 1, "file_name": "p.png", "height": HUGE, "width": HUGE}
    rle = {"size": [HUGE, HUGE], "counts": [0, HUGE * HUGE]}
    (place / "instances.json").write_text(
        json.dumps({"images": [image], "annotations": [{"id": 1, "image_id": 1, "segmentation": rle}]})
    )
    return place / "instances.json"


def _contest(place: Path) -> Path:
    samples.save(samples.picture(), place / "train" / "p.jpg")
    row = f"p.jpg,1 {HUGE * HUGE},{HUGE},{HUGE},1"
    (place / "train.csv").write_text(f"ImageId,EncodedPixels,Height,Width,ClassId\n{row}\n")
    return place


def _parquet(place: Path) -> Path:
    cell = {"bytes": bytes(200 * 2**20), "path": "a.png"}
    table = pa.table({"pair_id": ["p"], "real": [cell], "mask": [cell]})
    pq.write_table(table, place / "a.parquet", compression="zstd")
    return place / "a.parquet"


def _deep_coco(place: Path) -> Path:
    (place / "a.json").write_text('{"images": [], "annotations": [{"id": 1, "segmentation": ' + DEEP)
    return place / "a.json"


def _deep_weights(place: Path) -> Path:
    (place / "harmonygen.json").write_text(DEEP)
    return place


def _read_model(path: Path) -> None:
    from harmonygen.models.classifier import HarmonyResNet

    HarmonyResNet.from_pretrained(path)


def _read_decisions(path: Path) -> None:
    from harmonygen.runs.decisions import read_decisions

    read_decisions(path)


def _gif(name: bytes) -> int:
    return name.index(b"GIF8") + 6


Bomb = tuple[Callable[[Path], Path], Callable[[Path], None], bool]
BOMBS: dict[str, Bomb] = {
    "PNG header 100k x 100k": (_file("a.png", lambda: png(HUGE, HUGE)), _read_picture, False),
    "JPEG header 65k x 65k": (
        _file("a.jpg", lambda: _patched("JPEG", lambda whole: whole.index(b"\xff\xc0") + 5, b"\xff\xdc\xff\xdc")),
        _read_picture,
        False,
    ),
    "GIF header": (_file("a.gif", lambda: _patched("GIF", _gif, b"\xff" * 4)), _read_picture, False),
    "BMP header": (
        _file("a.bmp", lambda: _patched("BMP", lambda _: 18, struct.pack("<ii", HUGE, HUGE))),
        _read_picture,
        False,
    ),
    "PNG pixels that inflate to 1 GB": (_file("a.png", lambda: png(64, 48, pixels=zeros(1024))), _read_picture, True),
    "PNG text that inflates": (
        _file("a.png", lambda: png(64, 48, chunk(b"zTXt", b"a\0\0" + zeros(256)), pixels=zeros(1))),
        _read_picture,
        True,
    ),
    "PNG colour profile that inflates": (
        _file("a.png", lambda: png(64, 48, chunk(b"iCCP", b"a\0\0" + zeros(256)), pixels=zeros(1))),
        _read_picture,
        True,
    ),
    "COCO size 100k x 100k": (_coco, _read_pairs, False),
    "iMaterialist size 100k x 100k": (_contest, _read_pairs, False),
    "Parquet cell that inflates to 200 MB": (_parquet, _read_pairs, False),
    "list that inflates to 1 GB": (_file("a.txt.gz", lambda: gzip.compress(bytes(2**30), 1)), _read_pairs, False),
    "COCO nested 200,000 deep": (_deep_coco, _read_pairs, False),
    "checkpoint nested 200,000 deep": (_deep_weights, _read_model, False),
    "decisions nested 200,000 deep": (_file("a.json", DEEP.encode), _read_decisions, False),
}
