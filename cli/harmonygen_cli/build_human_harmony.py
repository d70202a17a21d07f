"""`harmonygen build-human-harmony`: segmented photos to a dataset of composites, ready to publish."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harmonygen.human_harmony.settings import HumanHarmonySettings
from harmonygen_cli.console import Reporter
from harmonygen_cli.from_settings import Typed, command
from harmonygen_cli.options import DryRun

if TYPE_CHECKING:
    from harmonygen.human_harmony.build import BuildResult

_TOLD = ("out", "pairs", "left_out", "quarantined", "train", "test", "exact", "dry_run", "finished_before", "summary")


@command(HumanHarmonySettings, spellings={"data": ("--data", "--imaterialist")}, alone={"person": "selfie"})
def build_human_harmony(typed: Typed[HumanHarmonySettings], dry_run: DryRun = False) -> None:
    """Build a dataset of photos, masks and composites from segmented photos, split into training and test.

    Example: `harmonygen build-human-harmony --data imaterialist-2020 --k 10 --out human-harmony`

    Photos of people without masks: `harmonygen build-human-harmony --data photos/ --person --out people`

    Classes of a COCO file: `harmonygen build-human-harmony --data instances.json --classes cat,dog --out pets`

    The built-in sample, in an empty folder: `harmonygen build-human-harmony`
    """
    settings = typed.settings()
    from harmonygen.human_harmony.build import build_human_harmony as run

    result = run(settings, dry_run=dry_run, stages=typed.reporter.progress, say=typed.reporter.line)
    _tell(typed.reporter, result)


def _tell(reporter: Reporter, result: BuildResult) -> None:
    (_show_plan if result.dry_run else _show)(reporter, result)
    inputs = {"inputs": result.inputs} if result.dry_run else {}
    reporter.result({**{name: getattr(result, name) for name in _TOLD}, **inputs})


def _show_plan(reporter: Reporter, result: BuildResult) -> None:
    rows = [["photos", result.pairs], *([f"left out, {name}", n] for name, n in result.left_out.items())]
    rows += [["inputs that cannot be used", result.quarantined], ["train photos", result.train]]
    reporter.table("build-human-harmony", ["", "count"], [*rows, ["test photos", result.test]])
    sizes = "" if result.exact else " if every photo is kept"
    reporter.line(f"these are the sizes of the splits{sizes}; nothing was written to {result.out}")


def _show(reporter: Reporter, result: BuildResult) -> None:
    summary = result.summary
    rows: list[list[Any]] = [["photos read", summary["photos_read"]]]
    rows += [[f"left out, {name}", count] for name, count in result.left_out.items()]
    rows += [["quarantined", result.quarantined], ["photos kept", summary["pairs"]]]
    rows += [["candidates", summary["candidates"]], ["selected", summary["selected"]]]
    rows += [[f"{name}, {split}", n] for name, splits in summary["rows"].items() for split, n in splits.items()]
    ties = summary["near_ties"]
    reporter.table(
        f"{summary.get('title', 'Human Harmony')}: {result.out}", ["", "count"], [*rows, ["near ties", ties["pairs"]]]
    )
    ratio = summary["fg_ratio"]
    beside = f", {ratio['reference'][1]:.1%} of {ratio['reference'][0]}" if ratio["reference"] else ""
    reporter.line(
        f"foreground ratio above {ratio['level']:g}: {ratio['share_above']:.1%} of {summary['pairs']} photos{beside}; "
        f"a near tie: the two best scores differ by less than {ties['under']:g}"
    )
    if result.finished_before:
        reporter.line("the build was already complete: nothing was written")
    reporter.line(f"report: {result.out / 'report.html'}; card: {result.out / 'README.md'}")
