"""`harmonygen gain`: does augmentation help? Base against augmented and controls."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmonygen_cli.console import Reporter
from harmonygen_cli.options import Json, Overrides, Quiet, Recipe, Seed

if TYPE_CHECKING:
    from harmonygen.gain.settings import GainSettings

_NOT_SETTINGS = ("overrides", "recipe", "small", "dry_run", "json_output", "quiet")
_LISTS = ("gammas", "controls", "rules", "arms")


def gain(
    overrides: Overrides = None,
    recipe: Recipe = None,
    data: Annotated[str | None, typer.Option("--data", help="Photos and masks, or an iHarmony4 tree (sample).")] = None,
    split_file: Annotated[Path | None, typer.Option("--split-file", help="CSV: kind, name, split.")] = None,
    base_photos: Annotated[int | None, typer.Option("--base-photos", help="Photos of the base set (110).")] = None,
    test_photos: Annotated[int | None, typer.Option("--test-photos", help="Photos of the test set (100).")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Study folder (outputs/gain).")] = None,
    gammas: Annotated[str | None, typer.Option("--gamma", help="Blending ratios, by commas (1).")] = None,
    controls: Annotated[
        str | None, typer.Option("--controls", help="jitter,color-transfer,duplicates (all), or none.")
    ] = None,
    rules: Annotated[
        str | None, typer.Option("--rule", help="Curation study, by commas: max-composite,random,quantile,diverse.")
    ] = None,
    arms: Annotated[str | None, typer.Option("--arms", help="Run these arms alone, by commas (all).")] = None,
    arch: Annotated[str | None, typer.Option("--arch", help="direct or diffusion (direct).")] = None,
    train_recipe: Annotated[
        str | None, typer.Option("--train-recipe", help="Of the trainings (the starter's).")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Optimiser steps of each training (300).")] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", help="Trainings of each arm, from --seed on (3).")] = None,
    resolution: Annotated[int | None, typer.Option("--resolution", help="Side of the training's crops (128).")] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Trainings side by side, a thread each (1).")] = None,
    device: Annotated[str | None, typer.Option("--device", help="Of scoring: auto, cuda, mps, cpu (auto).")] = None,
    small: Annotated[bool, typer.Option("--small", help="The recipe's small form.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print arms, sizes and steps; write nothing.")] = False,
    seed: Seed = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train on base and augmented data with equal steps and seeds, and compare them on a fixed test set.

    Example: `harmonygen gain --recipe gain/study-direct --data photos.csv --workers 2`

    The same command goes on after a stop. The result is OUT/gain.html and OUT/gain.json.
    """
    options: dict[str, Any] = {key: value for key, value in locals().items() if key not in _NOT_SETTINGS}
    from harmonygen.gain import study as workflow
    from harmonygen.gain.settings import GainSettings
    from harmonygen.settings import resolve

    for name in _LISTS:
        options[name] = _listed(options[name])
    settings = resolve(GainSettings, recipe, options, overrides or ())
    settings = workflow.smaller(settings, options) if small else settings
    reporter = Reporter(json_output, quiet)
    if dry_run:
        reporter.result({"dry_run": True, "arms": _print_plan(reporter, settings)})
        return
    result = workflow.gain(settings, reporter.line)
    _print_result(reporter, result.result)
    done = "finished before, nothing written" if result.finished_before else "done"
    reporter.line(f"'{result.out / workflow.REPORT}' and '{result.out / workflow.RESULT}' ({done})")
    reporter.result(result.result)


def _listed(text: str | None) -> list[str] | None:
    """Split a list by commas; ``none`` is an empty one."""
    return None if text is None else [part for part in text.split(",") if part not in ("", "none")]


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
