"""`harmonygen gain`: does augmentation help? Base against augmented and controls."""

from __future__ import annotations

from typing import Any

from harmonygen.gain.settings import GainSettings
from harmonygen_cli.console import Reporter
from harmonygen_cli.from_settings import Typed, command
from harmonygen_cli.options import DryRun, Small

_SPELLINGS = {"gammas": ("--gamma",), "rules": ("--rule",)}
_LISTS = ("gammas", "controls", "rules", "extra", "extra_gammas", "arms")


@command(GainSettings, spellings=_SPELLINGS, commas=_LISTS, without=("rule",))
def gain(typed: Typed[GainSettings], small: Small = False, dry_run: DryRun = False) -> None:
    """Train on base and augmented data with equal steps and seeds, and compare them on a fixed test set.

    Example: `harmonygen gain --recipe gain/study-parametric --data photos.csv --workers 2`

    Repeat the command to resume a study. The result is OUT/gain.html and OUT/gain.json.
    """
    settings, reporter = typed.settings(), typed.reporter
    from harmonygen.gain import study as workflow

    settings = workflow.smaller(settings, typed.options) if small else settings
    if dry_run:
        inputs = workflow.foresee_study(settings, reporter.line)
        reporter.result({"dry_run": True, "arms": _print_plan(reporter, settings), "inputs": inputs})
        return
    result = workflow.gain(settings, reporter.line)
    _print_result(reporter, result.result)
    done = "finished before, nothing written" if result.finished_before else "done"
    reporter.line(f"'{result.out / workflow.REPORT}' and '{result.out / workflow.RESULT}' ({done})")
    reporter.result(result.result)


def _print_plan(reporter: Reporter, settings: GainSettings) -> list[dict[str, Any]]:
    from harmonygen.gain.study import plan

    rows, seconds = plan(settings)
    columns = ["arm", "what it is", "base", "added", "steps", "epochs", "seeds", "done"]
    table = [
        [row.arm.name, row.arm.says(), row.base, row.added, row.steps, round(row.epochs, 1), row.seeds, row.done]
        for row in rows
    ]
    for row in rows:
        reporter.line(f"{row.arm.name}: {row.arm.says()}")
    short = [[cell for place, cell in enumerate(row) if place != 1] for row in table]
    reporter.table("composites, steps and epochs of each arm", [columns[0], *columns[2:]], short)
    left = sum(row.seeds - row.done for row in rows)
    about = f"about {seconds / 60:.0f} min at the pace of those that are done" if seconds else "not timed yet"
    reporter.line(f"{left} trainings of {settings.steps} steps left, {about}")
    return [dict(zip(columns, row, strict=True)) for row in table]


def _print_result(reporter: Reporter, result: dict[str, Any]) -> None:
    from harmonygen.gain.page import answers, cell

    rows = []
    for row in result["arms"]:
        against = row.get("difference")
        change = [cell(against[figure], figure, sign=True) for figure in ("psnr", "fmse")] if against else ["", ""]
        wins = f"{against['psnr']['wins']:.0%}" if against else ""
        own = [cell(row[figure], figure) for figure in ("psnr", "fmse", "mse")]
        rows.append([row["name"], row.get("composites", ""), *own, *change, wins])
    columns = ["arm", "trained on", "PSNR", "fMSE", "MSE", "PSNR to base", "fMSE to base", "better on"]
    reporter.table(f"{result['protocol']}; n = {result['images']}; {result['interval']}", columns, rows)
    for said in answers(result):
        reporter.line(said)
