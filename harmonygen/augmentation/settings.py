"""Settings of `augment` and `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from harmonygen.settings import HOW, Settings


class AugmentSettings(Settings):
    """Everything that `harmonygen augment` can be told."""

    gamma: float = Field(1.0, ge=0)
    data: Annotated[str, HOW] = "sample"
    candidates: Annotated[Path, HOW] = Path("outputs/synthesize")
    out: Annotated[Path, HOW] = Path("outputs/augmented")
    pick: Literal["random", "top", "selected"] = "random"
    link: Literal["hard", "sym", "copy"] = "hard"
    format: Literal["iharmony4", "parquet"] = "iharmony4"
    subset: str | None = None
    per_subset: bool = True
    list_file: str | None = None
    test_list: str | None = None
    leak_guard: Annotated[Literal["hash", "ids"], HOW] = "hash"
    allow_fewer: bool = Field(
        False, description="pairs with too few candidates that pass the gates get those they have"
    )
    seed: int = Field(0, ge=0)


class ExportSettings(Settings):
    """Everything that `harmonygen export` can be told."""

    run: Annotated[Path, HOW] = Path("outputs/synthesize")
    out: Annotated[Path, HOW] = Path("outputs/dataset")
    which: Literal["all", "selected"] = "all"
    link: Literal["hard", "sym", "copy"] = "hard"
