"""`harmonygen synthesize`: K candidate composites for every photo, scored and selected."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmonygen.settings import PUBLISHED
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen_cli.console import Reporter
from harmonygen_cli.from_settings import Typed, command
from harmonygen_cli.options import DryRun, Overwrite, Paper

if TYPE_CHECKING:
    from harmonygen.synthesis.synthesize import SynthesizeResult

_PAPER = {**PUBLISHED, "decoded": "whole"}


@command(SynthesizeSettings, without=("remote",))
def synthesize(
    typed: Typed[SynthesizeSettings], paper: Paper = False, overwrite: Overwrite = False, dry_run: DryRun = False
) -> None:
    """Make K candidate composites of every (photo, mask) pair, score them and select among them.

    Example: `harmonygen synthesize --data photos/ --k 10 --keep best --out outputs/run1`
    """
    settings = typed.settings(**(_PAPER if paper else {}))
    from harmonygen.synthesis.synthesize import synthesize as run

    with typed.reporter.progress("synthesize", "pairs") as progress:
        result = run(settings, overwrite=overwrite, dry_run=dry_run, progress=progress, say=typed.reporter.line)
    tell(typed.reporter, result, settings)


def tell(reporter: Reporter, result: SynthesizeResult, settings: SynthesizeSettings) -> None:
    """Print what a run, a part of one or a dry run came to."""
    if result.dry_run:
        size = f"{result.pairs} pairs x {settings.k} candidates in {result.shards} shards"
        reporter.line(f"{size} -> {result.url or result.out} (nothing written)")
    elif not result.summary:
        reporter.line(f"part {settings.part} done; the summary is written when all {result.shards} shards are done")
    else:
        show(reporter, result.out, result.summary, result.shards_run, result.url)
    counts = {"pairs": result.pairs, "shards": result.shards, "shards_run": result.shards_run}
    values = {"out": result.url or result.out, **counts, "dry_run": result.dry_run}
    inputs = {"inputs": result.inputs} if result.dry_run else {}
    reporter.result({**values, **inputs, "summary": result.summary})


def show(reporter: Reporter, out: Path, summary: dict[str, Any], shards_run: int, url: str = "") -> None:
    """Print a run's summary as a table."""
    counts = [[name, summary[name]] for name in ("pairs", "candidates", "kept", "selected", "quarantined")]
    dropped = [[f"dropped, {reason}", count] for reason, count in summary["dropped"].items()]
    speed = [
        ["candidates/s", summary["candidates_per_second"]],
        ["median P(composite)", summary["p_composite"]["median"]],
    ]
    rows = [
        [name, f"{value:.3g}" if isinstance(value, float) else value] for name, value in [*counts, *dropped, *speed]
    ]
    reporter.table(f"{summary['generator']}: {url or out}", ["", "value"], rows)
    if not shards_run:
        reporter.line("the run was already complete: nothing was written")
    reporter.line(f"report: {out / 'report.html'}")
