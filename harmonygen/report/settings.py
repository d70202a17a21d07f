"""Settings of `report`."""

from __future__ import annotations

from pathlib import Path

from pydantic import model_validator

from harmonygen.settings import Settings, setting

MAX_CANDIDATES = 20_000


class ReportSettings(Settings):
    """Options of `harmonygen report`."""

    out: Path | None = setting(None, "HTML file to write.", unset="DIR/report.html, or DIR/review.html")
    pairs: tuple[str, ...] = setting(
        (),
        "Show only pairs whose id fits this pattern, with * and ?.",
        unset="all pairs",
    )
    max_candidates: int = setting(MAX_CANDIDATES, "Number of candidates that are shown at most, about.", ge=1)
    contact_sheet: Path | None = setting(None, "Write this PNG instead of the page: 10 pairs, one in a row.")
    review: bool = setting(False, "Write DIR/review.html, where keys accept and reject, instead of the page.")

    @model_validator(mode="after")
    def _one_thing(self) -> ReportSettings:
        if self.review and self.contact_sheet is not None:
            raise ValueError("--review and --contact-sheet are two things to write: give one of them")
        return self
