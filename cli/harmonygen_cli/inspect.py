"""`harmonygen inspect`: how data are read, before anything is made from them."""

from __future__ import annotations

from typing import Annotated

import typer

from harmonygen.inspection.settings import InspectSettings
from harmonygen_cli.from_settings import Typed, command

Data = Annotated[str, typer.Argument(metavar="DATA", help="Photos with masks in any input layout, or a run folder.")]


@command(InspectSettings, spellings={"every": ("--all",)})
def inspect(typed: Typed[InspectSettings], data: Data) -> None:
    """Show how data are read: layout, pairs, how masks are understood, what is not used and why.

    Example: `harmonygen inspect photos/ --out inspection.html`

    The exit code is 3 if a run on these data would end with 3.
    """
    settings, reporter = typed.settings(data=data), typed.reporter
    from harmonygen.inspection.inspect import inspect_data
    from harmonygen.inspection.told import rows

    with reporter.progress("inspect", "files and pairs") as progress:
        result = inspect_data(settings, progress)
    for line in result.lines:
        reporter.line(line)
    reporter.table(f"inspect: {data}", ["what", "found"], [row for row in rows(result.facts) if row[1]])
    if result.page:
        reporter.line(f"page: {result.page}")
    reporter.result({**result.facts, "page": result.page})
    if result.facts["exit_code"]:
        reporter.fault(result.facts["error"])
        raise typer.Exit(result.facts["exit_code"])
