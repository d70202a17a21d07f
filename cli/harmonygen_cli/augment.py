"""`harmonygen augment`: mix candidates into a harmonization dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmonygen_cli.console import Reporter
from harmonygen_cli.options import Json, Overrides, Quiet, Recipe, Seed

if TYPE_CHECKING:
    from harmonygen.augmentation.augment import AugmentResult
    from harmonygen.augmentation.gamma import GammaPlan

_NOT_SETTINGS = ("overrides", "recipe", "dry_run", "json_output", "quiet")


def augment(
    overrides: Overrides = None,
    recipe: Recipe = None,
    gamma: Annotated[float | None, typer.Option("--gamma", help="Blending ratio (1).")] = None,
    data: Annotated[str | None, typer.Option("--data", help="iHarmony4 folder, list file or sample (sample).")] = None,
    candidates: Annotated[
        Path | None, typer.Option("--candidates", help="Finished synthesize run (outputs/synthesize).")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="New folder (outputs/augmented).")] = None,
    pick: Annotated[
        str | None, typer.Option("--pick", help="random, top by p_composite, or selected (random).")
    ] = None,
    link: Annotated[str | None, typer.Option("--link", help="How originals come: hard, sym or copy (hard).")] = None,
    format: Annotated[str | None, typer.Option("--format", help="iharmony4 or parquet (iharmony4).")] = None,
    subset: Annotated[str | None, typer.Option("--subset", help="Augment this subset alone (all).")] = None,
    per_subset: Annotated[
        bool | None,
        typer.Option("--per-subset/--no-per-subset", help="A ratio a subset, or one over all (per subset)."),
    ] = None,
    list_file: Annotated[str | None, typer.Option("--list-file", help="Training list (IHD_train.txt).")] = None,
    test_list: Annotated[str | None, typer.Option("--test-list", help="Test list (IHD_test.txt).")] = None,
    leak_guard: Annotated[
        str | None, typer.Option("--leak-guard", help="hash: by photo id and perceptual hash; ids: by id (hash).")
    ] = None,
    allow_fewer: Annotated[
        bool | None, typer.Option("--allow-fewer", help="Pairs with too few that pass the gates get those (refuse).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the arithmetic; write nothing.")] = False,
    seed: Seed = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Add ceil(gamma N2/N1) candidates to each pair of a dataset, beside its own composites.

    Example: `harmonygen augment --gamma 1 --data iHarmony4 --candidates outputs/synthesize --out augmented`

    The arithmetic alone, from names: `harmonygen augment --dry-run --gamma 1 --data IHD_train.txt`
    """
    options: dict[str, Any] = {key: value for key, value in locals().items() if key not in _NOT_SETTINGS}
    from harmonygen.augmentation import augment as workflow
    from harmonygen.augmentation.settings import AugmentSettings
    from harmonygen.settings import resolve

    settings = resolve(AugmentSettings, recipe, options, overrides or ())
    reporter = Reporter(json_output, quiet)
    if dry_run:
        plan = workflow.dry_run(settings)
        _print_plan(reporter, plan)
        reporter.result({"dry_run": True, **workflow.gamma_json(plan)})
        return
    with reporter.progress("augment", "files") as advance:
        result = workflow.augment(settings, advance)
    _print_plan(reporter, result.gamma)
    _print_result(reporter, result)
    reporter.result(result.as_json())


def _print_plan(reporter: Reporter, plan: GammaPlan) -> None:
    columns = ["subset", "N1 pairs", "N2 originals", "gamma N2/N1", "per pair", "added"]
    rows: list[list[Any]] = [
        [row.subset or "(all)", row.pairs, row.composites, _exact(row.ratio), row.per_pair, row.added]
        for row in plan.rows
    ]
    rows.append(["total", plan.pairs, plan.composites, "", "", plan.added])
    scope = "each subset by its own ratio" if plan.per_subset else "one ratio over all"
    reporter.table(f"gamma = {plan.gamma:g}, {scope}", columns, rows)
    reporter.line(f"needs K >= {plan.needed_k} candidates a pair")


def _exact(ratio: Any) -> str:
    return f"{ratio} = {float(ratio):.2f}" if ratio.denominator > 1 else str(ratio)


def _print_result(reporter: Reporter, result: AugmentResult) -> None:
    if result.skipped_pairs:
        reporter.line(f"{len(result.skipped_pairs)} pairs were quarantined by the run and got no candidate")
    if result.short_pairs:
        reporter.line(f"{len(result.short_pairs)} pairs got fewer than gamma asks for: no more passed the gates")
    if result.gated or result.unused:
        reporter.line(f"not eligible: {result.gated} candidates failed a gate, {result.unused} are of other pairs")
    reporter.line(f"leak guard: {result.leak_guard}")
    done = "finished before, nothing written" if result.finished_before else f"{result.seconds:.1f} s"
    total = result.originals + result.new
    reporter.line(
        f"{result.originals} originals + {result.new} new = {total} training composites, "
        f"{result.test} test composites in '{result.folder}' ({done})"
    )
