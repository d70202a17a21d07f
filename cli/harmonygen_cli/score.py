"""`harmonygen score`: score a finished run's candidates by another classifier."""

from __future__ import annotations

from harmonygen.synthesis.settings import ScoreSettings
from harmonygen_cli.from_settings import Typed, command
from harmonygen_cli.options import RunFolder
from harmonygen_cli.select import show


@command(ScoreSettings)
def score(typed: Typed[ScoreSettings], run: RunFolder) -> None:
    """Score the candidates of a finished run by another classifier, and select again by the run's rule.

    Example: `harmonygen score outputs/synthesize --classifier my-classifier/`
    """
    settings = typed.settings()
    from harmonygen.models.device import Device
    from harmonygen.synthesis.load import open_scorer
    from harmonygen.synthesis.reselect import reselect

    scorer = open_scorer(settings.classifier, Device.pick(settings.device, "float32", runtime=settings.runtime))
    with typed.reporter.progress("score", "shards") as progress:
        result = reselect(run, scorer=scorer, scorer_digest=scorer.digest, progress=progress)
    show(typed.reporter, result)
