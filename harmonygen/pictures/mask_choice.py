"""Read a mask by values that the user chose: ids, colours or a threshold."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from harmonygen.errors import InputError
from harmonygen.pictures.levels import Levels, levels_of_array, levels_of_codes, packed, strips
from harmonygen.pictures.mask_colours import MOST_COLOURS, grey_of, packed_colours, without_alpha
from harmonygen.pictures.mask_reading import MaskReading, Understood, labelled, refusal, told

_THRESHOLD = re.compile(r">=([0-9]{1,10})")


def of_choice(image: Image.Image, values: Sequence[str], name: str, lossy: bool) -> Understood:
    """Return the pixels of chosen values: colours, ids (palette indexes, grey values), or from a grey value on.

    Raises:
        InputError: none of them is there, ids were chosen and the mask has colours, or it was stored with loss.
    """
    threshold = _THRESHOLD.fullmatch(values[0])
    if lossy and not threshold:
        raise InputError(
            f"mask '{name}' is a {image.format}, which keeps no exact values, so that --mask-values "
            f"{','.join(values)} cannot be found in it: save it as PNG, or give a threshold as in '>=128'"
        )
    if values[0].startswith("#"):
        return _of_colours(image, {int(value[1:], 16) for value in values}, name)
    levels = _levels(image, name, lossy)
    if threshold:
        flags = levels.values >= int(threshold[1])
    else:
        flags = np.isin(levels.values, [int(value) for value in values])
    if not flags.any():
        raise refusal(levels, name, f"none of which is among --mask-values {','.join(values)}")
    return labelled(levels, flags, kind="soft" if threshold else "labels")


def _levels(image: Image.Image, name: str, lossy: bool) -> Levels:
    """Count palette indexes or grey values; raise InputError if there are colours."""
    if image.mode == "P":
        return levels_of_codes(np.asarray(image))
    if image.mode == "1":
        return levels_of_array(np.asarray(image.convert("L")), name)
    if image.mode in ("L", "F", "I") or image.mode.startswith("I;"):
        return levels_of_array(np.asarray(image), name)
    grey, difference = grey_of(without_alpha(image))
    if difference and not lossy:
        raise InputError(f"mask '{name}' has colours: give them as in --mask-values #ff0000,#00ff00")
    return levels_of_codes(grey)


def _of_colours(image: Image.Image, wanted: set[int], name: str) -> Understood:
    rgb = without_alpha(image)
    mask = np.zeros((rgb.height, rgb.width), dtype=bool)
    for rows in strips(mask.shape):
        mask[rows] = np.isin(packed(rgb, rows), list(wanted))
    words = told(np.array(sorted(wanted), dtype=np.float64), colours=True)
    if not mask.any():
        found = packed_colours(rgb.getcolors(MOST_COLOURS) or [])
        has = ", ".join(told(found[:8].astype(np.float64), colours=True)) or f"over {MOST_COLOURS} colours"
        raise InputError(f"mask '{name}' has none of the colours {', '.join(words)}, found {has}: check --mask-values")
    return mask, MaskReading("colours", words, words)
