"""Settings of `augment` and `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import field_validator, model_validator

from harmonygen.settings import HOW, LATER, MIN_MARGIN, LeakGuard, Link, MinMargin, Seed, Settings, setting

Photos = Annotated[
    Literal["jpg", "png", "own"],
    setting(
        ...,
        "How photos that are not JPEG are stored; own leaves all photos and names as they are.",
    ),
]
Trainer = Literal[
    "ai-toolkit",
    "musubi-tuner",
    "simpletuner",
    "diffsynth",
    "diffusers-instruct-pix2pix",
    "diffusers-kontext",
    "diffusers-controlnet",
    "imagefolder",
    "webdataset",
    "zip-pairs",
]
HarmonizationTrainer = Literal["issam"]
Direction = Literal["harmonize", "inverse"]


class AugmentSettings(Settings):
    """Options of `harmonygen augment`."""

    gamma: float = setting(1.0, "Blending ratio: new composites relative to those of the dataset.", ge=0)
    data: Annotated[str, HOW] = setting("sample", "Dataset to augment: an iHarmony4 folder, a list file or sample.")
    candidates: Annotated[Path, HOW] = setting(Path("outputs/synthesize"), "Folder of a finished synthesize run.")
    out: Annotated[Path, HOW] = setting(Path("outputs/augmented"), "Folder of the new dataset.")
    pick: Literal["random", "top", "selected"] = setting(
        "random", "Take random candidates, the highest p_composite, or those selected."
    )
    link: Link = "hard"
    format: Literal["iharmony4", "parquet"] = setting("iharmony4", "Layout of the new dataset.")
    subset: str | None = setting(None, "Augment only this subset.", unset="all subsets")
    per_subset: bool = setting(True, "Compute the ratio N2/N1 for each subset instead of one ratio for all.")
    list_file: str | None = setting(None, "iHarmony4 list of the training composites.", unset="the dataset's own")
    test_list: str | None = setting(None, "iHarmony4 list of the test composites.", unset="the dataset's own")
    leak_guard: Annotated[LeakGuard, HOW] = "hash"
    allow_fewer: bool = setting(False, "Give a pair fewer candidates than gamma asks for if fewer passed the gates.")
    photos: Photos = "jpg"
    skip_test_photos: bool = setting(
        False, "Leave out candidates of test photos, and photos that look like them, instead of refusing the run."
    )
    trainer: Annotated[HarmonizationTrainer | None, HOW] = setting(
        None, "Also write this trainer's lists, config and start command, for base and augmented."
    )
    seed: Seed = 0

    @model_validator(mode="after")
    def _refuse_what_the_trainer_does_not_read(self) -> AugmentSettings:
        if self.trainer is not None and (self.format, self.photos) != ("iharmony4", "jpg"):
            raise ValueError(
                f"--for {self.trainer} reads a tree with JPEG photos: leave out --format {self.format} and "
                f"--photos {self.photos}"
            )
        return self


class ExportSettings(Settings):
    """Options of `harmonygen export`."""

    run: Annotated[Path, HOW] = setting(Path("outputs/synthesize"), "Folder of a finished synthesize run.")
    out: Annotated[Path, HOW] = setting(Path("outputs/dataset"), "Folder of the new dataset.")
    which: Literal["all", "selected"] = setting("all", "Write all candidates that passed the gates, or those selected.")
    link: Link = "hard"
    photos: Literal["jpg", "png", "own"] | None = setting(
        None,
        "How photos that are not JPEG are stored; own leaves all photos and names as they are.",
        unset="jpg for a tree, png with --for",
    )
    trainer: Trainer | None = setting(
        None, "Write pairs, masks, words and the config of this trainer.", unset="a harmonization tree"
    )
    direction: Direction = setting(
        "harmonize", "Direction that --for trains: composite to photo (harmonize) or photo to composite (inverse)."
    )
    caption: str = setting(
        "measured",
        "Words of --for: measured from the pictures, none, or a JSONL file with pair_id (or real_id) and text.",
    )
    preferences: Annotated[bool, LATER] = setting(
        False, "Write two composites of each photo, one preferred to the other: as Parquet, or --for simpletuner."
    )
    min_margin: Annotated[MinMargin, LATER] = MIN_MARGIN
    seed: Seed = 0

    @field_validator("trainer", mode="before")
    @classmethod
    def _refuse_harmonization_trainers(cls, given: Any) -> Any:
        if given in get_args(HarmonizationTrainer):
            raise ValueError(
                f"--for {given} needs a test list and composites to compare with, which an export lacks: "
                f"harmonygen augment --for {given}"
            )
        return given

    @model_validator(mode="after")
    def _refuse_what_preferences_do_not_use(self) -> ExportSettings:
        if not self.preferences:
            if self.min_margin != MIN_MARGIN:
                raise ValueError("--min-margin belongs to --preferences, which is not given: add it")
            return self
        if self.direction != "harmonize":
            raise ValueError("--preferences has no direction, the preferred composite is the target: drop --direction")
        if self.which != "all":
            raise ValueError("--preferences compares all candidates of a photo: drop --which")
        if self.trainer not in (None, "simpletuner"):
            raise ValueError(
                f"--preferences is written as Parquet or --for simpletuner, {self.trainer} learns from no preferences: "
                "drop --for"
            )
        return self

    @model_validator(mode="after")
    def _refuse_what_a_tree_does_not_use(self) -> ExportSettings:
        used = {"direction": "harmonize", "caption": "measured", "seed": 0}
        given = [f"--{name}" for name, default in used.items() if getattr(self, name) != default]
        if self.trainer is None and given:
            raise ValueError(f"{' and '.join(given)} without --for NAME: only a trainer's folder uses it, so name one")
        if self.trainer is not None and self.photos == "own":
            raise ValueError("--photos own is for harmonization trees: give jpg or png with --for")
        return self
