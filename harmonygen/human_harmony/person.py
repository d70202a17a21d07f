"""``--person``: widen a mask of clothing to the whole wearer, found by a torchvision model of the user's weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from harmonygen.errors import UsageError
from harmonygen.human_harmony.torchvision_weights import COCO_PERSON, SEGMENTERS, VOC_PERSON, load_torchvision
from harmonygen.pictures.images import ImageU8, Mask

if TYPE_CHECKING:
    from torch import Tensor

PersonSegmenter = Callable[[ImageU8], Mask]
"""``image_u8 (H, W, 3) -> (H, W)`` bool, all people; or ``(N, H, W)``, a layer a person, where they are told apart."""

MIN_OVERLAP = 0.10
_MIN_SCORE = 0.5
_MIN_PROBABILITY = 0.5
_SHORT_SIDE = 520  # what torchvision's semantic models are evaluated at
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def widen(mask: Mask, person: Mask, min_overlap: float = MIN_OVERLAP) -> Mask:
    """Return the clothing mask (H, W) with the people who wear it.

    A person, which is a layer of ``person`` (N, H, W) or an 8-connected region of ``person`` (H, W), wears the clothing
    if at least ``min_overlap`` of the clothing lies in the person, or as much of the person is clothing. Passers-by
    stay outside. Nothing is taken from the clothing; where nobody wears it, the mask is returned as it is.
    """
    layers, areas, shared = (_of_layers if person.ndim == 3 else _of_regions)(mask, person)
    clothes = max(1, int(mask.sum()))
    worn = (shared > 0) & ((shared >= min_overlap * clothes) | (shared >= min_overlap * areas))
    return mask | layers(worn)


Draw = Callable[[npt.NDArray[np.bool_]], Mask]
People = tuple[Draw, npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""How to draw chosen people (N,), the area of each, and the area that each shares with the clothing."""


def _of_layers(mask: Mask, person: Mask) -> People:
    def draw(chosen: npt.NDArray[np.bool_]) -> Mask:
        return np.asarray(person[chosen].any(axis=0))

    return draw, person.sum(axis=(1, 2), dtype=np.int64), (person & mask).sum(axis=(1, 2), dtype=np.int64)


def _of_regions(mask: Mask, person: Mask) -> People:
    from scipy import ndimage

    labels, count = ndimage.label(person, structure=np.ones((3, 3)))

    def draw(chosen: npt.NDArray[np.bool_]) -> Mask:
        return np.asarray(np.concatenate([[False], chosen])[labels])

    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return draw, areas, np.bincount(labels[mask], minlength=count + 1)[1:]


def load_person_segmenter(kind: str, weights: Path | None, device: str = "cpu") -> PersonSegmenter:
    """Return a callable that finds the people of a photo.

    Args:
        kind: a family (``deeplabv3``, ``lraspp``: class 15 of Pascal VOC; ``maskrcnn``: COCO's persons, one by one), or
            torchvision's name of a model of one.
        weights: the user's state dict, .safetensors or .pth; nothing is downloaded.
        device: where the model runs.

    Raises:
        UsageError: an unknown kind, or no file.
        CheckpointError: weights that do not fit.
    """
    named = {name: (name,) for names in SEGMENTERS.values() for name in names}
    names = SEGMENTERS.get(kind) or named.get(kind)
    if names is None:
        raise UsageError(f"person model '{kind}' is unknown: choose one of {', '.join([*SEGMENTERS, *named])}")
    network, name = load_torchvision(weights, names, device, f"--person {kind}")
    find = instances if name.startswith("maskrcnn") else people
    return lambda image_u8: find(network, image_u8, device)


def instances(network: Callable[[list[Tensor]], Any], image_u8: ImageU8, device: str) -> Mask:
    """Return (N, H, W): the persons that a Mask R-CNN finds with a score of 0.5 or more, at probability 0.5."""
    import torch

    with torch.inference_mode():
        found = network([_image01(image_u8, device)])[0]
    sure = (found["labels"] == COCO_PERSON) & (found["scores"] >= _MIN_SCORE)
    layers: Mask = (found["masks"][sure][:, 0] >= _MIN_PROBABILITY).cpu().numpy()
    return layers


def people(network: Callable[[Tensor], Any], image_u8: ImageU8, device: str) -> Mask:
    """Return (H, W): where a semantic model rates person over every other class; it sees a short side of 520 px."""
    import torch
    from torch.nn import functional

    height, width = image_u8.shape[:2]
    scale = _SHORT_SIDE / min(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    image01 = functional.interpolate(
        _image01(image_u8, device)[None], size, mode="bilinear", antialias=True, align_corners=False
    )
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (_MEAN, _STD))
    with torch.inference_mode():
        logits = network((image01 - mean) / std)["out"]
    others = torch.cat([logits[:, :VOC_PERSON], logits[:, VOC_PERSON + 1 :]], dim=1).amax(dim=1, keepdim=True)
    lead = logits[:, VOC_PERSON : VOC_PERSON + 1] - others
    found: Mask = (functional.interpolate(lead, (height, width), mode="bilinear") > 0)[0, 0].cpu().numpy()
    return found


def _image01(image_u8: ImageU8, device: str) -> Tensor:
    import torch

    return torch.from_numpy(np.array(image_u8)).permute(2, 0, 1).to(device).float() / 255
