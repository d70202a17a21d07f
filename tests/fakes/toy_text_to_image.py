"""Drawn pictures that a toy text-to-image model is trained on and measured with: one textured shape on a field.

Everything follows from the seed; what a caller names (``colour="blue"``) is replaced and nothing else moves, so
``draw(7, colour="red")`` and ``draw(7, colour="blue")`` are the same scene in two colours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

SIDE = 64
SHAPES = ("circle", "square", "triangle", "ring")
COLOURS = {
    "red": (208, 42, 40),
    "green": (42, 158, 62),
    "blue": (44, 82, 208),
    "yellow": (222, 202, 48),
    "white": (232, 232, 230),
    "purple": (142, 58, 178),
}
# What the tokenizer knows; a bar parts a word of two tokens, so that words and tokens are not the same thing.
WORDS = ("circle", "square", "tri|angle", "ring", "red", "green", "blue", "yellow", "white", "pur|ple", "field")


class Drawn(NamedTuple):
    """A picture (64, 64, 3) uint8, the shape's mask (64, 64) bool, and the words for both."""

    picture_u8: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]
    caption: str


def draw(seed: int, shape: str | None = None, colour: str | None = None, field: str | None = None) -> Drawn:
    """Draw the scene of ``seed``: a shape with stripes or checks, 20-30 % darker, at a random place.

    Args:
        seed: decides all that is not named.
        shape: one of ``SHAPES``.
        colour: one of ``COLOURS``, the shape's.
        field: one of ``COLOURS``, the field's.
    """
    rng = np.random.default_rng([seed, 64])
    names = list(COLOURS)
    drawn = SHAPES[rng.integers(len(SHAPES))], names[rng.integers(len(names))], names[rng.integers(len(names))]
    shape, colour, field = shape or drawn[0], colour or drawn[1], field or drawn[2]
    radius = rng.uniform(13, 20)
    centre = rng.uniform(radius + 2, SIDE - radius - 2, 2)
    y, x = (np.mgrid[:SIDE, :SIDE] + 0.5 - centre[:, None, None]).astype(np.float32)
    cover = np.clip(0.5 - outline(shape, x, y, radius), 0, 1)[..., None]
    inside = tint(colour, rng) * (1 - rng.uniform(0.2, 0.3) * texture(x, y, rng))[..., None]
    outside = tint(field, rng) * shading(rng)[..., None]
    noise = rng.normal(0, 2, (SIDE, SIDE, 3))
    picture = np.clip(inside * cover + outside * (1 - cover) + noise, 0, 255).round().astype(np.uint8)
    return Drawn(picture, cover[..., 0] > 0.5, f"{shape}, {colour}, field, {field}")


def outline(shape: str, x: Floats, y: Floats, radius: float) -> Floats:
    """Signed distance (64, 64) to a shape's outline in pixels, negative inside; ``x``, ``y`` from its centre."""
    away = np.hypot(x, y)
    if shape == "circle":
        return away - radius
    if shape == "ring":
        return np.abs(away - 0.72 * radius) - 0.28 * radius
    if shape == "square":
        return np.maximum(np.abs(x), np.abs(y)) - 0.85 * radius
    if shape == "triangle":
        slant = 0.8944 * np.abs(x) - 0.4472 * (y + radius)  # sides of slope 2 that meet at the top
        return np.maximum(slant, y - 0.8 * radius)
    raise ValueError(f"unknown shape {shape!r}: one of {', '.join(SHAPES)}")


def tint(colour: str, rng: np.random.Generator) -> Floats:
    """A colour's (3,) RGB in 0-255, a little off."""
    return (np.array(COLOURS[colour]) + rng.uniform(-8, 8, 3)).astype(np.float32)


def texture(x: Floats, y: Floats, rng: np.random.Generator) -> Floats:
    """Stripes or checks (64, 64) in [0, 1], of a period of 10 to 16 pixels, level or at 45 degrees."""
    period, phase, slanted = rng.uniform(10, 16), rng.uniform(0, 2 * np.pi, 2), rng.integers(2)
    angle = rng.integers(2) * np.pi / 2 + slanted * np.pi / 4
    turn = 2 * np.pi / period
    along = np.sin(turn * (np.cos(angle) * x + np.sin(angle) * y) + phase[0])
    across = np.sin(turn * (np.cos(angle) * y - np.sin(angle) * x) + phase[1])
    wave = along * across if rng.integers(2) else along
    return 0.5 + 0.5 * np.tanh(4 * wave)


def shading(rng: np.random.Generator) -> Floats:
    """A soft slope of light (64, 64), 1 in the middle, at most 10 % lighter or darker at the sides."""
    across, down = rng.uniform(-0.07, 0.07, 2)
    ramp = np.linspace(-1, 1, SIDE, dtype=np.float32)
    return 1 + across * ramp[None, :] + down * ramp[:, None]


def captions_of(caption: str) -> tuple[str, str, str, str]:
    """The four captions of a scene: shape alone, shape and field, field alone, nothing."""
    shape, colour, _, field = caption.split(", ")
    return f"{shape}, {colour}", caption, f"field, {field}", ""


def name_colour(pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.str_]:
    """The nearest colour name of (..., 3) pixels of any scale, whatever their brightness: by angle in RGB."""
    known = np.array(list(COLOURS.values()), float)
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    return np.array(list(COLOURS))[np.argmax(np.asarray(pixels, float) @ known.T, axis=-1)]


def look(picture: npt.NDArray[np.generic]) -> tuple[str, str, str]:
    """What a (64, 64, 3) picture shows: ``(shape, colour, field)``, measured from its pixels.

    The field is the name most frequent along the border; the shape's pixels are those of other names, its name the
    outline that covers them best at their bounding box. A picture of one colour has the shape ``""``.
    """
    names = name_colour(picture)
    border = np.concatenate([names[:3].ravel(), names[-3:].ravel(), names[:, :3].ravel(), names[:, -3:].ravel()])
    field = _commonest(border)
    found = names != field
    if found.mean() < 0.02:
        return "", field, field
    return nearest_shape(found), _commonest(names[found]), field


def _commonest(names: npt.NDArray[np.str_]) -> str:
    values, counts = np.unique(names, return_counts=True)
    return str(values[np.argmax(counts)])


def nearest_shape(found: npt.NDArray[np.bool_]) -> str:
    """The shape whose outline, laid over the bounding box of ``found`` (64, 64), agrees with it best."""
    rows, columns = (np.quantile(axis, (0.01, 0.99)) for axis in np.nonzero(found))
    span = max(float(np.ptp(rows)), float(np.ptp(columns)), 4.0)
    y, x = (np.mgrid[:SIDE, :SIDE]).astype(np.float32)
    y, x = y - rows.mean(), x - columns.mean()
    scores = {}
    for shape in SHAPES:
        radius = span / (1.7 if shape == "square" else 1.8 if shape == "triangle" else 2)
        down = 0.1 * radius if shape == "triangle" else 0
        cover = outline(shape, x, y - down, radius) < 0
        scores[shape] = (cover & found).sum() / (cover | found).sum()
    return max(scores, key=lambda shape: scores[shape])
