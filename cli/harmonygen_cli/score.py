"""`harmonygen score`: score a finished run's candidates by other judges."""

from __future__ import annotations

from harmonygen.synthesis.settings import ScoreSettings
from harmonygen_cli.from_settings import Typed, command
from harmonygen_cli.options import RunFolder
from harmonygen_cli.select import show


@command(ScoreSettings)
def score(typed: Typed[ScoreSettings], run: RunFolder) -> None:
    """Score the candidates of a finished run by other judges, and select again by the run's rule.

    Example: `harmonygen score outputs/synthesize --classifier my-classifier/`

    Several judges: `harmonygen score outputs/synthesize --judge starter --judge my-classifier/ --combine veto`
    """
    settings = typed.settings()
    from harmonygen.models.device import Device
    from harmonygen.synthesis.panel import load_panel
    from harmonygen.synthesis.reselect import reselect

    scorer = load_panel(settings, Device.pick(settings.device, "float32", runtime=settings.runtime))
    with typed.reporter.progress("score", "shards") as progress:
        result = reselect(
            run,
            scorer=scorer,
            scorer_digest=scorer.digest,
            progress=progress,
            combine=settings.combine,
            min_score=settings.min_score,
        )
    show(typed.reporter, result)
