"""`harmonygen build-human-harmony`: segmented photos to a dataset of composites, ready to publish."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmonygen_cli.console import Reporter
from harmonygen_cli.options import Json, Overrides, Quiet, Recipe, Seed

if TYPE_CHECKING:
    from harmonygen.human_harmony.build import BuildResult

_TOLD = ("out", "pairs", "left_out", "quarantined", "train", "test", "exact", "dry_run", "finished_before", "summary")
_NOT_SETTINGS = ("overrides", "recipe", "dry_run", "json_output", "quiet")


def build_human_harmony(
    overrides: Overrides = None,
    recipe: Recipe = None,
    imaterialist: Annotated[
        str | None, typer.Option(help="Contest folder, Fashionpedia JSON, or any input layout (sample).")
    ] = None,
    k: Annotated[int | None, typer.Option("--k", help="Candidates a photo (10).")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the build (outputs/human-harmony).")] = None,
    classes: Annotated[str | None, typer.Option(help="all, garments, or ids or names with commas (all).")] = None,
    clean: Annotated[bool | None, typer.Option("--clean/--no-clean", help="Fill holes, remove specks (clean).")] = None,
    person: Annotated[str | None, typer.Option(help="Widen masks by deeplabv3, lraspp or maskrcnn (none).")] = None,
    person_weights: Annotated[Path | None, typer.Option(help="Your torchvision weights for --person.")] = None,
    product_filter: Annotated[
        str | None, typer.Option(help="heuristic, person-detector, list or none (heuristic).")
    ] = None,
    product_list: Annotated[Path | None, typer.Option(help="list: file of product photos' ids.")] = None,
    product_weights: Annotated[Path | None, typer.Option(help="person-detector: your torchvision weights.")] = None,
    min_fg: Annotated[float | None, typer.Option(help="Least foreground share of a photo (0.01).")] = None,
    max_fg: Annotated[float | None, typer.Option(help="Largest foreground share of a photo (0.95).")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N photos.")] = None,
    generator: Annotated[str | None, typer.Option(help="diffusion, color-transfer or lut (diffusion).")] = None,
    model: Annotated[str | None, typer.Option(help="Inverse checkpoint folder (starter).")] = None,
    classifier: Annotated[str | None, typer.Option(help="Classifier folder (starter).")] = None,
    rule: Annotated[str | None, typer.Option(help="max-composite, random, quantile or diverse.")] = None,
    max_side: Annotated[int | None, typer.Option(help="Longest side of photos and composites (1024).")] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps (5).")] = None,
    batch_size: Annotated[str | None, typer.Option(help="Candidates denoised together (auto).")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps (auto).")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16, float16 (auto).")] = None,
    image_format: Annotated[str | None, typer.Option(help="png, webp (lossless) or jpeg (png).")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes (1).")] = None,
    decisions: Annotated[Path | None, typer.Option(help="decisions.json of a review.")] = None,
    near_tie: Annotated[float | None, typer.Option(help="Two best scores this close are a tie (0.01).")] = None,
    test_fraction: Annotated[float | None, typer.Option(help="Test share, by photo (7404/73146).")] = None,
    train_list: Annotated[Path | None, typer.Option(help="Ids of photos that are for training.")] = None,
    test_list: Annotated[Path | None, typer.Option(help="Ids of photos that are for testing.")] = None,
    leak_check: Annotated[
        Path | None, typer.Option(help="Test list or folder (iHarmony4): its photos are left out.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Dataset whose foreground ratios are drawn beside (iHarmony4).")
    ] = None,
    license: Annotated[str | None, typer.Option(help="Licence of the source photos (unknown).")] = None,
    format: Annotated[str | None, typer.Option(help="parquet or iharmony4 (parquet).")] = None,
    link: Annotated[str | None, typer.Option(help="iharmony4: how photos come: hard, sym or copy (hard).")] = None,
    max_bad_fraction: Annotated[float | None, typer.Option(help="Bad inputs allowed (0.01).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print counts and split sizes; write nothing.")] = False,
    seed: Seed = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Build a dataset of (photo, mask, composite) from segmented photos: K candidates each, the best chosen, split.

    Example: `harmonygen build-human-harmony --imaterialist imaterialist-2020 --k 10 --out human-harmony`

    The built-in sample, in an empty folder: `harmonygen build-human-harmony`
    """
    options: dict[str, Any] = {key: value for key, value in locals().items() if key not in _NOT_SETTINGS}
    from harmonygen.human_harmony.settings import HumanHarmonySettings
    from harmonygen.settings import resolve

    settings = resolve(HumanHarmonySettings, recipe, options, overrides or ())
    from harmonygen.human_harmony.build import build_human_harmony as run

    reporter = Reporter(json_output, quiet)
    result = run(settings, dry_run=dry_run, stages=reporter.progress)
    _tell(reporter, result)


def _tell(reporter: Reporter, result: BuildResult) -> None:
    (_show_plan if result.dry_run else _show)(reporter, result)
    reporter.result({name: getattr(result, name) for name in _TOLD})


def _show_plan(reporter: Reporter, result: BuildResult) -> None:
    rows = [["photos with a mask", result.pairs], *([f"left out, {name}", n] for name, n in result.left_out.items())]
    rows += [["inputs that cannot be used", result.quarantined], ["train photos", result.train]]
    reporter.table("build-human-harmony", ["", "count"], [*rows, ["test photos", result.test]])
    sizes = "of the photos that were kept" if result.exact else "if every photo is kept"
    reporter.line(f"split sizes are {sizes} -> {result.out} (nothing written)")


def _show(reporter: Reporter, result: BuildResult) -> None:
    summary = result.summary
    rows: list[list[Any]] = [["photos read", summary["photos_read"]]]
    rows += [[f"left out, {name}", count] for name, count in result.left_out.items()]
    rows += [["quarantined", result.quarantined], ["photos kept", summary["pairs"]]]
    rows += [["candidates", summary["candidates"]], ["selected", summary["selected"]]]
    rows += [[f"{name}, {split}", n] for name, splits in summary["rows"].items() for split, n in splits.items()]
    ties = summary["near_ties"]
    reporter.table(f"Human Harmony: {result.out}", ["", "count"], [*rows, ["near ties", ties["pairs"]]])
    ratio = summary["fg_ratio"]
    beside = f", {ratio['reference'][1]:.1%} of {ratio['reference'][0]}" if ratio["reference"] else ""
    reporter.line(
        f"foreground ratio above {ratio['level']:g}: {ratio['share_above']:.1%} of {summary['pairs']} photos{beside}; "
        f"a near tie: the two best scores differ by less than {ties['under']:g}"
    )
    if result.finished_before:
        reporter.line("the build was already complete: nothing was written")
    reporter.line(f"report: {result.out / 'report.html'}; card: {result.out / 'README.md'}")
