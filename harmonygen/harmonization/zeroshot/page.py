"""The page of a zero-shot run: one row per composite, with each edit's picture, words, score and what was decided.

It reads the traces and strips that lie beside the results; a run that was cut short is shown as far as it got.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from PIL import Image

from harmonygen.errors import UsageError
from harmonygen.report import pages
from harmonygen.report.gather import flatten
from harmonygen.report.render import FILENAME, Progress, ReportResult, data_url, put_page, refuse_foreign_page
from harmonygen.report.rows import read_columns
from harmonygen.report.settings import MAX_CANDIDATES
from harmonygen.report.thumbnails import QUALITY, Thumbnail
from harmonygen.storage.shards import read_json

TRACES = "*.trace.json"
_STRIP = ".strip.jpg"


@dataclass(frozen=True, slots=True)
class Cell:
    """A picture of a row: number 0 is the composite. ``picture`` is a data URL, "" if it could not be read."""

    number: int
    picture: str
    p_composite: float
    words: str = ""
    decided: str = ""
    figures: str = ""
    best: bool = False
    regenerate: bool = False


def is_zero_shot(folder: Path) -> bool:
    """Return whether a folder is a run of `harmonize --method zero-shot`."""
    plan = read_json(folder / "plan.json")
    return plan.get("verb") == "harmonize" and plan.get("settings", {}).get("method") == "zero-shot"


def write_zero_shot_report(
    run: Path,
    out: Path | None = None,
    *,
    pairs: Sequence[str] = (),
    max_candidates: int = MAX_CANDIDATES,
    progress: Progress | None = None,
) -> ReportResult:
    """Write the page of a run folder; equal input gives an equal file.

    Args:
        run: the folder.
        out: the HTML file; by default ``report.html`` in the folder.
        pairs: show only composites whose id fits one of these patterns (``*`` and ``?``).
        max_candidates: over this many edits, show the first composites only; the page says so.
        progress: called with composites done and in all.

    Raises:
        UsageError: the folder is not such a run.
        StorageError: a trace cannot be read or the page cannot be written.
    """
    if not is_zero_shot(run):
        raise UsageError(f"'{run}' is not a run of harmonize --method zero-shot: give the --out of one")
    refuse_foreign_page(out)
    found = dict(traces(run))
    among = {path: trace for path, trace in found.items() if _fits(trace["pair_id"], pairs)}
    shown = dict(fitting(among, max_candidates))
    rows: list[dict[str, Any]] = []
    for path, trace in shown.items():
        rows.append({"trace": trace, "cells": cells(path, trace)})
        if progress is not None:
            progress(len(rows), len(shown))
    content = render(run, found, rows, len(among)).encode()
    path = out or run / FILENAME
    put_page(path, content)
    unreadable = sum(not cell.picture for row in rows for cell in row["cells"])
    return ReportResult(path, len(found), len(rows), _edits(found), _edits(shown), unreadable, len(content))


def _edits(found: Mapping[Path, dict[str, Any]]) -> int:
    return sum(len(trace["iterations"]) for trace in found.values())


def traces(run: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the path and content of each trace whose picture is there, by name."""
    for path in sorted(run.rglob(TRACES)):
        trace = read_json(path)
        if path.with_name(trace["picture"]).is_file():
            yield path, trace


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


def fitting(found: Mapping[Path, dict[str, Any]], most: int) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the first traces that hold at most ``most`` edits together, and one at least."""
    edits = 0
    for path, trace in found.items():
        edits += len(trace["iterations"])
        if edits > most and edits > len(trace["iterations"]):
            return
        yield path, trace


def cells(path: Path, trace: Mapping[str, Any]) -> list[Cell]:
    """Return the cells of a composite's row: the composite, then every edit."""
    strip = path.with_name(path.name.removesuffix(TRACES[1:]) + _STRIP)
    pictures = cut(strip, len(trace["iterations"]) + 1)
    first = Cell(0, pictures[0], trace["p_composite"], best=trace["best"] == 0)
    return [first, *(_cell(edit, trace, pictures[edit["number"]]) for edit in trace["iterations"])]


def _cell(edit: Mapping[str, Any], trace: Mapping[str, Any], picture: str) -> Cell:
    start = edit["started_from"]
    origin = "of the composite" if start == 0 else f"of edit {start}"
    return Cell(
        edit["number"],
        picture,
        edit["p_composite"],
        words=" → ".join(edit["prompts"]),
        decided=f"{origin}; {edit['why']}: {edit['decision']}",
        figures=", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in edit["figures"].items()),
        best=edit["number"] == trace["best"],
        regenerate=edit["decision"] == "regenerate",
    )


def cut(strip: Path, count: int) -> list[str]:
    """Cut a strip into its ``count`` pictures, as data URLs; "" for each if it cannot be read."""
    try:
        with Image.open(strip) as opened:
            whole = opened.convert("RGB")
    except Exception:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error ...
        return [""] * count
    width = whole.width // count
    return [_url(whole.crop((index * width, 0, (index + 1) * width, whole.height))) for index in range(count)]


def _url(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY + 10, method=2)
    return data_url(Thumbnail(buffer.getvalue(), *picture.size))


def render(run: Path, found: Mapping[Path, dict[str, Any]], rows: Sequence[Mapping[str, Any]], matched: int) -> str:
    """Return the page's HTML; all text is escaped."""
    plan = read_json(run / "plan.json")
    quarantine = run / "quarantine.parquet"
    bad = read_columns(quarantine, ("id", "stage", "error", "message")) if quarantine.is_file() else []
    settings = plan.get("settings", {})
    improved = sum(trace["improved"] for trace in found.values())
    return pages.page(
        "zero_shot.html.j2",
        name=run.resolve().name,
        style=pages.asset("report.css"),
        figures=[
            (f"{plan.get('composites', len(found)):,}", "composites"),
            (f"{len(found):,}", "harmonized"),
            (f"{_edits(found):,}", "edits"),
            (f"{improved:,} of {len(found):,}", "score better than untouched"),
            (f"{len(bad):,}", "quarantined"),
        ],
        classifier=settings.get("zero_shot", {}).get("classifier", ""),
        facts={
            "Settings": flatten(settings),
            "Run": flatten({key: plan.get(key) for key in ("harmonygen", "model_digest", "inputs_digest")}),
        },
        quarantine=bad,
        rows=rows,
        matched=matched,
        total=len(found),
    )
