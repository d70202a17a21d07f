"""`harmonygen export`: write a run as a harmonization dataset in iHarmony4 layout."""

from __future__ import annotations

from harmonygen.augmentation.settings import ExportSettings
from harmonygen_cli.from_settings import Typed, command
from harmonygen_cli.options import RunFolder


@command(ExportSettings)
def export(typed: Typed[ExportSettings], run: RunFolder) -> None:
    """Write a run's composites with their photos and masks as an iHarmony4 tree, ready for any trainer or `augment`.

    Example: `harmonygen export outputs/synthesize --which selected --out dataset`
    """
    settings, reporter = typed.settings(run=run), typed.reporter
    from harmonygen.augmentation.export import export as workflow

    with reporter.progress("export", "composites") as advance:
        result = workflow(settings, advance)
    done = " (finished before, nothing written)" if result.finished_before else ""
    reporter.line(
        f"{result.composites} composites of {result.pairs} pairs in '{result.folder}'{done}; "
        f"{result.gated} that failed a gate were left out"
    )
    reporter.result({name: getattr(result, name) for name in ("folder", "pairs", "composites", "gated")})
