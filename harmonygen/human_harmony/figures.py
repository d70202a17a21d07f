"""The figures and pictures of a built dataset: what its rows come to, and how they are drawn for the card."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from harmonygen.data import read_pairs
from harmonygen.errors import InputError
from harmonygen.human_harmony import prepare
from harmonygen.human_harmony.rows import SPLITS, Triplets, margins
from harmonygen.human_harmony.subject import ids_in
from harmonygen.pictures.masks import fg_ratio, understand_source
from harmonygen.records import MaskSource
from harmonygen.report import contact_sheet, plots
from harmonygen.report.raster import to_png
from harmonygen.runs.counts import count_scores
from harmonygen.storage import shards

ASSETS, REFERENCE = "assets", "reference.json"
PICTURES = ("examples.png", "foreground-ratio.png", "scores.png")
LEVEL = 0.2  # the paper's: about 70 % of Human Harmony's photos have a larger foreground
_EXAMPLES = 8  # rows of the card's contact sheet
_COLUMNS = 6


@dataclass(frozen=True)
class Counted:
    """What a build's rows come to, without their pictures.

    ``pairs`` and ``photos`` count those that were written, by split. ``candidates``, ``scores`` and ``layers`` (the
    scores by outcome: selected; passed: may be used too; gated: refused by a gate or a reviewer) are of all that were
    made. ``near_ties`` are written pairs whose margin is under the threshold; ``unselected`` pairs have no selected
    candidate; ``ratios`` are of the written pairs, and so are ``classes``: how many have a class, by its id.
    """

    pairs: dict[str, int]
    photos: dict[str, int]
    candidates: int
    selected: int
    layers: dict[str, list[float]]
    near_ties: int
    unselected: int
    ratios: list[float]
    classes: dict[int, int]
    scores: dict[str, Any]


@dataclass(frozen=True)
class Picture:
    """A picture of the card: its path relative to the card, what it shows, and the sentence under it."""

    path: str
    alt: str
    caption: str


def count(triplets: Triplets, near_tie: float, written: Collection[str] | None = None) -> Counted:
    """Count the pairs and candidates of a build; ``written`` are the pairs that the dataset has (None: all)."""
    layers: dict[str, list[float]] = {"selected": [], "passed": [], "gated": []}
    gaps: dict[str, float | None] = {}
    chosen: set[str] = set()
    photo_of: dict[str, str] = {}
    scored: list[dict[str, Any]] = []
    for part in triplets.parts():
        rows = triplets.run.part_rows(part).to_pylist()
        light = [row for row in rows if triplets.split_of.get(row["pair_id"])]
        gaps |= margins(light)
        photo_of |= {row["pair_id"]: row["real_id"] for row in light}
        chosen |= {row["pair_id"] for row in light if row["selected"]}
        for row in light:
            layers["selected" if row["selected"] else "passed" if row["usable"] else "gated"].append(row["p_composite"])
            scored.append({name: row[name] for name in ("reason", "selected", "p_composite", "fmse", "structure")})
    own = {split: [p for p in _among(gaps, written) if triplets.split_of[p] == split] for split in SPLITS}
    ratios, classes = _prepared(triplets.work, _among(gaps, written))
    return Counted(
        pairs={split: len(pair_ids) for split, pair_ids in own.items()},
        photos={split: len({photo_of[pair_id] for pair_id in pair_ids}) for split, pair_ids in own.items()},
        candidates=len(scored),
        selected=len(layers["selected"]),
        layers=layers,
        near_ties=sum(_is_near(gaps[pair_id], near_tie) for pair_id in _among(gaps, written)),
        unselected=len(gaps.keys() - chosen),
        ratios=ratios,
        classes=classes,
        scores=count_scores(scored),
    )


def _among(pairs: Iterable[str], written: Collection[str] | None) -> set[str]:
    return {pair_id for pair_id in pairs if written is None or pair_id in written}


def _is_near(gap: float | None, near_tie: float) -> bool:
    return gap is not None and gap < near_tie


def _prepared(work: Path, pairs: Collection[str]) -> tuple[list[float], dict[int, int]]:
    """Return the foreground ratios of pairs, and how many of them have a class, the most frequent class first."""
    columns = ["pair_id", "fg_ratio", "class_ids"]
    tables = (pq.read_table(path, columns=columns).to_pylist() for path in prepare.files(work))
    rows = [row for table in tables for row in table if row["pair_id"] in pairs]
    counts = Counter(class_id for row in rows for class_id in ids_in(row["class_ids"]))
    return [row["fg_ratio"] for row in rows], dict(sorted(counts.items(), key=lambda each: (-each[1], each[0])))


def reference_ratios(data: str, work: Path, digest: str) -> tuple[str, list[float]]:
    """Return the name and foreground ratios of another dataset's masks; measured once, kept in ``reference.json``.

    Raises:
        UsageError: the data cannot be read.
        InputError: none of its masks can be.
    """
    kept = work / REFERENCE
    if kept.is_file():
        held = json.loads(kept.read_text(encoding="utf-8"))
        if held["digest"] == digest:
            return held["name"], held["ratios"]
    pairs = read_pairs(data)
    with ThreadPoolExecutor() as threads:
        found = [ratio for ratio in threads.map(_ratio, (pair.mask for pair in pairs)) if ratio is not None]
    if not found:
        raise InputError(f"none of the {len(pairs)} masks of --reference '{data}' can be read: check the folder")
    name = pairs.root.name if pairs.layout != "sample" else "sample"
    shards.write_json(kept, {"digest": digest, "name": name, "ratios": found})
    return name, found


def _ratio(source: MaskSource) -> float | None:
    try:
        return fg_ratio(understand_source(source)[0])
    except InputError:
        return None


def write_pictures(out: Path, counted: Counted, reference: tuple[str, Sequence[float]] | None) -> list[Picture]:
    """Draw the card's pictures into ``assets/`` and return them."""
    folder = shards.make_folder(out / ASSETS)
    curve = plots.curve(counted.ratios, "Foreground ratios", reference)
    layers = [(name, counted.layers[name]) for name in ("selected", "passed", "gated")]
    shards.write_bytes(folder / "foreground-ratio.png", to_png(curve))
    shards.write_bytes(folder / "scores.png", to_png(plots.histogram(layers, "Scores")))
    buffer = io.BytesIO()
    contact_sheet(out, _EXAMPLES, _COLUMNS).save(buffer, "PNG", optimize=True)
    shards.write_bytes(folder / "examples.png", buffer.getvalue())
    return [
        Picture(
            f"{ASSETS}/examples.png",
            "Photos with the outline of their mask, each followed by its candidates with their scores",
            "One row per photo: the photo with its mask's outline, then candidates by falling score; the blue one with "
            "a star is the selected one. Photos spread evenly over the ranking by best score.",
        ),
        Picture(
            f"{ASSETS}/foreground-ratio.png",
            f"Share of photos with a foreground ratio over x: {plots.share_above(counted.ratios, LEVEL):.0%} above 0.2",
            "Share of photos whose foreground covers more than x of them.",
        ),
        Picture(
            f"{ASSETS}/scores.png",
            "Histogram of the scores of all candidates",
            "Scores of all candidates: selected (blue), usable but not selected (grey), refused by a gate or by a "
            "reviewer (orange).",
        ),
    ]


def score_figures(counted: Counted) -> dict[str, float | None]:
    """Return the selected composites' median score and that of all candidates."""
    selected = counted.layers["selected"]
    return {
        "median of all": counted.scores["p_composite"]["median"],
        "median of the selected": float(np.median(selected)) if selected else None,
    }
