"""`harmonygen export`: write a run as a harmonization dataset, or as an edit-model trainer's folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harmonygen.augmentation.settings import ExportSettings
from harmonygen_cli.console import Reporter
from harmonygen_cli.from_settings import Typed, command
from harmonygen_cli.options import RunFolder
from harmonygen_cli.select import apply_review

if TYPE_CHECKING:
    from harmonygen.augmentation.export import ExportResult

_TREE = ("folder", "pairs", "composites", "gated", "renamed", "converted", "mean_levels", "most_levels")
_PREFERENCES = ("folder", "pairs", "rows", "by")
_ROWS = ("folder", "trainer", "pairs", "rows", "gated", "unchanged", "config", "command", "runs_in")


@command(ExportSettings, spellings={"trainer": ("--for",)})
def export(typed: Typed[ExportSettings], run: RunFolder) -> None:
    """Write a run's composites with their photos and masks for other people's trainers.

    Without `--for`, the result is an iHarmony4 tree, which every harmonization trainer and `augment` read. With it, the
    result is the folder of an edit-model trainer, with words and a config.

    Example: `harmonygen export outputs/synthesize --which selected --out dataset`

    Example: `harmonygen export outputs/synthesize --for ai-toolkit --out pairs`

    Example: `harmonygen export outputs/synthesize --preferences --min-margin 0.1 --out preferences`
    """
    settings, reporter = typed.settings(run=run), typed.reporter
    apply_review(reporter, run)
    if settings.preferences and settings.trainer is None:
        _preferences(settings, reporter)
        return
    if settings.trainer is not None:
        _for_trainer(settings, reporter)
        return
    from harmonygen.augmentation.export import export as workflow

    with reporter.progress("export", "composites") as advance:
        result = workflow(settings, advance)
    done = " (finished before, nothing written)" if result.finished_before else ""
    reporter.line(
        f"{result.composites} composites of {result.pairs} pairs in '{result.folder}'{done}; "
        f"{result.gated} that failed a gate were left out"
    )
    _print_changes(reporter, result)
    reporter.result({name: getattr(result, name) for name in _TREE})


def _print_changes(reporter: Reporter, result: ExportResult) -> None:
    if result.renamed:
        reporter.line(f"{result.renamed} pairs have other names than in the run: see manifest.parquet")
    if result.most_levels:
        reporter.line(
            f"{result.converted} photos became JPEG: {result.mean_levels:.2f} levels off on average, "
            f"{result.most_levels} at most (--photos png is lossless)"
        )


def _preferences(settings: ExportSettings, reporter: Reporter) -> None:
    from harmonygen.augmentation.preferences import export_preferences

    with reporter.progress("export", "rows") as advance:
        result = export_preferences(settings, advance)
    done = " (finished before, nothing written)" if result.finished_before else ""
    by = ", ".join(f"{count} by {who}" for who, count in result.by.items())
    reporter.line(f"{result.rows} preferences of {result.pairs} pairs in '{result.folder}'{done}: {by}")
    reporter.result({name: getattr(result, name) for name in _PREFERENCES})


def _for_trainer(settings: ExportSettings, reporter: Reporter) -> None:
    from harmonygen.trainers.export import export_for

    with reporter.progress("export", "rows") as advance:
        result = export_for(settings, advance)
    done = " (finished before, nothing written)" if result.finished_before else ""
    reporter.line(
        f"{result.rows} rows of {result.pairs} pairs for {result.trainer} in '{result.folder}'{done}; "
        f"{result.gated} candidates that failed a gate were left out"
    )
    if result.unchanged:
        reporter.line(f"{result.unchanged} rows change too little to be put into words, and say so")
    do = f"train, in {result.runs_in}" if result.runs_in else "to look at it"
    reporter.line(f"next: {result.command[2:]}" if result.command.startswith("# ") else f"{do}: {result.command}")
    reporter.result({name: getattr(result, name) for name in _ROWS})
