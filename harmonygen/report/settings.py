"""Settings of `report`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from harmonygen.settings import Settings


class ReportSettings(Settings):
    """What `harmonygen report` can be told."""

    out: Path | None = None
    pairs: tuple[str, ...] = ()
    max_candidates: int | None = Field(None, ge=1)
    contact_sheet: Path | None = None
    review: bool = False

    @model_validator(mode="after")
    def _one_thing(self) -> ReportSettings:
        if self.review and self.contact_sheet is not None:
            raise ValueError("--review and --contact-sheet are two things to write: give one of them")
        return self
