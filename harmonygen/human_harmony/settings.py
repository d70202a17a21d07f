"""Settings of `build-human-harmony`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import field_validator, model_validator

from harmonygen.settings import HOW, MAX_SIDE, MIN_MARGIN, SHOWN, Link, MinMargin, ReadSettings, Settings, setting
from harmonygen.synthesis.settings import CandidateSettings, SynthesizeSettings

BEFORE = {"data": "imaterialist"}
"""Fields by what they were called: the old name is still read, and digests of builds are still made with it."""


_LONGEST_TITLE = 120


class ProductRule(Settings):
    """Limits of the heuristic product filter; a photo that keeps them all shows a product.

    See harmonygen.human_harmony.plain_ground for the measures.
    """

    max_edge: float = setting(0.01, "Largest share of the picture's rim that the mask covers, 0 to 1.", ge=0, le=1)
    min_border: float = setting(0.90, "Smallest share of the border that has the ground's colour, 0 to 1.", ge=0, le=1)
    max_skin: float = setting(0.01, "Largest skin-coloured area near the mask, as a share of the mask.", ge=0)
    max_touching: float = setting(
        0.10, "Largest share of other colours in the ring around the mask, 0 to 1.", ge=0, le=1
    )
    max_other: float = setting(0.05, "Largest area outside the mask that is not ground, as a share of the mask.", ge=0)
    tolerance: float = setting(28.0, "Difference from the ground's colour in the worst channel, in 8-bit units.", gt=0)


class HumanHarmonySettings(CandidateSettings, ReadSettings):
    """Options of `harmonygen build-human-harmony`."""

    data: str = setting(
        "sample", "Segmented photos: COCO JSON, an iMaterialist folder, any other input layout, or sample."
    )
    out: Annotated[Path, HOW] = setting(Path("outputs/human-harmony"), "Folder of the build.")
    title: Annotated[str, SHOWN] = setting("", "Title of the dataset's card.", unset="made from the classes")
    max_side: int | None = setting(1024, "Longest side of photos and composites, in pixels.", ge=32, le=4 * MAX_SIDE)
    classes: str = setting("all", "Segments that make the mask: all, garments, or ids or names separated by commas.")
    clean: bool = setting(True, "Fill small holes in the masks and remove specks.")
    person: str = setting(
        "none",
        "Segmenter that finds people: it widens masks to the wearer, and makes masks where photos have none.",
    )
    person_weights: Path | None = setting(None, "File with torchvision weights for --person.")
    product_filter: Literal["heuristic", "witness", "person-detector", "list", "none"] = setting(
        "heuristic", "Filter that finds product photos."
    )
    product_list: Path | None = setting(None, "File with the ids of product photos.")
    product_weights: Path | None = setting(None, "File with torchvision weights for person-detector.")
    product_rule: ProductRule = setting(ProductRule, "Limits of the heuristic product filter.")
    min_fg: float = setting(0.01, "Smallest foreground share of a photo, 0 to 1.", ge=0, le=1)
    max_fg: float = setting(0.95, "Largest foreground share of a photo, 0 to 1.", ge=0, le=1)
    decisions: Annotated[Path | None, SHOWN] = setting(None, "Review to apply: a decisions.json, or a run's folder.")
    near_tie: float = setting(
        0.01, "Difference of the two best scores from which they are no near tie, 0 to 1.", ge=0, le=1
    )
    min_margin: Annotated[MinMargin, SHOWN] = MIN_MARGIN
    test_fraction: float = setting(7404 / 73146, "Share of the photos in the test split, 0 to 1.", ge=0, lt=1)
    train_list: Path | None = setting(None, "File with the ids of photos for the training split.")
    test_list: Path | None = setting(None, "File with the ids of photos for the test split.")
    leak_check: Path | None = setting(None, "Test list or iHarmony4 folder whose photos to leave out.")
    reference: str | None = setting(None, "Dataset whose foreground ratios are drawn for comparison.")
    license: str | None = setting(None, "Licence of the source photos, for the card and the rows.", unset="unknown")
    format: Literal["parquet", "iharmony4"] = setting("parquet", "Layout of the dataset.")
    link: Link = "hard"

    @model_validator(mode="before")
    @classmethod
    def _old_names(cls, values: Any) -> Any:
        """Read a field by the name that it had before."""
        if not isinstance(values, Mapping):
            return values
        renamed = dict(values)
        for name, before in BEFORE.items():
            if before in renamed:
                given = renamed.pop(before)
                if renamed.setdefault(name, given) != given:
                    raise ValueError(f"{name} and {before} are two names of one setting: give one of them")
        return renamed

    @field_validator("max_side", mode="before")
    @classmethod
    def _no_longest_side(cls, given: Any) -> Any:
        """Accept ``none`` where photos keep their own size."""
        return None if given == "none" else given

    @field_validator("title")
    @classmethod
    def _title_is_one_line(cls, given: str) -> str:
        title = " ".join(given.split())
        if len(title) > _LONGEST_TITLE or not title.isprintable():
            raise ValueError(f"title is {given[:80]!r}: give one line of at most {_LONGEST_TITLE} printable characters")
        return title


class InnerSettings(SynthesizeSettings):
    """Settings of the run inside a build: they are known by the photos' names and masks, not by their folder.

    ``inside`` tells such a run from one that an older version began, whose digest has the path of its photos in it.
    """

    data: Annotated[str, HOW] = setting("sample", "Folder of the prepared photos.")
    inside: Annotated[str, HOW] = setting("build-human-harmony", "Verb whose job this run is part of.")
