"""`harmonygen review`: a local web app to accept and reject a run's candidates, and what the set is as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmonygen.review.settings import ReviewSettings
from harmonygen_cli.console import Reporter
from harmonygen_cli.from_settings import Typed, command

if TYPE_CHECKING:
    from harmonygen.review.session import Session

Folder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a synthesize run, or of a build.")]


@command(ReviewSettings)
def review(typed: Typed[ReviewSettings], run: Folder) -> None:
    """Review a run in the browser: accept and reject candidates at full size. Decisions are kept in the run's folder.

    Examples: `harmonygen review outputs/synthesize --reviewer ana`, then open the link that it prints;
    `harmonygen review outputs/synthesize --measure colour --summary`
    """
    settings, reporter = typed.settings(), typed.reporter
    if settings.measure:
        _measure(reporter, run, settings)
    if settings.summary:
        _summary(reporter, run)
        return
    from harmonygen.review.serve import serve

    def opened(link: str, session: Session) -> None:
        candidates = f"{len(session.run.parts)} of {session.run.planned} shards"
        reporter.line(f"review of '{session.run.folder}' ({candidates}), until Ctrl-C: {link}")
        reporter.result({"link": link, "run": session.run.folder})

    serve(run, settings, opened, reporter.line)


def _measure(reporter: Reporter, folder: Path, settings: ReviewSettings) -> None:
    from harmonygen.review.column_store import columns_of, stored_columns
    from harmonygen.review.measured import measure_kind
    from harmonygen.runs.read import look_inside

    run = look_inside(folder)
    columns = stored_columns(run) or columns_of(run)
    for kind in dict.fromkeys(settings.measure):
        with reporter.progress(f"measure {kind}", "pairs") as progress:
            made = measure_kind(run, columns, kind, progress)
        reporter.line(f"{kind}: measured" if made else f"{kind}: measured before, nothing to do")


def _summary(reporter: Reporter, folder: Path) -> None:
    from harmonygen.review.column_store import columns_of, stored_columns
    from harmonygen.review.measured import with_measured
    from harmonygen.review.overview import summary_of
    from harmonygen.runs.read import look_inside

    run = look_inside(folder)
    found = summary_of(*with_measured(run, stored_columns(run) or columns_of(run)))
    reporter.line(f"{found['candidates']} candidates of {found['pairs']} pairs, {found['selected']} selected")
    _tell_bins(reporter, found)
    _tell_changes(reporter, found)
    _tell_medians(reporter, found)
    for said in found["duplicates"]["told"]:
        reporter.line(said)
    reporter.result(found)


def _tell_bins(reporter: Reporter, found: dict[str, Any]) -> None:
    rows = [
        [
            each["name"],
            each["count"],
            *(_percent(each[name]) for name in ("share", "published", "human_harmony")),
            "too few" if each["lacks"] else "",
        ]
        for each in found["bins"]
    ]
    columns = ["foreground ratio", "selected", "share", "iHarmony4", "Human Harmony", ""]
    reporter.table("foreground ratio of the selection", columns, rows)
    reporter.line(found["source"])


def _tell_changes(reporter: Reporter, found: dict[str, Any]) -> None:
    rows = [
        [each["subset"], each["count"], _figure(each["fmse"]), _figure(each["published"])] for each in found["changes"]
    ]
    reporter.table("strength of change: mean fMSE", ["subset", "selected", "this run", "iHarmony4"], rows)


def _tell_medians(reporter: Reporter, found: dict[str, Any]) -> None:
    rows = [[each["figure"], _short(each["median"]), _short(each["authentic"])] for each in found["medians"]]
    reporter.table("medians of the change", ["figure", "this run", "authentic"], rows)
    reporter.line(found["medians_source"])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _short(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3g}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"
