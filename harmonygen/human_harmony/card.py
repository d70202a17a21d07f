"""The card of a built dataset: its front matter, and words on what the foregrounds are and how it was made."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import harmonygen
from harmonygen.data.hub_fields import licence_fields, size_category
from harmonygen.data.write_parquet import write_readme
from harmonygen.human_harmony.figures import Picture
from harmonygen.human_harmony.settings import HumanHarmonySettings
from harmonygen.human_harmony.subject import Subject
from harmonygen.plugins.doors import GENERATORS, shown_spec

_TAGS = ["image-harmonization", "synthetic"]
_NAMED = re.compile(r"[\w.+-]+:(?!//)")  # a plug-in with its argument, which may be a path
_LISTED = 12  # classes that a card shows at once; more are folded up

_PRODUCTS = {
    "heuristic": "left out by a heuristic (a foreground alone on a plain ground, no skin beside it)",
    "witness": "left out by a heuristic (a foreground alone on a plain ground, no skin beside it), unless a detector "
    "is sure of a person",
    "person-detector": "left out where a detector finds no person",
    "list": "left out by a list",
    "none": "not looked for",
}

_WHY = {
    "not-chosen": "no segment of the chosen classes",
    "no-segment": "no segment, so no mask",
    "no person": "no person was found",
    "min-fg": "the foreground is too small",
    "max-fg": "the foreground is too large",
    "product": "a product is shown, worn by nobody",
    "leak": "the photo is in the test split of another dataset",
}
"""Reasons why photos were left out, by their first word."""

UNKNOWN_LICENSE = (
    "The licence of this dataset is that of its source photos, and it has not been stated: it is **unknown**. Ask "
    "whoever holds the rights to the photos before you use or pass on any of it. The composites are derived from the "
    "photos and are bound by the same rights."
)

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
    "class_ids, attributes, segments": "what the foreground is made of: the source's ids of its classes and "
    "attributes, and the number of segments that were united",
    "phash": "perceptual hash of the photo, 64 bits as hexadecimal digits",
    "license": "the photos' licence, as far as it was stated",
}
"""What each column of the Parquet files means."""


@dataclass(frozen=True)
class CardFigures:
    """Everything the card tells.

    ``rows`` counts what was written by configuration and split, ``photos`` the pairs of it by split; ``left_out`` are
    photos by reason. ``near_ties`` pairs have a ``margin`` under ``near_tie``. ``unit`` is what a pair is called: a
    photo, where each has one mask. ``above`` is the share of photos with a foreground ratio over 0.2, ``reference`` the
    name and share of another dataset. ``made`` says how it was made, ``command`` makes it again, and ``later``
    says what was done since. ``given_title`` stands for one made from the ``subject`` if it is not empty.
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
    subject: Subject
    later: Sequence[str] = ()
    given_title: str = ""
    license: str | None = None
    unit: str = "photos"
    pictures: Sequence[Picture] = ()
    format: str = "parquet"

    @property
    def title(self) -> str:
        """The title of the dataset."""
        return self.given_title or self.subject.title()

    def with_pictures(self, pictures: Sequence[Picture]) -> CardFigures:
        """Return the same figures with the card's pictures."""
        return replace(self, pictures=tuple(pictures))


def made_by(
    settings: HumanHarmonySettings, plan: Mapping[str, Any], review: Mapping[str, int], unmasked: bool = False
) -> list[str]:
    """Return the lines that tell how a build was made; of paths, the last part alone."""
    network = settings.person.partition(":")[0]
    person = "" if settings.person == "none" else f", widened to the person by {network}"
    cleaned = "small holes filled and specks removed" if settings.clean else "not cleaned"
    union = f"union of the segments of each photo, classes: {settings.classes}; {cleaned}{person}"
    masks = f"the largest person of each photo, found by {network}; {cleaned}" if unmasked else union
    side = (
        f"photos over {settings.max_side} px brought to that side" if settings.max_side else "photos at their own size"
    )
    leak = f"; photos of the test split of {settings.leak_check.name} left out" if settings.leak_check else ""
    given = " as given by lists," if settings.train_list or settings.test_list else ""
    weights = f" ({Path(settings.model).name}, weights {plan['model_digest']})"
    of_plugin = f" ({plan['model_digest']})" if settings.generator not in GENERATORS.own else ""
    model = weights if settings.generator in ("diffusion", "parametric") else of_plugin
    lines = [
        f"Masks: {masks}.",
        f"Foreground between {settings.min_fg:g} and {settings.max_fg:g} of the photo. Product photos: "
        f"{_PRODUCTS[settings.product_filter]}.",
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


def _bare(spec: str) -> str:
    """Return a judge as it may be shown: of a path, the last part alone."""
    return shown_spec(spec) if _NAMED.match(spec) else Path(spec).name


def write_card(out: Path, figures: CardFigures, configs: Mapping[str, Any]) -> None:
    """Write ``README.md``."""
    write_readme(out, card_metadata(figures, configs), card_text(figures))


def card_metadata(figures: CardFigures, configs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the card's YAML: licence, tags, number of rows, and ``configs`` (with ``dataset_info``)."""
    rows = sum(rows for splits in figures.rows.values() for rows in splits.values())
    return {
        **licence_fields(figures.license),
        "task_categories": ["image-to-image"],
        "tags": [*_TAGS, *(["human"] if figures.subject.human else [])],
        "pretty_name": figures.title,
        "size_categories": [size_category(rows)],
        **configs,
    }


def card_text(figures: CardFigures) -> str:
    """Return the card's Markdown, without its YAML.

    >>> nothing = Subject("foregrounds", {}, {}, "all", "photos")
    >>> "0 of 0" in card_text(CardFigures({}, 0, {}, {}, 0, 1, 0, {}, 0, 0.01, 0, 0.0, None, [], "", nothing))
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
    photos, named = sum(figures.photos.values()), figures.subject.named()
    of = f" ({_line(named)})" if named else ""
    shown = {
        "clothing": f"a photo of a person, the mask of what they wear{of}",
        "people": f"a photo that shows people, the mask that covers them{of}",
        "things": f"a photo, the mask of its foreground{of}",
        "foregrounds": f"a photo, the mask of its foreground{of}",
    }[figures.subject.kind]
    recipe = "Human Harmony (DiffHarmony++, doi 10.1145/3664647.3681466)"
    built = (
        f"Built with harmonygen by the recipe of {recipe}, from other photos or by other models than the authors': it "
        "is not their dataset."
        if figures.subject.human
        else f"Built with harmonygen by the steps of {recipe}, which were made for photos of people in clothes."
    )
    return (
        f"# {_line(figures.title)}\n\nTriplets for image harmonization: {shown}, and a composite whose foreground does "
        f"not fit the photo. {photos:,} {figures.unit}, {_each(figures)}. {built}"
    )


def _line(text: str) -> str:
    """Return text in which Markdown and HTML have no meaning."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text)


def _each(figures: CardFigures) -> str:
    if figures.format == "parquet":
        return f"{figures.k} candidates each"
    composites = sum(rows for splits in figures.rows.values() for rows in splits.values())
    return f"{composites:,} composites chosen among {figures.k} candidates each"


def _contents(figures: CardFigures) -> str:
    lines = ["## What is in it", ""]
    if figures.format == "parquet":
        lines += [*_table(["configuration", "split", "rows"], _row_counts(figures)), "", _loading(figures), ""]
    else:
        lines += [*_table(["", "split", "rows"], _row_counts(figures)), "", _TREE, ""]
    above = f"Foreground ratio over 0.2: {figures.above:.1%} of {sum(figures.photos.values()):,} {figures.unit}"
    if figures.reference:
        above += f"; {figures.reference[1]:.1%} of {figures.reference[0]}"
    published = " Published: about 70% of Human Harmony, under 15% of iHarmony4." if figures.subject.human else ""
    return "\n".join([*lines, *_classes(figures), f"{above}.{published}"])


def _classes(figures: CardFigures) -> list[str]:
    """Return the table of the classes that the foregrounds are made of; nothing where there are none."""
    subject = figures.subject
    if not subject.counts:
        return []
    rows = [[str(key), _line(subject.name(key)), f"{count:,}"] for key, count in subject.counts.items()]
    table = _table(["class id", "class", figures.unit], rows)
    if len(rows) <= _LISTED:
        return ["Classes of the foregrounds:", "", *table, ""]
    return [f"<details><summary>The {len(rows)} classes of the foregrounds</summary>", "", *table, "", "</details>", ""]


def _row_counts(figures: CardFigures) -> list[list[str]]:
    return [
        [name, split, f"{rows:,}"] for name, splits in figures.rows.items() for split, rows in splits.items() if rows
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    aligned = ["---:" if name.startswith(("rows", "photos", "pairs")) else "---" for name in head]
    return [f"| {' | '.join(cells)} |" for cells in (head, aligned, *rows)]


def _loading(figures: CardFigures) -> str:
    """Return how the configurations are loaded, and what their columns mean."""
    columns = _table(["columns", "meaning"], [[name, text] for name, text in COLUMNS.items()])
    if PREFERENCES not in figures.rows:
        return "\n".join([_LOADING, "```", "", *columns])
    return "\n".join([_LOADING, _LOADING_PREFERENCES, "```", "", *columns, "", _PREFERRED])


PREFERENCES = "preferences"
"""The configuration of preference pairs."""
_LOADING_PREFERENCES = 'preferences = load_dataset(dataset, "preferences", split="train")  # two per photo'
_PREFERRED = (
    "In `preferences`, `preferred` and `rejected` are two composites of one photo: an accepted and a rejected one "
    "where a reviewer decided, else the most and the least composite-like (`by`). `margin` is `p_preferred` minus "
    "`p_rejected`, their scores; `k_preferred` and `k_rejected` name them in `candidates`."
)
_LOADING = """```python
from datasets import load_dataset

dataset = "user/name"  # this repository, or the folder that it was built in
chosen = load_dataset(dataset, "default", split="train")  # one composite per photo
everything = load_dataset(dataset, "candidates", split="train")  # all of them, with scores"""


_TREE = (
    "iHarmony4 layout: `<Subset>/{composite_images,masks,real_images}`, `IHD_train.txt`, `IHD_test.txt`, and "
    "`manifest.parquet` with one row a composite."
)


def _making(figures: CardFigures) -> str:
    kept = sum(figures.photos.values())
    rows = [[reason, f"{count:,}", _WHY.get(reason.split(":")[0], "")] for reason, count in figures.left_out.items()]
    scores = ", ".join(f"{name} {value:.3f}" for name, value in figures.scores.items() if value is not None)
    lines = [
        "## How it was made",
        "",
        *_again(figures),
        "",
        f"{kept:,} of {figures.photos_read:,} {figures.unit} were kept; {figures.quarantined:,} inputs could not be "
        "used.",
        "",
        *(_table(["left out", "photos", "because"], rows) if rows else [f"None of the {figures.unit} was left out."]),
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


def _again(figures: CardFigures) -> list[str]:
    """Return the command that makes the dataset again, and what has to follow it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", figures.command)), default=0))
    lines = [
        f"By harmonygen {harmonygen.__version__}; the same command makes the same rows again, where its paths lead to "
        "the same files:",
        "",
        f"{fence}bash",
        figures.command,
        fence,
    ]
    if figures.later:
        lines += ["", "Since then, for the folder that it makes, and followed by the same command once more:", ""]
        lines += [f"{number}. {step}" for number, step in enumerate(figures.later, 1)]
    return lines


def _license(figures: CardFigures) -> str:
    if not figures.license:
        return UNKNOWN_LICENSE
    return f"As stated by whoever built it: {figures.license}. It is the source photos'; composites derive from them."


def _limits(figures: CardFigures) -> str:
    kind = figures.subject.kind
    covers = {
        "clothing": "The mask is what the source's segments cover: clothing, without the wearer's skin and hair.",
        "people": "The mask is what the source's segments cover, or the person that a network found.",
        "things": "The mask unites the source's segments of the chosen classes, with the edges that these have.",
        "foregrounds": "The mask is the source's, with the edges that it has there.",
    }[kind]
    people = "People are shown." if figures.subject.human else "People may be seen in the photos."
    biases = "Clothes, poses and people" if figures.subject.human else "What is shown, where and how often,"
    lines = [
        covers,
        "Composites are made by a model and chosen by a classifier, and nobody looked at each of them unless a review "
        "is named above. The classifier's probability is a ranking, not a measured error rate.",
        f"{people} Do not use the photos to identify anyone, and honour requests to take a photo out.",
        f"{biases} {'are those' if figures.subject.human else 'is the choice'} of the source, with its biases.",
    ]
    return "\n".join(["## Limits", "", *(f"- {line}" for line in lines)])
