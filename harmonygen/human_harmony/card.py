"""The figures, pictures and card of a built Human Harmony dataset."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from harmonygen.storage import shards
from harmonygen.settings import HumanHarmonySettings
from harmonygen.data import read_pairs
from harmonygen.data.card import CardFigures, Picture, card_metadata, card_text
from harmonygen.data.write_parquet import write_readme
from harmonygen.errors import InputError
from harmonygen.pictures.images import load_upright, open_checked, read_bytes
from harmonygen.pictures.masks import decode_segmentation, fg_ratio, to_mask
from harmonygen.records import MaskSource, SegmentSource
from harmonygen.report import contact_sheet, plots
from harmonygen.report.raster import to_png
from harmonygen.human_harmony import prepare
from harmonygen.synthesis.summary import count_scores
from harmonygen.human_harmony.rows import SPLITS, Triplets, margins, read_light

ASSETS = "assets"
LEVEL = 0.2  # the paper's: about 70 % of Human Harmony's photos have a larger foreground
_EXAMPLES = 8  # rows of the card's contact sheet
_COLUMNS = 6


@dataclass(frozen=True)
class Counted:
    """What a build's rows come to, without their pictures.

    ``photos`` counts pairs by split, of ``distinct`` photos; ``layers`` are scores by outcome (selected, passed,
    gated); ``near_ties`` pairs have a margin under the threshold; ``unselected`` pairs have no selected candidate;
    ``ratios`` by pair.
    """

    photos: dict[str, int]
    distinct: int
    candidates: int
    selected: int
    layers: dict[str, list[float]]
    near_ties: int
    unselected: int
    ratios: list[float]
    scores: dict[str, Any]


def count(triplets: Triplets, near_tie: float) -> Counted:
    """Count the pairs and candidates that the dataset has."""
    layers: dict[str, list[float]] = {"selected": [], "passed": [], "gated": []}
    gaps: dict[str, float | None] = {}
    chosen: set[str] = set()
    distinct: set[str] = set()
    scored: list[dict[str, Any]] = []
    for part in triplets.parts():
        light = [row for row in read_light(part) if triplets.split_of.get(row["pair_id"])]
        gaps |= margins(light)
        distinct |= {row["real_id"] for row in light}
        chosen |= {row["pair_id"] for row in light if row["selected"]}
        for row in light:
            layers["selected" if row["selected"] else "gated" if row["gate"] else "passed"].append(row["p_composite"])
            scored.append({name: row[name] for name in ("reason", "selected", "p_composite", "fmse", "structure")})
    splits = [triplets.split_of[pair_id] for pair_id in gaps]
    return Counted(
        photos={split: splits.count(split) for split in SPLITS},
        distinct=len(distinct),
        candidates=len(scored),
        selected=len(layers["selected"]),
        layers=layers,
        near_ties=sum(gap is not None and gap < near_tie for gap in gaps.values()),
        unselected=len(gaps.keys() - chosen),
        ratios=_ratios(triplets.work, gaps),
        scores=count_scores(scored),
    )


def _ratios(work: Path, pairs: Mapping[str, Any]) -> list[float]:
    tables = (pq.read_table(path, columns=["pair_id", "fg_ratio"]).to_pylist() for path in prepare.files(work))
    return [row["fg_ratio"] for rows in tables for row in rows if row["pair_id"] in pairs]


def reference_ratios(data: str, work: Path, digest: str) -> tuple[str, list[float]]:
    """Return the name and foreground ratios of another dataset's masks; measured once, kept in ``reference.json``.

    Raises:
        UsageError: the data cannot be read.
        InputError: none of its masks can be.
    """
    kept = work / "reference.json"
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
        if isinstance(source, SegmentSource):
            return fg_ratio(decode_segmentation(source))
        upright, _ = load_upright(open_checked(read_bytes(source), str(source)), str(source))
        return fg_ratio(to_mask(upright))
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
            "One row a photo: the photo with its mask's outline, then candidates by falling score; the blue one with a "
            "star is the selected one. Photos spread evenly over the ranking by best score.",
        ),
        Picture(
            f"{ASSETS}/foreground-ratio.png",
            f"Share of photos with a foreground ratio over x: {plots.share_above(counted.ratios, LEVEL):.0%} above 0.2",
            "Share of photos whose foreground covers more than x of them.",
        ),
        Picture(
            f"{ASSETS}/scores.png",
            "Histogram of the scores of all candidates",
            "Scores of all candidates: selected (blue), passed the gates (grey), refused by a gate (orange).",
        ),
    ]


def made_by(settings: HumanHarmonySettings, plan: Mapping[str, Any], review: Mapping[str, int]) -> list[str]:
    """Return the lines that tell how a build was made; of paths, the last part alone."""
    person = "" if settings.person == "none" else f", widened to the person by torchvision's {settings.person}"
    cleaned = "small holes filled and specks removed" if settings.clean else "not cleaned"
    side = (
        f"photos over {settings.max_side} px brought to that side" if settings.max_side else "photos at their own size"
    )
    leak = f"; photos of the test split of {settings.leak_check.name} left out" if settings.leak_check else ""
    given = " as given by lists," if settings.train_list or settings.test_list else ""
    weights = f" ({Path(settings.model).name}, weights {plan['model_digest']})"
    model = weights if settings.generator == "diffusion" else ""
    lines = [
        f"Masks: union of the segments of each photo, classes: {settings.classes}; {cleaned}{person}.",
        f"Foreground between {settings.min_fg:g} and {settings.max_fg:g} of the photo. Product photos: "
        f"{settings.product_filter}.",
        f"K = {settings.k} candidates a photo by {settings.generator}{model}, seed {settings.seed}, {side}.",
        f"Scored by the classifier {Path(settings.classifier).name} (weights {plan['classifier_digest']}); selected "
        f"by the rule {settings.rule}.",
        f"Split:{given} by photo, seed {settings.seed}, test share {settings.test_fraction:.4g}; look-alikes "
        f"(perceptual hash) on one side{leak}.",
    ]
    if review:
        lines.append(f"Reviewed by eye: {review['accepted']:,} candidates accepted, {review['rejected']:,} rejected.")
    return lines


def command(settings: HumanHarmonySettings) -> str:
    """Return the command that makes the build, with what differs from the defaults; of paths, the last part alone.

    >>> command(HumanHarmonySettings(k=3))
    'harmonygen build-human-harmony k=3'
    """
    changed = settings.model_dump(exclude_defaults=True, exclude={"out", "device", "workers", "batch_size"})
    return " ".join(["harmonygen build-human-harmony", *_words(changed)])


def _words(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _words(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}={_bare(value)}"


def _bare(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_bare, value))}]"
    return Path(value).name if isinstance(value, Path) or "/" in str(value) else str(value)


def write_card(out: Path, figures: CardFigures, configs: Mapping[str, Any]) -> None:
    """Write ``README.md``."""
    write_readme(out, card_metadata(figures, configs), card_text(figures))


def score_figures(counted: Counted) -> dict[str, float | None]:
    """Return the selected composites' median score and that of all candidates."""
    selected = counted.layers["selected"]
    return {
        "median of all": counted.scores["p_composite"]["median"],
        "median of the selected": float(np.median(selected)) if selected else None,
    }
