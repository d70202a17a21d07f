"""`harmonygen quickstart`: the whole job on the built-in sample, in one folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmonygen.settings import Seed, Settings, setting

if TYPE_CHECKING:
    from harmonygen.human_harmony.build import BuildResult

_HUMAN_K = 3  # candidates per photo of the small Human Harmony: most of the quickstart's time goes into the first step
_HUMAN_TEST = 0.25  # one of the sample's four photos

Progress = Callable[[int, int], None]


class QuickstartSettings(Settings):
    """Options of `harmonygen quickstart`."""

    out: Path = setting(Path("quickstart"), "Folder of the results.")
    k: int = setting(10, "Number of candidates per pair.", ge=1)
    seed: Seed = 0


@dataclass(frozen=True)
class QuickstartResult:
    """What the quickstart made, as rows to print, the report to open, and figures by step."""

    rows: list[tuple[str, str]]
    report: Path
    summary: dict[str, Any]


def quickstart(settings: QuickstartSettings, progress: Progress | None = None) -> QuickstartResult:
    """Synthesize, select and augment the sample in ``settings.out``, and build a small Human Harmony of it.

    Repeat the call to resume it.

    Raises:
        UsageError: ``out`` holds something else.
        StorageError: it cannot be written.
    """
    from harmonygen.augmentation.augment import augment
    from harmonygen.augmentation.settings import AugmentSettings
    from harmonygen.human_harmony.build import build_human_harmony
    from harmonygen.human_harmony.settings import HumanHarmonySettings
    from harmonygen.report import contact_sheet
    from harmonygen.storage.shards import make_folder
    from harmonygen.synthesis.settings import SynthesizeSettings
    from harmonygen.synthesis.synthesize import synthesize

    began = time.monotonic()
    out, k, seed = make_folder(settings.out), settings.k, settings.seed
    run, sheet = out / "synthesize", out / "contact-sheet.png"
    made = synthesize(SynthesizeSettings(out=run, k=k, seed=seed), progress=progress)
    mixed = augment(AugmentSettings(candidates=run, out=out / "augmented", seed=seed))
    human = build_human_harmony(
        HumanHarmonySettings(out=out / "human-harmony", k=min(k, _HUMAN_K), seed=seed, test_fraction=_HUMAN_TEST)
    )
    if not sheet.exists():
        contact_sheet(run, rows=10, columns=10).save(sheet)
    summary = made.summary
    rows = [
        ("photos with a mask (pairs)", str(summary["pairs"])),
        ("candidates", f"{summary['candidates']} ({summary['candidates_per_second']:.1f} a second)"),
        ("selected by the classifier", str(summary["selected"])),
        ("dropped by a gate", str(sum(n for reason, n in summary["dropped"].items() if reason.startswith("gate")))),
        ("median foreground change (fMSE)", f"{summary['fmse_median']:.0f}"),
        ("data set with candidates mixed in", str(mixed.folder)),
        ("a small Human Harmony", _in_words(human)),
        ("contact sheet", str(sheet)),
        ("seconds", f"{time.monotonic() - began:.0f}"),
    ]
    steps = {"synthesize": summary, "augmented": str(mixed.folder), "human_harmony": human.summary}
    return QuickstartResult(rows, run / "report.html", steps)


def _in_words(human: BuildResult) -> str:
    return f"{human.out}: {human.train} train and {human.test} test photos, {human.summary['candidates']} candidates"
