"""Bring a photo and its mask to the two sizes work is done at: the output's own, and the model's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from harmonygen.errors import InputError
from harmonygen.pictures.images import MAX_PIXELS, Decoded, ImageU8, Mask, read_bytes, read_image, resize
from harmonygen.pictures.masks import check_mask, read_mask, resize_mask
from harmonygen.records import Pair
from harmonygen.settings import Detail, Enlarge, Fit, MaskResize
from harmonygen.storage.content import Content, NotingReader

_MAX_ASPECT = 20  # a side of 20 x the model's resolution is the most that is worth denoising


@dataclass(frozen=True, slots=True)
class Sizing:
    """How photos are sized: the model's ``resolution`` (short side, pixels) and the multiple its sides must keep."""

    resolution: int
    multiple: int
    fit: Fit = "native"
    detail: Detail = "transfer"
    max_side: int | None = None
    mask_resize: MaskResize = "refuse"
    max_pixels: int = MAX_PIXELS
    enlarge: Enlarge = "bicubic"


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded pair: ``image_u8``/``mask`` at the composite's size, ``low_u8``/``low_mask`` at the model's.

    ``converted`` tells that ``image_u8`` is not what plain decoding of the photo's file gives: it was resized, turned
    upright or brought to 8-bit RGB, so it is ``image_u8`` that has to be stored beside a composite. ``real_file`` and
    ``mask_file`` identify the files that were read, if they were. ``enlarge`` is how the photo is enlarged.
    """

    pair: Pair
    image_u8: ImageU8
    mask: Mask
    low_u8: ImageU8
    low_mask: Mask
    converted: bool
    real_file: Content | None = None
    mask_file: Content | None = None
    enlarge: Enlarge = "bicubic"


def load_photo(pair: Pair, sizing: Sizing) -> Photo:
    """Decode a pair and size it.

    Raises:
        InputError: the photo or the mask cannot be used, or nothing of the mask is left at the composite's size.
    """
    read = NotingReader(read_bytes)
    decoded = read_image(pair.real, sizing.max_pixels, read)
    mask = read_mask(pair.mask, decoded, sizing.mask_resize, sizing.max_pixels, read)
    photo = size_photo(pair, decoded, mask, sizing)
    return replace(photo, real_file=read.content_of(pair.real), mask_file=read.content_of(pair.mask))


def size_photo(pair: Pair, decoded: Decoded, mask: Mask, sizing: Sizing) -> Photo:
    """Resize a decoded photo and its mask to the composite's size and the model's."""
    image = decoded.image_u8
    full_mask = fitted_mask(pair, mask, sizing)
    low_size = model_size(image.shape[0], image.shape[1], sizing)
    full = resize(image, full_mask.shape[0], full_mask.shape[1], sizing.enlarge)
    converted = full is not image or not decoded.plain
    low, low_mask = resize(image, *low_size, sizing.enlarge), shrink_mask(mask, *low_size)
    return Photo(pair, full, full_mask, low, low_mask, converted, enlarge=sizing.enlarge)


def fitted_mask(pair: Pair, mask: Mask, sizing: Sizing) -> Mask:
    """Return a mask, which has its photo's size, at the composite's.

    Raises:
        InputError: the photo is too narrow, or nothing of the mask's foreground or background is left.
    """
    height, width = mask.shape
    if max(mask.shape) > _MAX_ASPECT * min(mask.shape):
        raise InputError(
            f"photo '{pair.real}' is {width}x{height}, its sides differ more than {_MAX_ASPECT} times: crop it"
        )
    decode = sizing.detail == "decode"
    height, width = model_size(height, width, sizing) if decode else output_size(height, width, sizing.max_side)
    return check_mask(shrink_mask(mask, height, width), f"{pair.mask} at {width}x{height}")


def model_size(height: int, width: int, sizing: Sizing) -> tuple[int, int]:
    """Return the model's (height, width): short side ``resolution``, sides multiples of ``multiple``.

    >>> model_size(480, 640, Sizing(128, 8))
    (128, 168)
    >>> model_size(480, 640, Sizing(128, 8, fit="square"))
    (128, 128)
    """
    if sizing.resolution < sizing.multiple:
        raise InputError(f"resolution {sizing.resolution} is under the model's multiple {sizing.multiple}: raise it")
    scale = sizing.resolution / min(height, width)
    sides = (sizing.resolution,) * 2 if sizing.fit == "square" else (height * scale, width * scale)
    rounded = [max(sizing.multiple, round(side / sizing.multiple) * sizing.multiple) for side in sides]
    return rounded[0], rounded[1]


def output_size(height: int, width: int, max_side: int | None) -> tuple[int, int]:
    """Return the composite's (height, width): the photo's own, or its long side brought to ``max_side``.

    >>> output_size(100, 200, 50)
    (25, 50)
    """
    longest = max(height, width)
    if max_side is None or longest <= max_side:
        return height, width
    return max(1, round(height * max_side / longest)), max(1, round(width * max_side / longest))


def shrink_mask(mask: Mask, height: int, width: int) -> Mask:
    """Resize a mask by nearest neighbour; one too fine for that keeps every pixel it touches."""
    resized = resize_mask(mask, height, width)
    if resized.any():
        return resized
    touched: Mask = np.zeros((height, width), dtype=bool)
    rows, columns = np.nonzero(mask)
    touched[rows * height // mask.shape[0], columns * width // mask.shape[1]] = True
    return touched


_LOOK_AHEAD = 2


def load_ahead(
    pairs: Sequence[Pair], sizing: Sizing, threads: ThreadPoolExecutor
) -> Iterator[tuple[Pair, Future[Photo]]]:
    """Yield each pair with its photo's future, a few pairs ahead of the model."""
    ahead = [(pair, threads.submit(load_photo, pair, sizing)) for pair in pairs[:_LOOK_AHEAD]]
    for following in [*pairs[_LOOK_AHEAD:], *[None] * len(ahead)]:
        yield ahead.pop(0)
        if following is not None:
            ahead.append((following, threads.submit(load_photo, following, sizing)))
