"""Segmenters ``deeplabv3``, ``lraspp`` and ``maskrcnn``: torchvision's models with weights from the user's own file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from harmonygen.errors import UsageError
from harmonygen.models.device import Device
from harmonygen.models.torchvision_weights import COCO_PERSON, SEGMENTERS, VOC_PERSON, load_torchvision
from harmonygen.pictures.images import ImageU8, Mask
from harmonygen.segmentation.segmented import Segmented, read_layers
from harmonygen.settings import setting

if TYPE_CHECKING:
    from torch import Tensor

PersonSegmenter = Callable[[ImageU8], Mask]
"""``image_u8 (H, W, 3) -> (H, W)`` bool, all people; or ``(N, H, W)``, a layer a person, where they are told apart."""

_MIN_SCORE = 0.5
_MIN_PROBABILITY = 0.5
_SHORT_SIDE = 520  # what torchvision's semantic models are evaluated at
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Weights = Annotated[Path | None, setting(..., "File with the model's weights (.safetensors or .pth).")]


class TorchvisionPeople:
    """A torchvision segmenter with the digest of its weights."""

    def __init__(self, kind: str, weights: Path | None, device: Device) -> None:
        from harmonygen.plugins.digest import content_digest

        self._find = load_person_segmenter(kind, weights, device.name)
        self.digest = f"{kind}:{content_digest(weights).hex()[:16]}"

    def __call__(self, image_u8: ImageU8) -> Segmented:
        """Return the people of a photo (H, W, 3) uint8."""
        return read_layers(self._find(image_u8))


def make_deeplabv3(weights: Weights = None, *, device: Device) -> TorchvisionPeople:
    """Return DeepLabV3: its class 15 of Pascal VOC."""
    return TorchvisionPeople("deeplabv3", weights, device)


def make_lraspp(weights: Weights = None, *, device: Device) -> TorchvisionPeople:
    """Return LR-ASPP: its class 15 of Pascal VOC."""
    return TorchvisionPeople("lraspp", weights, device)


def make_maskrcnn(weights: Weights = None, *, device: Device) -> TorchvisionPeople:
    """Return Mask R-CNN: COCO's persons, one by one."""
    return TorchvisionPeople("maskrcnn", weights, device)


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
    network, name = load_torchvision(weights, names, device, f"segmenter {kind}")
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
