"""The judge: a classifier that compares a foreground with its background on an ImageNet trunk.

Features of EfficientNet-lite0 are averaged over the foreground, the band around its edge and the background, colour
statistics of the regions stand beside them, and a small head gives one number: the log-odds that the picture is a
composite. It is a classifier checkpoint as the ResNets are, of depth ``efficientnet-lite0``.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from harmonygen.errors import CheckpointError, told
from harmonygen.models.checkpoints import load_weights, read_spec, write_spec
from harmonygen.models.classifier import ClassifierSpec, composite_share, fitted
from harmonygen.models.regions import STATISTICS, pooled, statistics
from harmonygen.models.trunk import TAP_CHANNELS, Trunk, load_imagenet

__all__ = ["JUDGE_DEPTH", "HarmonyJudge", "RegionFeatures"]

JUDGE_DEPTH = "efficientnet-lite0"
_WEIGHTS = "model.safetensors"
_WIDTH = 192
_DROPOUT = 0.2


class RegionFeatures(nn.Module):
    """What is known of an image's regions, as one vector: pooled features of a trunk, and colour statistics."""

    width = 2 * _WIDTH

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(3 * channels) for channels in TAP_CHANNELS)
        self.of_features = nn.Linear(3 * sum(TAP_CHANNELS), _WIDTH)
        self.of_statistics = nn.Sequential(nn.Linear(STATISTICS, _WIDTH), nn.GELU(), nn.Linear(_WIDTH, _WIDTH))

    def forward(self, taps: list[Tensor], images01: Tensor, masks: Tensor) -> Tensor:
        """Map taps, images (B, 3, H, W) in [0, 1] and masks (B, 1, H, W) to (B, width)."""
        averaged = [norm(pooled(tap, masks)) for norm, tap in zip(self.norms, taps, strict=True)]
        colours = statistics(images01, masks).to(averaged[0].dtype)
        dropped = F.dropout(torch.cat(averaged, dim=1), _DROPOUT, self.training)
        return F.gelu(torch.cat([self.of_features(dropped), self.of_statistics(colours)], dim=1))


class HarmonyJudge(nn.Module):
    """Trunk with a mask, region features, and a head of one number."""

    def __init__(self, spec: ClassifierSpec) -> None:
        super().__init__()
        if spec.depth != JUDGE_DEPTH or spec.in_channels != 4:
            raise CheckpointError(
                f"a judge is of depth {JUDGE_DEPTH!r} with 4 input channels, the checkpoint states {spec.depth!r} "
                f"with {spec.in_channels}: correct its harmonygen.json"
            )
        self.spec = spec
        self.trunk = Trunk(mask_hint=True)
        self.regions = RegionFeatures()
        self.head = nn.Sequential(nn.Linear(RegionFeatures.width, 64), nn.GELU(), nn.Linear(64, 1))

    def forward(self, images01: Tensor, masks: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [0, 1] and masks (B, 1, H, W) of 0 and 1 to logits (B, 2) in the spec's order."""
        images01, masks = fitted(images01, masks, self.spec.input_size)
        masks = masks.to(images01.dtype)
        score = self.head(self.regions(self.trunk(images01, masks), images01, masks))[:, 0]
        zero = torch.zeros_like(score)
        both = [score if label == "composite" else zero for label in self.spec.labels]
        return torch.stack(both, dim=1)

    def p_composite(self, images01: Tensor, masks: Tensor) -> Tensor:
        """Return the probability (B,) that each image is a composite."""
        return composite_share(self(images01, masks), self.spec)

    def load_imagenet(self) -> None:
        """Load ImageNet weights into the trunk.

        Raises:
            CheckpointError: the package that holds them is not installed.
        """
        load_imagenet(self.trunk)

    def freeze_trunk(self, blocks: int | None = None) -> None:
        """Leave the head and the blocks from number ``blocks`` on trainable; without a number the head alone."""
        self.trunk.freeze(len(self.trunk.blocks) if blocks is None else blocks)

    @property
    def last(self) -> nn.Linear:
        """The layer that gives the log-odds, of the head's hidden features."""
        return cast(nn.Linear, self.head[-1])

    @torch.no_grad()
    def calibrate(self, scale: float, shift: float) -> None:
        """Fold a scale and a shift of the log-odds of P(composite) into the head."""
        self.last.weight.mul_(scale)
        self.last.bias.mul_(scale).add_(shift)

    @classmethod
    def from_pretrained(cls, folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> HarmonyJudge:
        """Load a judge's folder (``model.safetensors harmonygen.json``).

        Raises:
            CheckpointError: of another kind, damaged, or weights that do not fit.
        """
        model = cls(read_spec(folder, ClassifierSpec, "classifier"))
        try:
            model.load_state_dict(load_weights(folder / _WEIGHTS))
        except RuntimeError as error:
            raise CheckpointError(
                f"weights of '{folder}' do not fit a judge ({told(error)}): export them again"
            ) from error
        return model.to(device=device, dtype=dtype).eval().requires_grad_(False)

    def save_pretrained(self, folder: Path, dtype: torch.dtype = torch.float16) -> None:
        """Write ``model.safetensors`` (weights in ``dtype``) and ``harmonygen.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {key: value.to(dtype).cpu().contiguous() for key, value in self.state_dict().items()}
        save_file(state, folder / _WEIGHTS)
        write_spec(folder, self.spec)
