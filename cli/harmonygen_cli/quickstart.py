"""`harmonygen quickstart`: the whole job on the built-in sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harmonygen_cli.console import Reporter
from harmonygen_cli.options import Json, Quiet, Seed


def quickstart(
    out: Annotated[Path, typer.Option(help="Where it all goes.")] = Path("quickstart"),
    k: Annotated[int, typer.Option("--k", help="Candidates a pair.")] = 10,
    seed: Seed = 0,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run the whole job on the built-in sample: synthesize, select, augment, a small Human Harmony.

    Example: `harmonygen quickstart --out quickstart`
    """
    from harmonygen.quickstart import quickstart as run

    reporter = Reporter(json_output, quiet)
    with reporter.progress("quickstart", "pairs") as progress:
        result = run(out, k, seed or 0, progress)
    reporter.table("quickstart", ["step", "result"], result.rows)
    reporter.line(f"report: {result.report}")
    reporter.result({"out": out, "report": result.report, "summary": result.summary})
