"""`harmonygen select`: select a finished run's candidates by another rule."""

from __future__ import annotations

from dataclasses import asdict
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
    """
    settings = typed.settings()
    from harmonygen.runs.decisions import read_decisions
    from harmonygen.synthesis.reselect import reselect

    made = read_decisions(settings.decisions) if settings.decisions else None
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
    reporter.line(
        f"{result.selected} of {result.candidates} candidates selected, {result.changed} marks changed: {result.out}"
    )
    if result.accepted or result.rejected:
        reporter.line(f"review: {result.accepted} accepted, {result.rejected} rejected")
    if result.unfilled:
        reporter.line(f"{result.unfilled} pairs have no selected candidate: all were rejected, or failed a gate")
    reporter.result(asdict(result))
