"""Photos without masks as the input of a build: the masks are made by the segmenter of ``--person``, in a job inside.

``work/masks`` is an ordinary folder of `harmonygen masks`, with its overlay sheet and page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from harmonygen.data import detect_layout, is_url
from harmonygen.data.photos import has_photos_alone, read_photos
from harmonygen.data.segmentations import of_one_segment, read_segmentations
from harmonygen.errors import UsageError
from harmonygen.human_harmony.settings import HumanHarmonySettings
from harmonygen.records import FileSource, MaskRule, PairSet, Quarantined
from harmonygen.segmentation.masks import make_masks, read_rows
from harmonygen.segmentation.segmenters import check_segmenter
from harmonygen.segmentation.settings import MaskSettings
from harmonygen.storage import shards

LAYOUT, FOLDER, MASK_ID = "photos", "masks", "person"

Progress = Callable[[int, int], None]


def read_inputs(settings: HumanHarmonySettings) -> PairSet:
    """Read segmented photos; photos alone where ``--person`` says what finds their masks.

    Raises:
        UsageError: as :func:`harmonygen.data.segmentations.read_segmentations`; photos alone without ``--person``, or
            with classes.
    """
    if settings.person != "none":
        check_segmenter(settings.person, given_to(settings))
    if not _photos_alone(settings):
        return read_segmentations(settings.data, settings.classes, settings.limit, settings.reading())
    if settings.person == "none":
        raise UsageError(
            f"'{settings.data}' holds photos without masks: add --person to find the people in them, or make masks "
            "first with harmonygen masks"
        )
    if settings.classes != "all":
        raise UsageError(
            f"classes {settings.classes!r} were given but '{settings.data}' has no segments: drop --classes"
        )
    found = read_photos(Path(settings.data), settings.limit, settings.allow_outside)
    return replace(found, pairs=tuple(map(of_one_segment, found.pairs)))


def is_unmasked(pairs: PairSet) -> bool:
    """Return whether pairs are photos whose masks are still to be made."""
    return pairs.layout == LAYOUT


def with_masks(settings: HumanHarmonySettings, pairs: PairSet, work: Path, progress: Progress | None) -> PairSet:
    """Make the masks of photos that have none, and return the pairs; photos in which nobody is found are left out.

    The same call resumes; once all masks are there, it writes nothing.

    Raises:
        UsageError: nobody is found in any photo, or photos changed since.
        TooManyBadInputsError: more photos are unreadable than ``max_bad_fraction`` allows.
        StorageError: the folder cannot be written.
    """
    out = shards.make_folder(work).resolve() / FOLDER
    made = make_masks(_mask_settings(settings, out), progress)
    rows = {row["pair_id"]: row for row in read_rows(made.out)}
    masked = tuple(
        replace(
            pair,
            pair_id=f"{pair.pair_id}_{MASK_ID}",
            mask_id=MASK_ID,
            mask=FileSource(out / rows[pair.pair_id]["mask"], rule=MaskRule(orientation="upright")),
        )
        for pair in pairs
        if pair.pair_id in rows and rows[pair.pair_id]["mask"]
    )
    without = [row for row in rows.values() if row["reason"]]
    left = tuple(Quarantined(row["pair_id"], FOLDER, row["reason"], row["detail"]) for row in without)
    return replace(pairs, pairs=masked, bad=tuple(made.bad), left_out=left)


def given_to(settings: HumanHarmonySettings) -> dict[str, Path]:
    """Return the settings that the segmenter of ``--person`` is given."""
    return {"weights": settings.person_weights} if settings.person_weights else {}


def _photos_alone(settings: HumanHarmonySettings) -> bool:
    if settings.layout is not None or is_url(settings.data) or "://" in settings.data:
        return False
    try:
        detect_layout(settings.data)
    except UsageError:
        return has_photos_alone(Path(settings.data))
    return False


def _mask_settings(settings: HumanHarmonySettings, out: Path) -> MaskSettings:
    """Return the settings of the job inside; how much of a photo may be foreground is decided later, with the rest."""
    shared = {
        name: getattr(settings, name)
        for name in ("limit", "allow_outside", "max_pixels", "max_bad_fraction", "device", "clean")
    }
    return MaskSettings(
        **shared,
        photos=Path(settings.data),
        out=out,
        person=True,
        segmenter=settings.person,
        segmenter_settings=given_to(settings),
        min_fg=0,
        max_fg=1,
        link="sym",
    )
