"""Settings of `augment` and `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from harmonygen.settings import HOW, LeakGuard, Link, Seed, Settings, setting


class AugmentSettings(Settings):
    """Options of `harmonygen augment`."""

    gamma: float = setting(1.0, "Blending ratio: new composites over those of the dataset.", ge=0)
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
    seed: Seed = 0


class ExportSettings(Settings):
    """Options of `harmonygen export`."""

    run: Annotated[Path, HOW] = setting(Path("outputs/synthesize"), "Folder of a finished synthesize run.")
    out: Annotated[Path, HOW] = setting(Path("outputs/dataset"), "Folder of the new dataset.")
    which: Literal["all", "selected"] = setting("all", "Write all candidates that passed the gates, or those selected.")
    link: Link = "hard"
