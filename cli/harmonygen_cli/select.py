"""`harmonygen select`: select a finished run's candidates by another rule."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from harmonygen_cli.console import Reporter
from harmonygen_cli.options import Json, Overrides, Quiet, Recipe, Seed


def select(
    run: Annotated[Path, typer.Argument(help="Run folder of synthesize.")],
    overrides: Overrides = None,
    recipe: Recipe = None,
    rule: Annotated[str | None, typer.Option(help="max-composite, random, quantile or diverse (as it was).")] = None,
    count: Annotated[int | None, typer.Option(help="Candidates selected a pair (as it was).")] = None,
    max_clipped: Annotated[float | None, typer.Option(help="Gate: share of values newly clipped.")] = None,
    min_fmse: Annotated[float | None, typer.Option(help="Gate: least foreground change.")] = None,
    max_fmse: Annotated[float | None, typer.Option(help="Gate: largest foreground change.")] = None,
    min_structure: Annotated[float | None, typer.Option(help="Gate: least structure similarity.")] = None,
    decisions: Annotated[
        Path | None, typer.Option(help="decisions.json of a review: rejected out, accepted first (as it was).")
    ] = None,
    seed: Seed = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Select a finished run's candidates by another rule or other gates; nothing is generated again.

    Examples: `harmonygen select outputs/synthesize --rule diverse --count 3 --min-structure 0.9`,
    `harmonygen select outputs/synthesize --decisions decisions.json`
    """
    gates = {"max_clipped": max_clipped, "min_fmse": min_fmse, "max_fmse": max_fmse, "min_structure": min_structure}
    from harmonygen.runs.decisions import read_decisions
    from harmonygen.settings import resolve
    from harmonygen.synthesis.reselect import reselect
    from harmonygen.synthesis.settings import SelectSettings

    typed = {name: value for name, value in gates.items() if value is not None}
    options = {"rule": rule, "count": count, "seed": seed, "gates": typed or None, "decisions": decisions}
    settings = resolve(SelectSettings, recipe, options, overrides or ())
    made = read_decisions(settings.decisions) if settings.decisions else None
    reporter = Reporter(json_output, quiet)
    with reporter.progress("select", "shards") as progress:
        result = reselect(
            run, settings.rule, settings.gates, settings.count, settings.seed, progress=progress, decisions=made
        )
    show(reporter, result)


def show(reporter: Reporter, result: Any) -> None:
    """Print what a reselection changed."""
    reporter.line(
        f"{result.selected} of {result.candidates} candidates selected, {result.changed} marks changed: {result.out}"
    )
    if result.accepted or result.rejected:
        reporter.line(f"review: {result.accepted} accepted, {result.rejected} rejected")
    if result.unfilled:
        reporter.line(f"{result.unfilled} pairs have no selected candidate: all were rejected, or failed a gate")
    reporter.result(asdict(result))
