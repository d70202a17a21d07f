"""Settings of `review` and `why`."""

from __future__ import annotations

from typing import Literal

from harmonygen.settings import DeviceName, Settings, setting


class ReviewSettings(Settings):
    """Options of `harmonygen review`."""

    port: int | None = setting(None, "Port of the page's address on this machine.", unset="a free one", ge=1, le=65535)
    reviewer: str = setting("", "Name that the decisions are kept under.", unset="your user name")
    measure: tuple[Literal["colour", "judge", "copies"], ...] = setting(
        (), "Measure first: colour changes, the judge's features, or copies of photos (see docs/review.md)."
    )
    summary: bool = setting(False, "Print what the run's selection lacks and holds twice; open no page.")


class WhySettings(Settings):
    """Options of `harmonygen why`."""

    recreate: bool = setting(False, "Make the candidate again and compare it bit for bit; needs the run's data.")
    device: DeviceName = "auto"
