"""Settings of `inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from harmonygen.settings import (
    HOW,
    ListFile,
    MaskResizeChoice,
    MaxBadFraction,
    MaxPixels,
    ReadSettings,
    Subset,
    setting,
)


class InspectSettings(ReadSettings):
    """Options of `harmonygen inspect`."""

    data: str = setting("sample", "Photos with masks in any input layout: a path, a URL or sample.")
    list_file: ListFile = None
    subset: Subset = None
    limit: int | None = setting(None, "Use only the first N pairs.", unset="all pairs", ge=1)
    max_side: int | None = setting(None, "Longest side that a run would give photos.", unset="the photo's own", ge=32)
    mask_resize: MaskResizeChoice = "refuse"
    max_pixels: MaxPixels = 178_956_970
    max_bad_fraction: Annotated[MaxBadFraction, HOW] = 0.01
    sample: int = setting(2000, "Number of pairs whose pixels are checked, evenly spread over larger sets.", ge=0)
    every: bool = setting(False, "Check the pixels of every pair, however many there are.")
    headers: bool = setting(True, "Read the header of every photo and mask file.")
    out: Path | None = setting(None, "HTML page to write, with mask outlines over photos.")
    shown: int = setting(40, "Number of pairs on the page, those with a fault or an oddity first.", ge=0)
