"""Read a mask of colours: palettes and RGB label images; see :mod:`harmonygen.pictures.mask_values`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from harmonygen.errors import InputError
from harmonygen.pictures.images import Mask, has_alpha, to_rgba
from harmonygen.pictures.levels import Levels, levels_of_codes, levels_of_colours, strips
from harmonygen.pictures.mask_grey import of_grey
from harmonygen.pictures.mask_reading import Understood, labelled, refusal

VOID = 0xE0E0C0
"""The colour (224, 224, 192) of VOC's label 255."""
MOST_COLOURS = 256
"""More colours than these are those of a photo, or of smoothed edges."""

_BLACK, _WHITE = 0x000000, 0xFFFFFF
_NEAR = 8  # of 255: as far as the noise of lossy files takes black and white
_FEW = 64  # entries of a palette that more than these are used of is a photo's
_UNMIXED = 8  # so few colours have no shades among them
_GREYISH = 40  # of 255: channels of a lossy grey picture differ by no more
_OF_ENTRY = np.array([1 << 16, 1 << 8, 1])


def of_palette(image: Image.Image, name: str) -> Understood:
    """Return the foreground of a palette image: opaque entries, grey ones as a grey mask, else all but index 0.

    Raises:
        InputError: what the entries mean cannot be determined.
    """
    levels = levels_of_codes(np.asarray(image))
    colours, opacity = _entries(image)[levels.used], _opacity(image)[levels.used]
    void = (levels.used == 255) & (levels.used.size > 2) | (colours == VOID)
    if (opacity < 255).any():
        void &= levels.used.size <= _FEW
        return labelled(levels, (opacity >= 128) & ~void, void, "alpha")
    if _are_grey(colours):
        return of_grey(levels_of_codes(_looked_up(levels, colours)), name, lossy=False)
    if levels.used.size > _FEW:
        raise refusal(levels, name, "which are too many for labels: is it a photo?")
    ground = _ground(levels, colours, name)
    void &= ~ground
    return labelled(levels, ~ground & ~void, void, "two-valued" if levels.used.size == 2 else "labels")


def _entries(image: Image.Image) -> npt.NDArray[np.int64]:
    """Return a palette's 256 colours, packed as 0xRRGGBB; black where it has fewer."""
    given = np.asarray(image.getpalette("RGB") or [], dtype=np.int64).reshape(-1, 3)[:256]
    table = np.zeros(256, dtype=np.int64)
    table[: len(given)] = given @ _OF_ENTRY
    return table


def _opacity(image: Image.Image) -> npt.NDArray[np.uint8]:
    table, stated = np.full(256, 255, dtype=np.uint8), image.info.get("transparency", b"")
    if isinstance(stated, int):
        table[stated] = 0
    else:
        table[: len(stated)] = np.frombuffer(bytes(stated), dtype=np.uint8)
    return table


def _ground(levels: Levels, colours: npt.NDArray[np.int64], name: str) -> Mask:
    """Return which entry is background: index 0, or the black one where index 0 has a colour."""
    black, first = colours == _BLACK, levels.used == 0
    if first.any() and (black[0] or not black.any()):
        return np.asarray(first)
    if black.any():
        return np.asarray(black)
    raise refusal(levels, name, "none of which is index 0 or black, the background")


def _looked_up(levels: Levels, colours: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Return the grey of each pixel, (H, W) uint8, where all entries are grey."""
    table = np.zeros(256, dtype=np.uint8)
    table[levels.used] = colours & 255
    found = np.empty(levels.codes.shape, dtype=np.uint8)
    for rows in strips(found.shape):
        found[rows] = table[levels.codes[rows]]
    return found


def of_colours(image: Image.Image, name: str, lossy: bool) -> Understood:
    """Return the foreground of an RGB mask: of a grey one as of a grey mask, else every colour but black and void.

    Raises:
        InputError: no black, white among colours, or more colours than labels have.
    """
    counted = image.getcolors(MOST_COLOURS)
    colours = packed_colours(counted or [])
    if counted is None or lossy or _are_grey(colours) or _are_near_ends(colours):
        return of_grey(levels_of_codes(_lossy_grey(image, name)), name, lossy)
    levels = levels_of_colours(image, colours)
    ground, void = colours == _BLACK, colours == VOID
    if colours.size == 1:
        return labelled(levels, ~ground, kind="two-valued", colours=True)
    if not ground.any():
        raise refusal(levels, name, "none of which is black, the background", colours=True)
    if _WHITE in colours and (~ground & ~void).sum() > 1:
        raise refusal(levels, name, "of which white could be an object or a border to ignore", colours=True)
    shades = _dark_edges(levels, ground)
    return labelled(levels, ~ground & ~void & ~shades, void, "colours", colours=True)


def without_alpha(image: Image.Image) -> Image.Image:
    """Return the colours of an image of any mode as RGB, whatever their opacity."""
    if image.mode == "RGB":
        return image  # converting it would copy it
    return (to_rgba(image) if has_alpha(image) else image).convert("RGB")


def packed_colours(counted: Sequence[tuple[int, Any]]) -> npt.NDArray[np.int64]:
    """Return the colours that Pillow counted, packed as 0xRRGGBB and sorted.

    >>> packed_colours([(9, (0, 1, 0)), (1, (0, 0, 1))]).tolist()
    [1, 256]
    """
    return np.sort(np.array([colour for _, colour in counted], dtype=np.int64).reshape(-1, 3) @ _OF_ENTRY)


def _channels(colours: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.stack([colours >> 16, colours >> 8 & 255, colours & 255])


def _are_grey(colours: npt.NDArray[np.int64]) -> bool:
    return bool((np.ptp(_channels(colours), axis=0) == 0).all())


def _are_near_ends(colours: npt.NDArray[np.int64]) -> bool:
    """Return whether colours are black and white with the noise of a lossy file, which may be tinted."""
    dark, light = _channels(colours).max(axis=0) <= _NEAR, _channels(colours).min(axis=0) >= 255 - _NEAR
    return bool((dark | light).all() and light.any() and dark.any())


def _dark_edges(levels: Levels, ground: Mask) -> Mask:
    """Return which colours are the dark halves of soft edges: shades that fill no area, under half of the objects'."""
    brightest = _channels(levels.values.astype(np.int64)).max(axis=0)
    thin = levels.solid < 0.1 * levels.counts
    objects = ~thin & ~ground
    if not objects.any() or levels.used.size <= _UNMIXED:
        return np.zeros_like(ground)
    return np.asarray(thin & ~ground & (brightest < brightest[objects].min() / 2))


def _lossy_grey(image: Image.Image, name: str) -> npt.NDArray[np.uint8]:
    """Return the grey of an RGB image whose channels differ by no more than a lossy file makes them."""
    found, difference = grey_of(image)
    if difference > _GREYISH:
        raise InputError(
            f"mask '{name}' is a picture of many colours, not of labels: save it without loss and without smoothed "
            "edges, or name its colours with --mask-values"
        )
    return found


def grey_of(image: Image.Image) -> tuple[npt.NDArray[np.uint8], int]:
    """Return the middle one of the channels of an RGB image, (H, W) uint8, and the largest difference of two."""
    found, difference = np.empty((image.height, image.width), dtype=np.uint8), 0
    for rows in strips(found.shape):
        part = np.asarray(image.crop((0, rows.start, image.width, rows.stop)))
        red, green, blue = part[..., 0], part[..., 1], part[..., 2]
        low, high = np.minimum(red, green), np.maximum(red, green)
        found[rows] = np.maximum(low, np.minimum(high, blue))
        difference = max(difference, int((np.maximum(high, blue) - np.minimum(low, blue)).max(initial=0)))
    return found, difference
