"""The figures, pictures and card of a built Human Harmony dataset."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from harmonygen.data import read_pairs
from harmonygen.data.write_parquet import write_readme
from harmonygen.errors import InputError
from harmonygen.human_harmony import prepare
from harmonygen.human_harmony.rows import SPLITS, Triplets, margins
from harmonygen.human_harmony.settings import HumanHarmonySettings
from harmonygen.pictures.masks import fg_ratio, understand_source
from harmonygen.plugins.doors import GENERATORS, shown_spec
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
_NAMED = re.compile(r"[\w.+-]+:(?!//)")  # a plug-in with its argument, which may be a path


@dataclass(frozen=True)
class Counted:
    """What a build's rows come to, without their pictures.

    ``pairs`` and ``photos`` count those that were written, by split. ``candidates``, ``scores`` and ``layers`` (the
    scores by outcome: selected; passed: may be used too; gated: refused by a gate or a reviewer) are of all that were
    made. ``near_ties`` are written pairs whose margin is under the threshold; ``unselected`` pairs have no selected
    candidate; ``ratios`` are of the written pairs.
    """

    pairs: dict[str, int]
    photos: dict[str, int]
    candidates: int
    selected: int
    layers: dict[str, list[float]]
    near_ties: int
    unselected: int
    ratios: list[float]
    scores: dict[str, Any]


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
    return Counted(
        pairs={split: len(pair_ids) for split, pair_ids in own.items()},
        photos={split: len({photo_of[pair_id] for pair_id in pair_ids}) for split, pair_ids in own.items()},
        candidates=len(scored),
        selected=len(layers["selected"]),
        layers=layers,
        near_ties=sum(_is_near(gaps[pair_id], near_tie) for pair_id in _among(gaps, written)),
        unselected=len(gaps.keys() - chosen),
        ratios=_ratios(triplets.work, _among(gaps, written)),
        scores=count_scores(scored),
    )


def _among(pairs: Iterable[str], written: Collection[str] | None) -> set[str]:
    return {pair_id for pair_id in pairs if written is None or pair_id in written}


def _is_near(gap: float | None, near_tie: float) -> bool:
    return gap is not None and gap < near_tie


def _ratios(work: Path, pairs: Collection[str]) -> list[float]:
    tables = (pq.read_table(path, columns=["pair_id", "fg_ratio"]).to_pylist() for path in prepare.files(work))
    return [row["fg_ratio"] for rows in tables for row in rows if row["pair_id"] in pairs]


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
    of_plugin = f" ({plan['model_digest']})" if settings.generator not in GENERATORS.own else ""
    model = weights if settings.generator in ("diffusion", "parametric") else of_plugin
    lines = [
        f"Masks: union of the segments of each photo, classes: {settings.classes}; {cleaned}{person}.",
        f"Foreground between {settings.min_fg:g} and {settings.max_fg:g} of the photo. Product photos: "
        f"{settings.product_filter}.",
        f"K = {settings.k} candidates a photo by {shown_spec(settings.generator)}{model}, seed {settings.seed}, "
        f"{side}.",
        f"Scored by {_judges(settings)} (weights {plan['classifier_digest']}); selected by the rule {settings.rule}.",
        f"Split:{given} by photo, seed {settings.seed}, test share {settings.test_fraction:.4g}; look-alikes "
        f"(perceptual hash) on one side{leak}.",
    ]
    if review:
        lines.append(f"Reviewed by eye: {review['accepted']:,} candidates accepted, {review['rejected']:,} rejected.")
    return lines


def _judges(settings: HumanHarmonySettings) -> str:
    """Name the judges, and how several are combined."""
    if not settings.judge:
        return f"the classifier {_bare(settings.classifier)}"
    named = [f"{judge.name} ({_bare(judge.spec)})" for judge in settings.judges()]
    if len(named) == 1:
        return f"the judge {named[0]}"
    least = f" with the least score {settings.min_score:g}" if settings.combine in ("all-above", "veto") else ""
    return f"the judges {', '.join(named)}, combined by {settings.combine}{least}"


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
    if isinstance(value, str) and _NAMED.match(value):
        return shown_spec(value)
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


TITLE = "Human Harmony"


UNKNOWN_LICENSE = (
    "The licence of this dataset is that of its source photos, and it has not been stated: it is **unknown**. Ask "
    "whoever holds the rights to the photos before you use or pass on any of it. The composites are derived from the "
    "photos and are bound by the same rights."
)


_TAGS = ["image-harmonization", "synthetic", "human"]


COLUMNS = {
    "real, mask, composite": "images: the photo, its foreground (white), the same photo with a foreground that "
    "does not fit; outside the mask composite and real are equal, pixel for pixel",
    "pair_id, real_id, mask_id, subset": "names of the pair, the photo and the mask",
    "width, height, fg_ratio": "size in pixels, share of the photo that is foreground",
    "k, seed": "number of the candidate and the seed it was drawn from",
    "p_composite": "the judge's probability of being a composite; of several judges, their mean",
    "margin": "the pair's best score minus its second best; null where fewer than two candidates may be used",
    "selected, gate, reason": "whether the rule chose it; the first gate it failed; why it was not chosen",
    "clipped, fmse, structure, drift": "what the gates measured",
    "generator, model_digest, params_digest, classifier_digest, run": "what made and scored it",
    "class_ids, attributes, segments": "what the foreground is made of, by the source's ids",
    "phash": "perceptual hash of the photo, 64 bits as hexadecimal digits",
    "license": "the photos' licence, as far as it was stated",
}
"""What each column of the Parquet files means."""


@dataclass(frozen=True)
class Picture:
    """A picture of the card: its path relative to the card, what it shows, and the sentence under it."""

    path: str
    alt: str
    caption: str


@dataclass(frozen=True)
class CardFigures:
    """Everything the card tells.

    ``rows`` counts what was written by configuration and split, ``photos`` the pairs of it by split; ``left_out`` are
    photos by reason. ``near_ties`` pairs have a ``margin``
    under ``near_tie``. ``unit`` is what a pair is called: a photo, where each has one mask. ``above`` is the share of
    photos with a foreground ratio over 0.2, ``reference`` the name and share of another dataset. ``made`` are lines of
    how it was made.
    """

    rows: Mapping[str, Mapping[str, int]]
    photos_read: int
    photos: Mapping[str, int]
    left_out: Mapping[str, int]
    quarantined: int
    k: int
    candidates: int
    scores: Mapping[str, float | None]
    near_ties: int
    near_tie: float
    unselected: int
    above: float
    reference: tuple[str, float] | None
    made: Sequence[str]
    command: str
    license: str | None = None
    unit: str = "photos"
    pictures: Sequence[Picture] = ()
    format: str = "parquet"

    def with_pictures(self, pictures: Sequence[Picture]) -> CardFigures:
        """Return the same figures with the card's pictures."""
        return replace(self, pictures=tuple(pictures))


def card_metadata(figures: CardFigures, configs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the card's YAML: the licence if stated, tags, and ``configs`` (with ``dataset_info``)."""
    stated = {"license": "other", "license_name": figures.license} if figures.license else {"license": "unknown"}
    return {**stated, "task_categories": ["image-to-image"], "tags": _TAGS, "pretty_name": TITLE, **configs}


def card_text(figures: CardFigures) -> str:
    """Return the card's Markdown, without its YAML.

    >>> "0 of 0" in card_text(CardFigures({}, 0, {}, {}, 0, 1, 0, {}, 0, 0.01, 0, 0.0, None, [], ""))
    True
    """
    parts = [
        _head(figures),
        _contents(figures),
        *(f"![{each.alt}]({each.path})\n\n{each.caption}" for each in figures.pictures),
        _making(figures),
        f"## Licence\n\n{_license(figures)}",
        _limits(figures),
    ]
    return "\n\n".join(parts) + "\n"


def _head(figures: CardFigures) -> str:
    photos = sum(figures.photos.values())
    return (
        f"# {TITLE}\n\nTriplets for image harmonization: a photo of a person, the mask of what they wear, and a "
        f"composite whose foreground does not fit the photo. {photos:,} {figures.unit}, {_each(figures)}. "
        "Built with harmonygen by the recipe of Human Harmony (DiffHarmony++, doi 10.1145/3664647.3681466), from "
        "other photos or by other models than the authors': it is not their dataset."
    )


def _each(figures: CardFigures) -> str:
    if figures.format == "parquet":
        return f"{figures.k} candidates each"
    composites = sum(rows for splits in figures.rows.values() for rows in splits.values())
    return f"{composites:,} composites chosen among {figures.k} candidates each"


def _contents(figures: CardFigures) -> str:
    lines = ["## What is in it", ""]
    if figures.format == "parquet":
        lines += [*_table(["configuration", "split", "rows"], _row_counts(figures)), "", _LOADING, ""]
    else:
        lines += [*_table(["", "split", "rows"], _row_counts(figures)), "", _TREE, ""]
    above = f"Foreground ratio over 0.2: {figures.above:.1%} of {sum(figures.photos.values()):,} {figures.unit}"
    if figures.reference:
        above += f"; {figures.reference[1]:.1%} of {figures.reference[0]}"
    return "\n".join([*lines, f"{above}. Published: about 70% of Human Harmony, under 15% of iHarmony4."])


def _row_counts(figures: CardFigures) -> list[list[str]]:
    return [
        [name, split, f"{rows:,}"] for name, splits in figures.rows.items() for split, rows in splits.items() if rows
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    aligned = ["---:" if name in ("rows", "photos") else "---" for name in head]
    return [f"| {' | '.join(cells)} |" for cells in (head, aligned, *rows)]


_LOADING = """```python
from datasets import load_dataset

chosen = load_dataset("<this repository or folder>", "default", split="train")       # one composite per photo
everything = load_dataset("<this repository or folder>", "candidates", split="train")  # all of them, with scores
```

""" + "\n".join(_table(["columns", "meaning"], [[name, text] for name, text in COLUMNS.items()]))


_TREE = (
    "iHarmony4 layout: `<Subset>/{composite_images,masks,real_images}`, `IHD_train.txt`, `IHD_test.txt`, and "
    "`manifest.parquet` with one row a composite."
)


def _making(figures: CardFigures) -> str:
    kept = sum(figures.photos.values())
    rows = [[reason, f"{count:,}"] for reason, count in figures.left_out.items()]
    scores = ", ".join(f"{name} {value:.3f}" for name, value in figures.scores.items() if value is not None)
    lines = [
        "## How it was made",
        "",
        f"`{figures.command}`",
        "",
        f"{kept:,} of {figures.photos_read:,} {figures.unit} were kept; {figures.quarantined:,} inputs could not be "
        "used.",
        "",
        *(_table(["left out", "photos"], rows) if rows else [f"None of the {figures.unit} was left out."]),
        "",
        *(f"- {line}" for line in figures.made),
        f"- {figures.candidates:,} candidates were scored (P(composite): {scores or 'none'}).",
        f"- Near ties: in {figures.near_ties:,} of {kept:,} {figures.unit} the two best scores differ by less than "
        f"{figures.near_tie:g}{' (column `margin`)' if figures.format == 'parquet' else ''}.",
    ]
    if figures.unselected:
        gone = "" if figures.format == "parquet" else ", so they are not in the dataset"
        lines.append(
            f"- {figures.unselected:,} {figures.unit} have no selected composite: every candidate failed a gate or a "
            f"review{gone}."
        )
    return "\n".join(lines)


def _license(figures: CardFigures) -> str:
    if not figures.license:
        return UNKNOWN_LICENSE
    return f"As stated by whoever built it: {figures.license}. It is the source photos'; composites derive from them."


def _limits(figures: CardFigures) -> str:
    lines = [
        "The mask is what the source's segments cover: clothing, unless it was widened to the person.",
        "Composites are made by a model and chosen by a classifier, and nobody looked at each of them unless a review "
        "is named above. The classifier's probability is a ranking, not a measured error rate.",
        "People are shown. Do not use the photos to identify anyone, and honour requests to take a photo out.",
        "Clothes, poses and people are those of the source, with its biases.",
    ]
    return "\n".join(["## Limits", "", *(f"- {line}" for line in lines)])
