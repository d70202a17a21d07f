"""`harmonygen quickstart`: the whole job on the built-in sample."""

from __future__ import annotations

from harmonygen.quickstart import QuickstartSettings
from harmonygen.quickstart import quickstart as run
from harmonygen_cli.from_settings import Typed, command


@command(QuickstartSettings)
def quickstart(typed: Typed[QuickstartSettings]) -> None:
    """Run the whole job on the built-in sample: synthesize, select, augment, and a small Human Harmony.

    Example: `harmonygen quickstart --out quickstart`
    """
    settings, reporter = typed.settings(), typed.reporter
    with reporter.progress("quickstart", "pairs") as progress:
        result = run(settings, progress)
    reporter.table("quickstart", ["step", "result"], result.rows)
    reporter.line(f"report: {result.report}")
    reporter.result({"out": settings.out, "report": result.report, "summary": result.summary})
