"""`harmonygen select`: select a finished run's candidates by another rule."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from harmonygen.synthesis.settings import GateSettings, SelectSettings
from harmonygen_cli.console import Reporter
from harmonygen_cli.from_settings import Typed, command
from harmonygen_cli.options import RunFolder

if TYPE_CHECKING:
    from harmonygen.synthesis.reselect import ReselectResult


@command(SelectSettings, nested={"gates": tuple(GateSettings.model_fields)})
def select(typed: Typed[SelectSettings], run: RunFolder) -> None:
    """Select among a finished run's candidates by another rule or other gates, without generating again.

    Examples: `harmonygen select outputs/synthesize --rule diverse --count 3 --min-structure 0.9`,
    `harmonygen select outputs/synthesize --decisions decisions.json`

    Several judges: `harmonygen select outputs/synthesize --combine all-above --min-score 0.6`

    The decisions of `harmonygen review outputs/synthesize` are applied too: `harmonygen select outputs/synthesize`
    """
    settings = typed.settings()
    from harmonygen.runs.review_log import decisions_at
    from harmonygen.synthesis.reselect import reselect

    made = decisions_at(settings.decisions) if settings.decisions else None
    with typed.reporter.progress("select", "shards") as progress:
        result = reselect(
            run,
            settings.rule,
            settings.gates,
            settings.count,
            settings.seed,
            progress=progress,
            decisions=made,
            combine=settings.combine,
            min_score=settings.min_score,
        )
    show(typed.reporter, result)


def show(reporter: Reporter, result: ReselectResult) -> None:
    """Print what a reselection changed."""
    tell(reporter, result)
    reporter.result(asdict(result))


def tell(reporter: Reporter, result: ReselectResult) -> None:
    """Print what a reselection changed, for people alone."""
    reporter.line(
        f"{result.selected} of {result.candidates} candidates selected, {result.changed} changes: {result.out}"
    )
    if result.accepted or result.rejected:
        reporter.line(f"review: {result.accepted} accepted, {result.rejected} rejected")
    if result.unfilled:
        reporter.line(f"{result.unfilled} pairs have no selected candidate: all were rejected, or failed a gate")


def apply_review(reporter: Reporter, run: Path) -> None:
    """Apply the review in a run's folder before the run is used, if its selection does not hold it yet."""
    from harmonygen.runs.read import is_run
    from harmonygen.synthesis.reselect import take_review

    if not is_run(run):  # the verb itself says what is wrong
        return
    with reporter.progress("review", "shards") as progress:
        result = take_review(run, progress)
    if result is not None:
        reporter.line(f"the review of '{run}' was applied, as harmonygen select does:")
        tell(reporter, result)
