"""`harmonygen augment`: mix candidates into a harmonization dataset."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harmonygen.augmentation.settings import AugmentSettings
from harmonygen.errors import listed
from harmonygen_cli.console import Reporter
from harmonygen_cli.from_settings import Typed, command
from harmonygen_cli.options import DryRun
from harmonygen_cli.select import apply_review

if TYPE_CHECKING:
    from harmonygen.augmentation.augment import AugmentResult
    from harmonygen.augmentation.gamma import GammaPlan


@command(AugmentSettings, spellings={"trainer": ("--for",)})
def augment(typed: Typed[AugmentSettings], dry_run: DryRun = False) -> None:
    """Add a run's candidates to a harmonization dataset: ceil(gamma N2/N1) for each pair.

    Example: `harmonygen augment --gamma 1 --data iHarmony4 --candidates outputs/synthesize --out augmented`

    Only the arithmetic, from names: `harmonygen augment --dry-run --gamma 1 --data IHD_train.txt`
    """
    settings, reporter = typed.settings(), typed.reporter
    from harmonygen.augmentation import augment as workflow

    if settings.trainer is not None:
        from harmonygen.trainers.issam import refuse_unfit

        refuse_unfit(settings)
    if dry_run:
        plan = workflow.dry_run(settings, reporter.line)
        _print_plan(reporter, plan)
        reporter.result({"dry_run": True, **workflow.gamma_json(plan)})
        return
    apply_review(reporter, settings.candidates)
    with reporter.progress("augment", "files") as advance:
        result = workflow.augment(settings, advance, reporter.line)
    _print_plan(reporter, result.gamma)
    _print_result(reporter, result)
    arms = _for_trainer(settings, reporter) if settings.trainer is not None else {}
    reporter.result({**result.as_json(), **arms})


def _for_trainer(settings: AugmentSettings, reporter: Reporter) -> dict[str, Any]:
    from harmonygen.trainers.arms import write_arms

    with reporter.progress(f"for {settings.trainer}", "test pictures") as advance:
        arms = write_arms(settings, advance)
    done = " (finished before, nothing written)" if arms.finished_before else ""
    reporter.line(
        f"{' and '.join(arms.arms)} for {settings.trainer} in '{arms.folder}'{done}: "
        f"{arms.epoch} composites per epoch each, {arms.test} test composites"
    )
    for command_line in arms.commands:
        reporter.line(f"train with, in the trainer's folder: {command_line}")
    return {"trainer": {**asdict(arms), "folder": str(arms.folder)}}


def _print_plan(reporter: Reporter, plan: GammaPlan) -> None:
    columns = ["subset", "N1 pairs", "N2 originals", "gamma N2/N1", "per pair", "added"]
    rows: list[list[Any]] = [
        [row.subset or "(all)", row.pairs, row.composites, _exact(row.ratio), row.per_pair, row.added]
        for row in plan.rows
    ]
    rows.append(["total", plan.pairs, plan.composites, "", "", plan.added])
    scope = "each subset by its own ratio" if plan.per_subset else "one ratio over all"
    reporter.table(f"gamma = {plan.gamma:g}, {scope}", columns, rows)
    reporter.line(f"needs K >= {plan.needed_k} candidates per pair")


def _exact(ratio: Any) -> str:
    return f"{ratio} = {float(ratio):.2f}" if ratio.denominator > 1 else str(ratio)


def _print_result(reporter: Reporter, result: AugmentResult) -> None:
    if result.skipped_pairs:
        reporter.line(f"{len(result.skipped_pairs)} pairs were quarantined by the run and got no candidate")
    if result.short_pairs:
        reporter.line(f"{len(result.short_pairs)} pairs got fewer than gamma asks for: no more passed the gates")
    if result.gated or result.unused:
        reporter.line(f"not eligible: {result.gated} candidates failed a gate, {result.unused} are of other pairs")
    if result.test_candidates:
        reporter.line(f"{result.test_candidates} candidates of test photos were skipped")
    if result.look_alikes:
        named = listed(result.look_alikes, "pairs")
        reporter.line(f"left out with their composites, training photos that look like test photos: {named}")
    reporter.line(f"leak guard: {result.leak_guard}")
    done = "finished before, nothing written" if result.finished_before else f"{result.seconds:.1f} s"
    total = result.originals + result.new
    reporter.line(
        f"{result.originals} originals + {result.new} new = {total} training composites, "
        f"{result.test} test composites in '{result.folder}' ({done})"
    )
