"""Settings of `masks`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import model_validator

from harmonygen.settings import (
    HOW,
    SHOWN,
    DeviceName,
    Link,
    MaxBadFraction,
    MaxPixels,
    PluginSettings,
    Settings,
    setting,
)

Keep = Literal["largest", "all", "one"]
OF_PEOPLE = ("selfie", "deeplabv3", "lraspp", "maskrcnn")
"""The built-in segmenters that find people."""


class ForegroundRules(Settings):
    """Which part of what a segmenter finds is the foreground."""

    keep: Keep = setting("largest", "Keep the largest, keep all, or leave out photos with several (one).")
    threshold: float = setting(0.5, "Probability from which a pixel is foreground, 0 to 1.", gt=0, lt=1)
    clean: bool = setting(True, "Fill small holes in the masks and remove specks.")
    min_fg: float = setting(0.01, "Smallest foreground share of a photo, 0 to 1.", ge=0, le=1)
    max_fg: float = setting(0.95, "Largest foreground share of a photo, 0 to 1.", ge=0, le=1)


class MaskSettings(ForegroundRules):
    """Options of `harmonygen masks`."""

    photos: Annotated[Path, HOW] = setting(Path("photos"), "Folder of photos, or one photo.")
    out: Annotated[Path, HOW] = setting(Path("outputs/masks"), "Folder of the photos and their new masks.")
    person: bool = setting(False, "Find people, with the segmenter selfie if no other is named.")
    segmenter: str | None = setting(
        None,
        "Segmenter that finds the foreground: selfie, NAME:weights, FILE.onnx, or your own module:attribute.",
        unset="selfie with --person",
    )
    segmenter_settings: PluginSettings = {}  # noqa: RUF012
    link: Link = "hard"
    limit: int | None = setting(None, "Use only the first N photos.", unset="all photos", ge=1)
    allow_outside: Annotated[bool, HOW] = setting(False, "Follow links that lead out of the folder of photos.")
    max_pixels: MaxPixels = 178_956_970
    max_bad_fraction: Annotated[MaxBadFraction, HOW] = 0.01
    device: Annotated[DeviceName, HOW] = "auto"
    shown: Annotated[int, SHOWN] = setting(60, "Number of photos on the overlay sheet and the page.", ge=1, le=1000)

    @model_validator(mode="after")
    def _something_is_to_be_found(self) -> MaskSettings:
        if not self.person and self.segmenter is None:
            raise ValueError(
                "nothing says what the masks are of: give --person, or name a segmenter with --segmenter "
                "(a network of your own: --segmenter model.onnx)"
            )
        return self

    @property
    def found_by(self) -> str:
        """The segmenter that is used."""
        return self.segmenter or "selfie"

    @property
    def subject(self) -> str:
        """What messages call the foreground."""
        return "person" if self.person or self.found_by.partition(":")[0] in OF_PEOPLE else "foreground"
