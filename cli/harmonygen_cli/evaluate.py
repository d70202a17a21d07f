"""`harmonygen evaluate`: score predictions or models against real photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmonygen_cli.console import Reporter
from harmonygen_cli.options import Json, Overrides, Quiet, Recipe

if TYPE_CHECKING:
    from harmonygen.evaluation.settings import EvaluateSettings


def evaluate(
    overrides: Overrides = None,
    recipe: Recipe = None,
    small: Annotated[bool, typer.Option("--small", help="The recipe's small form: seconds.")] = False,
    predictions: Annotated[
        list[str] | None, typer.Option(metavar="[NAME=]DIR", help="Folder of predictions; repeat to compare.")
    ] = None,
    match: Annotated[str | None, typer.Option(help="Only files that fit, '*_harmonized.png' (all).")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]MODEL", help="Model run on the fly: starter or a folder; repeat."),
    ] = None,
    method: Annotated[str | None, typer.Option(help="Of --model, as harmonize has it (diffharmony).")] = None,
    refine: Annotated[str | None, typer.Option(help="Of --model: refiner's folder (none).")] = None,
    resolution: Annotated[int | None, typer.Option(help="Of --model: short side it works at, pixels.")] = None,
    draws: Annotated[int | None, typer.Option(help="Of --model: draws averaged (the checkpoint's, or 1).")] = None,
    seeds: Annotated[int | None, typer.Option(help="Of --model: so many seeds, a row each (1).")] = None,
    data: Annotated[str | None, typer.Option(help="iHarmony4 tree, list, Parquet, table or run (sample).")] = None,
    list_file: Annotated[str | None, typer.Option("--list-file", "--list", help="The list (test list).")] = None,
    subset: Annotated[str | None, typer.Option(help="One subset of the data.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only N composites, spread over the names.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the results (outputs/evaluate).")] = None,
    protocol: Annotated[str | None, typer.Option(help="paper (256 px) or fullres-fg (paper).")] = None,
    background: Annotated[str | None, typer.Option(help="Pasted first: none, composite or real (none).")] = None,
    compat_floor: Annotated[bool, typer.Option("--compat-floor", help="Floor as old code, not round.")] = False,
    resize_predictions: Annotated[bool, typer.Option("--resize-predictions", help="Of any size.")] = False,
    no_ssim: Annotated[bool, typer.Option("--no-ssim", help="Leave out SSIM: several times as fast.")] = False,
    table: Annotated[str | None, typer.Option(help="First table: subsets, bins, methods, seeds (subsets).")] = None,
    cases: Annotated[int | None, typer.Option(help="Worst and best cases of each method on the page (6).")] = None,
    sheet: Annotated[int | None, typer.Option(help="Rows of sheet.png, a qualitative sheet (0).")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes (the cores; 1 for models).")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps (auto).")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the bootstrap, and of --model's draws (0).")] = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score predictions, or models run on the fly: PSNR, MSE, fMSE, SSIM, by subset and foreground ratio.

    Example: `harmonygen evaluate --data iHarmony4 --predictions outputs/harmonize --out outputs/evaluate`

    The paper's tables: `harmonygen evaluate --recipe paper/table1 --small`
    """
    typed = dict(locals())
    from harmonygen.evaluation.evaluate import evaluate as run

    settings, reporter = settings_of(typed), Reporter(json_output, quiet)
    with reporter.progress("evaluate", "images") as progress:
        result = run(settings, progress)
    for note in result.notes:
        reporter.line(note)
    for made in result.shown:
        reporter.table(made.title, made.columns, made.rows)
    others = "table.md, table.tex, report.html, per_image.parquet and .csv"
    reporter.line(f"{result.out}: {result.scored} images scored now, {result.kept} from before; {others}")
    reporter.result({"out": result.out, "scored": result.scored, "kept": result.kept, "summary": result.summary})


def settings_of(typed: dict[str, Any]) -> EvaluateSettings:
    """Return the settings that the command's words stand for: recipe, its small form, options, overrides."""
    from harmonygen.evaluation.settings import EvaluateSettings
    from harmonygen.recipes import load
    from harmonygen.settings import resolve

    of_model = {key: typed[key] for key in _OF_MODEL if typed[key] is not None}
    of_folder = {"match": typed["match"]} if typed["match"] else {}
    methods = [*named(typed["predictions"], "predictions", of_folder), *named(typed["model"], "model", of_model)]
    options = {key: value for key, value in typed.items() if key in EvaluateSettings.model_fields and key != "small"}
    switches = {key: typed[key] or None for key in ("compat_floor", "resize_predictions")}
    options |= {**switches, "ssim": False if typed["no_ssim"] else None, "methods": methods or None}
    changed = load(typed["recipe"]).get("small", {}) if typed["recipe"] and typed["small"] else {}
    given = {key: value for key, value in options.items() if value is not None}
    return resolve(EvaluateSettings, typed["recipe"], {**changed, **given}, typed["overrides"] or ())


def named(words: Sequence[str] | None, kind: str, options: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the methods that options like ``NAME=DIR`` or ``DIR`` stand for.

    >>> named(["ours=outputs/a", "outputs/b"], "predictions", {})
    [{'name': 'ours', 'predictions': 'outputs/a'}, {'predictions': 'outputs/b'}]
    """
    split = [word.partition("=") for word in words or ()]
    return [
        {**({"name": head} if equals else {}), kind: tail if equals else head, **options}
        for head, equals, tail in split
    ]


_OF_MODEL = ("method", "refine", "resolution", "draws", "seeds", "seed")
