"""Decode, check, resize, paste and encode photos. Arrays are ``image_u8``: (H, W, 3) uint8 RGB.

Colour modes are brought to RGB by one table, :data:`TO_RGB`; EXIF rotation is undone; the pixel limit is checked
from the header, before anything is decoded (DESIGN section 6).
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from harmonygen.errors import InputError
from harmonygen.records import CellSource, ImageSource
from harmonygen.settings import Enlarge
from harmonygen.storage.content import Read
from harmonygen.storage.shards import whole_file

ImageU8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Picture01 = npt.NDArray[np.float32]

MAX_PIXELS = 178_956_970  # Pillow's own limit: a 0.5 GB RGB image
_EXIF_ORIENTATION = 0x0112

TO_RGB = {
    "1": "white is 255, black is 0, on all three channels",
    "L": "grey copied to the three channels",
    "LA": "laid over white",
    "La": "laid over white",
    "P": "palette looked up; transparent entries laid over white",
    "PA": "palette looked up, laid over white",
    "RGB": "as it is",
    "RGBA": "laid over white",
    "RGBa": "laid over white",
    "RGBX": "fourth channel dropped",
    "CMYK": "Pillow's conversion (255 - ink, times the key)",
    "YCbCr": "JPEG's conversion",
    "LAB": "Pillow's conversion",
    "HSV": "Pillow's conversion",
    "I": "values 0..65535 divided by 257, rounded",
    "I;16": "values 0..65535 divided by 257, rounded",
    "I;16B": "values 0..65535 divided by 257, rounded",
    "I;16L": "values 0..65535 divided by 257, rounded",
    "I;16N": "values 0..65535 divided by 257, rounded",
    "F": "values 0..1 (or 0..255 if any is over 1) scaled to 0..255, rounded",
}
"""How each Pillow mode becomes RGB."""
_PLAIN_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")


@dataclass(frozen=True, slots=True)
class Decoded:
    """An upright photo (H, W, 3) uint8, its size in the file (width, height) and its EXIF orientation 1..8.

    ``plain`` tells whether any reader gets these pixels from the file (see :func:`is_plain`).
    """

    image_u8: ImageU8
    file_size: tuple[int, int]
    orientation: int
    plain: bool = True


def read_bytes(source: ImageSource) -> bytes:
    """Read an image source's encoded bytes; raise InputError if it is missing, unreadable or empty."""
    if isinstance(source, CellSource):
        from harmonygen.storage.parquet_cells import read_cell

        encoded = read_cell(source)
    else:
        try:
            encoded = source.path.read_bytes()
        except OSError as error:
            raise InputError(
                f"cannot read '{source}': {error.strerror or error}: check the path and permissions"
            ) from error
    if not encoded:
        raise InputError(f"'{source}' is empty (0 bytes): export it again")
    return encoded


def open_checked(encoded: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open encoded image bytes lazily and check the header's size against ``max_pixels``.

    Raises:
        InputError: not an image, or more pixels than ``max_pixels``.
    """
    limit = Image.MAX_IMAGE_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(encoded))
    except Image.DecompressionBombError as error:
        raise InputError(f"'{name}' is over the pixel limit ({limit}): {error}: shrink it first") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise InputError(
            f"'{name}' is not an image that Pillow can read ({len(encoded)} bytes): convert it to PNG or JPEG"
        ) from error
    if opened.width * opened.height > max_pixels:
        raise InputError(
            f"'{name}' is {opened.width}x{opened.height}, over the pixel limit of {max_pixels}: shrink it first"
        )
    return opened


def load_upright(opened: Image.Image, name: str) -> tuple[Image.Image, int]:
    """Decode an opened image and undo its EXIF rotation; return it with the orientation (1..8) it had."""
    try:
        stated = opened.getexif().get(_EXIF_ORIENTATION)  # asked first: Pillow turns TIFF itself and forgets it
        opened.load()
        orientation = int(stated or opened.getexif().get(_EXIF_ORIENTATION, 1) or 1)  # PNG may state it at the end
        upright = ImageOps.exif_transpose(opened)
    except Image.DecompressionBombError as error:
        raise InputError(f"'{name}' is over the pixel limit: {error}: shrink it first") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error ...
        raise InputError(f"'{name}' is damaged or truncated ({error}): export it again") from error
    return upright, orientation if 1 <= orientation <= 8 else 1


def to_rgb(image: Image.Image) -> ImageU8:
    """Convert a Pillow image of any mode in :data:`TO_RGB` to (H, W, 3) uint8.

    Raises:
        InputError: a mode that is not in the table.

    >>> to_rgb(Image.new("L", (1, 1), 7))[0, 0].tolist()
    [7, 7, 7]
    """
    if image.mode not in TO_RGB:
        raise InputError(f"colour mode {image.mode!r} is not supported: convert the image to RGB")
    if image.mode == "F" or image.mode.startswith("I"):
        return _scalar_to_rgb(np.asarray(image, dtype=np.float64), image.mode)
    if has_alpha(image):
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), to_rgba(image))
    return np.array(image.convert("RGB"), dtype=np.uint8)


def has_alpha(image: Image.Image) -> bool:
    """Tell whether an image has transparency: a channel of its own, or a transparent colour or palette entry."""
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def to_rgba(image: Image.Image) -> Image.Image:
    """Convert an image that has transparency to RGBA, colours not multiplied by alpha."""
    straight = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)
    return (image.convert(straight) if straight else image).convert("RGBA")


def _scalar_to_rgb(values: npt.NDArray[np.float64], mode: str) -> ImageU8:
    values = np.nan_to_num(values)
    factor = 1 / 257 if mode != "F" else (1.0 if values.max(initial=0) > 1 else 255.0)
    scaled = values * factor
    grey = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def decode(encoded: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode image bytes to an upright RGB photo.

    Raises:
        InputError: not an image, damaged, or over the pixel limit.
    """
    opened = open_checked(encoded, name, max_pixels)
    deep = is_deep(opened)
    upright, orientation = load_upright(opened, name)
    file_size = upright.size[::-1] if orientation > 4 else upright.size
    return Decoded(to_rgb(upright), file_size, orientation, orientation == 1 and not deep and is_plain(opened))


def read_image(source: ImageSource, max_pixels: int = MAX_PIXELS, read: Read = read_bytes) -> Decoded:
    """Read and decode an image source (see :func:`decode`)."""
    return decode(read(source), str(source), max_pixels)


def decode_plainly(encoded: bytes, name: str) -> ImageU8:
    """Decode a picture as most readers do, to (H, W, 3) uint8: EXIF rotation and transparency are not looked at.

    Raises:
        InputError: not an image, damaged, or over the pixel limit.
    """
    opened = open_checked(encoded, name)
    try:
        return np.array(opened.convert("RGB"), dtype=np.uint8)
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error ...
        raise InputError(f"'{name}' is damaged or truncated ({error}): export it again") from error


def is_deep(opened: Image.Image) -> bool:
    """Tell whether an opened image that is not decoded yet holds 16 bits per channel, of which Pillow drops 8."""
    return any(";16" in str(part) for part in getattr(opened, "tile", ()))


def is_plain(image: Image.Image) -> bool:
    """Tell whether plain decoding (:func:`decode_plainly`) gives the pixels that :func:`to_rgb` gives.

    So it is with 8-bit RGB, grey and palette images whose transparency, if there is any, hides nothing. Readers
    disagree about the other colour modes. EXIF rotation and 16-bit channels (:func:`is_deep`) are asked for apart.
    """
    if image.mode not in _PLAIN_MODES:
        return False
    return not has_alpha(image) or to_rgba(image).getchannel("A").getextrema() == (255, 255)


def resize(image_u8: ImageU8, height: int, width: int, enlarge: Enlarge = "bicubic") -> ImageU8:
    """Resize (H, W, 3) uint8 by Pillow: antialiased bilinear when its area shrinks, ``enlarge`` when it grows.

    The papers' code resizes bilinearly always.
    """
    if image_u8.shape[:2] == (height, width):
        return image_u8
    shrinking = height * width < image_u8.shape[0] * image_u8.shape[1]
    method = Image.Resampling.BILINEAR if shrinking or enlarge == "bilinear" else Image.Resampling.BICUBIC
    return np.array(Image.fromarray(image_u8).resize((width, height), method), dtype=np.uint8)


def to_u8(image01: npt.NDArray[np.floating], floor: bool = False) -> ImageU8:
    """Round an image in [0, 1] to uint8; ``floor`` is for comparing with numbers of code that floors."""
    whole = np.floor if floor else np.rint
    rounded: ImageU8 = np.clip(whole(np.asarray(image01) * 255), 0, 255).astype(np.uint8)
    return rounded


def paste(foreground_u8: ImageU8, real_u8: ImageU8, mask: Mask) -> ImageU8:
    """Return ``foreground_u8`` inside ``mask`` and ``real_u8``, bit for bit, outside it."""
    pasted: ImageU8 = np.where(mask[..., None], foreground_u8, real_u8)
    return pasted


def encode(image_u8: ImageU8, image_format: str = "png", quality: int = 95) -> bytes:
    """Encode (H, W, 3) uint8 RGB, or a boolean (H, W) mask, as ``png`` or ``webp`` (lossless) or ``jpeg``."""
    if image_u8.dtype == np.bool_:
        image_u8 = image_u8.astype(np.uint8) * 255
    buffer = io.BytesIO()
    options: dict[str, dict[str, Any]] = {
        "png": {"compress_level": 3},
        "webp": {"lossless": True, "quality": 20},
        "jpeg": {"quality": quality, "subsampling": 0},
    }
    Image.fromarray(image_u8).save(buffer, image_format.upper(), **options[image_format])
    return buffer.getvalue()


def save(image_u8: ImageU8, path: Path) -> None:
    """Write an image under its final name in one step, in the format of its suffix."""
    suffix = path.suffix.lower().lstrip(".")
    encoded = encode(image_u8, {"jpg": "jpeg"}.get(suffix, suffix))
    with whole_file(path) as temporary:
        temporary.write_bytes(encoded)
