"""What a training run can be told; the names are diffusers' well-known ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from harmonygen.settings import HOW, Sampler, Settings


class CompositeSettings(Settings):
    """How composites are made on the fly: relative weights of the methods, and the LUT's strength."""

    reinhard: float = Field(0.3, ge=0)
    xiao: float = Field(0.15, ge=0)
    fecker: float = Field(0.1, ge=0)
    pitie: float = Field(0.05, ge=0)
    lut: float = Field(0.4, ge=0)
    lut_strength: float = Field(1.0, gt=0)
    min_strength: float = Field(0.4, gt=0, le=1, description="colour transfers are blended in at this share to 1")
    min_fmse: float = Field(50.0, ge=0, description="a weaker change is drawn again, squared 8-bit units")
    max_fmse: float = Field(6000.0, gt=0, description="a stronger change is drawn again")


class TrainSettings(Settings):
    """What every training run has in common."""

    task: ClassVar[str] = ""

    data: Annotated[str, HOW] = "sample"
    layout: Annotated[str | None, HOW] = None
    source: Literal["on-the-fly", "stored"] = Field(
        "on-the-fly", description="composites made from the photos, or those the data set has"
    )
    split_file: Annotated[Path | None, HOW] = Field(None, description="CSV with the columns kind, name and split")
    split: str = "train"
    exclude: tuple[str, ...] = Field((), description="names of photos left out of the split")
    validation_fraction: float = Field(0.05, gt=0, lt=1, description="photos of the split held out, by id")
    validation_samples: Annotated[int, HOW] = Field(256, ge=1)
    output_dir: Annotated[Path, HOW] = Path("outputs/train")
    seed: int = Field(0, ge=0)
    resolution: int = Field(128, ge=32)
    random_flip: bool = True
    crop: Literal["random", "center", "square"] = Field("random", description="square: the whole photo, squeezed")
    crop_scale: float = Field(1.2, ge=1, description="short side before the crop, over resolution")
    photo_memory_gb: Annotated[float, HOW] = Field(
        4.0, ge=0, description="photos that would take more are decoded at each use"
    )
    max_bad_fraction: Annotated[float, HOW] = Field(
        0.01, ge=0, le=1, description="share of photos or composites that may be bad"
    )
    composites: CompositeSettings = CompositeSettings()

    train_batch_size: int = Field(16, ge=1)
    gradient_accumulation_steps: int = Field(1, ge=1)
    max_train_steps: Annotated[int, HOW] = Field(1000, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    lr_scheduler: Literal["constant", "constant_with_warmup", "cosine", "linear"] = "constant_with_warmup"
    lr_warmup_steps: int = Field(0, ge=0)
    lr_warmup_ratio: float = Field(0.0, ge=0, lt=1, description="warm-up as a share of max_train_steps instead")
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_weight_decay: float = 1e-2
    max_grad_norm: float = 1.0
    ema_decay: float = Field(0.999, ge=0, lt=1, description="0 keeps no moving average")
    mixed_precision: Literal["no", "fp16", "bf16"] = "no"
    gradient_checkpointing: Annotated[bool, HOW] = Field(
        False, description="less memory, a third more time, the same losses"
    )
    dataloader_num_workers: Annotated[int, HOW] = Field(0, ge=0)
    checkpointing_steps: Annotated[int, HOW] = Field(500, ge=1)
    checkpoints_total_limit: Annotated[int, HOW] = Field(2, ge=1)
    validation_steps: Annotated[int, HOW] = Field(500, ge=1)
    logging_steps: Annotated[int, HOW] = Field(25, ge=1)
    resume_from_checkpoint: Annotated[str | None, HOW] = None
    overwrite: Annotated[bool, HOW] = Field(
        False, description="start anew in a folder that has checkpoints, and remove them"
    )
    report_to: Annotated[Literal["none", "tensorboard", "wandb"], HOW] = "none"

    @model_validator(mode="after")
    def _one_warm_up(self) -> Self:
        if self.lr_warmup_steps and self.lr_warmup_ratio:
            raise ValueError("lr_warmup_steps and lr_warmup_ratio are two ways to say one thing: give one of them")
        return self

    @property
    def warmup_steps(self) -> int:
        """Optimiser steps of warm-up."""
        return self.lr_warmup_steps or round(self.lr_warmup_ratio * self.max_train_steps)


class AutoencoderTraining(TrainSettings):
    """Train the small starter autoencoder: L1, colour at low resolution, and a light KL term."""

    task: ClassVar[str] = "autoencoder"

    model: dict[str, Any] = Field(default_factory=dict, description="diffusers AutoencoderKL configuration")
    kl_weight: float = Field(1e-6, ge=0)
    colour_weight: float = Field(1.0, ge=0, description="L1 after 8x averaging: the colour of a region")


class HarmonyVaeTraining(TrainSettings):
    """Train a Harmony-VAE from a plain autoencoder (REFERENCE section 4); the defaults are the authors'."""

    task: ClassVar[str] = "harmony-vae"

    vae: str = Field("", description="folder of a plain autoencoder or Harmony-VAE, or of a checkpoint that has vae/")
    direction: Literal["inverse", "forward"] = Field(
        "inverse", description="inverse decodes composites given the real photo, forward real photos given a composite"
    )
    loss: Literal["l1", "l2"] = Field("l1", description="l1 in the authors' code, l2 in the paper (Eq. 2)")
    foreground_weight: float = Field(1.0, ge=1, description="how often a foreground pixel counts")
    train_decoder: bool = Field(True, description="false trains the conditional encoder alone (the ablation)")
    resolution: int = Field(256, ge=32)
    adam_weight_decay: float = 0.0


class DenoiserTraining(TrainSettings):
    """Train a denoiser (REFERENCE section 2); the starter's choices are those of section 10."""

    vae: str = Field("", description="folder of the autoencoder, or of a checkpoint that has vae/; empty: init's")
    init: str = Field(
        "",
        description="a Stable Diffusion folder (9 or 4 channels) or a checkpoint to start from, which states "
        "prediction_type (a checkpoint: target and noise too) unless given here; empty: a new UNet of ``model``",
    )
    null_embedding: str = Field(
        "", description="safetensors file of the empty prompt's embedding; empty: init's, or a zero token without init"
    )
    model: dict[str, Any] = Field(default_factory=dict, description="diffusers UNet2DConditionModel configuration")
    target: Literal["latent", "residual"] = "latent"
    noise: Literal["white", "shared"] = "white"
    noise_share: float = Field(0.0, ge=0, le=1)
    mask_pooling: Literal["nearest", "max"] = "nearest"
    sampler: Annotated[Sampler, HOW] = Field("euler-ancestral", description="what the checkpoint is sampled by")
    steps: Annotated[int, HOW] = Field(
        5, ge=1, description="sampling steps that the checkpoint states; 1 is the mean prediction"
    )
    draws: Annotated[int, HOW] = Field(
        1, ge=1, description="draws that the checkpoint states a harmonized picture is the mean of"
    )
    detail_radius: Annotated[int, HOW] = Field(
        4, ge=1, description="window of the detail transfer, low-resolution pixels"
    )
    prediction_type: Literal["epsilon", "v_prediction"] = "epsilon"
    loss_region: Literal["foreground", "image"] = "foreground"
    max_foreground_weight: float = Field(5.0, ge=1)
    snr_gamma: float = Field(0.0, ge=0, description="min-SNR weighting of the timesteps; 5 is usual, 0 is off")

    @model_validator(mode="after")
    def _share_of_shared_noise(self) -> Self:
        if (self.noise == "shared") != (self.noise_share > 0):
            raise ValueError(
                f"noise is {self.noise!r} but noise_share is {self.noise_share}: shared noise needs a share over 0 "
                "(0.5 for small models), white noise has none"
            )
        return self


class InverseTraining(DenoiserTraining):
    """Real photo in, composite out."""

    task: ClassVar[str] = "inverse"


class ForwardTraining(DenoiserTraining):
    """Composite in, real photo out."""

    task: ClassVar[str] = "forward"


class RefinementTraining(TrainSettings):
    """The network that the refiner and the direct harmonizer share; the defaults are the paper's (REFERENCE 3)."""

    widths: tuple[int, ...] = Field((128, 256, 512, 512), min_length=1, description="channels a block, finest first")
    layers_per_block: int = Field(2, ge=1)
    norm_num_groups: int = Field(32, ge=1)
    attention_head_dim: int = Field(8, ge=1, description="of the mid block, the only one with attention")
    init: str = Field(
        "", description="folder of a checkpoint of the same kind to start from: its widths and layers are taken"
    )
    resolution: int = Field(256, ge=32)


class RefinerTraining(RefinementTraining):
    """Harmonized image, mask and composite in, real photo out; stage 1 is frozen and runs on each batch.

    ``resolution`` is the side of the crops, and stage 1 runs on them as they are.
    """

    task: ClassVar[str] = "refiner"

    pipeline: str = Field("starter", description="checkpoint of the forward denoiser, stage 1")
    sampling_steps: int = Field(5, ge=1)
    sampler: Sampler | None = None
    refiner_resolution: int | None = Field(None, ge=32, description="what stage 1's output is shrunk to first")


class DirectTraining(RefinementTraining):
    """Composite and mask in, real photo out, by plain regression."""

    task: ClassVar[str] = "direct"

    loss: Literal["l1", "l2"] = "l2"
    loss_region: Literal["foreground", "image"] = Field(
        "foreground", description="foreground: the mean over each photo's foreground pixels, as fMSE"
    )


class ClassifierTraining(TrainSettings):
    """Train the harmony classifier (REFERENCE section 5)."""

    task: ClassVar[str] = "classifier"

    depth: str = "resnet50"
    in_channels: Literal[3, 4] = 3
    init: str = Field(
        "", description="starter or a classifier folder to start from; its mask channel is dropped or added"
    )
    imagenet: bool = Field(False, description="start from torchvision's ImageNet weights (needs a network)")
    linear_probe: bool = Field(False, description="train the head alone")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    calibrate: Annotated[bool, HOW] = Field(
        False, description="scale and shift the exported head so that its probabilities fit the held-out photos"
    )


TASKS: dict[str, type[TrainSettings]] = {
    kind.task: kind
    for kind in (
        AutoencoderTraining,
        HarmonyVaeTraining,
        InverseTraining,
        ForwardTraining,
        RefinerTraining,
        DirectTraining,
        ClassifierTraining,
    )
}
