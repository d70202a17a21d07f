"""`harmonygen doctor`: what this machine can run, and why not."""

from __future__ import annotations

from harmonygen_cli.console import Reporter
from harmonygen_cli.options import Json, Quiet


def doctor(json_output: Json = False, quiet: Quiet = False) -> None:
    """Show what this machine can run, and what is missing for the rest.

    Example: `harmonygen doctor --json`
    """
    from harmonygen.doctor import examine

    findings = examine()
    reporter = Reporter(json_output, quiet)
    reporter.table("harmonygen doctor", ["what", "state", "detail"], [[f.what, f.state, f.detail] for f in findings])
    reporter.result({"findings": [{"what": f.what, "state": f.state, "detail": f.detail} for f in findings]})
