"""`harmonygen report`: one HTML page, or a contact sheet, of a run or a dataset."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from harmonygen_cli.console import Reporter
from harmonygen_cli.options import Json, Overrides, Quiet, Recipe


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run folder, or a built dataset's folder.")],
    overrides: Overrides = None,
    recipe: Recipe = None,
    out: Annotated[Path | None, typer.Option("--out", help="The HTML file (DIR/report.html).")] = None,
    pairs: Annotated[
        list[str] | None, typer.Option("--pairs", help="Show pairs whose id fits this pattern, * and ? (all); repeat.")
    ] = None,
    max_candidates: Annotated[
        int | None, typer.Option("--max-candidates", min=1, help="Show at most about this many candidates (20000).")
    ] = None,
    contact_sheet: Annotated[
        Path | None, typer.Option("--contact-sheet", help="Write this PNG instead of the page: 10 pairs, one a row.")
    ] = None,
    review: Annotated[
        bool | None, typer.Option("--review", help="Write DIR/review.html instead: accept and reject with keys.")
    ] = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write one self-contained HTML page: photos, outlines, candidates, scores, drop reasons.

    Examples: `harmonygen report outputs/synthesize --pairs 'HFlickr*' --out flickr.html`,
    `harmonygen report outputs/synthesize --review`
    """
    options = {
        "out": out,
        "pairs": pairs,
        "max_candidates": max_candidates,
        "contact_sheet": contact_sheet,
        "review": review,
    }
    from harmonygen.harmonization.zeroshot.page import is_zero_shot, write_zero_shot_report
    from harmonygen.report import write_contact_sheet, write_report, write_review
    from harmonygen.report.render import MAX_CANDIDATES
    from harmonygen.report.settings import ReportSettings
    from harmonygen.settings import resolve

    settings = resolve(ReportSettings, recipe, options, overrides or ())
    reporter = Reporter(json_output, quiet)
    if settings.contact_sheet is not None:
        path = write_contact_sheet(folder, settings.contact_sheet)
        reporter.line(f"contact sheet: {path}")
        reporter.result({"path": path})
        return
    with reporter.progress("report", "pictures") as advance:
        limit = settings.max_candidates or MAX_CANDIDATES
        page = write_zero_shot_report if is_zero_shot(folder) else write_report
        write = write_review if settings.review else page
        result = write(folder, settings.out, pairs=settings.pairs, max_candidates=limit, progress=advance)
    shown = f"{result.pairs_shown} of {result.pairs} pairs, {result.candidates_shown} of {result.candidates} candidates"
    reporter.line(f"{result.path}: {shown}, {result.bytes / 1e6:.1f} MB")
    if result.unreadable:
        reporter.line(f"{result.unreadable} pictures could not be read: the page says so in their place")
    reporter.result(asdict(result))
