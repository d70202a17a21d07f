"""`harmonygen synthesize`: K candidate composites for every photo, scored and selected."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmonygen_cli.console import Reporter
from harmonygen_cli.options import Json, Overrides, Quiet, Recipe, Seed

if TYPE_CHECKING:
    from harmonygen.synthesis.settings import SynthesizeSettings
    from harmonygen.synthesis.synthesize import SynthesizeResult


def synthesize(
    overrides: Overrides = None,
    recipe: Recipe = None,
    data: Annotated[str | None, typer.Option(help="Photos and masks, any input layout, path or URL (sample).")] = None,
    list_file: Annotated[str | None, typer.Option(help="iHarmony4 list, txt or jsonl.")] = None,
    subset: Annotated[str | None, typer.Option(help="One subset of the data.")] = None,
    k: Annotated[int | None, typer.Option("--k", help="Candidates a pair (10).")] = None,
    out: Annotated[str | None, typer.Option(help="Run folder, path or URL (outputs/synthesize).")] = None,
    generator: Annotated[
        str | None, typer.Option(help="diffusion, color-transfer, color-jitter or lut (diffusion).")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Inverse checkpoint folder (starter).")] = None,
    classifier: Annotated[str | None, typer.Option(help="Classifier folder (starter).")] = None,
    cube: Annotated[list[Path] | None, typer.Option(help=".cube file for --generator lut; may be repeated.")] = None,
    keep: Annotated[str | None, typer.Option(help="all, best, or a number (all).")] = None,
    rule: Annotated[str | None, typer.Option(help="max-composite, random, quantile or diverse.")] = None,
    resolution: Annotated[int | None, typer.Option(help="Short side the model works at, pixels.")] = None,
    fit: Annotated[str | None, typer.Option(help="native or square (native).")] = None,
    detail: Annotated[str | None, typer.Option(help="transfer or decode (transfer).")] = None,
    decoded: Annotated[str | None, typer.Option(help="What is decoded: foreground or whole (foreground).")] = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="As published: --fit square --detail decode --decoded whole.")
    ] = False,
    max_side: Annotated[int | None, typer.Option(help="Longest side of the composites (the photo's own).")] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps (5).")] = None,
    batch_size: Annotated[str | None, typer.Option(help="Candidates denoised together (auto).")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps (auto).")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16, float16 (auto).")] = None,
    compile: Annotated[bool | None, typer.Option("--compile", help="Have torch compile the UNet: slow first.")] = None,
    image_format: Annotated[str | None, typer.Option(help="png, webp (lossless) or jpeg (png).")] = None,
    shard_size: Annotated[int | None, typer.Option(help="Pairs a shard (16).")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N pairs.")] = None,
    mask_resize: Annotated[str | None, typer.Option(help="refuse or nearest (refuse).")] = None,
    engine: Annotated[str | None, typer.Option(help="local or ray (local).")] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="Ray cluster to join ($RAY_ADDRESS, else a Ray of the run's own).")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes, or Ray actors (one a GPU, else 1).")] = None,
    part: Annotated[str | None, typer.Option(help="This job's part of a job array, i/n (0/1).")] = None,
    max_bad_fraction: Annotated[float | None, typer.Option(help="Bad inputs allowed (0.01).")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Remove an old run in --out first.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; write nothing.")] = False,
    seed: Seed = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make K candidate composites of every (photo, mask) pair, score and select them.

    Example: `harmonygen synthesize --data photos/ --k 10 --keep best --out outputs/run1`
    """
    options: dict[str, Any] = {key: value for key, value in locals().items() if key not in _NOT_SETTINGS}
    if paper:
        options.update(fit="square", detail="decode", decoded="whole")
    from harmonygen.settings import resolve
    from harmonygen.synthesis.settings import SynthesizeSettings

    settings = resolve(SynthesizeSettings, recipe, options, overrides or ())
    from harmonygen.synthesis.synthesize import synthesize as run

    reporter = Reporter(json_output, quiet)
    with reporter.progress("synthesize", "pairs") as progress:
        result = run(settings, overwrite=overwrite, dry_run=dry_run, progress=progress)
    tell(reporter, result, settings)


def tell(reporter: Reporter, result: SynthesizeResult, settings: SynthesizeSettings) -> None:
    """Print what a run, a part of one or a dry run came to."""
    if result.dry_run:
        size = f"{result.pairs} pairs x {settings.k} candidates in {result.shards} shards"
        reporter.line(f"{size} -> {result.url or result.out} (nothing written)")
    elif not result.summary:
        reporter.line(f"part {settings.part} done; the run is summed up when all {result.shards} shards are")
    else:
        show(reporter, result.out, result.summary, result.shards_run, result.url)
    counts = {"pairs": result.pairs, "shards": result.shards, "shards_run": result.shards_run}
    values = {"out": result.url or result.out, **counts, "dry_run": result.dry_run}
    reporter.result({**values, "summary": result.summary})


def show(reporter: Reporter, out: Path, summary: dict[str, Any], shards_run: int, url: str = "") -> None:
    """Print a run's summary as a table."""
    counts = [[name, summary[name]] for name in ("pairs", "candidates", "kept", "selected", "quarantined")]
    dropped = [[f"dropped, {reason}", count] for reason, count in summary["dropped"].items()]
    speed = [
        ["candidates/s", summary["candidates_per_second"]],
        ["median P(composite)", summary["p_composite"]["median"]],
    ]
    rows = [
        [name, f"{value:.3g}" if isinstance(value, float) else value] for name, value in [*counts, *dropped, *speed]
    ]
    reporter.table(f"{summary['generator']}: {url or out}", ["", "value"], rows)
    if not shards_run:
        reporter.line("the run was already complete: nothing was written")
    reporter.line(f"report: {out / 'report.html'}")


_NOT_SETTINGS = ("overrides", "recipe", "paper", "overwrite", "dry_run", "json_output", "quiet")
