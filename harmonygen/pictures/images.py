"""Decode, check, resize, paste and encode photos. Arrays are ``image_u8``: (H, W, 3) uint8 RGB.

Colour modes are brought to RGB by one table, :data:`TO_RGB`, depths by :mod:`harmonygen.pictures.depth` and colour
profiles by :mod:`harmonygen.pictures.colour_profile`; EXIF rotation is undone; the pixel limit is checked from the
header, before anything is decoded (DESIGN section 6). What a photo needed is in its :class:`PhotoReading`.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from harmonygen.errors import NOT_FINITE, InputError, told
from harmonygen.pictures import depth, formats, png_chunks
from harmonygen.pictures.colour_profile import Profile, profile_of
from harmonygen.records import CellSource, ImageSource
from harmonygen.settings import Enlarge
from harmonygen.storage.bounded import read_file
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
    "CMYK": "by its profile; without one Pillow's conversion (255 - ink, times the key)",
    "YCbCr": "JPEG's conversion",
    "LAB": "Pillow's conversion",
    "HSV": "Pillow's conversion",
    "I": "values 0..65535 divided by 257, rounded; see harmonygen.pictures.depth",
    "I;16": "values 0..65535 divided by 257, rounded; see harmonygen.pictures.depth",
    "I;16B": "values 0..65535 divided by 257, rounded; see harmonygen.pictures.depth",
    "I;16L": "values 0..65535 divided by 257, rounded; see harmonygen.pictures.depth",
    "I;16N": "values 0..65535 divided by 257, rounded; see harmonygen.pictures.depth",
    "F": "values 0..1, or 0..255 or 0..65535 if they fill that, scaled to 0..255, rounded",
}
"""How each Pillow mode becomes RGB."""
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # about EXIF that is of no use here
_PLAIN_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
_TELLS = 3  # photos that are named for one reason; a data set may hold thousands
_told: Counter[str] = Counter()


@dataclass(frozen=True, slots=True)
class PhotoReading:
    """How a photo was understood: what its file holds, and how that was brought to upright 8-bit sRGB.

    ``mode`` is Pillow's, ``bits`` are those of a channel, ``profile`` names the colour profile (empty: none, taken as
    sRGB), ``orientation`` is EXIF's, 1..8. ``how`` says what was changed besides (empty: nothing). ``warning`` says
    what had to be assumed, or what was not used.
    """

    mode: str
    bits: int
    profile: str
    orientation: int
    how: str = ""
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Decoded:
    """An upright photo (H, W, 3) uint8, its size in the file (width, height) and its EXIF orientation 1..8.

    ``plain`` tells whether any reader gets these pixels from the file (see :func:`is_plain`). ``reading`` says how the
    file was understood; None of pixels that come from no file.
    """

    image_u8: ImageU8
    file_size: tuple[int, int]
    orientation: int
    plain: bool = True
    reading: PhotoReading | None = None


def read_bytes(source: ImageSource) -> bytes:
    """Read an image source's encoded bytes.

    Raises:
        InputError: missing, unreadable, empty, no plain file, too large, or outside the folder that it is bound to.
    """
    if isinstance(source, CellSource):
        from harmonygen.storage.parquet_cells import read_cell

        encoded = read_cell(source)
    else:
        encoded = read_file(source.path, str(source), source.within)
    if not encoded:
        raise InputError(f"'{source}' is empty (0 bytes): export it again")
    return encoded


def open_checked(encoded: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open encoded image bytes lazily and check the header's size against ``max_pixels``.

    Raises:
        InputError: not an image, or more pixels than ``max_pixels``.
    """
    limit = Image.MAX_IMAGE_PIXELS
    formats.prepare(encoded, name)
    lean = png_chunks.without_text(encoded) if png_chunks.is_png(encoded) else encoded
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(lean))
    except Image.DecompressionBombError as error:
        raise InputError(f"'{name}' is over the pixel limit ({limit}): {told(error)}: shrink it first") from error
    except MemoryError:
        raise
    except Exception as error:  # headers raise UnidentifiedImageError, OSError, SyntaxError, struct.error ...
        raise InputError(
            f"'{name}' is not an image that Pillow can read ({len(encoded)} bytes): convert it to PNG or JPEG"
        ) from error
    if opened.width * opened.height > max_pixels:
        raise InputError(
            f"'{name}' is {opened.width}x{opened.height}, over the pixel limit of {max_pixels}: shrink it first"
        )
    formats.refuse_raw(opened, name)
    depth.note_range(opened)
    if lean is not encoded and (profile := png_chunks.large_profile(encoded)):
        opened.info["icc_profile"] = profile
    return opened


def load_upright(opened: Image.Image, name: str) -> tuple[Image.Image, int]:
    """Decode an opened image and undo its EXIF rotation; return it with the orientation (1..8) it had."""
    try:
        stated = opened.getexif().get(_EXIF_ORIENTATION)  # asked first: Pillow turns TIFF itself and forgets it
        opened.load()
        orientation = int(stated or opened.getexif().get(_EXIF_ORIENTATION, 1) or 1)  # PNG may state it at the end
        upright = opened if orientation == 1 else ImageOps.exif_transpose(opened)  # which copies it in any case
    except Image.DecompressionBombError as error:
        raise InputError(f"'{name}' is over the pixel limit: {told(error)}: shrink it first") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error ...
        raise InputError(f"'{name}' is damaged or truncated ({told(error)}): export it again") from error
    return upright, orientation if 1 <= orientation <= 8 else 1


def to_rgb(image: Image.Image, name: str = "a picture") -> ImageU8:
    """Convert a Pillow image of any mode in :data:`TO_RGB` to (H, W, 3) uint8; colour profiles are not looked at.

    Raises:
        InputError: a mode that is not in the table, or values whose range cannot be determined.

    >>> to_rgb(Image.new("L", (1, 1), 7))[0, 0].tolist()
    [7, 7, 7]
    """
    return _in_rgb(image, None, name)[0]


def _in_rgb(image: Image.Image, profile: Profile | None, name: str) -> tuple[ImageU8, list[str], list[str]]:
    """Return an image as RGB in sRGB, what was changed, and what had to be assumed."""
    if image.mode not in TO_RGB:
        raise InputError(f"'{name}': colour mode {image.mode!r} is not supported: convert the image to RGB")
    how: list[str] = []
    warned: list[str] = []
    alpha = _alpha(image)
    if depth.is_scalar(image):
        image = _of_eight_bits(image, name, how, warned)
    elif image.mode not in ("L", "CMYK"):
        image = (to_rgba(image) if alpha else image).convert("L" if image.mode == "1" else "RGB")
    if profile is not None and not profile.fits(image):
        warned.append(f"its colour profile '{profile.name}' is not for {image.mode}: its colours are taken as sRGB")
    elif profile is not None and profile.transform is not None:
        image = profile.apply(image)
        how.append(f"colours of the profile '{profile.name}' converted to sRGB")
    image = image.convert("RGB")
    if alpha is not None:
        how.append("transparent parts laid over white")
        image.putalpha(alpha)
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return np.array(image, dtype=np.uint8), how, warned


def _of_eight_bits(image: Image.Image, name: str, how: list[str], warned: list[str]) -> Image.Image:
    try:
        grey = depth.to_grey(image)
    except InputError as error:
        raise InputError(f"'{name}' {error}") from error
    how.append(grey.how)
    warned += [grey.warning] if grey.warning else []
    return Image.fromarray(grey.grey_u8)


def _alpha(image: Image.Image) -> Image.Image | None:
    """Return the opacity (mode L) of an image in which anything is transparent, else None."""
    if not has_alpha(image):
        return None
    if depth.is_scalar(image):  # one transparent value, which Pillow does not look up
        alpha = Image.fromarray(np.where(np.asarray(image) == image.info["transparency"], 0, 255).astype(np.uint8))
    else:
        alpha = to_rgba(image).getchannel("A")
    return None if alpha.getextrema() == (255, 255) else alpha


def has_alpha(image: Image.Image) -> bool:
    """Return whether an image has transparency: a channel of its own, or a transparent colour or palette entry."""
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def to_rgba(image: Image.Image) -> Image.Image:
    """Convert an image that has transparency to RGBA, colours not multiplied by alpha."""
    straight = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)
    return (image.convert(straight) if straight else image).convert("RGBA")


def decode(encoded: bytes, name: str, max_pixels: int = MAX_PIXELS, as_stored: bool = False) -> Decoded:
    """Decode image bytes to an upright RGB photo, its colours in sRGB, or with ``as_stored`` as they are in the file.

    Raises:
        InputError: not an image, damaged, over the pixel limit, HDR, a raw file, or of values that are not photo's.
    """
    opened = open_checked(encoded, name, max_pixels)
    deep, several = is_deep(opened), _has_frames(opened)
    upright, orientation = load_upright(opened, name)
    profile, broken = (None, "") if as_stored else profile_of(opened, encoded, name)
    image_u8, how, warned = _in_rgb(upright, profile, name)
    warned += [
        said
        for said in (broken, _several(opened, several), _dark(image_u8, name, deep and not depth.is_scalar(opened)))
        if said
    ]
    if deep and not depth.is_scalar(opened):
        how.insert(0, "the lower 8 of 16 bits dropped")
    named = profile.name if profile else ""
    reading = PhotoReading(opened.mode, _bits(opened, deep), named, orientation, "; ".join(how), "; ".join(warned))
    tell(name, reading)
    file_size = upright.size[::-1] if orientation > 4 else upright.size
    plain = orientation == 1 and not how and not (several and opened.format != "MPO") and is_plain(opened)
    return Decoded(image_u8, file_size, orientation, plain, reading)


def _bits(opened: Image.Image, deep: bool) -> int:
    """Return how many bits a channel of the file has."""
    if depth.is_scalar(opened):
        return depth.scalar_bits(opened)
    return 16 if deep else 1 if opened.mode == "1" else 8


def _has_frames(opened: Image.Image) -> bool:
    try:
        return bool(getattr(opened, "is_animated", False))
    except Exception:  # a damaged second frame is none of our business
        return True


def _several(opened: Image.Image, several: bool) -> str:
    """Warn of frames or pages that are not used; a camera's MPO holds the same photo again."""
    return "holds several frames or pages: the first is used" if several and opened.format != "MPO" else ""


def _dark(image_u8: ImageU8, name: str, deep: bool) -> str:
    """Warn of a photo that is black; raise InputError if it is so because its values do not fill their 16 bits."""
    highest = int(image_u8.max(initial=0))
    if deep and highest <= 15:
        raise InputError(
            f"'{name}' holds colours of 16 bits that are all in the lowest sixteenth: it would be nearly black: "
            "export it as 8 bits, or scaled to all of 16 bits"
        )
    if deep and highest <= 63:
        return "no value is in the upper three quarters of 16 bits: if these are 14 bits, the photo is too dark"
    return "" if highest > 1 else f"it is black: no value is over {highest}"


def tell(name: str, reading: PhotoReading) -> None:
    """Log what was done to a photo's values or colours, for the first few photos of each kind."""
    said = "; ".join(filter(None, [reading.how, reading.warning]))
    if not said:
        return
    _told[said] += 1
    if _told[said] <= _TELLS:
        more = " (further photos of this kind are not named)" if _told[said] == _TELLS else ""
        logging.getLogger("harmonygen").warning(f"photo '{name}': {said}{more}")


def read_image(source: ImageSource, max_pixels: int = MAX_PIXELS, read: Read = read_bytes) -> Decoded:
    """Read and decode an image source (see :func:`decode`)."""
    return decode(read(source), str(source), max_pixels, source.as_stored)


def decode_plainly(encoded: bytes, name: str) -> ImageU8:
    """Decode a picture as most readers do, to (H, W, 3) uint8: EXIF rotation and transparency are not looked at.

    Raises:
        InputError: not an image, damaged, or over the pixel limit.
    """
    opened = open_checked(encoded, name)
    try:
        return np.array(opened.convert("RGB"), dtype=np.uint8)
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error ...
        raise InputError(f"'{name}' is damaged or truncated ({told(error)}): export it again") from error


def is_deep(opened: Image.Image) -> bool:
    """Return whether an opened image that is not decoded yet holds 16 bits per channel, of which Pillow drops 8."""
    return any(";16" in str(part) for part in getattr(opened, "tile", ()))


def is_plain(image: Image.Image) -> bool:
    """Return whether plain decoding (:func:`decode_plainly`) gives the pixels that :func:`to_rgb` gives.

    So it is with 8-bit RGB, grey and palette images whose transparency, if there is any, hides nothing, in a format
    that any reader knows. Readers disagree about the other colour modes. EXIF rotation, 16-bit channels
    (:func:`is_deep`) and colour profiles are asked for apart.
    """
    if image.mode not in _PLAIN_MODES or image.format not in (*formats.STORABLE, None):
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
    """Round an image in [0, 1] to uint8; ``floor`` is for comparing with numbers of code that floors.

    Raises:
        InputError: NaN or infinite values, which would become black in silence.
    """
    if not np.isfinite(image01).all():
        raise InputError(NOT_FINITE)
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
    if image_format == "png" and image_u8.ndim == 3:
        return png_chunks.png_of(image_u8)
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
