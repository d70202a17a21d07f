"""`harmonygen report`: one HTML page, or a contact sheet, of a run or a dataset."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from harmonygen.report.settings import ReportSettings
from harmonygen_cli.from_settings import Typed, command

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run, or of a built dataset.")]


@command(ReportSettings)
def report(typed: Typed[ReportSettings], folder: Folder) -> None:
    """Write one self-contained HTML page of a run or a dataset, with photos, candidates, scores and drop reasons.

    Examples: `harmonygen report outputs/synthesize --pairs 'HFlickr*' --out flickr.html`,
    `harmonygen report outputs/synthesize --review`
    """
    settings, reporter = typed.settings(), typed.reporter
    from harmonygen.harmonization.zeroshot.page import is_zero_shot, write_zero_shot_report
    from harmonygen.report import write_contact_sheet, write_report, write_review

    if settings.contact_sheet is not None:
        path = write_contact_sheet(folder, settings.contact_sheet)
        reporter.line(f"contact sheet: {path}")
        reporter.result({"path": path})
        return
    page = write_zero_shot_report if is_zero_shot(folder) else write_report
    write, limit = write_review if settings.review else page, settings.max_candidates
    with reporter.progress("report", "pictures") as advance:
        result = write(folder, settings.out, pairs=settings.pairs, max_candidates=limit, progress=advance)
    shown = f"{result.pairs_shown} of {result.pairs} pairs, {result.candidates_shown} of {result.candidates} candidates"
    reporter.line(f"{result.path}: {shown}, {result.bytes / 1e6:.1f} MB")
    if result.unreadable:
        reporter.line(f"{result.unreadable} pictures could not be read: the page says so in their place")
    reporter.result(asdict(result))
