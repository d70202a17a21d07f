"""The shipped segmenter ``selfie``: the people of a photo, each with an outline.

Selfie segmentation outlines whatever stands out, people or not, so a detector says first whether there is a person
and where hips and shoulders are. A region is a person's if the line between them lies in it; everything else is
dropped. A person who is small in the photo is segmented again in a window of their own, and edges follow the photo's
(a guided filter: He, Sun and Tang 2013).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from harmonygen.models.checkpoints import weights_digest
from harmonygen.models.device import Device
from harmonygen.models.selfie import SIDE as SEGMENT_SIDE
from harmonygen.models.selfie import WEIGHTS, Segment, load_selfie
from harmonygen.models.torso import Detect, Torso, load_torso_detector
from harmonygen.pictures.images import ImageU8, Mask, resize
from harmonygen.segmentation.segmented import CUT, Layers, Segmented, enlarge_probability
from harmonygen.settings import setting

MIN_SCORE = 0.6
"""Score from which a person counts: all of 160 street-fashion photos have one over 0.76."""
WORK_SIDE = 1024  # pixels, longest side of the photo that edges follow
_REACH = 1.25  # half the side of a person's window, in radii
_WINDOW = 0.7  # a window that covers more of the photo is the photo
_RADIUS, _EPSILON = 2, 1e-4  # of the guided filter: pixels that the network sees, variance of luminance in [0, 1]
_STEPS = 16  # points on the line from hips to shoulders
_SAME = 0.5  # regions that overlap by more are one
_MOST = 16  # people
_VERSION = "1"  # of the rules in this file

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels, the last two exclusive."""


class PersonFinder:
    """Finds the people of a photo: (H, W, 3) uint8 -> one layer for each person who stands apart."""

    def __init__(self, segment: Segment, detect: Detect, min_score: float = MIN_SCORE, digest: str = "") -> None:
        self.segment, self.detect, self.min_score = segment, detect, min_score
        self.digest = digest

    def __call__(self, image_u8: ImageU8) -> Segmented:
        """Return the people; there is no layer if there is none, and ``note`` says why."""
        small = fit_side(image_u8, WORK_SIDE)
        torsos = self.detect(small)
        sure = [torso for torso in torsos if torso.score >= self.min_score][:_MOST]
        height, width = small.shape[:2]
        if not sure:
            best = max((torso.score for torso in torsos), default=0.0)
            return _nothing(height, width, f"the best score of a person is {best:.2f}, {self.min_score:g} is needed")
        layers = self._layers(small, sure)
        if not layers:
            return _nothing(height, width, f"a person was seen (score {sure[0].score:.2f}), but no outline")
        return Segmented(np.stack(layers), True, max(len(layers), len(sure)))

    def _layers(self, small: ImageU8, torsos: Sequence[Torso]) -> list[Layers]:
        """Return a layer for each person whose region is not another's too."""
        seen: dict[Box, Layers] = {}
        layers: list[Layers] = []
        regions: list[Mask] = []
        for torso in torsos:
            box = window_of(torso, *small.shape[:2])
            if box not in seen:
                seen[box] = self._probability(small[box[1] : box[3], box[0] : box[2]])
            region = region_of(seen[box] >= CUT, torso, box)
            if region is None:
                continue
            whole = np.zeros(small.shape[:2], dtype=bool)
            whole[box[1] : box[3], box[0] : box[2]] = region
            if all(overlap(whole, other) <= _SAME for other in regions):
                regions.append(whole)
                layers.append(_placed(seen[box], region, box, whole.shape))
        return layers

    def _probability(self, window_u8: ImageU8) -> Layers:
        """Return (h, w) probabilities of a window whose edges follow the photo's."""
        coarse = enlarge_probability(self.segment(window_u8), *window_u8.shape[:2])
        radius = max(1, round(_RADIUS * max(window_u8.shape[:2]) / SEGMENT_SIDE))
        return guided_filter(luminance01(window_u8), coarse, radius, _EPSILON)


def make_person_finder(
    min_score: Annotated[float, setting(..., "Score from which a person counts, 0 to 1.", ge=0, le=1)] = MIN_SCORE,
    *,
    device: Device,
) -> PersonFinder:
    """Return the shipped segmenter of people."""
    digest = f"selfie:{_VERSION}:{weights_digest(WEIGHTS)}:{min_score:g}"
    return PersonFinder(load_selfie(device.name), load_torso_detector(device.name), min_score, digest)


def _nothing(height: int, width: int, note: str) -> Segmented:
    return Segmented(np.zeros((0, height, width), dtype=np.float32), True, 0, note)


def fit_side(image_u8: ImageU8, side: int) -> ImageU8:
    """Return a photo whose longest side is ``side`` pixels at most."""
    height, width = image_u8.shape[:2]
    scale = side / max(height, width)
    return resize(image_u8, max(1, round(height * scale)), max(1, round(width * scale))) if scale < 1 else image_u8


def window_of(torso: Torso, height: int, width: int) -> Box:
    """Return the window around a person in a photo of this size: the photo itself if it would be nearly that."""
    reach, (x, y) = _REACH * torso.radius, torso.hips
    left, top = max(0, int(x - reach)), max(0, int(y - reach))
    right, bottom = min(width, int(np.ceil(x + reach))), min(height, int(np.ceil(y + reach)))
    if right - left < _STEPS or bottom - top < _STEPS or (right - left) * (bottom - top) > _WINDOW * height * width:
        return (0, 0, width, height)
    return (left, top, right, bottom)


def region_of(foreground: Mask, torso: Torso, box: Box) -> Mask | None:
    """Return the 8-connected region (h, w) of a window in which a torso lies; None if it lies in none.

    At least half of the line from hips to shoulders, as far as the window shows it, has to lie in one region.
    """
    from scipy import ndimage

    labels, _ = ndimage.label(foreground, structure=np.ones((3, 3)))
    line = np.linspace(torso.hips, torso.shoulders, _STEPS) - box[:2]
    columns, rows = np.floor(line).astype(int).T
    shown = (columns >= 0) & (rows >= 0) & (columns < foreground.shape[1]) & (rows < foreground.shape[0])
    touched = np.bincount(labels[rows[shown], columns[shown]], minlength=2)
    touched[0] = 0
    label = int(touched.argmax())
    return labels == label if touched[label] and 2 * touched[label] >= shown.sum() else None


def overlap(one: Mask, other: Mask) -> float:
    """Return intersection over union of two masks, 0 if both are empty."""
    return float((one & other).sum() / max(1, (one | other).sum()))


def _placed(probability: Layers, region: Mask, box: Box, shape: tuple[int, ...]) -> Layers:
    """Return a region's probabilities in the photo; other regions of the window are left out.

    A rim of two pixels stays, so that the edge lies where it did when the layer is enlarged.
    """
    from scipy import ndimage

    near = ndimage.binary_dilation(region, iterations=2)
    layer = np.zeros(shape, dtype=np.float32)
    layer[box[1] : box[3], box[0] : box[2]] = np.where(
        region, probability, np.where(near, np.minimum(probability, CUT - 1e-3), 0)
    )
    return layer


def luminance01(image_u8: ImageU8) -> Layers:
    """Return (H, W) float32 luminance (Rec. 601) in [0, 1]."""
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32) / np.float32(255)
    return np.asarray(image_u8.astype(np.float32) @ weights)


def guided_filter(guide01: Layers, values: Layers, radius: int, epsilon: float) -> Layers:
    """Return values (H, W) whose edges follow those of a guide (H, W); both in [0, 1], and so is the result.

    >>> guide = np.array([[0, 0, 0, 1, 1, 1]], dtype=np.float32)
    >>> guided_filter(guide, guide, 1, 1e-6).round(2).tolist()
    [[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]]
    """
    from scipy.ndimage import uniform_filter

    def mean(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.asarray(uniform_filter(array, 2 * radius + 1, mode="nearest"))

    guide_mean, value_mean = mean(guide01), mean(values)
    variance = mean(guide01 * guide01) - guide_mean * guide_mean
    slope = (mean(guide01 * values) - guide_mean * value_mean) / (variance + np.float32(epsilon))
    offset = value_mean - slope * guide_mean
    filtered: Layers = np.clip(mean(slope) * guide01 + mean(offset), 0, 1)
    return filtered
