"""From a data set to samples: read it, keep the split, leave test photos out, hold some out for validation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from harmonygen.data import read_pairs
from harmonygen.data.composites import composites_of, held_out_of
from harmonygen.data.lists import HeldOut
from harmonygen.data.splits import is_held_out
from harmonygen.errors import UsageError, shown
from harmonygen.inspection.inspect import glance
from harmonygen.recipes import nearest
from harmonygen.records import Pair
from harmonygen.training.composites import OnTheFlyComposites, Samples, sizing
from harmonygen.training.photos import (
    QUARANTINE,
    BadSamples,
    OfPhotoT,
    PhotosOnDisk,
    TrainingPhoto,
    hold_out,
    load_photos,
)
from harmonygen.training.settings import TrainSettings
from harmonygen.training.sources import borrowing_pairs, extra_pairs, select_split
from harmonygen.training.stored import StoredComposites

Log = Callable[[str], None]
_GIGABYTE = 1e9
_NAMED = 10
MaybeMaskedT = TypeVar("MaybeMaskedT", Pair, TrainingPhoto)
_REMEDY = (
    "give an iHarmony4 tree or list, a table or Parquet with a composite column or a run folder, or have composites "
    "made on the fly (source=on-the-fly)"
)


def read_samples(settings: TrainSettings, log: Log, test: HeldOut | None = None) -> tuple[Samples, Samples]:
    """Return the samples to train on and those of the held-out photos.

    ``test`` is what the data set's test lists name (:func:`harmonygen.data.composites.held_out_of`), read if not given.

    Raises:
        UsageError: nothing to read, photos of a test list alone, or an exclusion or split that fits nothing.
        TooManyBadInputsError: more photos are bad than ``max_bad_fraction`` allows.
    """
    _refuse_test_files(settings, [Path(settings.data)])
    test = held_out_of(settings.data) if test is None else test
    return (_stored if settings.source == "stored" else _on_the_fly)(settings, log, test)


def _refuse_test_files(settings: TrainSettings, files: Iterable[Path]) -> None:
    found = sorted({path.name for path in files if is_held_out(path)})
    if found:
        raise UsageError(
            f"'{settings.data}' is a test split ({shown(found, 'files')}): a model never trains on it; give the "
            "training split"
        )


def _on_the_fly(settings: TrainSettings, log: Log, test: HeldOut) -> tuple[Samples, Samples]:
    pairs = read_pairs(settings.data, reading=settings.reading())
    glance(pairs, settings, log)
    more = [pair for data in settings.extra_data for pair in extra_pairs(data, settings, log, test)]
    borrowing = borrowing_pairs(settings, log, test)
    _refuse_test_files(settings, [pair.real.path for pair in (*pairs, *more, *borrowing)])
    own = select_split(pairs, settings.split_file, settings.split)
    kept = chosen([*own, *more, *borrowing], settings, log, test)
    bad, size = _bad(settings, len(kept)), sizing(settings)
    photos: Sequence[TrainingPhoto]
    if size.bytes_of(len(kept)) > settings.photo_memory_gb * _GIGABYTE:
        need = size.bytes_of(len(kept)) / _GIGABYTE
        log(f"{len(kept)} photos would take about {need:.1f} GB: each is decoded when it is drawn")
        training, validation = (PhotosOnDisk(part, size) for part in _held(kept, settings))
        log(f"{len(training)} photos to train on, {len(validation)} held out")
        return (
            OnTheFlyComposites(training, settings, "train", bad=bad),
            OnTheFlyComposites(validation, settings, "validation", augment=False, bad=bad),
        )
    photos, messages = load_photos(kept, size.short_side, size.square, bad, size.enlarge)
    _say_bad(messages, log)
    train, held = _held(photos, settings)
    log(f"{len(train)} photos to train on, {len(held)} held out, {len(messages)} unreadable")
    return OnTheFlyComposites(train, settings, "train"), OnTheFlyComposites(held, settings, "validation", augment=False)


def _held(items: Sequence[MaybeMaskedT], settings: TrainSettings) -> tuple[list[MaybeMaskedT], list[MaybeMaskedT]]:
    """Hold photos out; those without masks come last in both parts, since they take the masks of the others."""
    masked = [item for item in items if not item.borrows]
    borrowing = [item for item in items if item.borrows]
    if not masked:
        raise UsageError(f"no photo of '{settings.data}' with a mask is left: --borrowers takes the masks of others")
    training, validation = hold_out(masked, settings.validation_fraction)
    if borrowing:
        more, more_held = hold_out(borrowing, settings.validation_fraction)
        training, validation = training + more, validation + more_held
    return training, validation


def _stored(settings: TrainSettings, log: Log, test: HeldOut) -> tuple[Samples, Samples]:
    if settings.extra_data or settings.borrowers:
        raise UsageError(
            "--extra-data and --borrowers are for composites made on the fly: drop them with source=stored"
        )
    if settings.split_file is not None:
        raise UsageError("--split-file splits photos; stored composites have lists: give the training list as --data")
    found = composites_of(settings.data, remedy=_REMEDY, reading=settings.reading())
    _refuse_test_files(settings, [each.photo.path for each in found])
    _say_bad([row.message for row in found.bad], log)
    kept = chosen(found.composites, settings, log, test)
    train, held = hold_out(kept, settings.validation_fraction)
    bad = _bad(settings, len(kept))
    photos = len({item.real_id for item in train}), len({item.real_id for item in held})
    log(f"{len(train)} composites of {photos[0]} photos to train on, {len(held)} of {photos[1]} held out")
    return (
        StoredComposites(train, settings, "train", bad=bad),
        StoredComposites(held, settings, "validation", augment=False, bad=bad),
    )


def _bad(settings: TrainSettings, total: int) -> BadSamples:
    return BadSamples(settings.output_dir / QUARANTINE, total, settings.max_bad_fraction)


def _say_bad(messages: Sequence[str], log: Log) -> None:
    for message in messages[:_NAMED]:
        log(f"left out: {message}")
    if len(messages) > _NAMED:
        log(f"left out: {len(messages) - _NAMED} more")


def chosen(items: Sequence[OfPhotoT], settings: TrainSettings, log: Log, test: HeldOut) -> list[OfPhotoT]:
    """Leave out the photos that the settings exclude, and those of the data set's own test lists.

    Raises:
        UsageError: a name excluded is of no photo here, or nothing is left.
    """
    kept = _without(items, settings.exclude)
    trained = [item for item in kept if item.real_id not in test.photos]
    if not trained:
        raise UsageError(
            f"all {len(kept)} inputs of '{settings.data}' are of photos in its test list: a model never trains on "
            "these; give the training list"
        )
    if len(trained) < len(kept):
        log(f"left out: {len(kept) - len(trained)} inputs whose photos are in a test list of '{settings.data}'")
    return trained


def _without(items: Sequence[OfPhotoT], exclude: Collection[str]) -> list[OfPhotoT]:
    """Drop the items whose photo's id, or its last part, is in ``exclude``; every name has to fit one."""
    names = {name for item in items for name in (item.real_id, _short(item.real_id))}
    unknown = sorted(set(exclude) - names)
    if unknown:
        hint = nearest(unknown[0], names)
        raise UsageError(
            f"exclude names {len(unknown)} photos that are not in the data or its split, such as '{unknown[0]}'{hint}: "
            "correct or drop them"
        )
    return [item for item in items if not {item.real_id, _short(item.real_id)} & set(exclude)]


def _short(real_id: str) -> str:
    return real_id.rpartition("/")[2]
