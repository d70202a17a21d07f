"""Settings of `gain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import model_validator

from harmonygen import recipes
from harmonygen.evaluation.settings import BackgroundChoice, Cases, Published, Resamples, SmallForm
from harmonygen.settings import (
    HOW,
    LATER,
    MAX_DRAWS,
    MAX_SIDE,
    MAX_WORKERS,
    SHOWN,
    DetailChoice,
    DeviceName,
    EnlargeChoice,
    FitChoice,
    LayoutChoice,
    LeakGuard,
    PosteriorChoice,
    ReadSettings,
    Rule,
    SamplingSteps,
    Seed,
    SplitFile,
    Subset,
    setting,
)
from harmonygen.synthesis.settings import CandidateSettings, GateSettings, Generator, References, RuleChoice


class OriginalGates(GateSettings):
    """Gates for composites as strong as iHarmony4's; one that is given leaves the others as they stand here."""

    min_fmse: float = setting(50.0, "Gate: smallest foreground change, in squared 8-bit units.", ge=0)
    max_fmse: float = setting(3000.0, "Gate: largest foreground change, in squared 8-bit units.", ge=0)


class OriginalCompositeSettings(CandidateSettings):
    """How `gain` makes the composites of photos that have none: colour transfer, as iHarmony4's were made.

    The gates bring their foreground change to that of iHarmony4, whose mean fMSE is 1376 (REFERENCE section 7).
    """

    k: int = setting(16, "Number of candidates per pair.", ge=1, le=MAX_DRAWS)
    generator: Generator = "color-transfer"
    references: References = "subset"
    rule: RuleChoice = "random"
    gates: OriginalGates = setting(OriginalGates, "Limits that a candidate has to keep.")


class GainSettings(ReadSettings):
    """Options of `harmonygen gain`. ``small`` is what a recipe changes with ``--small``."""

    title: Annotated[str, SHOWN] = setting("", "Title of the page.", unset="by the data")
    data: str = setting("sample", "Photos with masks in any input layout, or an iHarmony4 tree.")
    layout: LayoutChoice = None
    list_file: str | None = setting(None, "iHarmony4 list of the training composites.", unset="the tree's own")
    test_list: str | None = setting(None, "iHarmony4 list of the test composites.", unset="the tree's own")
    subset: Subset = None
    split_file: SplitFile = None
    split: str = setting("study", "Split of the split file that the photos are taken from.")
    out: Annotated[Path, HOW] = setting(Path("outputs/gain"), "Folder of the study.")
    base_photos: int = setting(110, "Number of photos in the base set.", ge=1)
    test_photos: int = setting(100, "Number of photos in the test set.", ge=1)
    per_photo: int = setting(4, "Number of composites per pair, where the data have none.", ge=1)
    originals: OriginalCompositeSettings = setting(OriginalCompositeSettings, "How missing composites are made.")
    candidates: CandidateSettings = setting(CandidateSettings, "How the candidates that augment the base set are made.")
    leak_guard: LeakGuard = "hash"
    rule: Rule = setting("random", "Rule that the gamma arms select by; random is the paper's.")
    gammas: Annotated[tuple[float, ...], SHOWN] = setting((1.0,), "Blending ratios, an arm for each.")
    controls: Annotated[tuple[Literal["jitter", "color-transfer", "duplicates"], ...], SHOWN] = setting(
        ("jitter", "color-transfer", "duplicates"), "Names of the control arms, or none."
    )
    rules: Annotated[tuple[Rule, ...], SHOWN] = setting((), "Rules of the curation study, an arm for each at gamma 1.")
    extra: Annotated[tuple[Literal["inverse", "jitter", "color-transfer"], ...], SHOWN] = setting(
        (), "Ways to make composites of extra photos, an arm for each."
    )
    extra_gammas: Annotated[tuple[float, ...], SHOWN] = setting(
        (1.0,), "Number of composites that the extra arms add, relative to the base set."
    )
    extra_data: str | None = setting(
        None, "Photos with masks for the extra arms.", unset="photos that --data leaves over"
    )
    extra_photos: int = setting(0, "Number of extra photos; 0 means all.", ge=0)
    arms: Annotated[tuple[str, ...], SHOWN] = setting((), "Run only these arms, and base.", unset="all arms")
    arch: Literal["direct", "parametric", "diffusion"] = setting("direct", "Architecture of the trained harmonizer.")
    train_recipe: str | None = setting(None, "Recipe of the trainings.", unset="the starter's recipe for --arch")
    train: dict[str, Any] = setting(dict, "Settings that replace those of the train recipe.")
    steps: int = setting(300, "Number of optimiser steps of each training.", ge=1)
    seed: Seed = 0
    seeds: Annotated[int, SHOWN] = setting(
        3, "Number of trainings of each arm, with the seeds from --seed on.", ge=1, le=MAX_DRAWS
    )
    resolution: int = setting(128, "Side of the training crops, in pixels.", ge=32, le=MAX_SIDE)
    sampling_steps: SamplingSteps = 5
    draws: int = setting(1, "Number of random draws that a scored picture is the mean of.", ge=1, le=MAX_DRAWS)
    fit: Annotated[FitChoice, LATER] = "native"
    enlarge: Annotated[EnlargeChoice, LATER] = "bicubic"
    detail: Annotated[DetailChoice, LATER] = "transfer"
    posterior: Annotated[PosteriorChoice, LATER] = None
    background: BackgroundChoice = "none"
    resamples: Annotated[Resamples, SHOWN] = 10_000
    curve_points: int = setting(6, "Number of points on each learning curve.", ge=1)
    curve_images: int = setting(100, "Number of test composites behind each learning curve.", ge=1)
    cases: Annotated[Cases, SHOWN] = 6
    published: Annotated[Published, SHOWN] = ()
    workers: Annotated[int, HOW] = setting(
        1, "Number of trainings at a time, each with one thread if there are several.", ge=1, le=MAX_WORKERS
    )
    device: Annotated[
        Annotated[DeviceName, setting(..., "Device used for scoring: auto, cpu, cuda, cuda:1 or mps.")], HOW
    ] = "auto"
    small: Annotated[SmallForm, HOW] = {}  # noqa: RUF012

    @model_validator(mode="after")
    def _small_is_valid(self) -> GainSettings:
        if self.small:
            type(self).model_validate(recipes.merge(self.model_dump(exclude={"small"}), self.small))
        return self
