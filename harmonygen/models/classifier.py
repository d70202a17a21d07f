"""The harmony classifier: a torchvision ResNet with a two-class head (REFERENCE section 5).

The papers' form is a frozen ImageNet ResNet50 with a linear probe on the whole image. The same class takes any
torchvision ResNet depth, image alone (3 channels) or image and mask (4), and end-to-end training. What the two
outputs mean, the input size and the normalisation are stored with the weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from harmonygen.errors import CheckpointError, told
from harmonygen.models.checkpoints import load_weights, read_spec, write_spec
from harmonygen.settings import MAX_SIDE, Enlarge, Settings

_WEIGHTS = "model.safetensors"
DEPTHS: dict[str, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    "resnet10": (BasicBlock, [1, 1, 1, 1]),
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
    "resnet152": (Bottleneck, [3, 8, 36, 3]),
}
Label = Literal["real", "composite"]


class ClassifierSpec(Settings):
    """What a classifier checkpoint says about itself in ``harmonygen.json``.

    ``labels[i]`` is the meaning of output ``i``. ``mean`` and ``std`` normalise RGB in [0, 1]; ``mask_offset`` is
    subtracted from the mask of 0 and 1, if the mask is an input. ``enlarge`` is how a picture smaller than
    ``input_size`` is enlarged; the papers' classifier: bilinear.
    """

    kind: Literal["classifier"] = "classifier"
    format: int = 1
    depth: str = "resnet50"
    in_channels: Literal[3, 4] = 3
    input_size: int = Field(256, ge=32, le=MAX_SIDE)
    labels: tuple[Label, Label] = ("real", "composite")
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    mask_offset: float = Field(0.5, ge=0, le=1)
    enlarge: Enlarge = "bicubic"
    training_data: str = ""


class HarmonyResNet(nn.Module):
    """ResNet of ``spec.depth`` -> pooled features -> Linear(features, 2)."""

    def __init__(self, spec: ClassifierSpec) -> None:
        super().__init__()
        if spec.depth not in DEPTHS:
            raise CheckpointError(f"classifier depth {spec.depth!r} is not known: choose one of {', '.join(DEPTHS)}")
        if set(spec.labels) != {"real", "composite"}:
            raise CheckpointError(
                f"classifier labels are {spec.labels}, 'real' and 'composite' are needed, in the order of the outputs"
            )
        self.spec = spec
        block, layers = DEPTHS[spec.depth]
        self.network = ResNet(block, layers, num_classes=2)
        if spec.in_channels == 4:
            self.network.conv1 = nn.Conv2d(4, 64, kernel_size=7, stride=2, padding=3, bias=False)

    def forward(self, images01: Tensor, masks: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [0, 1] and masks (B, 1, H, W) of 0 and 1 to logits (B, 2)."""
        logits: Tensor = self.network(prepare(images01, masks, self.spec))
        return logits

    def p_composite(self, images01: Tensor, masks: Tensor) -> Tensor:
        """Return the probability (B,) that each image is a composite."""
        return composite_share(self(images01, masks), self.spec)

    def load_imagenet(self) -> None:
        """Load torchvision's ImageNet weights into the trunk (downloads them: a machine with network).

        The mask channel of a 4-channel stem starts at zero, so that at first it changes nothing.
        """
        name = self.spec.depth
        if name not in models.list_models():
            raise CheckpointError(f"torchvision has no ImageNet weights for {name!r}: choose resnet18 to resnet152")
        state = models.get_model(name, weights="DEFAULT").state_dict()
        stem = self.network.conv1.weight.detach().new_zeros(self.network.conv1.weight.shape)
        stem[:, :3] = state["conv1.weight"]
        trunk = {key: value for key, value in state.items() if not key.startswith("fc.")} | {"conv1.weight": stem}
        self.network.load_state_dict(trunk, strict=False)

    def load_classifier(self, other: HarmonyResNet) -> None:
        """Take the weights of another classifier of this depth; a mask channel is dropped, or added as zeros.

        Raises:
            CheckpointError: of another depth, or with the labels the other way round.
        """
        if (other.spec.depth, other.spec.labels) != (self.spec.depth, self.spec.labels):
            raise CheckpointError(
                f"the classifier to start from is a {other.spec.depth} with outputs {other.spec.labels}, "
                f"a {self.spec.depth} with {self.spec.labels} is needed: choose another, or set depth"
            )
        state = other.state_dict()
        stem = torch.zeros_like(self.network.conv1.weight)
        shared = min(stem.shape[1], other.spec.in_channels)
        stem[:, :shared] = state["network.conv1.weight"][:, :shared]
        self.load_state_dict({**state, "network.conv1.weight": stem})

    def freeze_trunk(self) -> None:
        """Leave only the linear head trainable: the papers' linear probe."""
        self.network.requires_grad_(False)
        self.network.fc.requires_grad_(True)

    @property
    def last(self) -> nn.Linear:
        """The layer that gives the logits, of pooled features."""
        return cast(nn.Linear, self.network.fc)

    @torch.no_grad()
    def calibrate(self, scale: float, shift: float) -> None:
        """Fold a scale and a shift of the log-odds of P(composite) into the head."""
        head = self.network.fc
        head.weight.mul_(scale)
        head.bias.mul_(scale)
        head.bias[self.spec.labels.index("composite")] += shift

    @classmethod
    def from_pretrained(cls, folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> HarmonyResNet:
        """Load a classifier folder (``model.safetensors harmonygen.json``).

        Raises:
            CheckpointError: of another kind, damaged, or weights that do not fit the stated architecture.
        """
        model = cls(read_spec(folder, ClassifierSpec, "classifier"))
        state = load_weights(folder / _WEIGHTS)
        stem = state.get("network.conv1.weight")
        if stem is not None and stem.shape[1] != model.spec.in_channels:
            raise CheckpointError(
                f"'{folder}' states {model.spec.in_channels} input channels but its weights take {stem.shape[1]}: "
                "correct in_channels in harmonygen.json"
            )
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(
                f"weights of '{folder}' do not fit a {model.spec.depth} ({told(error)}): export them again"
            ) from error
        return model.to(device=device, dtype=dtype).eval().requires_grad_(False)

    def save_pretrained(self, folder: Path, dtype: torch.dtype = torch.float16) -> None:
        """Write ``model.safetensors`` (floating weights in ``dtype``) and ``harmonygen.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            key: (value.to(dtype) if value.is_floating_point() else value) for key, value in self.state_dict().items()
        }
        save_file({key: value.cpu().contiguous() for key, value in state.items()}, folder / _WEIGHTS)
        write_spec(folder, self.spec)


def composite_share(logits: Tensor, spec: ClassifierSpec) -> Tensor:
    """Return the probability (B,) of being a composite, of logits (B, 2) in the spec's order."""
    probabilities: Tensor = logits.float().softmax(dim=1)[:, spec.labels.index("composite")]
    return probabilities


def prepare(images01: Tensor, masks: Tensor, spec: ClassifierSpec) -> Tensor:
    """Resize to ``input_size`` square (antialiased bilinear; mask nearest), normalise, and stack the mask if used."""
    dtype = images01.dtype
    images01, masks = fitted(images01, masks, spec.input_size)
    mean, std = (images01.new_tensor(values)[None, :, None, None] for values in (spec.mean, spec.std))
    normalised = (images01 - mean) / std
    if spec.in_channels == 3:
        return normalised
    return torch.cat([normalised, masks.to(dtype) - spec.mask_offset], dim=1)


def fitted(images01: Tensor, masks: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Resize images (B, 3, H, W) in [0, 1] and masks (B, 1, H, W) to ``side`` square, if they are of another size."""
    size = (side, side)
    if images01.shape[-2:] == size:
        return images01, masks
    smaller = F.interpolate(images01, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    return smaller, F.interpolate(masks, size, mode="nearest")
