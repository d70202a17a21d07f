"""Settings of `build-human-harmony`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from harmonygen.settings import HOW, SHOWN, Settings
from harmonygen.synthesis.settings import CandidateSettings


class ProductRule(Settings):
    """Limits of the heuristic product filter; a photo that keeps them all shows a product.

    See harmonygen.human_harmony.plain_ground for the measures.
    """

    max_edge: float = Field(0.01, ge=0, le=1, description="share of the picture's rim that the mask may cover")
    min_border: float = Field(0.90, ge=0, le=1, description="share of the border that has the ground's colour")
    max_skin: float = Field(0.01, ge=0, description="skin-coloured area near the mask, share of the mask")
    max_touching: float = Field(0.10, ge=0, le=1, description="share of the ring around the mask that is not ground")
    max_other: float = Field(0.05, ge=0, description="area outside the mask that is not ground, share of the mask")
    tolerance: float = Field(28.0, gt=0, description="8-bit units, largest channel, within which a colour is ground's")


class HumanHarmonySettings(CandidateSettings):
    """Everything that `harmonygen build-human-harmony` can be told.

    ``min_fg`` and ``max_fg`` bound the foreground's share of the photo, ``near_tie`` the gap of the two best scores.
    """

    imaterialist: str = "sample"
    out: Annotated[Path, HOW] = Path("outputs/human-harmony")
    max_side: int | None = Field(1024, ge=32)
    classes: str = "all"
    clean: bool = True
    person: Literal["none", "deeplabv3", "lraspp", "maskrcnn"] = "none"
    person_weights: Path | None = None
    product_filter: Literal["heuristic", "person-detector", "list", "none"] = "heuristic"
    product_list: Path | None = None
    product_weights: Path | None = None
    product_rule: ProductRule = ProductRule()
    min_fg: float = Field(0.01, ge=0, le=1)
    max_fg: float = Field(0.95, ge=0, le=1)
    decisions: Annotated[Path | None, SHOWN] = None
    near_tie: float = Field(0.01, ge=0, le=1)
    test_fraction: float = Field(7404 / 73146, ge=0, lt=1)
    train_list: Path | None = None
    test_list: Path | None = None
    leak_check: Path | None = None
    reference: str | None = None
    license: str | None = None
    format: Literal["parquet", "iharmony4"] = "parquet"
    link: Literal["hard", "sym", "copy"] = "hard"
