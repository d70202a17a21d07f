"""Take a photo's foreground out as a list of pixels, and put recoloured pixels back.

Shape legend: N foreground pixels, H W pixels.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from harmonygen.errors import InputError

ImageU8: TypeAlias = npt.NDArray[np.uint8]
Mask: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.floating[Any]]

_CODES = np.arange(256, dtype=np.float32) / 255
_LINEAR = np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4).astype(np.float32)
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)


def foreground_pixels(image_u8: ImageU8, mask: Mask, name: str = "photo") -> npt.NDArray[np.float64]:
    """List the colours inside a mask.

    Args:
        image_u8: (H, W, 3) ``uint8`` RGB.
        mask: (H, W) bool, true inside the foreground.
        name: what an error calls the picture.

    Returns:
        (N, 3) RGB in ``[0, 1]``, in row order.

    Raises:
        InputError: the image is not (H, W, 3) uint8, the mask is not bool or of another size, or it is empty.
    """
    check_foreground(image_u8, mask, name)
    return image_u8[mask] / 255.0


def check_foreground(image_u8: ImageU8, mask: Mask, name: str = "photo") -> None:
    """Raise InputError as :func:`foreground_pixels` does."""
    if image_u8.ndim != 3 or image_u8.shape[2] != 3 or image_u8.dtype != np.uint8:
        found = f"{image_u8.dtype} {image_u8.shape}"
        raise InputError(f"{name} is {found}, not uint8 (H, W, 3): convert it to 8-bit RGB first")
    if mask.dtype != np.bool_ or mask.shape != image_u8.shape[:2]:
        found = f"{mask.dtype} {mask.shape}"
        raise InputError(f"mask of {name} is {found}, not bool {image_u8.shape[:2]}: threshold or resize it first")
    if not mask.any():
        raise InputError(f"mask of {name} is empty: there is no foreground to recolour, drop this pair")


def paste_pixels(real_u8: ImageU8, mask: Mask, pixels01: Floats) -> ImageU8:
    """Return a copy of the photo with new foreground colours, rounded to 8 bits and clipped; the rest bit for bit.

    Args:
        real_u8: (H, W, 3) ``uint8`` RGB.
        mask: (H, W) bool with N true pixels.
        pixels01: (N, 3) RGB in ``[0, 1]``, in row order.
    """
    composite_u8 = real_u8.copy()
    composite_u8[mask] = np.rint(np.clip(pixels01, 0.0, 1.0) * 255.0).astype(np.uint8)
    return composite_u8


def lightness_gap(image_u8: ImageU8, mask: Mask) -> float:
    """Return the mean CIE L* of the foreground minus that of the background, in -100 to 100; 0 if one is empty.

    Args:
        image_u8: (H, W, 3) ``uint8`` RGB.
        mask: (H, W) bool, true inside the foreground.
    """
    if mask.all() or not mask.any():
        return 0.0
    lightness = 116 * np.cbrt(np.maximum(_LINEAR[image_u8] @ _LUMINANCE, 0.008856)) - 16  # L* 8 stands for darker ones
    return float(lightness[mask].mean() - lightness[~mask].mean())
