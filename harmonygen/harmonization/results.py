"""The files of a harmonized composite: the picture and, of zero-shot, the trace and the strip beside it.

A picture is written last, so that one under its final name tells that all that belongs to it is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from harmonygen.errors import UsageError
from harmonygen.harmonization.settings import HarmonizeSettings
from harmonygen.pictures.images import ImageU8, encode
from harmonygen.records import Pair
from harmonygen.runs.job_folder import PLAN
from harmonygen.storage.shards import make_folder, write_bytes

TRACE, STRIP = ".trace.json", ".strip.jpg"
"""Suffixes of what lies beside a zero-shot picture."""
_SUFFIXES = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}
_FORMATS = {**{suffix: name for name, suffix in _SUFFIXES.items()}, ".jpeg": "jpeg"}
_REFUSED_SUFFIXES = (".bmp", ".gif", ".tif", ".tiff", ".avif", ".jp2")


@dataclass(frozen=True, slots=True)
class Made:
    """A harmonized picture (H, W, 3), and what is written beside it: content by suffix."""

    image_u8: ImageU8
    beside: Mapping[str, bytes] = field(default_factory=dict)


def output_path(out: Path, composite: Pair, settings: HarmonizeSettings) -> Path:
    """Return where a composite's picture lies."""
    return out / f"{composite.pair_id}{_SUFFIXES[settings.image_format]}"


def beside_path(picture: Path, suffix: str) -> Path:
    """Return the path of what lies beside a picture.

    >>> beside_path(Path("run/HCOCO/c1.5_1.png"), ".trace.json").name
    'c1.5_1.trace.json'
    """
    return picture.with_name(f"{picture.stem}{suffix}")


def target_of(settings: HarmonizeSettings, image: Path) -> Path:
    """Return the file of a single result: ``--out`` itself if it is named like a picture, else one in that folder.

    Raises:
        UsageError: it is of another format, in a run's folder, or it or what lies beside it is an input.
    """
    out = settings.out
    suffix = out.suffix.lower()
    if not out.is_dir() and suffix in _REFUSED_SUFFIXES:
        raise UsageError(f"--out '{out}' is not a format that is written: choose {', '.join(_FORMATS)}")
    named = not out.is_dir() and suffix in _FORMATS
    if not named and (out / PLAN).is_file():
        raise UsageError(f"'{out}' holds a run: choose another folder, or a file, with --out")
    target = out if named else out / f"{image.stem}{_SUFFIXES[settings.image_format]}"
    inputs = image.resolve(), Path(settings.mask or "").resolve()
    for path in files(target, settings):
        if path.resolve() in inputs:
            raise UsageError(f"--out '{path}' would overwrite its own input: choose another name")
    return target


def files(picture: Path, settings: HarmonizeSettings) -> list[Path]:
    """Return the files of a result, the picture last."""
    suffixes = (STRIP, TRACE) if settings.method == "zero-shot" else ()
    return [*(beside_path(picture, suffix) for suffix in suffixes), picture]


def refuse_clashes(pictures: Sequence[Path], settings: HarmonizeSettings) -> None:
    """Raise UsageError if a file that belongs to one picture has the name of another picture."""
    names = set(pictures)
    for picture in pictures:
        for path in files(picture, settings)[:-1]:
            if path in names:
                raise UsageError(
                    f"the result '{path.name}' has the name of a file that belongs to '{picture.name}': choose another "
                    "--image-format"
                )


def write_result(path: Path, made: Made) -> None:
    """Write what lies beside a picture, then the picture in the format of its suffix; each whole or not at all."""
    make_folder(path.parent)
    for suffix, content in made.beside.items():
        write_bytes(beside_path(path, suffix), content)
    write_bytes(path, encode(made.image_u8, _FORMATS[path.suffix.lower()]))


def is_made(picture: Path, settings: HarmonizeSettings) -> bool:
    """Return whether a composite's result is there, with all that belongs to it."""
    *others, last = files(picture, settings)
    return all(path.is_file() for path in others) and is_whole_picture(last)


def is_whole_picture(path: Path) -> bool:
    """Return whether a picture is there and can be read to its end (of a PNG, by its checksums)."""
    try:
        with Image.open(path) as opened:
            opened.verify() if opened.format == "PNG" else opened.load()
    except Exception:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error ...
        return False
    return True
