"""Write what a build publishes: the dataset in its format, its card with pictures, the summary, report and manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmonygen.augmentation import export
from harmonygen.data import manifest
from harmonygen.data import write_tree as tree
from harmonygen.data.write_parquet import card_metadata_of
from harmonygen.human_harmony import figures as human_figures
from harmonygen.human_harmony import photo_split, preferences, reproduce
from harmonygen.human_harmony.card import PREFERENCES, CardFigures, made_by, write_card
from harmonygen.human_harmony.figures import ASSETS, LEVEL, PICTURES, Counted
from harmonygen.human_harmony.rows import COLUMNS, SPLITS, Triplets, Written, write_triplets
from harmonygen.human_harmony.settings import HumanHarmonySettings
from harmonygen.human_harmony.subject import Classes, Kind, Subject, data_name
from harmonygen.records import Quarantined
from harmonygen.report import plots, write_report
from harmonygen.report.dropped import dropped_rows, dropped_sheet
from harmonygen.report.grid import png_of
from harmonygen.runs.job_folder import versions
from harmonygen.runs.read import Run
from harmonygen.storage import shards
from harmonygen.storage.parquet_cells import image_schema

SUMMED_UP = ("summary.json", "quarantine.parquet", "report.html")
"""What sums a build up, beside its dataset."""
FILES = ("README.md", "dropped.png", "manifest.parquet", *(f"IHD_{split}.txt" for split in SPLITS))
"""Other files at the top of a build, but for ``plan.json`` and ``manifest.json``."""

KINDS = (tree.COMPOSITES, tree.MASKS, tree.REALS)
"""Folders of a subset in iHarmony4 layout."""

Progress = Callable[[int, int], None]
Stages = Callable[[str, str], AbstractContextManager[Progress]]


@dataclass(frozen=True)
class Taken:
    """What a build took in: photos read, those left out by reason, what could not be used, and what the masks cover.

    ``unmasked`` photos came without masks.
    """

    photos: int
    left_out: Mapping[str, int]
    bad: Sequence[Quarantined]
    kind: Kind
    classes: Classes
    unmasked: bool = False


def write_dataset(
    settings: HumanHarmonySettings,
    out: Path,
    triplets: Triplets,
    split: Sequence[dict[str, Any]],
    taken: Taken,
    stages: Stages,
) -> None:
    """Write everything of a build that comes after the selection, ``manifest.json`` last.

    Raises:
        StorageError: a photo is gone, or the disk is full: rerun the same call to resume.
    """
    with stages("dataset", "parts") as progress:
        if settings.format == "parquet":
            written, entries = _write_parquet(triplets, out, settings.min_margin, progress)
            rows = {config: {split: info.rows for split, info in splits.items()} for config, splits in written.items()}
            counted = human_figures.count(triplets, settings.near_tie)
        else:
            made, entries = _write_tree(settings, triplets, out, progress)
            written, rows = {}, {"iHarmony4 layout": {split: len(pairs) for split, pairs in made.items()}}
            counted = human_figures.count(
                triplets, settings.near_tie, {pair for pairs in made.values() for pair in pairs}
            )
    with stages("card and report", "pages") as progress:
        reference = (
            human_figures.reference_ratios(settings.reference, triplets.work, triplets.digest)
            if settings.reference
            else None
        )
        quarantined = [*taken.bad, *triplets.run.quarantine()]
        shards.write_parquet(out / "quarantine.parquet", shards.quarantine_table(quarantined))
        figures = _figures(settings, triplets, counted, rows, taken, len(quarantined), reference)
        shards.write_json(out / "summary.json", _summary(settings, figures, counted, split, triplets))
        _write_dropped(out, triplets.work)
        write_report(out)
        progress(1, 2)
        pictures = human_figures.write_pictures(out, counted, reference)
        configs = card_metadata_of(_configs(written)) if written else {}
        write_card(out, figures.with_pictures(pictures), configs)
        progress(2, 2)
    named = [out / "README.md", *sorted((out / ASSETS).glob("*.png"))]
    manifest.write_manifest(out, [*entries, *(manifest.entry(out, path) for path in named)])


def _write_parquet(
    triplets: Triplets, out: Path, min_margin: float, progress: Progress
) -> tuple[Written, list[manifest.PublishedFile]]:
    written = write_triplets(triplets, out, progress)
    preferred = preferences.write_preferences(triplets, out, min_margin)
    if preferred:
        written[PREFERENCES] = preferred
    files = [
        (path, config, split)
        for config, splits in written.items()
        for split, info in splits.items()
        for path in info.files
    ]
    return written, [manifest.entry(out, path, config, split) for path, config, split in files]


def _configs(written: Written) -> dict[str, Any]:
    columns = {PREFERENCES: preferences.COLUMNS}
    return {config: (image_schema(columns.get(config, COLUMNS)), splits) for config, splits in written.items()}


def written_names(settings: HumanHarmonySettings, triplets: Triplets) -> list[str]:
    """Return the names of the dataset's files, relative to the build's folder; Parquet parts sweep theirs."""
    names = [f"{ASSETS}/{name}" for name in PICTURES]
    if settings.format == "parquet":
        return names
    run = triplets.run
    return [*names, *export.writes(run, export.wanted(run, "selected")[0])]


def _write_tree(
    settings: HumanHarmonySettings, triplets: Triplets, out: Path, progress: Progress
) -> tuple[dict[str, list[str]], list[manifest.PublishedFile]]:
    """Write the selected composites in iHarmony4 layout, the photos beside them, with lists by split.

    Returns:
        The pair of each composite that was written, by split, and the entries of the files.
    """
    run = triplets.run
    export.refuse_names(run)
    rows, _ = export.wanted(run, "selected")
    rows = [row for row in rows if triplets.split_of.get(row["pair_id"])]
    made = export.write_pairs_and_composites(out, settings.link, run, rows, progress)
    by_split = {split: [row for row in made if triplets.split_of[row["pair_id"]] == split] for split in SPLITS}
    for split, own in by_split.items():
        tree.write_lists(out, [row["composite"] for row in own], split)
    tree.write_manifest(out, made, triplets.digest)
    folders = [out / subset / kind for subset in sorted(triplets.subsets()) for kind in KINDS]
    lists = [*out.glob("IHD_*.txt"), out / "manifest.parquet"]
    lists += [path for subset in triplets.subsets() for path in (out / subset).glob("*.txt")]
    files = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
    entries = [manifest.entry(out, path) for path in [*sorted(lists), *files]]
    return {split: [row["pair_id"] for row in own] for split, own in by_split.items()}, entries


def _write_dropped(out: Path, work: Path) -> None:
    """Write the contact sheet of the photos that were dropped, if there are any."""
    rows = dropped_rows(work)
    if rows:
        shards.write_bytes(out / "dropped.png", png_of(dropped_sheet(rows)))


def _figures(
    settings: HumanHarmonySettings,
    triplets: Triplets,
    counted: Counted,
    rows: Mapping[str, Mapping[str, int]],
    taken: Taken,
    quarantined: int,
    reference: tuple[str, list[float]] | None,
) -> CardFigures:
    review = _review_of(triplets.run)
    return CardFigures(
        rows=rows,
        photos_read=taken.photos,
        photos=counted.pairs,
        left_out=dict(taken.left_out),
        quarantined=quarantined,
        k=settings.k,
        candidates=counted.candidates,
        scores=human_figures.score_figures(counted),
        near_ties=counted.near_ties,
        near_tie=settings.near_tie,
        unselected=counted.unselected,
        above=plots.share_above(counted.ratios, LEVEL),
        reference=(reference[0], plots.share_above(reference[1], LEVEL)) if reference else None,
        made=made_by(settings, triplets.run.plan, review, taken.unmasked),
        command=reproduce.command(settings),
        subject=Subject(taken.kind, taken.classes, counted.classes, settings.classes, data_name(settings.data)),
        later=reproduce.later_steps(settings, triplets.run),
        given_title=settings.title,
        license=settings.license,
        unit="photos" if counted.photos == counted.pairs else "pairs of photo and mask",
        format=settings.format,
    )


def _review_of(run: Run) -> dict[str, int]:
    """Return how many candidates a review accepted and rejected, nothing if there was none."""
    made = list(run.decisions.values())
    return {"accepted": made.count("accept"), "rejected": made.count("reject")} if made else {}


def _summary(
    settings: HumanHarmonySettings,
    figures: CardFigures,
    counted: Counted,
    split: Sequence[dict[str, Any]],
    triplets: Triplets,
) -> dict[str, Any]:
    counts = photo_split.count(split)
    return {
        "title": figures.title,
        "photos_read": figures.photos_read,
        "pairs": sum(counted.pairs.values()),
        "left_out": dict(figures.left_out),
        "quarantined": figures.quarantined,
        "k": settings.k,
        "candidates": counted.candidates,
        "selected": counted.selected,
        "unselected": counted.unselected,
        "rows": dict(figures.rows),
        "split": {
            **counted.photos,
            "look_alike_groups": counts.look_alike_groups,
            "look_alike_photos": counts.look_alike_photos,
            "leaked": counts.leaked,
        },
        "near_ties": {"pairs": counted.near_ties, "under": settings.near_tie},
        "fg_ratio": {"level": LEVEL, "share_above": figures.above, "reference": figures.reference},
        "scores": dict(figures.scores),
        "dropped_candidates": counted.scores["dropped"],
        "dataset_digest": triplets.digest,
        "versions": versions(),
    }
