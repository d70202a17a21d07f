"""Train the denoiser, forward or inverse (REFERENCE sections 2 and 10)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from harmonygen.errors import UsageError
from harmonygen.models.checkpoints import STARTER, shipped_folder
from harmonygen.models.denoiser import (
    Denoiser,
    DenoiserSpec,
    draw_noise,
    training_scheduler,
)
from harmonygen.models.harmony_vae import load_autoencoder
from harmonygen.models.initialise import start_denoiser, stated_choices
from harmonygen.seeds import stable_seed
from harmonygen.training.composites import Batch
from harmonygen.training.observe import save_rows
from harmonygen.training.settings import DenoiserTraining
from harmonygen.training.task import Losses

_NOISE = {"noise", "noise_share"}


class DenoiserTask:
    """Noise or velocity MSE, weighted to the foreground; the autoencoder is frozen."""

    def __init__(self, settings: DenoiserTraining, calibration: list[Batch], device: str = "cpu") -> None:
        self.settings = settings = settled(settings)
        vae = (
            load_autoencoder(vae_folder(settings.vae or settings.init, settings.task))
            .to(device)
            .eval()
            .requires_grad_(False)
        )
        start = start_denoiser(settings.init, settings.model, settings.prediction_type, settings.null_embedding)
        spec = DenoiserSpec(
            direction="inverse" if settings.task == "inverse" else "forward",
            target=settings.target,
            noise=settings.noise,
            noise_share=settings.noise_share,
            mask_pooling=settings.mask_pooling,
            detail_radius=settings.detail_radius,
            detail_map=settings.detail_map,
            detail_cell=settings.detail_cell,
            sampler=settings.sampler,
            steps=settings.steps,
            draws=settings.draws,
            posterior=settings.posterior,
            resolution=settings.resolution,
            training_data=settings.data,
        )
        self.model = Denoiser(start.unet, vae, start.scheduler, start.null_embedding.to(device), spec)
        self.schedule = training_scheduler(start.scheduler)
        self.module: nn.Module = start.unet
        if settings.target == "residual":
            scale = self._foreground_std(calibration)
            self.model.spec = spec.model_copy(update={"residual_scale": scale})

    def loss(self, module: nn.Module, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Losses]:
        """Foreground-weighted MSE: ((pred - goal) * m)^2 mean, times clamp(hw / area(m), 1, 5)."""
        settings, device = self.settings, batch["real"].device
        clean, condition, mask = self._latents(batch, generator)
        noise = draw_noise(tuple(clean.shape), generator, settings.noise_share).to(device)
        steps = torch.randint(0, self.schedule.config.num_train_timesteps, (len(clean),), generator=generator).to(
            device
        )
        noisy = self.schedule.add_noise(clean, noise, steps)
        goal = noise if settings.prediction_type == "epsilon" else self.schedule.get_velocity(clean, noise, steps)
        prompt = self.model.null_embedding.to(device).expand(len(clean), -1, -1)
        predicted = module(torch.cat([noisy, mask, condition], dim=1), steps, prompt).sample.float()
        squared = (predicted - goal) ** 2
        if settings.snr_gamma:
            squared = squared * self._snr_weight(steps)[:, None, None, None]
        whole = settings.loss_region == "image"
        return squared.mean() if whole else foreground_mean(squared, mask, settings.max_foreground_weight), {}

    def _snr_weight(self, steps: Tensor) -> Tensor:
        """Return min-SNR weights (B,): they make the loss min(SNR, gamma) times the clean latent's squared error.

        In terms of it, epsilon's squared error counts SNR times and velocity's SNR + 1 times.
        """
        kept = self.schedule.alphas_cumprod.to(steps.device)[steps]
        snr, gamma = kept / (1 - kept), self.settings.snr_gamma
        epsilon = self.settings.prediction_type == "epsilon"
        weight: Tensor = (gamma / snr).clamp(max=1) if epsilon else snr.clamp(max=gamma) / (snr + 1)
        return weight

    def _latents(self, batch: Batch, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the clean target of diffusion, the condition latent and the latent mask."""
        model, inverse = self._on(batch["real"].device), self.model.spec.direction == "inverse"
        source, goal = ("real", "composite") if inverse else ("composite", "real")
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.settings.mixed_precision)
        with torch.autocast(model.device.type, dtype=half or torch.bfloat16, enabled=half is not None):
            condition, target = model.encode(batch[source], generator), model.encode(batch[goal], generator)
        mask = model.latent_mask(batch["mask"])
        if model.spec.target == "residual":
            target = (target - condition) / model.spec.residual_scale * mask
        return target, condition, mask

    def _on(self, device: torch.device) -> Denoiser:
        """Return the model with its frozen parts on ``device``: the loop moves only what it trains."""
        if self.model.vae.device != device:
            nn.Module.to(self.model.vae, device=device)
            self.model.null_embedding = self.model.null_embedding.to(device)
        return self.model

    def _foreground_std(self, batches: list[Batch]) -> float:
        """Standard deviation of the residual inside the foreground, over the calibration batches."""
        values = []
        for batch in batches:
            residual, _, mask = self._latents(batch, None)
            values.append(residual.permute(0, 2, 3, 1)[mask[:, 0] > 0])
        return float(torch.cat(values).std())

    @torch.no_grad()
    def validate(self, batches: list[Batch]) -> Losses:
        """Held-out loss at fixed noise, and the median foreground change (fMSE, 8-bit squared) of samples."""
        losses, changes = [], []
        for index, batch in enumerate(batches):
            generator = torch.Generator("cpu").manual_seed(stable_seed("validate", index))
            moved = {name: value.to(self.model.device) for name, value in batch.items()}
            losses.append(float(self.loss(self.module, moved, generator)[0]))
            if index < 4:
                changes += self._changes(moved)
        return {"loss": sum(losses) / len(losses), "median_fmse": float(torch.tensor(changes).median())}

    def _changes(self, batch: Batch) -> list[float]:
        source = "real" if self.model.spec.direction == "inverse" else "composite"
        drawn = [self._draw(batch, row, [row]) for row in range(min(8, len(batch["real"])))]
        changes = []
        for row, picture in enumerate(drawn):
            mask = batch["mask"][row] > 0
            squared = ((picture[0] - batch[source][row]) * 127.5) ** 2
            changes.append(float(squared.mean(dim=0, keepdim=True)[mask].mean()))
        return changes

    def _draw(self, batch: Batch, row: int, seeds: list[int]) -> Tensor:
        model = self._on(torch.device(self.model.unet.device))
        source = "real" if model.spec.direction == "inverse" else "composite"
        image, mask = (batch[name][row : row + 1].to(model.device) for name in (source, "mask"))
        return torch.where(mask > 0, model.pictures(image, mask, seeds), image)

    def export(self, folder: Path) -> None:
        """Write the checkpoint folder in half precision; the live modules stay as they were."""
        self.model.save_pretrained(folder)
        self.model.unet.float()
        self.model.vae.float()

    @torch.no_grad()
    def sheet(self, batches: list[Batch], path: Path) -> None:
        """Eight pairs: input, the training target, and four samples each, one column per pair."""
        batch = batches[0]
        count = min(8, len(batch["real"]))
        drawn = [self._draw(batch, row, [1, 2, 3, 4]) for row in range(count)]
        rows = [batch["real"][:count], batch["composite"][:count]]
        save_rows([*rows, *(torch.stack([picture[k] for picture in drawn]) for k in range(4))], path)


def foreground_mean(squared: Tensor, mask: Tensor, largest: float) -> Tensor:
    """Return the mean of errors (B, C, h, w) inside masks (B, 1, h, w), each sample times clamp(hw / area, 1, largest).

    >>> foreground_mean(torch.ones(1, 1, 2, 2), torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]), 3.0)
    tensor(0.7500)
    """
    weight = (1 / mask.mean(dim=(1, 2, 3)).clamp(min=1e-6)).clamp(1, largest)
    return torch.as_tensor(((squared * mask).mean(dim=(1, 2, 3)) * weight).mean())


def settled(settings: DenoiserTraining) -> DenoiserTraining:
    """Fill in what the recipe leaves open and ``init`` states: prediction type, target, noise and so on.

    Raises:
        CheckpointError: there is no such folder, or it has no usable scheduler.
    """
    given = set(settings.model_fields_set)
    if given & _NOISE:  # the kind of noise and its share are one choice
        given |= _NOISE
    stated = stated_choices(settings.init)
    return settings.model_copy(update={name: value for name, value in stated.items() if name not in given})


def vae_folder(name: str, direction: str = "inverse") -> Path:
    """Return the folder that holds the autoencoder's config: as given, or its ``vae`` subfolder.

    ``starter`` (or ``starter-fast``) is the starter's of ``direction``, or its inverse model's where it has no other.

    Raises:
        UsageError: there is none.
    """
    part = direction if (STARTER / direction).is_dir() else "inverse"
    root = shipped_folder(name, part) or Path(name)
    for folder in (root / "vae", root):
        if (folder / "config.json").is_file():
            return folder
    raise UsageError(
        f"no autoencoder at '{name}' (no config.json there or in vae/): run 'harmonygen train autoencoder' first"
    )
