"""Train the direct harmonizer: composite and mask in, real photo out, by plain regression.

It needs no autoencoder and no diffusion, so it is the cheap probe of what a data set is worth.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from harmonygen.models.checkpoints import locate
from harmonygen.models.refiner import Kind, RefinementUNet, RefinerSpec
from harmonygen.training.composites import Batch
from harmonygen.training.observe import save_rows
from harmonygen.training.settings import DirectTraining, RefinementTraining
from harmonygen.training.task import Losses

_SHEET_COLUMNS = 8
_LEVELS = 127.5  # 8-bit units in one unit of [-1, 1]


class DirectTask:
    """L1 or L2 to the real photo, over the foreground or over the image."""

    def __init__(self, settings: DirectTraining) -> None:
        self.settings = settings
        self.model = new_network("direct", settings, settings.resolution)
        self.module: nn.Module = self.model

    def loss(self, module: nn.Module, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Losses]:
        """Mean error of a batch: each photo's foreground counts the same, however small it is."""
        real, mask = batch["real"], batch["mask"]
        output = module(batch["composite"], mask).float()
        error = (output - real).abs() if self.settings.loss == "l1" else (output - real) ** 2
        region = mask if self.settings.loss_region == "foreground" else torch.ones_like(mask)
        return region_mean(error, region).mean(), {"fmse": float(fmse(output.detach(), real, mask).mean())}

    @torch.no_grad()
    def validate(self, batches: list[Batch]) -> Losses:
        """Held-out fMSE (8-bit squared) of outputs and of raw composites, and the change from these in parts of 1."""
        ours, raw = [], []
        for output, batch in map(self._harmonize, batches):
            ours.append(fmse(output, batch["real"], batch["mask"]))
            raw.append(fmse(batch["composite"], batch["real"], batch["mask"]))
        after, before = float(torch.cat(ours).mean()), float(torch.cat(raw).mean())
        return {
            "fmse": after,
            "fmse_composite": before,
            "change": relative_change(after, before),
            "n": float(len(torch.cat(ours))),
        }

    def _harmonize(self, batch: Batch) -> tuple[Tensor, Batch]:
        moved = {name: value.to(self.model.conv_in.weight.device) for name, value in batch.items()}
        output: Tensor = self.model(moved["composite"], moved["mask"])
        return output, moved

    def export(self, folder: Path) -> None:
        """Write the checkpoint folder in half precision."""
        self.model.save_pretrained(folder)

    @torch.no_grad()
    def sheet(self, batches: list[Batch], path: Path) -> None:
        """Rows: composite, output, real photo; one column per held-out pair."""
        output, few = self._harmonize({name: value[:_SHEET_COLUMNS] for name, value in batches[0].items()})
        save_rows([few["composite"], output, few["real"]], path)


def new_network(kind: Kind, settings: RefinementTraining, resolution: int) -> RefinementUNet:
    """Build the network that the settings describe: with new weights, or as ``settings.init`` is, with its weights.

    Raises:
        CheckpointError: ``init`` is not a checkpoint of this kind, or damaged.
    """
    if settings.init:
        network = RefinementUNet.from_pretrained(locate(settings.init, kind), kind).train().requires_grad_(True)
        about = f"{settings.data}; before that {network.spec.training_data or 'not stated'}"
        network.spec = network.spec.model_copy(update={"resolution": resolution, "training_data": about})
    else:
        network = RefinementUNet(
            RefinerSpec(
                kind=kind,
                widths=settings.widths,
                layers_per_block=settings.layers_per_block,
                norm_num_groups=settings.norm_num_groups,
                attention_head_dim=settings.attention_head_dim,
                downsample_padding=settings.downsample_padding,
                norm_eps=settings.norm_eps,
                resolution=resolution,
                training_data=settings.data,
            )
        )
    network.gradient_checkpointing = settings.gradient_checkpointing
    return network


def region_mean(values: Tensor, region: Tensor) -> Tensor:
    """Mean (B,) of values (B, C, H, W) where region (B, 1, H, W) is 1; zero where it is nowhere.

    >>> region_mean(torch.tensor([[[[2.0, 4.0]]]]), torch.tensor([[[[1.0, 0.0]]]]))
    tensor([2.])
    """
    total = (values * region).sum(dim=(1, 2, 3))
    return torch.as_tensor(total / (values.shape[1] * region.sum(dim=(1, 2, 3))).clamp(min=1))


def fmse(image_pm1: Tensor, real_pm1: Tensor, mask: Tensor) -> Tensor:
    """Foreground MSE (B,) of images (B, 3, H, W) in [-1, 1], squared 8-bit units, not rounded to 8 bits.

    >>> fmse(torch.ones(1, 3, 2, 2), -torch.ones(1, 3, 2, 2), torch.ones(1, 1, 2, 2))
    tensor([65025.])
    """
    return region_mean(((image_pm1 - real_pm1) * _LEVELS) ** 2, mask)


def relative_change(after: float, before: float) -> float:
    """What part of ``before`` was gained (negative: the error fell); not a number if there was none.

    >>> relative_change(30.0, 40.0)
    -0.25
    """
    return after / before - 1 if before else float("nan")
