"""Settings of `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import model_validator

from harmonygen.harmonization.settings import (
    UNSET_METHOD,
    Draws,
    MethodChoice,
    MethodSettings,
    Refiner,
    SamplerChoice,
    Steps,
    check_method_settings,
)
from harmonygen.settings import (
    HOW,
    LATER,
    MAX_DRAWS,
    MAX_WORKERS,
    SHOWN,
    BatchSize,
    DetailChoice,
    DeviceName,
    DtypeName,
    EnlargeChoice,
    FitChoice,
    MaxPixels,
    PosteriorChoice,
    ReadSettings,
    Resolution,
    Seed,
    Settings,
    Subset,
    setting,
)

Protocol = Literal["paper", "fullres-fg"]
Background = Literal["none", "composite", "real"]

# Fields that `gain` has too
BackgroundChoice = Annotated[Background, setting(..., "Background that is pasted into each result before scoring.")]
Resamples = Annotated[int, setting(..., "Number of bootstrap resamples of each interval.", ge=100)]
Cases = Annotated[int, setting(..., "Number of worst and of best cases of each method on the page.", ge=0)]
SmallForm = Annotated[dict[str, Any], setting(..., "Settings that --small changes.")]


class MethodSpec(Settings):
    """One method to evaluate: a folder of predictions, or a model that is run on the fly."""

    name: str = setting("", "Name of the method in the tables.")
    predictions: Path | None = setting(None, "Folder of predictions.")
    match: str = setting("*", "Read only predictions whose path fits this pattern, such as *_harmonized.png.")
    model: str | None = setting(None, "Checkpoint folder of a model to run, or starter.")
    method: Annotated[
        MethodChoice, setting(..., "With a model: how composites are harmonized.", unset=UNSET_METHOD)
    ] = None
    method_settings: Annotated[MethodSettings, LATER] = {}  # noqa: RUF012
    refine: Annotated[Refiner, setting(..., "With a model: folder of the refiner that runs after it.")] = None
    photo_features: bool = setting(True, "Whether a Harmony-VAE uses the photo's features (false: ablation).")
    resolution: Annotated[Resolution, setting(..., "With a model: short side at which it works, in pixels.")] = None
    fit: FitChoice = "native"
    enlarge: EnlargeChoice = "bicubic"
    detail: DetailChoice = "transfer"
    draws: Annotated[Draws, setting(..., "With a model: number of draws that a result is the mean of.")] = None
    steps: Steps = None
    sampler: SamplerChoice = None
    posterior: PosteriorChoice = None
    seed: Seed = 0
    seeds: int = setting(1, "With a model: number of seeds, each with its own row.", ge=1, le=MAX_DRAWS)

    @model_validator(mode="after")
    def _one_source(self) -> MethodSpec:
        if (self.predictions is None) == (self.model is None):
            raise ValueError(f"method {self.name!r} needs a folder of predictions or a model: give one of them")
        check_method_settings(self.method, self.model or "", self.method_settings)
        if self.predictions is not None and self.seeds > 1:
            raise ValueError(
                f"method {self.name!r} has seeds, but only a model can have seeds: name a folder for each seed"
            )
        return self


class PublishedRow(Settings):
    """Published figures. ``std`` is the standard deviation of ``psnr``."""

    name: str = setting(..., "Name of the method.")
    group: str = setting("all", "Images that the figures are about: all, a subset or a bin.")
    psnr: float | None = setting(None, "PSNR in dB.")
    std: float | None = setting(None, "Standard deviation of the PSNR over seeds, in dB.")
    mse: float | None = setting(None, "Mean squared error, in squared 8-bit units.")
    fmse: float | None = setting(None, "Mean squared error of the foreground, in squared 8-bit units.")
    n: int | None = setting(None, "Number of images.")
    note: str = setting("", "Remark on the row.")


Published = Annotated[tuple[PublishedRow, ...], setting(..., "Published rows to print next to the measured ones.")]


class EvaluateSettings(ReadSettings):
    """Options of `harmonygen evaluate`. ``small`` is what a recipe changes with ``--small``."""

    title: Annotated[str, SHOWN] = setting("", "Title of the page.", unset="by the data")
    data: str = setting("sample", "Composites, masks and photos: an iHarmony4 tree or list, Parquet, a table, a run.")
    list_file: str | None = setting(None, "List of the test composites.", unset="the test list")
    subset: Subset = None
    limit: int | None = setting(None, "Score only N composites, evenly spread by name.", unset="all composites", ge=1)
    out: Annotated[Path, HOW] = setting(Path("outputs/evaluate"), "Folder of the results.")
    protocol: Protocol = setting("paper", "paper scores 256 x 256 pixels, fullres-fg the foreground at full size.")
    background: BackgroundChoice = "none"
    compat_floor: bool = setting(False, "Floor a model's decoded pixels to 8 bits, as the papers' code does.")
    resize_predictions: bool = setting(False, "Accept predictions of any size and resize them.")
    ssim: bool = setting(True, "Compute SSIM, which takes most of the time.")
    methods: tuple[MethodSpec, ...] = setting((), "Methods to evaluate.")
    published: Annotated[Published, SHOWN] = ()
    table: Annotated[Literal["subsets", "bins", "methods", "seeds"], SHOWN] = setting(
        "subsets", "Table that comes first."
    )
    resamples: Annotated[Resamples, SHOWN] = 10_000
    seed: Annotated[Annotated[Seed, setting(..., "Seed of the bootstrap and of the models' draws.")], SHOWN] = 0
    cases: Annotated[Cases, SHOWN] = 6
    sheet: Annotated[int, SHOWN] = setting(0, "Number of rows of the qualitative sheet, sheet.png; 0 draws none.", ge=0)
    curve: Annotated[bool, SHOWN] = setting(False, "Draw the curve of foreground ratios.")
    beside: Annotated[str | None, SHOWN] = setting(
        None, "Another data set, whose foreground ratios are drawn for comparison."
    )
    workers: Annotated[int | None, HOW] = setting(
        None, "Number of processes.", unset="the number of cores; 1 for models", ge=1, le=MAX_WORKERS
    )
    shard_size: int | None = setting(None, "Number of composites per part.", unset="by the number of composites", ge=1)
    device: Annotated[DeviceName, HOW] = "auto"
    dtype: DtypeName = "auto"
    batch_size: Annotated[BatchSize, HOW] = "auto"
    max_pixels: Annotated[MaxPixels, HOW] = 178_956_970
    small: Annotated[SmallForm, HOW] = {}  # noqa: RUF012

    @model_validator(mode="after")
    def _small_is_valid(self) -> EvaluateSettings:
        if self.small:
            type(self).model_validate({**self.model_dump(exclude={"small"}), **self.small})
        return self
