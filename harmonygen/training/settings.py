"""Options of `harmonygen train`; the names are diffusers' well-known ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import model_validator

from harmonygen.settings import (
    HOW,
    MAX_SIDE,
    MAX_STEPS,
    MAX_WORKERS,
    DetailMap,
    EnlargeChoice,
    Posterior,
    ReadSettings,
    Sampler,
    SamplingSteps,
    Seed,
    SplitFile,
    setting,
)
from harmonygen.training.pair_settings import ChainSettings as ChainSettings
from harmonygen.training.pair_settings import CompositeSettings as CompositeSettings

# Fields that several models have
Vae = Annotated[str, setting(..., "Folder of the autoencoder, or of a checkpoint that has vae/.", unset="init's")]
Loss = Annotated[Literal["l1", "l2"], setting(..., "Mean absolute error (l1) or mean squared error (l2).")]
LossRegion = Annotated[
    Literal["foreground", "image"],
    setting(..., "Where the loss is taken."),
]
CropSide = Annotated[int, setting(..., "Side of the square crops, in pixels.", ge=32, le=MAX_SIDE)]
WeightDecay = Annotated[float, setting(..., "AdamW weight decay.")]


class TrainSettings(ReadSettings):
    """Options of `harmonygen train` that every model has."""

    task: ClassVar[str] = ""
    judges: ClassVar[bool] = False
    """Whether it learns to tell composites from photos, rather than to make one of the other."""
    measures_change: ClassVar[bool] = False
    """Whether its samples state the colour map from photo to composite."""

    data: Annotated[str, HOW] = setting("sample", "Photos with masks in any input layout: a path, a URL or sample.")
    extra_data: Annotated[tuple[str, ...], HOW] = setting((), "More photos with masks, in any input layout.")
    borrowers: Annotated[str, HOW] = setting(
        "", "Folder of photos without masks, which use masks of other photos.", unset="none"
    )
    source: Literal["on-the-fly", "stored"] = setting("on-the-fly", "Make composites, or use those of the data.")
    split_file: Annotated[SplitFile, HOW] = None
    split: str = setting("train", "Split of the split file to train on.")
    exclude: tuple[str, ...] = setting((), "Name of a photo to leave out.")
    validation_fraction: float = setting(0.05, "Fraction of the photos to hold out for validation, 0 to 1.", gt=0, lt=1)
    validation_samples: Annotated[int, HOW] = setting(256, "Number of held-out samples in each validation.", ge=1)
    output_dir: Annotated[Path, HOW] = setting(Path("outputs/train"), "Folder of the run and its checkpoints.")
    seed: Seed = 0
    resolution: CropSide = 128
    random_flip: bool = setting(True, "Flip photos left to right at random.")
    crop: Literal["random", "center", "square"] = setting("random", "Crop; square squeezes the whole photo.")
    crop_scale: float = setting(1.2, "Short side of a photo before the crop, relative to --resolution.", ge=1)
    enlarge: EnlargeChoice = "bicubic"
    photo_memory_gb: Annotated[float, HOW] = setting(
        4.0, "Memory for decoded photos, in GB; others are decoded at each use.", ge=0
    )
    max_bad_fraction: Annotated[float, HOW] = setting(
        0.01, "Fraction of the inputs that may be bad before the run fails, 0 to 1.", ge=0, le=1
    )
    composites: CompositeSettings = setting(CompositeSettings, "How composites are made on the fly.")
    chain: ChainSettings = setting(ChainSettings, "Random formats that photo and composite both go through.")

    train_batch_size: int = setting(16, "Number of samples per step and process.", ge=1, le=65_536)
    gradient_accumulation_steps: int = setting(1, "Number of batches per optimiser step.", ge=1)
    max_train_steps: Annotated[int, HOW] = setting(1000, "Number of optimiser steps.", ge=1)
    learning_rate: float = setting(1e-4, "AdamW learning rate.", gt=0)
    lr_scheduler: Literal["constant", "constant_with_warmup", "cosine", "linear"] = setting(
        "constant_with_warmup", "Schedule of the learning rate."
    )
    lr_warmup_steps: int = setting(0, "Number of warm-up steps.", ge=0)
    lr_warmup_ratio: float = setting(0.0, "Warm-up given as a share of --max-train-steps, 0 to 1.", ge=0, lt=1)
    adam_beta1: float = setting(0.9, "AdamW beta 1.")
    adam_beta2: float = setting(0.999, "AdamW beta 2.")
    adam_weight_decay: WeightDecay = 1e-2
    max_grad_norm: float = setting(1.0, "Norm to which gradients are clipped.")
    ema_decay: float = setting(0.999, "Decay of the moving average of the weights; 0 keeps none.", ge=0, lt=1)
    mixed_precision: Literal["no", "fp16", "bf16"] = setting("no", "Number type of the forward pass.")
    gradient_checkpointing: Annotated[bool, HOW] = setting(
        False, "Use less memory and a third more time, with the same losses."
    )
    dataloader_num_workers: Annotated[int, HOW] = setting(
        0, "Number of processes that make batches.", ge=0, le=MAX_WORKERS
    )
    checkpointing_steps: Annotated[int, HOW] = setting(500, "Number of steps between checkpoints.", ge=1)
    checkpoints_total_limit: Annotated[int, HOW] = setting(2, "Number of checkpoints to keep.", ge=1)
    validation_steps: Annotated[int, HOW] = setting(500, "Number of steps between validations.", ge=1)
    logging_steps: Annotated[int, HOW] = setting(25, "Number of steps between logged figures.", ge=1)
    resume_from_checkpoint: Annotated[str | None, HOW] = setting(
        None, "Checkpoint to resume from: latest, or its path."
    )
    overwrite: Annotated[bool, HOW] = setting(
        False, "Remove the checkpoints in --output-dir and start from the beginning."
    )
    report_to: Annotated[Literal["none", "tensorboard", "wandb"], HOW] = setting(
        "none", "Tracker that gets the figures."
    )

    @model_validator(mode="after")
    def _one_warm_up(self) -> Self:
        if self.lr_warmup_steps and self.lr_warmup_ratio:
            raise ValueError("lr_warmup_steps and lr_warmup_ratio are two ways to say one thing: give one of them")
        return self

    @model_validator(mode="after")
    def _pairs_that_differ_in_the_background(self) -> Self:
        if not self.judges and (self.composites.grade_real or self.composites.change_background):
            raise ValueError(
                "composites.grade_real and composites.change_background are for judges: photo and composite then "
                "differ in the background, which no harmonizer can mend; leave them 0 (grade_both grades both)"
            )
        return self

    @property
    def warmup_steps(self) -> int:
        """Optimiser steps of warm-up."""
        return self.lr_warmup_steps or round(self.lr_warmup_ratio * self.max_train_steps)


class AutoencoderTraining(TrainSettings):
    """Train the small starter autoencoder: L1, colour at low resolution, and a light KL term."""

    task: ClassVar[str] = "autoencoder"

    model: dict[str, Any] = setting(dict, "Configuration of diffusers' AutoencoderKL.")
    kl_weight: float = setting(1e-6, "Weight of the KL term.", ge=0)
    colour_weight: float = setting(1.0, "Weight of the L1 error after averaging 8 x 8 pixels.", ge=0)


class HarmonyVaeTraining(TrainSettings):
    """Train a Harmony-VAE from a plain autoencoder (REFERENCE section 4); the defaults are the authors'."""

    task: ClassVar[str] = "harmony-vae"

    vae: str = setting(
        "",
        "Folder of a plain autoencoder or Harmony-VAE, or of a checkpoint that has vae/.",
        unset="required",
    )
    direction: Literal["inverse", "forward"] = setting("inverse", "inverse decodes composites, forward real photos.")
    loss: Loss = "l1"  # l1 in the authors' code, l2 in the paper (Eq. 2)
    foreground_weight: float = setting(1.0, "Weight of a foreground pixel against a background pixel.", ge=1)
    posterior: Posterior = setting("mode", "Draw the condition's latent from its posterior, or take its mode.")
    train_decoder: bool = setting(True, "Train the decoder too, not the conditional encoder alone.")
    skip_init: Literal["zero", "random"] = setting("zero", "Initial values of the skips' convolutions.")
    resolution: CropSide = 256
    adam_weight_decay: WeightDecay = 0.0


class LightDecoderTraining(TrainSettings):
    """Distil a light decoder from a Harmony-VAE; encoder and conditional encoder stay as they are."""

    task: ClassVar[str] = "light-decoder"

    vae: str = setting("starter", "Folder of a Harmony-VAE, or of a checkpoint that has one in vae/, or starter.")
    widths: tuple[int, ...] = setting((48, 24), "Channels at latent cells and at patches.", min_length=2, max_length=2)
    blocks: int = setting(1, "Number of residual blocks at cells, and at patches.", ge=1, le=64)
    foreground_weight: float = setting(10.0, "Weight of a foreground pixel against a background pixel.", ge=1)
    adam_weight_decay: WeightDecay = 0.0


class DenoiserTraining(TrainSettings):
    """Train a denoiser (REFERENCE section 2); the starter's choices are those of section 10."""

    vae: Vae = ""
    init: str = setting(
        "",
        "Folder of a Stable Diffusion (9 or 4 channels) or of a checkpoint to start from. It states "
        "prediction_type, and a checkpoint states target and noise too, unless they are given here.",
        unset="a new UNet of the configuration in model",
    )
    null_embedding: str = setting(
        "", "Safetensors file of the empty prompt's embedding.", unset="init's, or a zero token"
    )
    model: dict[str, Any] = setting(dict, "Configuration of diffusers' UNet2DConditionModel.")
    target: Literal["latent", "residual"] = setting("latent", "Denoise latents, or their change from the input's.")
    noise: Literal["white", "shared"] = setting(
        "white", "Noise: white, or shared, which adds a part with one draw per channel."
    )
    noise_share: float = setting(0.0, "Share of the noise variance in that one draw, 0 to 1.", ge=0, le=1)
    mask_pooling: Literal["nearest", "max"] = setting("nearest", "How the mask is shrunk to the latents.")
    sampler: Annotated[Sampler, HOW] = setting("euler-ancestral", "Sampler that the checkpoint states.")
    steps: Annotated[int, HOW] = setting(
        5, "Number of sampling steps that the checkpoint states; 1 is the mean prediction.", ge=1
    )
    draws: Annotated[int, HOW] = setting(
        1, "Number of draws, as the checkpoint states it, that are averaged for a harmonized picture.", ge=1
    )
    posterior: Annotated[Posterior, HOW] = setting(
        "mode", "Part of its input's posterior that the checkpoint states (sample or mode); training always samples."
    )
    detail_radius: Annotated[int, HOW] = setting(4, "Window of the detail transfer, in low-resolution pixels.", ge=1)
    detail_map: Annotated[DetailMap, HOW] = setting(
        "cubic", "Detail transfer: a cubic colour map and an affine field on what it leaves, or the field alone."
    )
    detail_cell: Annotated[int, HOW] = setting(
        1, "Detail transfer: side of the squares whose means are compared; the autoencoder's factor if it blurs.", ge=1
    )
    prediction_type: Literal["epsilon", "v_prediction"] = setting("epsilon", "What the UNet predicts.")
    loss_region: LossRegion = "foreground"
    max_foreground_weight: float = setting(5.0, "Largest weight of a small foreground in the loss.", ge=1)
    snr_gamma: float = setting(0.0, "Min-SNR weight of the timesteps; 5 is usual, 0 turns it off.", ge=0)

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


class DistillTraining(TrainSettings):
    """Train a student that makes in one step what a denoiser makes of the same noise in several."""

    task: ClassVar[str] = "distill"

    teacher: str = setting("starter", "Checkpoint folder of the denoiser that teaches, or starter.")
    teacher_steps: int | None = setting(
        None, "Number of the teacher's Euler steps.", unset="what its checkpoint states", ge=2, le=MAX_STEPS
    )
    teacher_draws: int = setting(
        2000, "Number of the teacher's results to keep and to train on; 0 draws new ones for each batch.", ge=0
    )
    init: str = setting("", "Checkpoint folder of a student to start from.", unset="the teacher")
    also_at: tuple[CropSide, ...] = setting(
        (), "Further side to which crops are shrunk; batches alternate between sides."
    )
    max_foreground_weight: float = setting(5.0, "Largest weight of a small foreground in the loss.", ge=1)

    @model_validator(mode="after")
    def _sides_that_crops_shrink_to(self) -> Self:
        wrong = [side for side in self.also_at if self.resolution % side or side == self.resolution]
        if wrong:
            raise ValueError(
                f"also_at has {wrong[0]}, and crops of resolution {self.resolution} are shrunk by whole numbers: give "
                f"sides such as {self.resolution // 2}"
            )
        return self


class RefinementTraining(TrainSettings):
    """The network that the refiner and the direct harmonizer share; the defaults are the paper's (REFERENCE 3)."""

    widths: tuple[int, ...] = setting(
        (128, 256, 512, 512), "Channels of each block, the finest first.", min_length=1, max_length=16
    )
    layers_per_block: int = setting(2, "Number of layers per block.", ge=1, le=64)
    norm_num_groups: int = setting(32, "Number of groups of the group norms.", ge=1)
    attention_head_dim: int = setting(
        8, "Channels of an attention head of the middle block; 0 is one head over all of them.", ge=0
    )
    downsample_padding: Literal[0, 1] = setting(
        1, "Pixels of padding on every side where blocks shrink; 0 pads only the right and the lower edge."
    )
    norm_eps: float = setting(1e-5, "Epsilon of the group norms.", gt=0, le=1)
    init: str = setting(
        "",
        "Folder of a checkpoint of the same kind to start from.",
        unset="new weights",
    )
    resolution: CropSide = 256


class RefinerTraining(RefinementTraining):
    """Harmonized image, mask and composite in, real photo out; stage 1 is frozen and runs on each batch.

    ``resolution`` is the side of the crops, and stage 1 runs on them as they are.
    """

    task: ClassVar[str] = "refiner"

    pipeline: str = setting("starter", "Checkpoint folder of the forward denoiser, which is stage 1.")
    sampling_steps: SamplingSteps = 5
    sampler: Sampler | None = setting(None, "Sampler of stage 1.", unset="the checkpoint's")
    refiner_resolution: int | None = setting(
        None, "Side to which stage 1's output is shrunk, in pixels.", unset="resolution", ge=32
    )


class DirectTraining(RefinementTraining):
    """Composite and mask in, real photo out, by plain regression."""

    task: ClassVar[str] = "direct"

    loss: Loss = "l2"
    loss_region: LossRegion = "foreground"


class ParametricTraining(TrainSettings):
    """Composite and mask in, the foreground's colour map out."""

    task: ClassVar[str] = "parametric"

    init: str = setting("", "Folder of a parametric checkpoint to start from, or starter.", unset="new weights")
    imagenet: bool = setting(True, "Start from EfficientNet-lite0's ImageNet weights, of the package of [trunk].")
    frozen_blocks: int = setting(8, "Number of the trunk's first blocks that stay as they are; it has 16.", ge=0)
    softness: float = setting(
        500.0, "Foreground MSE that is added to a pair's change before its error is divided by it.", gt=0
    )
    strength: float = setting(1.0, "Share of the map's change that the checkpoint states, up to 1.", gt=0, le=1)
    crop: Literal["random", "center", "square"] = setting("square", "Crop; square squeezes the whole photo.")


class ParametricInverseTraining(TrainSettings):
    """Real photo and mask in, a distribution over the colour maps of its foreground out."""

    task: ClassVar[str] = "parametric-inverse"
    measures_change: ClassVar[bool] = True

    init: str = setting("", "Folder of a parametric-inverse checkpoint to start from, or starter.", unset="new weights")
    components: int = setting(16, "Number of principal components of the data's changes, up to 60.", ge=1, le=60)
    gaussians: int = setting(8, "Number of Gaussians in the mixture over the components.", ge=1)
    prior_samples: int = setting(1024, "Number of training samples that the components are computed from.", ge=2)
    crop: Literal["random", "center", "square"] = setting("square", "Crop; square squeezes the whole photo.")

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        if self.prior_samples <= self.components:
            raise ValueError(
                f"{self.prior_samples} prior_samples cannot tell {self.components} components: give more samples than "
                "components"
            )
        return self


class ClassifierTraining(TrainSettings):
    """Train the harmony classifier (REFERENCE section 5)."""

    task: ClassVar[str] = "classifier"
    judges: ClassVar[bool] = True

    depth: str = setting("resnet50", "Name of torchvision's ResNet, or efficientnet-lite0 for a judge of regions.")
    loss: Literal["cross-entropy", "pairwise"] = setting(
        "cross-entropy", "Loss of each picture alone, or of the order of photo and composite too."
    )
    frozen_blocks: int = setting(3, "Number of the first blocks of an efficientnet-lite0 that stay as they are.", ge=0)
    in_channels: Literal[3, 4] = setting(3, "Number of input channels; the fourth is the mask.")
    init: str = setting("", "Classifier folder to start from, or starter.", unset="new weights")
    imagenet: bool = setting(
        False, "Start from ImageNet weights: torchvision's, which needs a network, or the package of [trunk]."
    )
    linear_probe: bool = setting(False, "Train only the head.")
    label_smoothing: float = setting(0.0, "Label smoothing, 0 to 1.", ge=0, lt=1)
    calibrate: Annotated[bool, HOW] = setting(False, "Scale and shift the exported head to fit the held-out photos.")


TASKS: dict[str, type[TrainSettings]] = {
    kind.task: kind
    for kind in (
        AutoencoderTraining,
        HarmonyVaeTraining,
        LightDecoderTraining,
        InverseTraining,
        ForwardTraining,
        DistillTraining,
        RefinerTraining,
        DirectTraining,
        ParametricTraining,
        ParametricInverseTraining,
        ClassifierTraining,
    )
}
