"""Settings of `check-plugin`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from harmonygen.settings import (
    MAX_DRAWS,
    MAX_SIDE,
    BatchSize,
    DeviceName,
    DtypeName,
    PluginSettings,
    ReadSettings,
    Resolution,
    Seed,
    setting,
)

Kind = Literal["generator", "judge", "harmonizer", "segmenter"]


class CheckPluginSettings(ReadSettings):
    """Options of `harmonygen check-plugin`."""

    plugin: str | None = setting(None, "Plug-in to check; without a name, all known plug-ins are listed.", unset="none")
    all: bool = setting(False, "Check all plug-ins that need no model of yours, one row each.")
    kind: Kind | None = setting(None, "Kind of the plug-in.", unset="all kinds that have one of this name")
    settings: PluginSettings = {}  # noqa: RUF012
    model: str = setting("starter", "Checkpoint folder of a built-in plug-in, or starter.")
    refine: Path | None = setting(None, "Folder of the refiner that runs after diffharmony.", unset="none")
    data: str = setting("sample", "Photos with masks in any input layout, or sample.")
    photos: int = setting(2, "Number of photos.", ge=1, le=100)
    k: int = setting(4, "Number of candidates or composites per photo.", ge=2, le=MAX_DRAWS)
    max_side: int = setting(256, "Longest side of the photos, in pixels.", ge=32, le=4 * MAX_SIDE)
    resolution: Resolution = None
    seed: Seed = 0
    device: DeviceName = "auto"
    dtype: DtypeName = "auto"
    batch_size: BatchSize = "auto"
