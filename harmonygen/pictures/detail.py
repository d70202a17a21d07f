"""Detail transfer: carry a low-resolution colour change to the full-size photo, and keep the camera's texture.

The change real -> generated is fitted at low resolution, inside the mask, in two steps: one cubic colour map for the
whole foreground, then, on what it leaves, a smooth field of affine colour transforms (a mask-weighted colour guided
filter, He et al. 2013, shrunk toward no change). The map is applied to the full-size foreground, the field is enlarged
and added. Legend: h w low-resolution pixels, H W full-size pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import uniform_filter

from harmonygen.errors import NOT_FINITE, InputError
from harmonygen.pictures.foreground_pixels import ForegroundPixels
from harmonygen.pictures.images import ImageU8, Mask, paste, resize, to_u8
from harmonygen.pictures.photo import Photo
from harmonygen.recolor.cubic import CubicFit, apply_cubic
from harmonygen.settings import Detail

Floats = npt.NDArray[np.floating]

_BLOCKS_A_RADIUS = 8
_MIN_CERTAIN = 24  # low-resolution pixels wholly inside the mask, under which partly covered ones are used too


@dataclass(frozen=True, slots=True)
class Transfer:
    """How a change is carried to full size; the defaults are those measured best on authentic composites.

    ``radius`` is half the side of the affine field's window, in low-resolution pixels: small where the generated
    picture can be trusted pixel by pixel, wide for a decoder whose cells show. ``epsilon`` pulls the field toward no
    change, in squared [0, 1] units. ``cubic_ridge`` pulls the cubic map toward the identity; None leaves the map out.
    ``cell`` is the side of the squares of low-resolution pixels whose means are compared, where it divides the sides:
    a decoder that blurs gives a change of contrast to its cells and not to their pixels, and a fit to the pixels would
    find half of it. The radius then counts cells.
    """

    radius: int = 3
    epsilon: float = 1e-4
    cubic_ridge: float | None = 1e-5
    cell: int = 1

    @classmethod
    def affine(cls, radius: int = 4) -> Transfer:
        """Return the transfer of checkpoints that do not state a cubic map: the affine field alone."""
        return cls(radius, 1e-3, None)


MEASURED = Transfer()


class DetailTransfer:
    """Fit and apply colour changes for one photo; what does not depend on the candidate is computed once."""

    def __init__(self, real_low01: Floats, real_u8: ImageU8, mask: Mask, how: Transfer = MEASURED) -> None:
        """Prepare the fit.

        Args:
            real_low01: (h, w, 3) the photo at low resolution, in [0, 1].
            real_u8: (H, W, 3) the photo at full size.
            mask: (H, W) bool foreground.
            how: the window, and how far the fits are pulled toward no change.
        """
        self.cell = math.gcd(how.cell, *real_low01.shape[:2])
        low = real_low01.shape[0] // self.cell, real_low01.shape[1] // self.cell
        self.block = block_side(how.radius, *low)
        self.radius, self.epsilon = how.radius // self.block, np.float32(how.epsilon)
        blocks = low[0] // self.block, low[1] // self.block
        self.window = _window(mask, blocks, 4 * self.radius + 3)  # farther out all sums over windows are 0
        self.real_low = self._means(real_low01)
        self.weight = certain_foreground(mask, *low)[self._times(self.block)]
        self.inside = self.weight > 0
        self.cubic: CubicFit | None = None
        if how.cubic_ridge is not None and self.inside.any():
            self.cubic = CubicFit(self.real_low[self.inside], how.cubic_ridge, self.weight[self.inside])
        self.pixels = ForegroundPixels(real_u8, mask, blocks, self.window, self.cubic is not None)
        ones = np.ones((*self.weight.shape, 1), dtype=np.float32)
        self.left = self._blocks(np.concatenate([ones, self.real_low], axis=-1) * self.weight[..., None])
        sums = self._moments(np.concatenate([ones, self.real_low], axis=-1))
        self.total = np.maximum(sums[..., 0, 0], np.float32(1e-6))
        self.near = sums[..., 0, 0] > 1e-6
        moments = sums / self.total[..., None, None]
        self.mean = moments[..., 1:, 0]
        covariance = moments[..., 1:, 1:] - self.mean[..., :, None] * self.mean[..., None, :]
        self.inverse = np.linalg.inv(covariance + self.epsilon * np.eye(3, dtype=np.float32)).astype(np.float32)

    def _times(self, side: int) -> tuple[slice, slice]:
        """Return the window of blocks as rows and columns of a picture that has ``side`` pixels for each."""
        rows, columns = (slice(part.start * side, part.stop * side) for part in self.window)
        return rows, columns

    def _means(self, picture01: Floats) -> Floats:
        """Return the cells' means of a picture (h, w, 3) in the window."""
        return cell_means(picture01[self._times(self.block * self.cell)], self.cell)

    def _box(self, values: Floats) -> Floats:
        size = (2 * self.radius + 1,) * 2 + (1,) * (values.ndim - 2)
        boxed: Floats = uniform_filter(values, size=size, mode="constant")
        return boxed

    def _blocks(self, values: Floats) -> Floats:
        """Bring (h, w, C) into blocks: (h / b, w / b, b b, C)."""
        height, width, channels = values.shape
        side = self.block
        cut = values.reshape(height // side, side, width // side, side, channels).swapaxes(1, 2)
        return cut.reshape(height // side, width // side, side * side, channels)

    def _moments(self, values: Floats) -> Floats:
        """Average 1, R, G and B times ``values`` (h, w, C) over each window's foreground, unnormalised.

        Returns (h / b, w / b, 4, C).
        """
        blocks = self._blocks(values)
        if self.block == 1:
            return self._box(self.left[..., 0, :, None] * blocks[..., 0, None, :])
        return self._box(np.swapaxes(self.left, -1, -2) @ blocks / np.float32(self.block**2))

    def map(self, generated_low01: Floats) -> npt.NDArray[np.float64] | None:
        """Return the cubic map (20, 3) of the foreground that comes nearest to ``generated_low01``, if wanted."""
        return self.cubic(generated_low01[self.inside]) if self.cubic else None

    def field(self, change_low01: Floats) -> Floats:
        """Return the affine field that maps the photo to a change ``change_low01`` (h, w, 3) near each block of pixels.

        It has (h / b, w / b, 3, 4) values, b the side of :func:`block_side`.
        """
        moments = self._moments(change_low01) / self.total[..., None, None]
        mean_change = moments[..., 0, :]
        cross = moments[..., 1:, :] - self.mean[..., :, None] * mean_change[..., None, :]
        slope = np.swapaxes(self.inverse @ cross, -1, -2)  # of the change: 0 is the identity
        offset = mean_change - (slope @ self.mean[..., None])[..., 0]
        return self._spread(np.concatenate([slope, offset[..., None]], axis=-1))

    def _spread(self, field: Floats) -> Floats:
        """Average the windows' transforms, and carry them a little way past the foreground's edge."""
        near = self.near.astype(np.float32)
        reach = self._box(near)[..., None, None]
        return self._box(field * near[..., None, None]) / np.maximum(reach, np.float32(1e-6))

    def __call__(self, generated_low01: Floats) -> ImageU8:
        """Return the composite (H, W, 3) uint8: transformed foreground over the photo's own background.

        Raises:
            InputError: the generated picture holds NaN or infinite values.
        """
        if not np.isfinite(generated_low01).all():
            raise InputError(NOT_FINITE)
        generated_low01 = self._means(generated_low01)
        coefficients = self.map(generated_low01)
        base_low = self.real_low if coefficients is None else mapped01(coefficients, self.real_low)
        field = self.field(generated_low01 - base_low)
        planes = np.ascontiguousarray(field.reshape(*field.shape[:2], 12).transpose(2, 0, 1))
        return self.pixels.recoloured(planes, coefficients)


def _window(mask: Mask, blocks: tuple[int, int], margin: int) -> tuple[slice, slice]:
    """Return rows and columns of blocks: a mask's foreground and ``margin`` more each way; all if there is none."""
    spans = []
    for axis, count in ((1, blocks[0]), (0, blocks[1])):
        inside = np.flatnonzero(mask.any(axis=axis))
        ends = (int(inside[0]), int(inside[-1])) if len(inside) else (0, mask.shape[1 - axis] - 1)
        first, last = (end * count // mask.shape[1 - axis] for end in ends)
        spans.append(slice(max(0, first - margin), min(count, last + margin + 1)))
    return spans[0], spans[1]


def cell_means(picture: Floats, side: int) -> Floats:
    """Return the means (h / side, w / side, 3) of squares of a picture (h, w, 3), float32."""
    height, width, channels = picture.shape
    lines = picture.astype(np.float32).reshape(height // side, side, width * channels).sum(axis=1)
    means: Floats = lines.reshape(height // side, width // side, side, channels).sum(axis=2) / np.float32(side**2)
    return means


def mapped01(coefficients: Floats, real_low01: Floats) -> Floats:
    """Return colours (h, w, 3) under a cubic map, clipped to [0, 1]."""
    return np.clip(apply_cubic(coefficients, real_low01), 0, 1)


def block_side(radius: int, height: int, width: int) -> int:
    """Return the side of the blocks that windows of ``radius`` are made of: an eighth of it, if the sides divide.

    A wide window moves by blocks instead of pixels: its field is smooth, and is known well enough there.

    >>> block_side(4, 256, 384), block_side(128, 256, 384), block_side(128, 256, 360), block_side(128, 255, 256)
    (1, 16, 8, 1)
    """
    side = 1 << max(0, (radius // _BLOCKS_A_RADIUS).bit_length() - 1)
    return math.gcd(side, height, width)


def certain_foreground(mask: Mask, height: int, width: int) -> Floats:
    """Return (h, w) weights of 0 and 1: low-resolution pixels that lie wholly inside the mask (H, W).

    A pixel across the edge mixes foreground and background and would leave a halo. Where too few lie inside,
    the share of each pixel that is foreground is the weight.
    """
    grey = Image.fromarray(mask.astype(np.float32))
    share = np.asarray(grey.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)
    certain = (share > 0.999).astype(np.float32)
    return certain if certain.sum() >= _MIN_CERTAIN else np.clip(share, 0, 1)


def full_size(
    photo: Photo,
    low_u8: ImageU8,
    harmonized01: Floats,
    detail: Detail,
    how: Transfer = MEASURED,
) -> ImageU8:
    """Return (H, W, 3) uint8: the composite with a harmonized foreground.

    Args:
        photo: the composite and its mask at (H, W).
        low_u8: (h, w, 3) the composite at the harmonized picture's size.
        harmonized01: (h, w, 3) in [0, 1].
        detail: ``transfer`` carries the colour change to the composite's own pixels; ``decode`` enlarges the
            harmonized pixels and pastes them.
        how: the transfer's window, and how far its fits are pulled toward no change.
    """
    if detail == "transfer":
        return DetailTransfer(low_u8 / np.float32(255), photo.image_u8, photo.mask, how)(harmonized01)
    return paste(resize(to_u8(harmonized01), *photo.mask.shape), photo.image_u8, photo.mask)
