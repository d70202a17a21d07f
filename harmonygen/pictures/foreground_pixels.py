"""The foreground's pixels of one photo at full size: what is computed of them once, for all candidates.

Legend: N foreground pixels, h w pixels of a low-resolution field, H W full-size pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harmonygen.pictures.images import ImageU8, Mask
from harmonygen.recolor.cubic import levels_of, term_strips

Floats = npt.NDArray[np.floating]
Places = npt.NDArray[np.int64]

_STRIP_PIXELS = 1 << 19  # 20 terms and 12 coefficients twice, of 4 bytes each: about 90 MB a strip
_KEPT_PIXELS = 1 << 18  # 20 terms of 4 bytes and the rest: 30 MB a photo


@dataclass(frozen=True, slots=True)
class _Strip:
    """Foreground pixels of some rows: their places in the picture, colours, monomials, and where they read a field."""

    places: Places
    real01: Floats
    terms: Sequence[npt.NDArray[np.float32]]
    rows: tuple[Places, Places]
    row_share: Floats
    columns: tuple[Places, Places]
    column_share: Floats


class ForegroundPixels:
    """Recolours one photo's foreground by fields of affine changes of its colours, over a cubic map if there is one."""

    def __init__(
        self, real_u8: ImageU8, mask: Mask, low: tuple[int, int], window: tuple[slice, slice], cubic: bool
    ) -> None:
        """Take the photo (H, W, 3) uint8 and its mask (H, W) bool.

        Args:
            real_u8: the photo.
            mask: its foreground.
            low: the size (h, w) of a field of the whole photo.
            window: the rows and columns of it that are given; they reach a pixel of it beyond the foreground.
            cubic: whether cubic maps will be given.
        """
        self.real_u8, self.mask, self.low, self.window, self.cubic = real_u8, mask, low, window, cubic
        self.kept = list(self._strips()) if np.count_nonzero(mask) <= _KEPT_PIXELS else None

    def recoloured(self, field: Floats, coefficients: Floats | None) -> ImageU8:
        """Return the photo (H, W, 3) uint8 with its foreground changed; rounds and clips.

        Args:
            field: (12, h, w), its window: for each channel of the result, what red, green and blue are multiplied by
                and what is added, in [0, 1] units; it is enlarged bilinearly.
            coefficients: the cubic map (20, 3) of colours that the change is added to; None: the photo's own.

        Raises:
            InputError: the map holds NaN or infinite values.
        """
        composite = self.real_u8.copy()
        pixels = composite.reshape(-1, 3)
        for strip in self._strips() if self.kept is None else self.kept:
            base = strip.real01 if coefficients is None else _mapped01(coefficients, strip)
            pixels[strip.places] = _changed(_enlarged(field, strip), strip.real01, base)
        return composite

    def _strips(self) -> Iterator[_Strip]:
        """Yield the foreground in strips of rows."""
        counts = np.cumsum(np.count_nonzero(self.mask, axis=1))
        for number in np.unique(numbers := counts // _STRIP_PIXELS):
            rows = np.flatnonzero(numbers == number)
            inside = self.mask[rows[0] : rows[-1] + 1]
            if inside.any():
                yield self._strip(int(rows[0]), inside)

    def _strip(self, top: int, inside: Mask) -> _Strip:
        (height, width), (low_height, low_width) = self.mask.shape, self.low
        found, across = np.nonzero(inside)
        first, last = int(found[0]), int(found[-1])
        places = (top + found) * width + across
        rows, row_share = _taps(np.arange(top + first, top + last + 1), low_height / height, low_height)
        columns, column_share = _taps(across, low_width / width, low_width)
        part = self.window[1]
        starts = (found - first) * (part.stop - part.start) - part.start
        colours = self.real_u8.reshape(-1, 3)[places]
        real01 = np.ascontiguousarray(colours.T).astype(np.float32) / 255
        read = starts + columns, starts + np.minimum(columns + 1, low_width - 1)
        terms = list(term_strips(colours)) if self.cubic else []
        upper, lower = (each - self.window[0].start for each in (rows, np.minimum(rows + 1, low_height - 1)))
        return _Strip(places, real01, terms, (upper, lower), row_share, read, column_share)


def _taps(positions: Places, scale: float, size: int) -> tuple[Places, Floats]:
    """Return the lower source index and the share of the next one for each full-size pixel centre."""
    source = np.clip((positions + 0.5) * scale - 0.5, 0, size - 1)
    index = np.floor(source).astype(np.int64)
    return index, (source - index).astype(np.float32)


def _enlarged(planes: Floats, strip: _Strip) -> Floats:
    """Return what planes (C, h, w), enlarged bilinearly, are at a strip's pixels (C, N)."""
    upper, lower = (planes[:, rows] for rows in strip.rows)
    lines = (upper + (lower - upper) * strip.row_share[:, None]).reshape(len(planes), -1)
    left, right = strip.columns
    enlarged: Floats = np.take(lines, left, axis=1)
    change = np.take(lines, right, axis=1)
    change -= enlarged
    change *= strip.column_share
    enlarged += change
    return enlarged


def _mapped01(coefficients: Floats, strip: _Strip) -> Floats:
    """Return a strip's colours (3, N) under a cubic map, clipped to [0, 1]."""
    mapped = levels_of(coefficients, strip.terms, len(strip.places))
    mapped /= np.float32(255)
    return np.clip(mapped, 0, 1, out=mapped)


def _changed(field: Floats, real01: Floats, base01: Floats) -> ImageU8:
    """Return colours (N, 3) uint8: ``base01`` (3, N) and the field's (12, N) change of ``real01`` (3, N)."""
    changed = np.empty((real01.shape[1], 3), np.uint8)
    for channel in range(3):
        result = base01[channel] + field[4 * channel + 3]
        for source in range(3):
            result += field[4 * channel + source] * real01[source]
        result *= 255
        changed[:, channel] = np.clip(np.rint(result, out=result), 0, 255, out=result)
    return changed
