"""Train the refiner on the outputs of the frozen stage-1 pipeline, made on the fly (REFERENCE section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harmonygen.errors import UsageError
from harmonygen.models.checkpoints import locate
from harmonygen.models.denoiser import Denoiser
from harmonygen.models.device import Sampling
from harmonygen.seeds import stable_seed
from harmonygen.training.composites import Batch
from harmonygen.training.direct import fmse, new_network, relative_change
from harmonygen.training.observe import save_rows
from harmonygen.training.settings import RefinerTraining
from harmonygen.training.task import Losses

_SHEET_COLUMNS = 8
_DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class FrozenPipeline:
    """Stage 1: the forward denoiser, sampled for a batch of composites, one seed each."""

    def __init__(self, model: Denoiser, sampling: Sampling) -> None:
        self.model, self.sampling = model, sampling

    @torch.no_grad()
    def __call__(self, composite_pm1: Tensor, mask: Tensor, seeds: Sequence[int]) -> Tensor:
        """Harmonize composites (B, 3, H, W) in [-1, 1] by masks (B, 1, H, W); the background is as decoded.

        A result depends on its own composite, mask and seed, and not on the rest of the batch.
        """
        return self._on(composite_pm1.device).pictures(composite_pm1, mask, seeds, self.sampling)

    def _on(self, device: torch.device) -> Denoiser:
        """Return the model on the batch's device: the loop moves only what it trains."""
        if self.model.device != device:
            self.model.to(str(device), self.model.unet.dtype)
        return self.model


class RefinerTask:
    """Full-image MSE between the refined stage-1 output and the real photo."""

    def __init__(self, settings: RefinerTraining) -> None:
        self.settings = settings
        self.pipeline = _pipeline(settings)
        self.side = settings.refiner_resolution or settings.resolution
        self.model = new_network("refiner", settings, self.side)
        self.module: nn.Module = self.model

    def loss(self, module: nn.Module, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Losses]:
        """Refine a batch that stage 1 has harmonized with seeds from ``generator``."""
        seeds = torch.randint(2**62, (len(batch["real"]),), generator=generator).tolist()
        small = self._harmonize(batch, seeds)
        refined = module(small["harmonized"], small["mask"], small["composite"]).float()
        return F.mse_loss(refined, small["real"]), {"stage1": float(F.mse_loss(small["harmonized"], small["real"]))}

    def _harmonize(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        """Add ``harmonized`` to a batch and bring all of it to the refiner's resolution."""
        harmonized = self.pipeline(batch["composite"], batch["mask"], seeds)
        return shrink({**batch, "harmonized": harmonized}, self.side)

    @torch.no_grad()
    def validate(self, batches: list[Batch]) -> Losses:
        """Held-out MSE and fMSE (8-bit squared): refined, stage 1's, and the fMSE of the raw composites.

        ``change`` is that of the fMSE by the refiner, in parts of stage 1's.
        """
        found: dict[str, list[Tensor]] = {}
        for index, batch in enumerate(batches):
            refined, small = self._refine(batch, index)
            real, mask, everywhere = small["real"], small["mask"], torch.ones_like(small["mask"])
            for name, image in (("", refined), ("_stage1", small["harmonized"]), ("_composite", small["composite"])):
                found.setdefault(f"fmse{name}", []).append(fmse(image, real, mask))
                found.setdefault(f"mse{name}", []).append(fmse(image, real, everywhere))
        figures = {name: float(torch.cat(values).mean()) for name, values in found.items()}
        figures["change"] = relative_change(figures["fmse"], figures["fmse_stage1"])
        return {**figures, "n": float(len(torch.cat(found["fmse"])))}

    def _refine(self, batch: Batch, index: int) -> tuple[Tensor, Batch]:
        """Run both stages on held-out batch ``index``, whose seeds are the same at every validation."""
        device = self.model.conv_in.weight.device
        seeds = [stable_seed("validate", index, row) for row in range(len(batch["real"]))]
        small = self._harmonize({name: value.to(device) for name, value in batch.items()}, seeds)
        refined: Tensor = self.model(small["harmonized"], small["mask"], small["composite"])
        return refined, small

    def export(self, folder: Path) -> None:
        """Write the refiner's checkpoint folder in half precision; stage 1 stays where it is."""
        self.model.save_pretrained(folder)

    @torch.no_grad()
    def sheet(self, batches: list[Batch], path: Path) -> None:
        """Rows: composite, stage 1's output, refined, real photo; one column per held-out pair."""
        few = {name: value[:_SHEET_COLUMNS] for name, value in batches[0].items()}
        refined, small = self._refine(few, 0)
        save_rows([small["composite"], small["harmonized"], refined, small["real"]], path)


def shrink(batch: Batch, side: int) -> Batch:
    """Resize square images (B, 3, S, S) to ``side``, bilinear with antialias, and the mask to the nearest pixel."""
    if batch["mask"].shape[-1] == side:
        return batch
    return {
        name: F.interpolate(value, (side, side), mode="nearest-exact")
        if name == "mask"
        else F.interpolate(value, (side, side), mode="bilinear", antialias=True, align_corners=False)
        for name, value in batch.items()
    }


def _pipeline(settings: RefinerTraining) -> FrozenPipeline:
    """Load stage 1, in half precision if the training is.

    Raises:
        CheckpointError: there is none, or it is not a forward model.
        UsageError: its autoencoder cannot take crops of ``resolution``.
    """
    dtype = _DTYPES[settings.mixed_precision]
    model = Denoiser.from_pretrained(locate(settings.pipeline, "forward"), "forward", dtype=dtype)
    if settings.resolution % model.factor:
        raise UsageError(
            f"resolution {settings.resolution} is not a multiple of {model.factor}, the cell of '{settings.pipeline}': "
            f"choose {settings.resolution // model.factor * model.factor}"
        )
    return FrozenPipeline(model, Sampling(settings.sampling_steps, settings.sampler))
