"""The product filter ``person-detector``: a photo is kept where a detection model sees a person in the clothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harmonygen.errors import UsageError
from harmonygen.human_harmony.verdict import Verdict
from harmonygen.models.torchvision_weights import COCO_PERSON, DETECTORS, load_torchvision
from harmonygen.pictures.images import ImageU8, Mask

Boxes = npt.NDArray[np.float64]
Detect = Callable[[ImageU8], tuple[Boxes, npt.NDArray[np.float64]]]
"""``image_u8 -> (boxes (N, 4) as x0 y0 x1 y1 in pixels, scores (N,))`` of persons."""

MIN_SCORE = 0.5
MIN_OVERLAP = 0.25


@dataclass(frozen=True, slots=True)
class PersonDetector:
    """Keep photos in which boxes of persons hold at least ``min_overlap`` of the clothing mask.

    ``detect`` finds persons; those under ``min_score`` do not count. A passer-by beside a product does not keep it.
    """

    detect: Detect
    min_score: float = MIN_SCORE
    min_overlap: float = MIN_OVERLAP

    def __call__(self, image_u8: ImageU8, mask: Mask, real_id: str) -> Verdict:
        """Judge one photo (H, W, 3) by its clothing mask (H, W)."""
        boxes, scores = self.detect(image_u8)
        sure = scores >= self.min_score
        overlap = covered(mask, boxes[sure])
        best = float(scores.max(initial=0.0))
        measures = {"persons": float(sure.sum()), "best_score": best, "overlap": overlap}
        if not sure.any():
            words = f"no person found (the best score is {best:.2f}, {self.min_score:g} is needed)"
            return Verdict(False, "product:person-detector", words, measures)
        found = f"{int(sure.sum())} person(s) found (best score {best:.2f}), they hold {overlap:.0%} of the clothing"
        if overlap < self.min_overlap:
            words = f"{found}, {self.min_overlap:.0%} is needed: nobody wears it"
            return Verdict(False, "product:person-detector", words, measures)
        return Verdict(True, detail=found, measures=measures)


def covered(mask: Mask, boxes: Boxes) -> float:
    """Return the share of a mask (H, W) that lies inside boxes (N, 4), x0 y0 x1 y1 in pixels."""
    inside = np.zeros_like(mask)
    for x0, y0, x1, y1 in np.clip(boxes, 0, None):
        inside[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = True
    return float(inside[mask].mean()) if mask.any() else 0.0


def load_person_detector(weights: Path | None, model: str = "", device: str = "cpu") -> PersonDetector:
    """Return the filter with a torchvision detection or keypoint model of the user's weights file.

    Args:
        weights: a state dict, .safetensors or .pth; nothing is downloaded.
        model: torchvision's name; empty: told by the weights (models of equal weights: the first of ``DETECTORS``).
        device: where the model runs.

    Raises:
        UsageError: no file, or an unknown name.
        CheckpointError: weights that fit no detection model.
    """
    if model and model not in DETECTORS:
        raise UsageError(f"'{model}' is not a known detection model: choose one of {', '.join(DETECTORS)}")
    network, _ = load_torchvision(weights, (model,) if model else DETECTORS, device, "the person detector")

    def detect(image_u8: ImageU8) -> tuple[Boxes, npt.NDArray[np.float64]]:
        import torch

        image01 = torch.from_numpy(np.array(image_u8)).permute(2, 0, 1).to(device).float() / 255
        with torch.inference_mode():
            found = network([image01])[0]
        person = found["labels"] == COCO_PERSON
        boxes, scores = found["boxes"][person].cpu().double().numpy(), found["scores"][person].cpu().double().numpy()
        return boxes, scores

    return PersonDetector(detect)
