"""Settings of `review` and `why`."""

from __future__ import annotations

from typing import Literal

from harmonygen.settings import DeviceName, Settings, setting


class ReviewSettings(Settings):
    """Options of `harmonygen review`."""

    port: int | None = setting(None, "Port of the page's address on this machine.", unset="a free one", ge=1, le=65535)
    reviewer: str = setting("", "Name that the decisions are kept under.", unset="your user name")
    measure: tuple[Literal["colour", "judge", "copies"], ...] = setting(
        (), "Measure all candidates first: their change of colour, the judge's features, or copies of photos."
    )
    summary: bool = setting(False, "Print what the selection lacks and what the run holds twice, and open no page.")


class WhySettings(Settings):
    """Options of `harmonygen why`."""

    recreate: bool = setting(False, "Make the candidate again and compare it bit for bit; needs the run's data.")
    device: DeviceName = "auto"
