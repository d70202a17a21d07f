"""Train the parametric harmonizer: a composite and its mask in, the colour map of its foreground out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from harmonygen.models.checkpoints import locate
from harmonygen.models.parametric import ParametricNet, ParametricSpec, starting_map, torch_terms
from harmonygen.models.trunk import load_imagenet
from harmonygen.training.composites import Batch
from harmonygen.training.direct import fmse, relative_change
from harmonygen.training.observe import save_rows
from harmonygen.training.settings import ParametricTraining
from harmonygen.training.task import Losses

_SHEET_COLUMNS = 8
_WORSE = 1.2


class ParametricTask:
    """Squared error of the mapped foreground; each pair counts relative to its own change, ``softness`` added."""

    def __init__(self, settings: ParametricTraining) -> None:
        self.settings = settings
        about = "; ".join([settings.data, *settings.extra_data, *filter(None, [settings.borrowers])])
        spec = ParametricSpec(resolution=settings.resolution, strength=settings.strength, training_data=about)
        self.model = ParametricNet(spec)
        if settings.init:
            begun = ParametricNet.from_pretrained(locate(settings.init, "parametric"))
            self.model.load_state_dict(begun.state_dict())
        elif settings.imagenet:
            load_imagenet(self.model.trunk)
        self.model.trunk.freeze(settings.frozen_blocks)
        self.module: nn.Module = self.model

    def loss(self, module: nn.Module, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Losses]:
        """Mean relative error of a batch, and its foreground MSE."""
        output = self._mapped(module, batch)
        after, before = (fmse(image, batch["real"], batch["mask"]) for image in (output, batch["composite"]))
        return (after / (before + self.settings.softness)).mean(), {"fmse": float(after.detach().mean())}

    def _mapped(self, module: nn.Module, batch: Batch) -> Tensor:
        """Return the composites of a batch with their foregrounds mapped, (B, 3, R, R) in about [-1, 1]."""
        images01, mask = batch["composite"] / 2 + 0.5, batch["mask"]
        maps = module(images01, mask, starts(images01, mask))
        colours = images01.permute(0, 2, 3, 1).flatten(1, 2)
        mapped = (torch_terms(colours) @ maps).view(len(colours), *images01.shape[2:], 3).permute(0, 3, 1, 2)
        return torch.where(mask > 0.5, mapped * 2 - 1, batch["composite"])

    @torch.no_grad()
    def validate(self, batches: list[Batch]) -> Losses:
        """Held-out fMSE (8-bit squared) of outputs and of composites, the change, and the shares that got worse."""
        rows = []
        self.model.eval()
        for batch in batches:
            moved, output = self._harmonize(batch)
            images = (output, moved["composite"], self._mapped(StartingMaps(), moved).clamp(-1, 1))
            rows.append(torch.stack([fmse(image, moved["real"], moved["mask"]) for image in images]))
        after, before, start = torch.cat(rows, dim=1)
        return {
            "fmse": float(after.mean()),
            "fmse_composite": float(before.mean()),
            "change": relative_change(float(after.mean()), float(before.mean())),
            "change_start": relative_change(float(start.mean()), float(before.mean())),
            "worse": float((after > _WORSE * before).float().mean()),
            "n": float(len(after)),
        }

    def _harmonize(self, batch: Batch) -> tuple[Batch, Tensor]:
        device = self.model.mixing.device
        moved = {name: value.to(device) for name, value in batch.items()}
        return moved, self._mapped(self.model, moved).clamp(-1, 1)

    def export(self, folder: Path) -> None:
        """Write the checkpoint folder in half precision."""
        self.model.save_pretrained(folder)

    @torch.no_grad()
    def sheet(self, batches: list[Batch], path: Path) -> None:
        """Rows: composite, output, real photo; one column per held-out pair."""
        few, output = self._harmonize({name: value[:_SHEET_COLUMNS] for name, value in batches[0].items()})
        save_rows([few["composite"], output, few["real"]], path)


class StartingMaps(nn.Module):
    """What does nothing with the starting map: the statistics alone, as the figure beside the model's."""

    def forward(self, images01: Tensor, masks: Tensor, maps: Tensor) -> Tensor:
        """Return the starting maps (B, 20, 3)."""
        return maps


def starts(images01: Tensor, masks: Tensor) -> Tensor:
    """Return the starting maps (B, 20, 3) of images (B, 3, R, R) in [0, 1] and masks (B, 1, R, R)."""
    pictures = (images01.detach().permute(0, 2, 3, 1) * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    inside = (masks[:, 0] > 0.5).cpu().numpy()
    found = [starting_map(picture, mask) for picture, mask in zip(pictures, inside, strict=True)]
    return torch.from_numpy(np.stack(found)).to(images01.device, torch.float32)
