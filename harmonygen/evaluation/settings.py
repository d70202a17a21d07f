"""Settings of `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from harmonygen.harmonization.settings import Method
from harmonygen.settings import HOW, SHOWN, Detail, Fit, Sampler, Settings


class MethodSpec(Settings):
    """One method to evaluate: a folder of predictions, or a model that is run on the fly.

    ``seeds`` runs the model with that many seeds from ``seed`` on, each a row of its own. ``photo_features=false``
    makes a Harmony-VAE decode without what it read from the photo.
    """

    name: str = ""
    predictions: Path | None = None
    match: str = Field("*", description="only files of the folder whose path fits, such as *_harmonized.png")
    model: str | None = None
    method: Method = "diffharmony"
    refine: str | None = None
    photo_features: bool = True
    resolution: int | None = Field(None, ge=32)
    fit: Fit = "native"
    detail: Detail = "transfer"
    draws: int | None = Field(None, ge=1)
    steps: int | None = Field(None, ge=1)
    sampler: Sampler | None = None
    seed: int = Field(0, ge=0)
    seeds: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _one_source(self) -> MethodSpec:
        if (self.predictions is None) == (self.model is None):
            raise ValueError(f"method {self.name!r} needs a folder of predictions or a model: give one of them")
        if self.predictions is not None and self.seeds > 1:
            raise ValueError(f"method {self.name!r} has seeds, which go with a model: name a folder for each seed")
        return self


class PublishedRow(Settings):
    """Published numbers, printed beside ours; ``group`` is ``all``, a subset or a bin. ``std`` is that of ``psnr``."""

    name: str
    group: str = "all"
    psnr: float | None = None
    std: float | None = None
    mse: float | None = None
    fmse: float | None = None
    n: int | None = None
    note: str = ""


class EvaluateSettings(Settings):
    """Everything that `harmonygen evaluate` can be told. ``small`` is what a recipe changes with ``--small``."""

    title: Annotated[str, SHOWN] = ""
    data: str = "sample"
    list_file: str | None = None
    subset: str | None = None
    limit: int | None = Field(None, ge=1)
    out: Annotated[Path, HOW] = Path("outputs/evaluate")
    protocol: Protocol = "paper"
    background: Background = "none"
    compat_floor: bool = False
    resize_predictions: bool = False
    ssim: bool = True
    methods: tuple[MethodSpec, ...] = ()
    published: Annotated[tuple[PublishedRow, ...], SHOWN] = ()
    table: Annotated[Literal["subsets", "bins", "methods", "seeds"], SHOWN] = "subsets"
    resamples: Annotated[int, SHOWN] = Field(10_000, ge=100)
    seed: Annotated[int, SHOWN] = Field(0, ge=0)
    cases: Annotated[int, SHOWN] = Field(6, ge=0, description="worst and best cases of each method on the page")
    sheet: Annotated[int, SHOWN] = Field(0, ge=0, description="rows of a qualitative sheet")
    curve: Annotated[bool, SHOWN] = Field(False, description="draw the foreground ratios")
    beside: Annotated[str | None, SHOWN] = Field(
        None, description="another data set, whose foreground ratios are drawn beside"
    )
    workers: Annotated[int | None, HOW] = Field(None, ge=1)
    shard_size: int | None = Field(None, ge=1)
    device: Annotated[str, HOW] = "auto"
    dtype: str = "auto"
    batch_size: Annotated[str, HOW] = "auto"
    max_pixels: Annotated[int, HOW] = Field(178_956_970, ge=1)
    small: Annotated[dict[str, Any], HOW] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _small_is_valid(self) -> EvaluateSettings:
        if self.small:
            type(self).model_validate({**self.model_dump(exclude={"small"}), **self.small})
        return self


Protocol = Literal["paper", "fullres-fg"]


Background = Literal["none", "composite", "real"]
