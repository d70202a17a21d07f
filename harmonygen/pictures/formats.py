"""Which picture files are read here, by suffix, and what HEIC needs.

Pillow decides by a file's bytes; suffixes only choose the files of a folder. HEIC comes with the optional package
pillow-heif (``pip install 'harmonygen[heif]'``).
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from harmonygen.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

_ALWAYS = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".bmp", ".tif", ".tiff", ".gif")
_HEIC = (".heic", ".heif")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_HEADER = 256  # bytes
_DNG_VERSION, _SUBFILE = 50706, 254  # TIFF tags
STORABLE = ("BMP", "JPEG", "MPO", "PNG", "TIFF", "WEBP")
"""Formats, as Pillow names them, that are stored as they are beside a composite: any reader knows them."""


@cache
def readable_suffixes() -> frozenset[str]:
    """Return the suffixes, in lower case, of the picture files that can be read on this machine."""
    from PIL import features

    avif = (".avif",) if features.check("avif") else ()
    heic = _HEIC if find_spec("pillow_heif") else ()
    return frozenset((*_ALWAYS, *avif, *heic))


def prepare(encoded: bytes, name: str) -> None:
    """Let Pillow read HEIC if these bytes are HEIC; raise InputError if the package for it is not installed."""
    if not _is_heic(encoded):
        return
    if not find_spec("pillow_heif"):
        raise InputError(
            f"'{name}' is a HEIC picture, for which pillow-heif is not installed: pip install 'harmonygen[heif]', or "
            "convert it to JPEG or PNG"
        )
    _register_heic()


def prepare_file(path: Path) -> None:
    """Do for a file whose header alone is read what :func:`prepare` does for its bytes.

    Raises:
        InputError: HEIC, for which the package is not installed.
    """
    if path.suffix.lower() in _HEIC:
        with path.open("rb") as opened:
            prepare(opened.read(_HEADER), str(path))


def _is_heic(encoded: bytes) -> bool:
    """Tell HEIC by the brands of its first box; AVIF has ``mif1`` among its brands too."""
    if encoded[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(encoded[:4], "big"), _HEADER)
    brands = [encoded[place : place + 4] for place in (8, *range(16, end, 4))]
    return any(brand in _HEIC_BRANDS for brand in brands) and not any(brand in _AVIF_BRANDS for brand in brands)


@cache
def _register_heic() -> None:
    import_module("pillow_heif").register_heif_opener()


def refuse_raw(opened: Image.Image, name: str) -> None:
    """Raise InputError of a camera's raw file: what Pillow shows of it is a thumbnail."""
    tags = getattr(opened, "tag_v2", None)
    if tags is not None and (_DNG_VERSION in tags or _is_reduced(tags.get(_SUBFILE))):
        raise InputError(
            f"'{name}' begins with a thumbnail, as a camera's raw file does: develop it to JPEG, PNG or TIFF first"
        )


def _is_reduced(subfile: object) -> bool:
    return isinstance(subfile, int) and bool(subfile & 1)
