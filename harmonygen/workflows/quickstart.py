"""`harmonygen quickstart`: the whole job on the built-in sample, in one folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmonygen.config import AugmentSettings, SynthesizeSettings
from harmonygen.report import contact_sheet
from harmonygen.shards import make_folder
from harmonygen.workflows.augment import augment
from harmonygen.workflows.synthesize import synthesize

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class QuickstartResult:
    """What the quickstart made, as rows to print, the report to open, and figures by step."""

    rows: list[tuple[str, str]]
    report: Path
    summary: dict[str, Any]


def quickstart(out: Path, k: int = 10, seed: int = 0, progress: Progress | None = None) -> QuickstartResult:
    """Synthesize, select and augment the sample in ``out``; a repeated call goes on where the last one stopped.

    Raises:
        UsageError: ``out`` holds something else.
        StorageError: it cannot be written.
    """
    began = time.monotonic()
    make_folder(out)
    run = out / "synthesize"
    made = synthesize(SynthesizeSettings(out=run, k=k, seed=seed), progress=progress)
    mixed = augment(AugmentSettings(candidates=run, out=out / "augmented", seed=seed))
    sheet = out / "contact-sheet.png"
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
        ("contact sheet", str(sheet)),
        ("seconds", f"{time.monotonic() - began:.0f}"),
    ]
    return QuickstartResult(rows, run / "report.html", {"synthesize": summary, "augmented": str(mixed.folder)})
