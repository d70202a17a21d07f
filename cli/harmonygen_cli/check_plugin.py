"""`harmonygen check-plugin`: whether a generator, judge, harmonizer or segmenter keeps its contract."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from harmonygen.conformance.settings import CheckPluginSettings
from harmonygen.errors import PluginError
from harmonygen_cli.console import Reporter
from harmonygen_cli.from_settings import Typed, command

Plugin = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]",
        help="Plug-in to check, by name or as module:attribute. Without a name, all plug-ins are listed.",
    ),
]


@command(CheckPluginSettings)
def check_plugin(typed: Typed[CheckPluginSettings], plugin: Plugin = None) -> None:
    """Check that a generator, judge, harmonizer or segmenter keeps its contract, on a few photos.

    Example: `harmonygen check-plugin color-jitter --k 8`

    The exit code is 1 if a check fails.
    """
    settings, reporter = typed.settings(plugin=plugin), typed.reporter
    from harmonygen.conformance import check

    if settings.all:
        _check_all(settings, reporter)
        return
    if settings.plugin is None:
        known = check.known_plugins()
        rows = [[each["kind"], each["name"], each["package"]] for each in known]
        reporter.table("plug-ins", ["kind", "name", "package"], rows)
        reporter.result({"plugins": known})
        return
    with reporter.progress("check-plugin", "suites") as progress:
        found = check.check_plugin(settings, progress)
    rows = [[each.kind, each.check, each.state, each.found] for each in found.verdicts]
    reporter.table(f"check-plugin: {found.plugin}", ["kind", "check", "", "found"], rows)
    counts = {"passed": sum(each.state == "ok" for each in found.verdicts), "failed": len(found.failed)}
    reporter.result({"plugin": found.plugin, **counts, "checks": [asdict(each) for each in found.verdicts]})
    if found.failed:
        reporter.fault(f"{found.plugin} fails {len(found.failed)} of {len(found.verdicts)} checks")
        raise typer.Exit(PluginError.exit_code)


def _check_all(settings: CheckPluginSettings, reporter: Reporter) -> None:
    from harmonygen.conformance.every import check_every

    with reporter.progress("check-plugin", "plug-ins") as progress:
        found = check_every(settings, progress)
    rows = [[each.kind, each.name, each.package, each.checks, each.found] for each in found]
    reporter.table("check-plugin --all", ["kind", "name", "package", "checks", "found"], rows)
    reporter.result({"plugins": [asdict(each) for each in found]})
    failed = [each for each in found if each.failed]
    for each in failed:
        reporter.fault(f"{each.kind} {each.name} fails {len(each.failed)} of {len(each.verdicts)} checks")
    if failed:
        raise typer.Exit(PluginError.exit_code)
