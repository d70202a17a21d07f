"""Settings of `gain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from harmonygen import recipes
from harmonygen.evaluation.settings import Background, PublishedRow
from harmonygen.settings import HOW, SHOWN, Rule, Settings
from harmonygen.synthesis.settings import CandidateSettings, GateSettings


class OriginalGates(GateSettings):
    """Gates for composites as strong as iHarmony4's; one that is given leaves the others as they stand here."""

    min_fmse: float = Field(50.0, ge=0)
    max_fmse: float = Field(3000.0, ge=0)


class OriginalCompositeSettings(CandidateSettings):
    """How `gain` makes the composites of photos that have none: colour transfer, as iHarmony4's were made.

    The gates bring their foreground change to that of iHarmony4, whose mean fMSE is 1376 (REFERENCE section 7).
    """

    k: int = Field(16, ge=1)
    generator: Literal["diffusion", "color-transfer", "color-jitter", "lut"] = "color-transfer"
    references: Literal["all", "subset"] = "subset"
    rule: Rule = "random"
    gates: OriginalGates = OriginalGates()


class GainSettings(Settings):
    """Everything that `harmonygen gain` can be told. ``small`` is what a recipe changes with ``--small``.

    ``originals`` is for data without composites, ``candidates`` for what augments them, ``train`` lies over the
    settings of ``train_recipe``.
    """

    title: Annotated[str, SHOWN] = ""
    data: str = "sample"
    layout: str | None = None
    list_file: str | None = None
    test_list: str | None = None
    subset: str | None = None
    split_file: Path | None = None
    split: str = "study"
    out: Annotated[Path, HOW] = Path("outputs/gain")
    base_photos: int = Field(110, ge=1)
    test_photos: int = Field(100, ge=1)
    per_photo: int = Field(4, ge=1, description="composites of a pair, where the data have none")
    originals: OriginalCompositeSettings = OriginalCompositeSettings()
    candidates: CandidateSettings = CandidateSettings()
    leak_guard: Literal["hash", "ids"] = "hash"
    rule: Rule = Field("random", description="which candidates the gamma arms take; random is the paper's")
    gammas: Annotated[tuple[float, ...], SHOWN] = (1.0,)
    controls: Annotated[tuple[Literal["jitter", "color-transfer", "duplicates"], ...], SHOWN] = (
        "jitter",
        "color-transfer",
        "duplicates",
    )
    rules: Annotated[tuple[Rule, ...], SHOWN] = Field((), description="curation study: an arm each, at gamma 1")
    extra: Annotated[tuple[Literal["inverse", "jitter", "color-transfer"], ...], SHOWN] = Field(
        (), description="composites of photos that the base set does not have, an arm each way of making them"
    )
    extra_gammas: Annotated[tuple[float, ...], SHOWN] = Field(
        (1.0,), description="composites that the extra arms add, over the base's"
    )
    extra_data: str | None = Field(None, description="photos with masks; those that --data leaves over if not given")
    extra_photos: int = Field(0, ge=0, description="so many of them; 0: all")
    arms: Annotated[tuple[str, ...], SHOWN] = Field((), description="run these arms alone (and base)")
    arch: Literal["direct", "diffusion"] = "direct"
    train_recipe: str | None = Field(None, description="starter/direct or starter/forward if not given")
    train: dict[str, Any] = Field(default_factory=dict)
    steps: int = Field(300, ge=1)
    seed: int = Field(0, ge=0)
    seeds: Annotated[int, SHOWN] = Field(3, ge=1)
    resolution: int = Field(128, ge=32)
    sampling_steps: int = Field(5, ge=1)
    draws: int = Field(1, ge=1)
    background: Background = "none"
    resamples: Annotated[int, SHOWN] = Field(10_000, ge=100)
    curve_points: int = Field(6, ge=1)
    curve_images: int = Field(100, ge=1)
    cases: Annotated[int, SHOWN] = Field(6, ge=0)
    published: Annotated[tuple[PublishedRow, ...], SHOWN] = ()
    workers: Annotated[int, HOW] = Field(1, ge=1)
    device: Annotated[str, HOW] = "auto"
    small: Annotated[dict[str, Any], HOW] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _small_is_valid(self) -> GainSettings:
        if self.small:
            type(self).model_validate(recipes.merge(self.model_dump(exclude={"small"}), self.small))
        return self
