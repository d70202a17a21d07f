"""3D look-up tables: random photographic regrades, and their application to a foreground.

A LUT is (S, S, S, 3) ``float32``, indexed ``lut[r, g, b]``; its S grid points per side lie evenly on ``[0, 1]``.
Shape legend: N pixels, S grid points per side, H W image pixels. Colours are sRGB-coded RGB in ``[0, 1]``.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from harmonygen.errors import UsageError
from harmonygen.recolor.adjust import LUMA, Float32s, bend, chroma, light
from harmonygen.recolor.foreground import Floats, ImageU8, Mask, foreground_pixels, paste_pixels

Lut: TypeAlias = npt.NDArray[np.float32]
Indices: TypeAlias = npt.NDArray[np.int32]
Interpolation: TypeAlias = Literal["tetrahedral", "trilinear"]

MEDIAN_RMS = 0.16  # of the weighted grid at strength 1; photos come out at about 0.136, fMSE (0.136 * 255)**2 = 1200
RMS_LOG_SPREAD = 0.35  # standard deviation of its logarithm
MAX_EXTRAPOLATION = 1.25  # past its own size, a regrade is stretched no further than this
MAX_DRAWS = 8  # a draw too faint for the change wanted is drawn again


def identity_lut(size: int = 33) -> Lut:
    """Return the (S, S, S, 3) LUT that changes nothing.

    Raises:
        UsageError: ``size`` is under 2.
    """
    if size < 2:
        raise UsageError(f"a LUT needs at least 2 grid points per side, found {size}: 33 is usual")
    axis = np.linspace(0.0, 1.0, size, dtype=np.float32)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)


def random_lut(rng: np.random.Generator, size: int = 33, strength: float = 1.0) -> Lut:
    """Draw a smooth regrade like those of inharmonious composites: another light, camera or taste.

    It joins exposure, white balance, tone curve, saturation, hue, a split tone and a smooth low-frequency
    perturbation, each present by chance, then sets the size of the whole change.

    Args:
        rng: draws everything; the same state gives the same LUT.
        size: grid points per side.
        strength: 1 gives a foreground mean squared error of about 1,200 (8-bit units) on photos, nine in ten between
            240 and 3,900; the error grows about with its square. 0 gives the identity.

    Returns:
        (S, S, S, 3) ``float32`` in ``[0, 1]``.

    Raises:
        UsageError: a negative strength, or ``size`` under 2.

    >>> lut = random_lut(np.random.default_rng(0), size=9)
    >>> lut.shape, bool(lut.min() >= 0 and lut.max() <= 1)
    ((9, 9, 9, 3), True)
    """
    if strength < 0:
        raise UsageError(f"LUT strength is {strength}: give 0 (no change) or more, 1 is usual")
    plain = identity_lut(size)
    target_rms = strength * MEDIAN_RMS * float(np.exp(RMS_LOG_SPREAD * rng.standard_normal()))
    for _ in range(MAX_DRAWS):
        change = _draw_grade(plain, rng) - plain
        blend = target_rms / max(_photo_rms(plain, change), 1e-6)
        if blend <= MAX_EXTRAPOLATION:
            break
    blended: Lut = np.clip(plain + np.float32(min(blend, MAX_EXTRAPOLATION)) * change, 0.0, 1.0)
    return blended


def _draw_grade(plain: Lut, rng: np.random.Generator) -> Lut:
    """Draw every adjustment and apply them to the grid (S, S, S, 3)."""
    # Colour first: saturation after white balance would blow up the cast.
    graded = _light(np.clip(_chroma(plain.reshape(-1, 3), rng), 0.0, 1.0), rng)
    graded = _split_tone(_tone(graded, rng), rng) + _perturbation(rng, len(plain))
    clipped: Lut = np.clip(graded, 0.0, 1.0).reshape(plain.shape)
    return clipped


def _present(rng: np.random.Generator, probability: float, spread: float) -> float:
    """Draw a normal amount, zero where the adjustment is absent; two draws always, so streams stay in step."""
    amount = float(np.clip(rng.standard_normal(), -2.0, 2.0)) * spread
    return amount if rng.random() < probability else 0.0


def _light(colours: Float32s, rng: np.random.Generator) -> Float32s:
    exposure, warmth = _present(rng, 0.8, 1.0), _present(rng, 0.65, 0.45)
    return light(colours, exposure, warmth, _present(rng, 0.35, 0.16))


def _tone(colours: Float32s, rng: np.random.Generator) -> Float32s:
    """Bend the tone curve, and lift black."""
    gamma, contrast = _present(rng, 0.55, 0.55), _present(rng, 0.6, 0.45)
    pivot = rng.uniform(0.35, 0.6)
    black = abs(_present(rng, 0.25, 0.06))
    curved: Float32s = np.float32(black) + np.float32(1 - black) * bend(colours, gamma, contrast, pivot)
    return curved


def _chroma(colours: Float32s, rng: np.random.Generator) -> Float32s:
    saturation = _present(rng, 0.6, 0.7)
    return chroma(colours, saturation, _present(rng, 0.35, 0.2))


def _split_tone(colours: Float32s, rng: np.random.Generator) -> Float32s:
    """Tint shadows and highlights apart, keeping luma."""
    amount = abs(_present(rng, 0.4, 0.08))
    drawn: Float32s = rng.standard_normal((2, 3)).astype(np.float32)
    tints = drawn - (drawn @ LUMA)[:, None]
    tints *= np.float32(amount) / np.maximum(np.abs(tints).max(axis=1, keepdims=True), 1e-6)
    luma = np.clip(colours @ LUMA, 0.0, 1.0)[:, None]
    toned: Float32s = colours + (1 - luma) ** 2 * tints[0] + luma**2 * tints[1]
    return toned


def _perturbation(rng: np.random.Generator, size: int) -> Float32s:
    """Return (S**3, 3): a random offset made of the lowest cosine waves along each axis."""
    waves = rng.standard_normal((4, 4, 4, 3)).astype(np.float32)
    waves *= np.float32(0.03 * rng.random())
    frequency, place = np.arange(4), np.linspace(0.0, np.pi, size)
    basis = np.cos(np.outer(place, frequency)).astype(np.float32) / (1 + frequency.astype(np.float32))
    for _ in range(3):  # each turn sums one wave axis and appends its grid axis: (r, g, b, C) in the end
        waves = np.moveaxis(np.tensordot(basis, waves, axes=(1, 0)), 0, 2)
    return waves.reshape(-1, 3)


def _photo_rms(plain: Lut, change: Lut) -> float:
    """Return the root mean square of a change of the grid, its colours weighted as in photos."""
    luma = plain @ LUMA
    spread = np.sum((plain - luma[..., None]) ** 2, axis=-1)
    # Photos are mostly near-grey mid-tones.
    weight = np.exp(-spread / 0.03 - ((luma - 0.45) / 0.3) ** 2)
    return float(np.sqrt(np.average(np.mean(change**2, axis=-1), weights=weight)))


def apply_lut(pixels01: Floats, lut: Lut, interpolation: Interpolation = "tetrahedral") -> Float32s:
    """Look colours up, interpolating between grid points.

    Args:
        pixels01: (..., 3) RGB; values outside ``[0, 1]`` are taken at the nearest end.
        lut: (S, S, S, 3), indexed ``lut[r, g, b]``.
        interpolation: ``tetrahedral`` (4 grid points a colour; keeps greys of a grey-keeping LUT grey) or
            ``trilinear`` (8).

    Returns:
        (..., 3) ``float32`` colours, in the range of the LUT's.

    Raises:
        UsageError: an unknown interpolation, or a LUT or pixels of the wrong shape.

    >>> bool(np.allclose(apply_lut(np.array([0.2, 0.4, 0.7]), identity_lut(5)), [0.2, 0.4, 0.7]))
    True
    """
    if pixels01.shape[-1:] != (3,):
        raise UsageError(f"pixels have shape {pixels01.shape}: the last axis must be RGB")
    size = lut_size(lut)
    position = np.clip(pixels01.reshape(-1, 3), 0.0, 1.0).astype(np.float32) * np.float32(size - 1)
    cell = np.minimum(position.astype(np.int32), size - 2)
    fraction = position - cell
    strides = np.array([size * size, size, 1], np.int32)
    corner = cell @ strides
    table = np.ascontiguousarray(lut, np.float32).reshape(-1, 3)
    if interpolation == "tetrahedral":
        looked_up = _tetrahedral(table, corner, fraction, strides)
    elif interpolation == "trilinear":
        looked_up = _trilinear(table, corner, fraction, strides)
    else:
        raise UsageError(f"LUT interpolation {interpolation!r} is unknown: use tetrahedral or trilinear")
    shaped: Float32s = looked_up.reshape(pixels01.shape)
    return shaped


def lut_size(lut: Lut) -> int:
    """Return S, the grid points per side.

    Raises:
        UsageError: the LUT is not (S, S, S, 3), S at least 2.
    """
    size = lut.shape[0] if lut.ndim else 0
    if lut.shape != (size, size, size, 3) or size < 2:
        raise UsageError(f"a LUT must have shape (S, S, S, 3) with S at least 2, found {lut.shape}")
    return size


def _tetrahedral(table: Float32s, corner: Indices, fraction: Float32s, strides: Indices) -> Float32s:
    """Walk from the cell's low corner along its longest fraction first: four corners, weighted by the differences."""
    order = np.argsort(-fraction, axis=1)
    longest, middle, shortest = np.take_along_axis(fraction, order, axis=1).T[..., None]
    second = corner + strides[order[:, 0]]
    third = second + strides[order[:, 1]]
    fourth = corner + strides.sum(dtype=np.int32)
    looked_up: Float32s = table.take(corner, axis=0) * (1 - longest)
    looked_up += table.take(second, axis=0) * (longest - middle)
    looked_up += table.take(third, axis=0) * (middle - shortest)
    looked_up += table.take(fourth, axis=0) * shortest
    return looked_up


def _trilinear(table: Float32s, corner: Indices, fraction: Float32s, strides: Indices) -> Float32s:
    """Weigh the cell's eight corners by the volume opposite."""
    looked_up = np.zeros_like(fraction)
    for high in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(high, fraction, 1 - fraction), axis=1, keepdims=True)
        looked_up += weight * table.take(corner + strides @ np.array(high, np.int32), axis=0)
    return looked_up


def lut_foreground(real_u8: ImageU8, mask: Mask, lut: Lut) -> ImageU8:
    """Make a composite: the photo with its foreground regraded.

    Args:
        real_u8: (H, W, 3) ``uint8`` RGB.
        mask: (H, W) bool.
        lut: (S, S, S, 3).

    Returns:
        (H, W, 3) ``uint8`` RGB; outside the mask it equals ``real_u8`` bit for bit.

    Raises:
        InputError: a wrong shape or type, or an empty mask.
        UsageError: a LUT of the wrong shape.
    """
    return paste_pixels(real_u8, mask, apply_lut(foreground_pixels(real_u8, mask), lut))
