"""Which values of a mask image are foreground: the stated rule, values that the user chose, or a refusal.

A mask of two values, or with a soft edge between two, is cut at one half. Everything else is a label image and is not
read by brightness: 0 or black is background, 255 or VOC's void colour is ignored, all else is foreground. What could be
either is refused with the values found. The rule is written out in docs/inputs/masks.md.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from harmonygen.pictures.images import Mask, has_alpha, to_rgba
from harmonygen.pictures.levels import levels_of_array
from harmonygen.pictures.mask_choice import of_choice
from harmonygen.pictures.mask_colours import of_colours, of_palette, without_alpha
from harmonygen.pictures.mask_grey import of_grey
from harmonygen.pictures.mask_reading import MaskReading, Understood
from harmonygen.records import AS_STATED, MaskRule

_LOSSY = ("JPEG", "MPO", "JPEG2000")


def to_mask(image: Image.Image) -> Mask:
    """Return the foreground of a mask image of any mode, (H, W) bool, by the stated rule (:func:`understand`).

    >>> to_mask(Image.linear_gradient("L"))[127:129, 0]
    array([False,  True])
    """
    return understand(image)[0]


def understand(image: Image.Image, rule: MaskRule = AS_STATED, name: str = "mask") -> Understood:
    """Return the foreground of an upright mask image, (H, W) bool, and how it was understood.

    Where anything is transparent, opacity is the mask: a cut-out on a transparent ground stands for its opaque part.
    ``image.format`` tells whether it was stored with loss; then nothing in it is a label.

    Raises:
        InputError: the values could mean several things, or none of the chosen ones is there; those found are named.

    >>> understand(Image.linear_gradient("L"))[1]
    MaskReading(kind='soft', values=('0', '255'), foreground=('255',), ignored=(), turned=False, assumed=False)
    """
    lossy = image.format in _LOSSY
    if rule.values:
        return of_choice(image, rule.values, name, lossy)
    if image.mode == "1":
        return np.asarray(image), MaskReading("two-valued", ("0", "255"), ("255",))
    if image.mode == "P":
        return of_palette(image, name)
    if image.mode in ("F", "I") or image.mode.startswith("I;") or (image.mode == "L" and not _hides(image)):
        return of_grey(levels_of_array(np.asarray(image), name), name, lossy)
    if has_alpha(image) and (alpha := _alpha(image)).getextrema() != (255, 255):
        return np.asarray(alpha) >= 128, MaskReading("alpha")
    if image.mode in ("L", "LA"):
        return of_grey(levels_of_array(np.asarray(image.convert("L")), name), name, lossy)
    return of_colours(without_alpha(image), name, lossy)


def understand_array(array: npt.NDArray[np.generic], name: str = "mask") -> Understood:
    """Return the foreground of a mask (H, W) of numbers as :func:`understand` does of a grey image."""
    return of_grey(levels_of_array(array, name), name, lossy=False)


def _hides(image: Image.Image) -> bool:
    """Return whether a grey image has a transparent value other than 0, which is background anyway."""
    return bool(image.info.get("transparency", 0))


def _alpha(image: Image.Image) -> Image.Image:
    own = image.mode in ("RGBA", "LA", "PA", "RGBa", "La")
    return image.getchannel(len(image.getbands()) - 1) if own else to_rgba(image).getchannel("A")
