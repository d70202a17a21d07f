"""The latent diffusion denoiser, forward and inverse, one class from the small starter to Stable Diffusion 1.5.

UNet input (REFERENCE section 2): noisy latent 4 | mask 1 | condition latent 4. Inverse: condition = real, target =
composite. Forward: condition = composite, target = real. The prompt is always empty: one constant embedding, stored
with the checkpoint. Legend: B batch, K candidates, H W pixels, h w latent cells, C = 4 latent channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    UNet2DConditionModel,
)
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from harmonygen.errors import CheckpointError, told
from harmonygen.models.checkpoints import (
    SPEC_NAME,
    load_weights,
    read_json,
    read_spec,
    refuse_not_finite,
    save_module,
    write_spec,
)
from harmonygen.models.compiled import FilledUp, Replayed
from harmonygen.models.constant_prompt import constant_prompt
from harmonygen.models.device import AS_STATED, Sampling
from harmonygen.models.harmony_vae import ConditionFeatures, HarmonyVAE, check_direction, load_autoencoder
from harmonygen.models.vae_card import save_autoencoder
from harmonygen.pictures.detail import Transfer
from harmonygen.settings import MAX_DRAWS, MAX_SIDE, MAX_STEPS, DetailMap, Posterior, Sampler, Settings

Direction = Literal["inverse", "forward"]
UNET_CHANNELS = 9
_SIZES_COMPILED = 64
NULL_EMBEDDING = "null_embedding.safetensors"
_SAMPLERS = {"euler-ancestral": EulerAncestralDiscreteScheduler, "euler": EulerDiscreteScheduler}


_RIDGE_OF_CELLS = 1e-4  # a few hundred cells, each with the decoder's error: a looser map would follow it


class DenoiserSpec(Settings):
    """What a denoiser checkpoint says about itself in ``harmonygen.json``.

    ``target`` ``latent`` predicts the target's latent (the papers); ``residual`` predicts the latent's change from
    the condition, over ``residual_scale``, and its picture is the condition plus the decoded difference (REFERENCE
    section 10). ``detail_radius`` is the detail transfer's window, low-resolution pixels: wide for a decoder whose
    cells show. ``detail_map`` ``cubic`` carries the change by a cubic colour map before that window's affine field; a
    checkpoint that does not state it was made for the field alone. ``detail_cell`` is the side of the squares whose
    means are compared: 8 for a decoder that blurs. ``noise`` ``shared`` gives ``noise_share`` of the
    variance to one draw a channel. ``sampler`` is what it is sampled by: Euler ancestral (the papers), or Euler, which
    keeps more of a shared draw in few steps; ``steps`` is in how many (5 in the papers). One step is the model's mean
    prediction from noise alone. ``draws`` says how many draws a harmonized picture is the mean of. ``posterior``
    ``sample`` gives the model a sample of the condition latent's posterior (the papers), ``mode`` its mode; a residual
    model takes the mode always, because its picture is a difference from the condition's own decoding.
    """

    kind: Literal["denoiser"] = "denoiser"
    format: int = 1
    direction: Direction = "inverse"
    target: Literal["latent", "residual"] = "latent"
    residual_scale: float = Field(1.0, gt=0)
    noise: Literal["white", "shared"] = "white"
    noise_share: float = Field(0.0, ge=0, le=1)
    mask_pooling: Literal["nearest", "max"] = "nearest"
    resolution: int = Field(512, ge=32, le=MAX_SIDE)
    sampler: Sampler = "euler-ancestral"
    steps: int = Field(5, ge=1, le=MAX_STEPS)
    draws: int = Field(1, ge=1, le=MAX_DRAWS)
    posterior: Posterior = "mode"
    detail_radius: int = Field(4, ge=1, le=MAX_SIDE)
    detail_map: DetailMap = "affine"
    detail_cell: int = Field(1, ge=1, le=MAX_SIDE)
    training_data: str = ""

    @property
    def transfer(self) -> Transfer:
        """How a generated change is carried to the photo's full size."""
        if self.detail_map == "affine":
            return replace(Transfer.affine(self.detail_radius), cell=self.detail_cell)
        if self.detail_cell == 1:
            return Transfer(self.detail_radius)
        return Transfer(self.detail_radius, cubic_ridge=_RIDGE_OF_CELLS, cell=self.detail_cell)


class NoiseNet(nn.Module):
    """The UNet with the empty prompt that it always has."""

    def __init__(self, unet: UNet2DConditionModel, null_embedding: Tensor) -> None:
        super().__init__()
        self.unet, self.null_embedding = unet, null_embedding

    def forward(self, unet_input: Tensor, timestep: Tensor) -> Tensor:
        """Map latents, mask and condition (B, 9, h, w) at a timestep () to the prediction (B, 4, h, w)."""
        prompt = self.null_embedding.expand(unet_input.shape[0], -1, -1)
        predicted: Tensor = self.unet(unet_input.to(self.unet.dtype), timestep, prompt, return_dict=False)[0]
        return predicted


class Denoiser:
    """UNet, autoencoder, scheduler and the empty prompt's embedding, with what they were trained for."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL | HarmonyVAE,
        scheduler: EulerAncestralDiscreteScheduler,
        null_embedding: Tensor,
        spec: DenoiserSpec,
    ) -> None:
        if unet.config.in_channels != UNET_CHANNELS:
            raise CheckpointError(
                f"the UNet takes {unet.config.in_channels} channels, {UNET_CHANNELS} are needed "
                "(latent 4, mask 1, condition 4): use an inpainting UNet"
            )
        width = unet.config.cross_attention_dim
        if null_embedding.shape[-1] != width:
            raise CheckpointError(
                f"the empty prompt's embedding is {null_embedding.shape[-1]} wide, the UNet takes {width}: "
                "take both from the same model"
            )
        check_direction(vae, spec.direction)
        self.unet, self.vae, self.scheduler, self.spec = unet, vae, scheduler, spec
        self.null_embedding = null_embedding
        self.network: Callable[[Tensor, Tensor], Tensor] | None = None
        """What computes the UNet in its place, compiled or by another runtime: as :class:`NoiseNet` does."""

    @classmethod
    def from_pretrained(
        cls, folder: Path, direction: Direction = "inverse", device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Denoiser:
        """Load a diffusers-format folder (``unet/ vae/ scheduler/ harmonygen.json``).

        A plain Stable Diffusion folder has no ``harmonygen.json``: training starts from it (``initialise``), or
        ``harmonygen import-weights`` gives it one.

        Raises:
            CheckpointError: of another kind or direction, incomplete, or with other channels.
        """
        if not (folder / SPEC_NAME).is_file():
            raise CheckpointError(
                f"'{folder}' has no {SPEC_NAME}, so its direction is not known: "
                f"train one with 'harmonygen train {direction}', or bring weights in with 'harmonygen import-weights'"
            )
        spec = read_spec(folder, DenoiserSpec, "denoiser")
        if spec.direction != direction:
            needed = {"inverse": "an inverse", "forward": "a forward"}[direction]
            raise CheckpointError(
                f"checkpoint '{folder}' is a {spec.direction} model, {needed} one is needed: choose another folder"
            )
        parts = load_parts(folder)
        model = cls(*parts, load_weights(folder / NULL_EMBEDDING)["null_embedding"].float(), spec)
        return model.to(device, dtype)

    def to(self, device: str, dtype: torch.dtype) -> Denoiser:
        """Move all parts, set them to evaluation and freeze them; return self."""
        for module in (self.unet, self.vae):
            # nn.Module's: diffusers' own .to warns of what is not so here
            nn.Module.to(nn.Module.to(module, device=device, dtype=dtype), memory_format=torch.channels_last)
            module.eval().requires_grad_(False)
        self.null_embedding = self.null_embedding.to(device=device, dtype=dtype)
        return self

    def compile(self, backend: str | Callable[..., Any] = "inductor", graphs: bool | None = None) -> Denoiser:
        """Have torch compile the UNet, once for each size of latents (minutes); return self.

        A batch smaller than the largest so far is filled up to it (:class:`harmonygen.models.compiled.FilledUp`).
        ``graphs`` says whether its kernels are replayed as CUDA graphs where they can be; None: on a GPU.
        """
        settings: Any = torch._dynamo.config
        settings.recompile_limit = max(settings.recompile_limit, _SIZES_COMPILED)
        self.unet.compile(backend=backend, dynamic=False)
        net = NoiseNet(self.unet, self.null_embedding)
        replays = self.device.type == "cuda" if graphs is None else graphs
        self.network = FilledUp(Replayed(net) if replays else net)  # no constant_prompt: its layers are made anew
        return self

    def save_pretrained(self, folder: Path, dtype: torch.dtype = torch.float16) -> None:
        """Write the checkpoint folder, weights in ``dtype`` as safetensors (the live modules are left in it)."""
        folder.mkdir(parents=True, exist_ok=True)
        save_module(nn.Module.to(self.unet, dtype=dtype), folder / "unet")
        save_autoencoder(nn.Module.to(self.vae, dtype=dtype), folder / "vae")
        self.scheduler.save_pretrained(folder / "scheduler")
        save_file({"null_embedding": self.null_embedding.to("cpu", dtype).contiguous()}, folder / NULL_EMBEDDING)
        write_spec(folder, self.spec)

    @property
    def device(self) -> torch.device:
        """Where the UNet lives."""
        return torch.device(self.unet.device)

    @property
    def factor(self) -> int:
        """Pixels a latent cell, along one side (8 for Stable Diffusion)."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def multiple(self) -> int:
        """What image sides must be a multiple of: the VAE's factor times the UNet's."""
        return self.factor * int(2 ** (len(self.unet.config.block_out_channels) - 1))

    @torch.no_grad()
    def encode(self, image_pm1: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Encode images (B, 3, H, W) in [-1, 1] to scaled latents (B, 4, h, w) float32.

        With a generator the posterior is sampled (training, REFERENCE section 2); without, its mode is taken.
        """
        posterior = self.vae.encode(image_pm1.to(self.device, self.vae.dtype)).latent_dist
        latents = posterior.sample(generator) if generator is not None else posterior.mode()
        scaled: Tensor = latents.float() * self._scale
        return scaled

    @torch.no_grad()
    def condition(self, image_pm1: Tensor, sampling: Sampling = AS_STATED) -> tuple[Tensor, Tensor | None]:
        """Encode condition images (B, 3, H, W) in [-1, 1] for :meth:`sample`.

        Returns:
            The mode of their posterior, scaled latents (B, 4, h, w) float32, and its standard deviation, if draws are
            to take samples of it.
        """
        posterior, scale = self.vae.encode(image_pm1.to(self.device, self.vae.dtype)).latent_dist, self._scale
        sampled = self._samples(self.spec.posterior, sampling)
        return posterior.mode().float() * scale, posterior.std.float() * scale if sampled else None

    @property
    def _scale(self) -> float:
        return float(self.vae.config.scaling_factor)

    def _samples(self, stated: Posterior, sampling: Sampling) -> bool:
        """Return whether a posterior is sampled whose checkpoint states ``stated``."""
        return self.spec.target == "latent" and (sampling.posterior or stated) == "sample"

    @torch.no_grad()
    def features(self, image_pm1: Tensor, mask: Tensor) -> ConditionFeatures | None:
        """Read the condition image (1, 3, H, W) in [-1, 1] and its mask (1, 1, H, W) of 0 and 1, once per photo.

        Every decoding of the photo's latents needs them with a Harmony-VAE; with a plain one there are none.
        """
        if not isinstance(self.vae, HarmonyVAE):
            return None
        dtype = self.vae.dtype
        found: ConditionFeatures = self.vae.features(image_pm1.to(self.device, dtype), mask.to(self.device, dtype))
        return found

    @torch.no_grad()
    def drawn_features(
        self, features: ConditionFeatures | None, generators: Sequence[torch.Generator], sampling: Sampling = AS_STATED
    ) -> ConditionFeatures | None:
        """Return the features that each draw is decoded with: with a sample of the condition's posterior, if so asked.

        Args:
            features: of one photo, or of as many as there are generators; None with a plain autoencoder.
            generators: those that the draws were sampled with: the noise is what follows in them.
            sampling: ``posterior``; what is not given is what the Harmony-VAE states.
        """
        if features is None or not self._samples(self.vae.config.posterior, sampling):
            return features
        shape = (1, *features.latent.shape[1:])
        noise = torch.cat([torch.randn(shape, generator=generator) for generator in generators])
        drawn: ConditionFeatures = self.vae.with_noise(features, noise.to(features.std.device, features.std.dtype))
        return drawn

    @torch.no_grad()
    def decode(self, latents: Tensor, features: ConditionFeatures | None = None) -> Tensor:
        """Decode scaled latents (B, 4, h, w) to images (B, 3, H, W), about [-1, 1], float32.

        Raises:
            ValueError: a Harmony-VAE is not given the photo's :meth:`features`.
        """
        vae: Any = self.vae
        unscaled = (latents / vae.config.scaling_factor).to(vae.dtype)
        if isinstance(vae, HarmonyVAE) and features is None:
            raise ValueError("a Harmony-VAE decodes with its photo's features: give those of Denoiser.features")
        image: Tensor = vae.decode(unscaled, features) if features else vae.decode(unscaled).sample
        return image.float()

    def latent_mask(self, mask: Tensor) -> Tensor:
        """Reduce a mask (B, 1, H, W) of 0 and 1 to latent cells (B, 1, h, w), binary."""
        return pool_mask(mask, self.factor, self.spec.mask_pooling)

    @torch.no_grad()
    def sample(
        self,
        condition: Tensor,
        mask: Tensor,
        seeds: Sequence[int | torch.Generator],
        sampling: Sampling = AS_STATED,
        spread: Tensor | None = None,
    ) -> Tensor:
        """Draw one target latent for each seed, given one condition.

        A generator gives its noise in the order of the papers' code: the first noise, the condition's, each step's.

        Args:
            condition: scaled latent (1 or B, 4, h, w) of the condition image.
            mask: latent mask (1 or B, 1, h, w).
            seeds: B seeds; each candidate's noise comes from its own CPU generator, whatever the batch. A generator in
                place of a seed is drawn from as it is.
            sampling: steps (guidance 1) and sampler: ``euler-ancestral`` (the papers), or ``euler`` from the same first
                noise with none added later.
            spread: the standard deviation of the condition's posterior, as :meth:`condition` gives it: each draw then
                has its own sample of the condition.

        Returns:
            Scaled latents (B, 4, h, w), float32, of the target (also where the model predicts a residual).
        """
        generators = generators_of(seeds)
        sampler = sampling.sampler or self.spec.sampler
        scheduler = sampling_scheduler(self.scheduler, sampler, sampling.steps or self.spec.steps, self.device)
        batch, shape = len(seeds), tuple(condition.shape[1:])
        noise = torch.cat([draw_noise((1, *shape), g, self.spec.noise_share) for g in generators])
        latents = noise.to(self.device) * scheduler.init_noise_sigma
        if spread is not None:
            drawn = torch.cat([torch.randn((1, *shape), generator=g) for g in generators])
            condition = condition + spread * drawn.to(spread.device)
        fixed = torch.cat([part.to(self.device).expand(batch, -1, -1, -1) for part in (mask, condition)], dim=1)
        with self._predicting() as predict:
            for timestep in scheduler.timesteps:
                unet_input = torch.cat([scheduler.scale_model_input(latents, timestep), fixed], dim=1)
                predicted = predict(unet_input, timestep.float()).float()
                if sampler == "euler-ancestral" and self.spec.noise_share:
                    added = torch.cat([draw_noise((1, *shape), g, self.spec.noise_share) for g in generators])
                    latents = ancestral_step(scheduler, predicted, timestep, latents, added.to(self.device))
                else:
                    latents = scheduler.step(predicted, timestep, latents, generator=generators).prev_sample
        if self.spec.target == "residual":
            latents = condition + latents * self.spec.residual_scale * mask
        sampled: Tensor = latents
        return sampled

    @contextmanager
    def _predicting(self) -> Iterator[Callable[[Tensor, Tensor], Tensor]]:
        """Give what computes the UNet for the steps of some draws."""
        if self.network is not None:
            yield self.network
            return
        with constant_prompt(self.unet):
            yield NoiseNet(self.unet, self.null_embedding)

    @torch.no_grad()
    def pictures(self, image_pm1: Tensor, mask: Tensor, seeds: Sequence[int], sampling: Sampling = AS_STATED) -> Tensor:
        """Draw one picture (B, 3, H, W) in [-1, 1] for each of B seeds; the background is as decoded.

        Args:
            image_pm1: condition images (1 or B, 3, H, W) in [-1, 1].
            mask: their masks (1 or B, 1, H, W) of 0 and 1.
            seeds: a draw depends on its own condition and seed, and not on the rest of the batch.
            sampling: how the model is sampled.
        """
        condition, spread = self.condition(image_pm1, sampling)
        features, generators = self.features(image_pm1, mask), generators_of(seeds)
        decoded = self.decode(condition, features) if self.spec.target == "residual" else condition
        latents = self.sample(condition, self.latent_mask(mask), generators, sampling, spread)
        return self.picture(latents, condition, decoded, image_pm1, self.drawn_features(features, generators, sampling))

    def picture(
        self,
        latents: Tensor,
        condition: Tensor,
        decoded_condition: Tensor,
        image_pm1: Tensor,
        features: ConditionFeatures | None = None,
    ) -> Tensor:
        """Decode target latents (B, 4, h, w) to images (B, 3, H, W) in [-1, 1].

        A residual model adds the decoded *difference* to the condition image, so that the autoencoder's own error
        cancels; ``decoded_condition`` is D(condition), with the same ``features``, computed once per photo.
        """
        decoded = self.decode(latents, features)
        if self.spec.target == "residual":
            decoded = image_pm1 + (decoded - decoded_condition)
        return torch.clamp(decoded, -1, 1)


def generators_of(seeds: Sequence[int | torch.Generator]) -> list[torch.Generator]:
    """Return a CPU generator for each seed; what is a generator already stays as it is."""
    return [seed if isinstance(seed, torch.Generator) else torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def load_parts(
    folder: Path,
) -> tuple[UNet2DConditionModel, AutoencoderKL | HarmonyVAE, EulerAncestralDiscreteScheduler]:
    """Load UNet, VAE and scheduler of a diffusers-format folder from safetensors.

    Raises:
        CheckpointError: a part is missing or damaged.
    """
    read_json(folder / "unet" / "config.json")
    vae = load_autoencoder(folder / "vae")
    try:
        unet = UNet2DConditionModel.from_pretrained(folder / "unet", use_safetensors=True)
        config = EulerAncestralDiscreteScheduler.load_config(folder / "scheduler")
        refuse_not_finite(unet.state_dict(), folder / "unet")
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint '{folder}' cannot be loaded ({told(error)}): copy it again") from error
    return unet, vae, EulerAncestralDiscreteScheduler.from_config(config, timestep_spacing="linspace")


def new_scheduler(prediction_type: str) -> EulerAncestralDiscreteScheduler:
    """Return Stable Diffusion's noise schedule with linspace spacing (REFERENCE section 2)."""
    return EulerAncestralDiscreteScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction_type,
        timestep_spacing="linspace",
    )


def sampling_scheduler(
    scheduler: EulerAncestralDiscreteScheduler, sampler: Sampler, steps: int, device: torch.device | str
) -> Any:
    """Return the sampler, its timesteps set; a single step starts from noise, where linspace would give t = 0."""
    changes = {"timestep_spacing": "trailing"} if steps == 1 else {}
    chosen = _SAMPLERS[sampler].from_config(scheduler.config, **changes)
    chosen.set_timesteps(steps, device=device)
    return chosen


def training_scheduler(scheduler: EulerAncestralDiscreteScheduler) -> DDPMScheduler:
    """Return the DDPM form of a sampler's schedule: it adds noise and gives the velocity in training."""
    return DDPMScheduler.from_config(scheduler.config)


def ancestral_step(
    scheduler: EulerAncestralDiscreteScheduler, predicted: Tensor, timestep: Tensor, latents: Tensor, noise: Tensor
) -> Tensor:
    """Take one Euler ancestral step with ``noise`` (B, C, h, w) of our own, of the kind the model was trained on.

    diffusers' own step adds white noise, which a model of shared noise takes for the picture. The timesteps, the
    sigmas and the arithmetic are the scheduler's; with white noise the result is its own.
    """
    index = int((scheduler.timesteps == timestep).nonzero()[0])
    sigma, following = scheduler.sigmas[index], scheduler.sigmas[index + 1]
    up = (following**2 * (sigma**2 - following**2) / sigma**2) ** 0.5
    down = (following**2 - up**2) ** 0.5
    clean = clean_latents(scheduler, predicted, latents, sigma)
    stepped: Tensor = latents + (latents - clean) / sigma * (down - sigma) + noise * up
    return stepped


def clean_latents(scheduler: Any, predicted: Tensor, latents: Tensor, sigma: Tensor) -> Tensor:
    """Return the clean latents (B, C, h, w) that a prediction at noise level ``sigma`` means.

    ``latents`` are the sampler's own: clean ones plus ``sigma`` times the noise. An Euler step to 0 ends there.
    """
    if scheduler.config.prediction_type == "epsilon":
        return latents - sigma * predicted
    return torch.as_tensor(predicted * (-sigma / (sigma**2 + 1) ** 0.5) + latents / (sigma**2 + 1))


def draw_noise(shape: tuple[int, ...], generator: torch.Generator, share: float) -> Tensor:
    """Draw unit-variance noise (B, C, h, w) on the CPU; ``share`` of its variance is one value a channel.

    Harmonization moves a whole foreground together: noise that does so too lets few steps follow (REFERENCE 10).
    """
    white: Tensor = torch.randn(shape, generator=generator)
    if share == 0:
        return white
    common = torch.randn((*shape[:-2], 1, 1), generator=generator)
    mixed: Tensor = share**0.5 * common + (1 - share) ** 0.5 * white
    return mixed


def pool_mask(mask: Tensor, factor: int, pooling: str) -> Tensor:
    """Reduce a mask (B, 1, H, W) by ``factor``: ``nearest`` as the papers do, or ``max`` (any pixel counts).

    A foreground so small that ``nearest`` loses it is kept by ``max``.
    """
    binary = (mask >= 0.5).float()
    largest = F.max_pool2d(binary, factor)
    if pooling == "max":
        return torch.as_tensor(largest)
    nearest = F.interpolate(binary, scale_factor=1 / factor, mode="nearest")
    lost = nearest.flatten(1).sum(1) == 0
    return torch.where(lost[:, None, None, None], largest, nearest)


def small_unet(config: dict[str, Any]) -> UNet2DConditionModel:
    """Build a 9-channel UNet from diffusers' own configuration names."""
    return UNet2DConditionModel(**{"in_channels": UNET_CHANNELS, "out_channels": 4, **config})
