"""`harmonygen evaluate`: score predictions or models against real photos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from harmonygen.errors import UsageError
from harmonygen.evaluation.settings import EvaluateSettings
from harmonygen.settings import PUBLISHED
from harmonygen_cli.from_settings import Typed, command
from harmonygen_cli.options import Paper, Small

Predictions = Annotated[
    list[str] | None, typer.Option(metavar="[NAME=]DIR", help="Folder of predictions; repeat to compare several.")
]
Model = Annotated[
    list[str] | None,
    typer.Option(metavar="[NAME=]MODEL", help="Model to run, starter or a folder; repeat to compare several."),
]
_OF_MODEL = ("method", "refine", "resolution", "draws", "seeds")


@command(
    EvaluateSettings, spellings={"list_file": ("--list-file", "--list")}, nested={"methods": ("match", *_OF_MODEL)}
)
def evaluate(
    typed: Typed[EvaluateSettings],
    predictions: Predictions = None,
    model: Model = None,
    paper: Paper = False,
    small: Small = False,
) -> None:
    """Score predictions, or models run on the fly, by PSNR, MSE, fMSE and SSIM, per subset and foreground ratio.

    Example: `harmonygen evaluate --data iHarmony4 --predictions outputs/harmonize --out outputs/evaluate`

    The paper's tables: `harmonygen evaluate --recipe paper/table1 --small`
    """
    settings, reporter = settings_of(typed, predictions or (), model or (), small, paper), typed.reporter
    from harmonygen.evaluation.evaluate import evaluate as run

    with reporter.progress("evaluate", "images") as progress:
        result = run(settings, progress, reporter.line)
    for note in result.notes:
        reporter.line(note)
    for made in result.shown:
        reporter.table(made.title, made.columns, made.rows)
    others = "table.md, table.tex, report.html, per_image.parquet and .csv"
    reporter.line(f"{result.out}: {result.scored} images scored now, {result.kept} from before; {others}")
    reporter.result({"out": result.out, "scored": result.scored, "kept": result.kept, "summary": result.summary})


def settings_of(
    typed: Typed[EvaluateSettings], predictions: Sequence[str], models: Sequence[str], small: bool, paper: bool = False
) -> EvaluateSettings:
    """Return the settings: the recipe, its small form, what was typed; a method for each prediction and model."""
    from harmonygen.recipes import load

    given: dict[str, Any] = typed.options.pop("methods", {})
    of_folder = {"match": given.pop("match")} if "match" in given else {}
    if paper and not models:
        raise UsageError("--paper is how a --model is run: name one, or drop it")
    of_model = (
        (PUBLISHED if paper else {}) | given | {key: typed.options[key] for key in ("seed",) if key in typed.options}
    )
    methods = [*named(predictions, "predictions", of_folder), *named(models, "model", of_model)]
    changed: dict[str, Any] = load(typed.recipe).get("small", {}) if typed.recipe and small else {}
    if small and not changed:
        raise UsageError(
            f"--small needs a recipe with a table [small], {typed.recipe or 'no recipe'} has none: drop it"
        )
    typed.options = {**changed, **typed.options}
    return typed.settings(**({"methods": methods} if methods else {}))


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
