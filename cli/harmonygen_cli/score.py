"""`harmonygen score`: score a finished run's candidates by another classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harmonygen_cli.console import Reporter
from harmonygen_cli.options import Json, Overrides, Quiet, Recipe
from harmonygen_cli.select import show


def score(
    run: Annotated[Path, typer.Argument(help="Run folder of synthesize.")],
    overrides: Overrides = None,
    recipe: Recipe = None,
    classifier: Annotated[str | None, typer.Option(help="Classifier folder (starter).")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, mps (auto).")] = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a finished run's candidates by another classifier and select by its rule anew.

    Example: `harmonygen score outputs/synthesize --classifier my-classifier/`
    """
    from harmonygen.models.classifier import ClassifierScorer
    from harmonygen.models.device import pick_device
    from harmonygen.settings import resolve
    from harmonygen.synthesis.reselect import reselect
    from harmonygen.synthesis.settings import ScoreSettings

    options = {"classifier": classifier, "device": device}
    settings = resolve(ScoreSettings, recipe, options, overrides or ())
    scorer = ClassifierScorer.from_pretrained(settings.classifier, pick_device(settings.device))
    reporter = Reporter(json_output, quiet)
    with reporter.progress("score", "shards") as progress:
        result = reselect(run, scorer=scorer, scorer_digest=scorer.digest, progress=progress)
    show(reporter, result)
