"""Distil a denoiser: a student makes in one step what its teacher makes of the same noise in several.

The teacher is sampled by Euler steps, so that its result is a function of the first noise. The student regresses that
function: it does not average over draws, because the noise that tells them apart is its input. Its parameters start as
the teacher's, its single step is the sampler's own (:meth:`harmonygen.models.denoiser.Denoiser.sample` in one step),
and its checkpoint states ``steps`` 1. Legend: B batch, C = 4 latent channels, h w latent cells.
"""

from __future__ import annotations

import math
from copy import deepcopy
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from harmonygen.models.checkpoints import locate, read_spec, weights_digest
from harmonygen.models.denoiser import Denoiser, DenoiserSpec, clean_latents, draw_noise, sampling_scheduler
from harmonygen.models.device import Sampling
from harmonygen.models.initialise import load_unet
from harmonygen.seeds import stable_seed
from harmonygen.training.composites import Batch, Samples
from harmonygen.training.denoiser import foreground_mean
from harmonygen.training.observe import save_rows
from harmonygen.training.settings import DistillTraining
from harmonygen.training.task import Losses
from harmonygen.training.taught import DrawStore, shrunk, teach

ONE_STEP = Sampling(1, "euler")
_DRAWS = 4  # of each photo that is validated on
_SHEET_COLUMNS, _SHEET_DRAWS = 8, 3
_MOST_SCALED = 1.1


class DistillTask:
    """Squared error between student's and teacher's clean latents of the same noise, weighted to the foreground."""

    def __init__(self, settings: DistillTraining, device: str = "cpu") -> None:
        self.settings = settings
        self._dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(settings.mixed_precision, torch.float32)
        folder = locate(settings.teacher, "inverse")
        direction = read_spec(folder, DenoiserSpec, "denoiser").direction
        self.teacher = Denoiser.from_pretrained(folder, direction, device)
        self.digest = weights_digest(folder)
        self.steps = settings.teacher_steps or max(2, self.teacher.spec.steps)
        unet = load_unet(locate(settings.init, "inverse") / "unet") if settings.init else deepcopy(self.teacher.unet)
        stated = {"sampler": "euler", "steps": 1, "training_data": settings.data}
        spec = self.teacher.spec.model_copy(update=stated)
        self.model = Denoiser(unet, self.teacher.vae, self.teacher.scheduler, self.teacher.null_embedding, spec)
        self.module: nn.Module = unet.float().requires_grad_(True).train()
        self.schedule = sampling_scheduler(self.model.scheduler, "euler", 1, device)
        self.teach = partial(teach, self.teacher, self.steps)
        self.calibration: Batch | None = None
        """Held-out samples by which the exported residual's scale is matched; None leaves it the teacher's."""
        self._held: dict[int, tuple[Batch, Tensor, Tensor]] = {}

    def store(self, samples: Samples) -> DrawStore:
        """Return where the teacher's draws of ``samples`` are kept."""
        return DrawStore(self.settings, samples, [self.digest, f"{self.steps} steps"])

    def loss(self, module: nn.Module, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Losses]:
        """Return the error of a batch of kept draws; of a batch of photos, whose draws are made now."""
        drawn = batch if "goal" in batch else self._drawn(batch, generator)
        squared = (self._one_step(module, drawn) - drawn["goal"]) ** 2
        return foreground_mean(squared, drawn["cells"], self.settings.max_foreground_weight), {}

    def _drawn(self, batch: Batch, generator: torch.Generator) -> Batch:
        sides = (self.settings.resolution, *self.settings.also_at)
        side = sides[int(torch.randint(len(sides), (1,), generator=generator))]
        seeds = torch.randint(2**62, (len(batch["mask"]),), generator=generator).tolist()
        device = batch["mask"].device
        self.move(device)
        return {name: value.to(device) for name, value in self.teach(shrunk(batch, side), seeds).items()}

    def _one_step(self, module: nn.Module, drawn: Batch) -> Tensor:
        """Return what the student's UNet ends at (B, C, h, w): the sampler's single Euler step, with gradients."""
        condition, schedule = drawn["condition"], self.schedule
        shape, share = (1, *condition.shape[1:]), self.model.spec.noise_share
        noises = [draw_noise(shape, torch.Generator().manual_seed(int(s)), share) for s in drawn["seed"]]
        latents = torch.cat(noises).to(condition.device) * schedule.init_noise_sigma
        sigma, timestep = schedule.sigmas[0].to(condition.device), schedule.timesteps[0].to(condition.device)
        seen = torch.cat([latents / (sigma**2 + 1) ** 0.5, drawn["cells"], condition], dim=1)
        prompt = self.model.null_embedding.to(condition.device, torch.float32).expand(len(seen), -1, -1)
        return clean_latents(schedule, module(seen, timestep, prompt).sample.float(), latents, sigma)

    def move(self, device: torch.device) -> None:
        """Bring the frozen parts to the device that the loop moved the student to."""
        if self.teacher.device != device:
            self.teacher.to(str(device), self._dtype)
            self.model.null_embedding = self.teacher.null_embedding

    @torch.no_grad()
    def validate(self, batches: list[Batch]) -> Losses:
        """Compare draws of held-out photos with the teacher's of the same noise, inside the foreground.

        ``error`` is the mean squared error over the variance of the teacher's draws of a photo, and ``spread`` the
        variance of the student's draws of a photo over the teacher's; ``..._cut`` are those of the teacher in one step.
        """
        sums = torch.zeros(5)
        for index, batch in enumerate(batches):
            drawn, goals, cut = self._held_out(index, batch)
            made = torch.stack([self._one_step(self.module, {**drawn, "seed": seeds}) for seeds in drawn["seed"]])
            cells = drawn["cells"]
            errors = [(((each - goals) ** 2) * cells).sum() / len(goals) for each in (made, cut)]
            sums += torch.stack([*errors, *(_variance(each, cells) for each in (made, cut, goals))]).cpu()
        error, error_cut, spread, spread_cut = (sums[:4] / sums[4].clamp(min=1e-12)).tolist()
        return {"error": error, "error_cut": error_cut, "spread": spread, "spread_cut": spread_cut}

    def _held_out(self, index: int, batch: Batch) -> tuple[Batch, Tensor, Tensor]:
        """Return a batch's condition, cells and seeds (K, B), and the teacher's K draws, whole and cut to one step."""
        if index not in self._held:
            seeds = [
                [stable_seed("validate", index, k, row) for row in range(len(batch["mask"]))] for k in range(_DRAWS)
            ]
            taught = [self.teach(batch, row) for row in seeds]
            cut = [teach(self.teacher, 1, batch, row)["goal"] for row in seeds]
            goals, drawn = torch.stack([each["goal"] for each in taught]), {**taught[0], "seed": torch.tensor(seeds)}
            self._held[index] = drawn, goals, torch.stack(cut)
        return self._held[index]

    @torch.no_grad()
    def matched_scale(self) -> float:
        """Return the residual's scale with which draws of :attr:`calibration` are as large as the teacher's.

        A regression falls a little short of what it cannot foresee. A model of latents has no scale: it is left at 1.
        """
        scale = self.model.spec.residual_scale
        if self.model.spec.target != "residual" or self.calibration is None:
            return scale
        sizes = torch.zeros(2)
        for side in (self.settings.resolution, *self.settings.also_at):
            seeds = [stable_seed("calibrate", side, row) for row in range(len(self.calibration["mask"]))]
            drawn = self.teach(shrunk(self.calibration, side), seeds)
            for place, each in enumerate((self._one_step(self.module, drawn), drawn["goal"])):
                sizes[place] += (each**2 * drawn["cells"]).sum().cpu() / drawn["cells"].sum().cpu()
        short = math.sqrt(float(sizes[1] / sizes[0].clamp(min=1e-12)))
        return scale * min(max(short, 1 / _MOST_SCALED), _MOST_SCALED)

    def export(self, folder: Path) -> None:
        """Write the checkpoint folder in half precision; the live modules stay as they were."""
        stated = self.model.spec.model_copy(update={"residual_scale": self.matched_scale()})
        model = Denoiser(self.model.unet, self.model.vae, self.model.scheduler, self.model.null_embedding, stated)
        model.save_pretrained(folder)
        self.model.unet.float()
        nn.Module.to(self.model.vae, dtype=self._dtype)

    @torch.no_grad()
    def sheet(self, batches: list[Batch], path: Path) -> None:
        """Eight photos; below each, three draws of the teacher, then the student's of the same noise."""
        few = {name: value[:_SHEET_COLUMNS].to(self.teacher.device) for name, value in batches[0].items()}
        image, mask = few["real" if self.teacher.spec.direction == "inverse" else "composite"], few["mask"]
        rows = [image]
        for model, sampling in ((self.teacher, Sampling(self.steps, "euler")), (self.model, ONE_STEP)):
            for k in range(_SHEET_DRAWS):
                seeds = [stable_seed("sheet", k, column) for column in range(len(image))]
                rows.append(torch.where(mask > 0, model.pictures(image, mask, seeds, sampling), image))
        save_rows(rows, path)


def _variance(draws: Tensor, cells: Tensor) -> Tensor:
    """Return the sum over photos and foreground cells of the variance between draws (K, B, C, h, w) of a photo."""
    return torch.as_tensor((draws.var(dim=0, unbiased=False) * cells).sum())
