"""`harmonygen quickstart`: the whole job on the built-in sample, in one folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmonygen.errors import UsageError, shown
from harmonygen.settings import Seed, Settings, setting

if TYPE_CHECKING:
    from harmonygen.human_harmony.build import BuildResult

_VERBS = {"synthesize": "synthesize", "augmented": "augment", "human-harmony": "build-human-harmony"}
_SHEET = "contact-sheet.png"
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
    from harmonygen.report import write_contact_sheet
    from harmonygen.storage.shards import make_folder
    from harmonygen.synthesis.settings import SynthesizeSettings
    from harmonygen.synthesis.synthesize import synthesize

    began = time.monotonic()
    out, k, seed = settings.out, settings.k, settings.seed
    _look(out)
    make_folder(out)
    run, sheet = out / "synthesize", out / _SHEET
    made = synthesize(SynthesizeSettings(out=run, k=k, seed=seed), progress=progress)
    mixed = augment(AugmentSettings(candidates=run, out=out / "augmented", seed=seed))
    human = build_human_harmony(
        HumanHarmonySettings(out=out / "human-harmony", k=min(k, _HUMAN_K), seed=seed, test_fraction=_HUMAN_TEST)
    )
    if not sheet.exists():
        write_contact_sheet(run, sheet)
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


def _look(out: Path) -> None:
    """Refuse a folder that holds something else than a quickstart; nothing is written."""
    from harmonygen.runs.job_folder import look
    from harmonygen.storage.shards import refuse_files

    refuse_files(out)
    names = sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) if out.is_dir() else []
    if others := [name for name in names if name not in (*_VERBS, _SHEET)]:
        raise UsageError(f"'{out}' is not empty and no quickstart (found {shown(others)}): choose another --out")
    for name, verb in _VERBS.items():
        look(out / name, verb)


def _in_words(human: BuildResult) -> str:
    return f"{human.out}: {human.train} train and {human.test} test photos, {human.summary['candidates']} candidates"
