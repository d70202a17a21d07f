"""Build torchvision's detection and segmentation models with weights from the user's own file; nothing is downloaded.

The file is a state dict as torchvision publishes it (safetensors, or ``.pth`` read without running anything in it).
Its names and shapes say which of the asked-for models it belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harmonygen.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

COCO_PERSON = 1
"""The class of persons in torchvision's detection models (COCO; 0 is the background)."""
VOC_PERSON = 15
"""The class of persons in torchvision's segmentation models (Pascal VOC; 0 is the background)."""

DETECTORS = (
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "keypointrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
)
"""Models with ``boxes``, ``labels`` and ``scores``; those of equal weights in the order in which they are taken."""
SEGMENTERS = {
    "deeplabv3": ("deeplabv3_resnet50", "deeplabv3_resnet101", "deeplabv3_mobilenet_v3_large"),
    "lraspp": ("lraspp_mobilenet_v3_large",),
    "maskrcnn": ("maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"),
}
"""Models that segment people, by family."""

_LANDMARKS = (
    ("roi_heads.keypoint_head.", "a Keypoint R-CNN"),
    ("roi_heads.mask_head.", "a Mask R-CNN"),
    ("roi_heads.box_head.", "a Faster R-CNN"),
    ("head.regression_head.bbox_ctrness.", "an FCOS"),
    ("head.regression_head.bbox_reg.", "a RetinaNet"),
    ("head.regression_head.module_list.", "an SSD or SSDlite"),
    ("classifier.low_classifier.", "an LR-ASPP"),
    ("classifier.0.convs.", "a DeepLabV3"),
)


def load_torchvision(weights: Path | None, names: Sequence[str], device: str, purpose: str) -> tuple[nn.Module, str]:
    """Return the first of the named models that the weights file fits, in evaluation mode, and its name.

    Raises:
        UsageError: no file is given.
        CheckpointError: unreadable, pickled code, or weights of none of the models, saying what was found.
    """
    if weights is None:
        raise UsageError(
            f"{purpose} needs the weights of one of torchvision's {', '.join(names)}: give your own file (a state "
            "dict, .safetensors or .pth); nothing is downloaded"
        )
    if not weights.is_file():
        raise CheckpointError(
            f"the weights for {purpose}, '{weights}', are not a file: give a .safetensors or .pth file"
        )
    from harmonygen.models.foreign import bare_names, read_tensors

    state = bare_names(read_tensors(weights))
    return give_weights(state, names, device, str(weights))


def give_weights(state: Mapping[str, Tensor], names: Sequence[str], device: str, source: str) -> tuple[nn.Module, str]:
    """Build the first of the named models that ``state`` fits, with these weights (see :func:`load_torchvision`)."""
    import torch

    faults: list[str] = []
    for name in names:
        with torch.device("meta"):
            trial = _build(name, state)
        try:
            trial.load_state_dict(dict(state), assign=True)  # no memory is touched: names and shapes are compared
        except RuntimeError as error:
            faults.append(f"{name}: {_first_fault(error)}")
            continue
        model = _build(name, state)
        model.load_state_dict(dict(state))
        return model.eval().requires_grad_(False).to(device), name
    detail = f" ({faults[0]})" if len(faults) == 1 else ""
    raise CheckpointError(
        f"'{source}' holds {describe(state)}, which fits none of {', '.join(names)}{detail}: "
        "give a state dict as torchvision publishes it for one of them, with all its COCO or VOC classes"
    )


def _build(name: str, state: Mapping[str, Tensor]) -> nn.Module:
    from torchvision.models import get_model

    options = {"aux_loss": any(key.startswith("aux_classifier.") for key in state)} if _is_deeplab(name) else {}
    model: nn.Module = get_model(name, weights=None, weights_backbone=None, **options)
    return model


def _is_deeplab(name: str) -> bool:
    return name.startswith("deeplabv3")


def describe(state: Mapping[str, Tensor]) -> str:
    """Say what weights are of, by their names.

    >>> describe({"classifier.low_classifier.weight": None})
    "an LR-ASPP's weights (1 tensors)"
    """
    for prefix, words in _LANDMARKS:
        if any(key.startswith(prefix) for key in state):
            return f"{words}'s weights ({len(state)} tensors)"
    from harmonygen.models.foreign import recognise

    return f"{recognise(state)[1]} ({len(state)} tensors)"


def _first_fault(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    words = lines[1] if len(lines) > 1 else lines[0]
    return words if len(words) < 160 else f"{words[:160]} ..."
