"""`harmonygen export`: write a run as a harmonization dataset in iHarmony4 layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from harmonygen_cli.console import Reporter
from harmonygen_cli.options import Json, Overrides, Quiet, Recipe


def export(
    run: Annotated[Path, typer.Argument(help="Finished run folder of synthesize.")],
    overrides: Overrides = None,
    recipe: Recipe = None,
    out: Annotated[Path | None, typer.Option("--out", help="New folder (outputs/dataset).")] = None,
    which: Annotated[str | None, typer.Option("--which", help="all that passed the gates, or selected (all).")] = None,
    link: Annotated[str | None, typer.Option("--link", help="How photos come: hard, sym or copy (hard).")] = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a run's composites with their photos and masks as an iHarmony4 tree, ready for any trainer or `augment`.

    Example: `harmonygen export outputs/synthesize --which selected --out dataset`
    """
    options: dict[str, Any] = {"run": run, "out": out, "which": which, "link": link}
    from harmonygen.augmentation.export import export as workflow
    from harmonygen.augmentation.settings import ExportSettings
    from harmonygen.settings import resolve

    settings = resolve(ExportSettings, recipe, options, overrides or ())
    reporter = Reporter(json_output, quiet)
    with reporter.progress("export", "composites") as advance:
        result = workflow(settings, advance)
    done = " (finished before, nothing written)" if result.finished_before else ""
    reporter.line(
        f"{result.composites} composites of {result.pairs} pairs in '{result.folder}'{done}; "
        f"{result.gated} that failed a gate were left out"
    )
    reporter.result({name: getattr(result, name) for name in ("folder", "pairs", "composites", "gated")})
