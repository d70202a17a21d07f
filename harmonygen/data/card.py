"""The text of a built dataset's card: what it holds, how it was made, its licence and its limits.

Pure text from figures; the pictures it names lie in ``assets/`` and are drawn elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

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
    "p_composite": "the classifier's probability of being a composite",
    "margin": "the pair's best score minus its second best; null where fewer than two candidates passed the gates",
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

    ``rows`` counts by configuration and split; ``left_out`` photos by reason. ``near_ties`` pairs have a ``margin``
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
        f"composite whose foreground does not fit the photo. {photos:,} {figures.unit}, {figures.k} candidates each. "
        "Built with harmonygen by the recipe of Human Harmony (DiffHarmony++, doi 10.1145/3664647.3681466), from "
        "other photos or by other models than the authors': it is not their dataset."
    )


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

chosen = load_dataset("<this repository or folder>", "default", split="train")       # one composite a photo
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
        f"{figures.near_tie:g} (column `margin`).",
    ]
    if figures.unselected:
        lines.append(
            f"- {figures.unselected:,} {figures.unit} have no selected composite: every candidate failed a gate or a "
            "review."
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
