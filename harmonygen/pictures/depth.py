"""Bring grey images of 16 or 32 bits, or of floats, to 8 bits by one rule, and say where it had to assume something.

Whole numbers fill 16 bits: they are divided by 257. If none is over 255 they are 8-bit values in a deeper file, used as
they are, with a warning. Between 256 and 4095 they could be 10 or 12 bits, or a nearly black photo: refused, unless the
file states its range. Floats fill 0 to 1, or else 0 to 255 or 0 to 65535 if they plainly do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from harmonygen.errors import InputError

_MAX_SAMPLE, _BITS, _PHOTOMETRIC = 281, 258, 262  # TIFF tags
_RANGE = "harmonygen range"
_TOP = 65535
_SLACK = 1 / 255  # a float may leave 0..1 by less than a level


@dataclass(frozen=True, slots=True)
class Grey:
    """Grey values (H, W) uint8, how they were made of deeper ones, and a warning where the file's range was guessed."""

    grey_u8: npt.NDArray[np.uint8]
    how: str
    warning: str = ""


def is_scalar(image: Image.Image) -> bool:
    """Return whether an image is grey with more than 8 bits: whole numbers or floats."""
    return image.mode == "F" or image.mode.startswith("I")


def scalar_bits(image: Image.Image) -> int:
    """Return the bits of a grey image of more than 8 bits: 16, or 32."""
    return 16 if image.mode.startswith("I;16") else 32


def to_grey(image: Image.Image) -> Grey:
    """Bring a grey image of more than 8 bits to 8.

    Raises:
        InputError: values that are not photo's (NaN, negative, only 0 and 1), or whose range cannot be determined.
    """
    if image.mode == "F":
        return _of_floats(np.asarray(image, dtype=np.float32))
    found = np.asarray(image)
    top, inverted = image.info.get(_RANGE, (0, False))
    if found.min(initial=0) < 0:
        raise InputError(f"holds values down to {found.min()}: a photo has none below 0: export it as 8 bits")
    highest = int(found.max(initial=0))
    if top and highest <= top:
        return Grey(_scaled(found, top, inverted), f"0 to {top}, as the file states, scaled to 8 bits")
    return _of_whole_numbers(found, highest, inverted)


def _of_whole_numbers(found: npt.NDArray[np.integer], highest: int, inverted: bool) -> Grey:
    if highest <= 1:
        raise InputError("holds only 0 and 1 in a file of more than 8 bits: a mask, or black: export it as 8 bits")
    if highest <= 255:
        warning = f"no value of this file of more than 8 bits is over {highest}: its values are taken as 8 bits"
        return Grey(_scaled(found, 255, inverted), "8-bit values of a deeper file, used as they are", warning)
    if highest <= 4095 or highest > _TOP:
        raise InputError(
            f"holds values up to {highest}, where 16 bits go to {_TOP}: whether they are {_bits_of(highest)} bits or "
            "a photo that is nearly black cannot be told: export it as 8 bits, or scaled to all of 16 bits"
        )
    warning = f"no value is over {highest} of {_TOP}: if these are 14 bits, the photo is too dark" * (highest <= 16383)
    return Grey(_scaled(found, _TOP, inverted), "16 bits divided by 257", warning)


def _bits_of(highest: int) -> str:
    return "32" if highest > _TOP else "10 or 12" if highest <= 1023 else "12"


def _of_floats(found: npt.NDArray[np.float32]) -> Grey:
    lowest, highest = float(found.min(initial=0)), float(found.max(initial=0))
    if not np.isfinite(found).all():
        raise InputError("holds NaN or infinite values: a photo has none: export it as 8 bits")
    dark = float(np.median(found)) <= 1 if found.size else True
    tops = {1.0: highest <= 1 + _SLACK, 255.0: 16 < highest <= 256 and not dark, 65535.0: 4095 < highest <= _TOP + 1}
    top = next((top for top, fits in tops.items() if fits), None)
    if top is None or lowest < -top * _SLACK or (dark and top > 1):
        raise InputError(
            f"holds float values from {lowest:.4g} to {highest:.4g}, which fill neither 0 to 1 nor 0 to 255: "
            "export it as 8 bits"
        )
    scaled = np.clip(np.rint(found * np.float32(255 / top)), 0, 255).astype(np.uint8)
    return Grey(scaled, f"floats of 0 to {top:.0f} scaled to 8 bits")


def _scaled(found: npt.NDArray[np.integer], top: int, inverted: bool) -> npt.NDArray[np.uint8]:
    """Scale whole numbers from 0 to ``top`` to 0 to 255 through a table: no float for each pixel."""
    table = np.rint(np.arange(top + 1) * (255 / top)).astype(np.uint8)
    scaled = (255 - table if inverted else table)[found]
    return np.asarray(scaled, dtype=np.uint8)


def note_range(opened: Image.Image) -> None:
    """Keep with an opened TIFF file's image what its tags state, since Pillow's copies lose the tags.

    That is the highest value, by its bits or its range (0: not stated), and whether 0 is white.
    """
    tags = getattr(opened, "tag_v2", None)
    if tags is None or not is_scalar(opened):
        return
    bits, most = (_first(tags.get(name)) for name in (_BITS, _MAX_SAMPLE))
    top = most if 255 < most < _TOP else 2**bits - 1 if bits in (10, 12, 14) else 0
    opened.info[_RANGE] = (top, tags.get(_PHOTOMETRIC) == 0)


def _first(value: object) -> int:
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) else 0
