"""Read the composites that are scored, decode each with its photo and mask once, and score what methods made of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from harmonygen.data import SAMPLE
from harmonygen.data.composites import CompositeSet, composites_of
from harmonygen.errors import InputError, UsageError
from harmonygen.evaluation.predictors import Loaded, Predictor
from harmonygen.evaluation.protocols import ProtocolRules, Target
from harmonygen.evaluation.scores import COMPOSITE, Row, full_row, score
from harmonygen.pictures.images import MAX_PIXELS, ImageU8, read_image
from harmonygen.pictures.masks import load_mask
from harmonygen.records import Composite, ReadOptions

_REMEDY = "give an iHarmony4 tree or list, a table or Parquet with a column composite, or a run folder"


def read_cases(
    data: str | Path = SAMPLE,
    *,
    list_file: str | Path | None = None,
    subset: str | None = None,
    limit: int | None = None,
    reading: ReadOptions | None = None,
) -> CompositeSet:
    """Read the composites of a dataset with their photos, sorted by name.

    iHarmony4 and the sample: those of ``list_file``, else of the test lists; else, where there is no list at all, all
    on disk. Parquet: the test split, else the validation split, else every row. A run of ``synthesize``: the candidates
    that may be used. A table of paths: its column ``composite``. ``limit`` takes this many, spread evenly over the
    names.

    Raises:
        UsageError: no layout fits, no composites, a bad line or row (they are named), or names that collide.
    """
    found = composites_of(data, list_file=list_file, subset=subset, role="test", remedy=_REMEDY, reading=reading)
    if found.bad:
        named = "; ".join(fault.message for fault in found.bad[:3])
        raise UsageError(f"{len(found.bad)} lines or rows of '{data}' name no composite: {named}: mend or drop them")
    kept = found.by_name(subset)
    return replace(kept, composites=_spread(kept.composites, limit))


def _spread(cases: tuple[Composite, ...], limit: int | None) -> tuple[Composite, ...]:
    """Return ``limit`` cases spread evenly over the names: the first ones would be of one subset, or of one photo."""
    if limit is None or limit >= len(cases):
        return cases
    return tuple(cases[index * len(cases) // limit] for index in range(limit))


def score_triplets(
    cases: Iterable[Composite],
    predictors: Mapping[str, Predictor],
    rules: ProtocolRules | None = None,
    *,
    with_ssim: bool = True,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[Row]:
    """Yield a row of :data:`harmonygen.evaluation.scores.SCHEMA` for each case and method, the raw composite first.

    Args:
        cases: what is scored, as :func:`read_cases` gives it.
        predictors: method -> what it makes of a composite (:mod:`harmonygen.evaluation.predictors`).
        rules: the protocol; ``paper`` with the background as predicted if not given.
        with_ssim: work out SSIM and foreground SSIM too, which is most of the time.
        max_pixels: larger pictures are refused.

    Raises:
        InputError: a picture that cannot be read or is of the wrong size; what is scored is never left out silently.
    """
    for case in cases:
        yield from score_case(case, predictors, rules or ProtocolRules(), with_ssim, max_pixels)


def score_case(
    case: Composite,
    predictors: Mapping[str, Predictor],
    rules: ProtocolRules,
    with_ssim: bool,
    max_pixels: int = MAX_PIXELS,
) -> list[Row]:
    """Return the rows of one case: the raw composite, then each method."""
    target, pictures = pictures_of(case, predictors, rules, max_pixels)
    return [
        full_row(case.name, case.subset, method, score(picture, target, with_ssim), target)
        for method, picture in pictures.items()
    ]


def pictures_of(
    case: Composite, predictors: Mapping[str, Predictor], rules: ProtocolRules, max_pixels: int = MAX_PIXELS
) -> tuple[Target, dict[str, ImageU8]]:
    """Return what one case is scored against, and the composite and each method's picture at the scored size.

    Raises:
        InputError: as for :func:`score_triplets`; the case is named.
    """
    try:
        loaded = load_case(case, max_pixels)
        target = rules.target(loaded.composite.image_u8, loaded.real_u8, loaded.mask)
        pictures = {COMPOSITE: rules.on_background(target.composite_u8, target)}
        for method, predict in predictors.items():
            pictures[method] = rules.prediction(predict(loaded), target, f"of {method}")
    except InputError as error:
        raise InputError(f"'{case.name}': {error}") from error
    return target, pictures


def load_case(case: Composite, max_pixels: int = MAX_PIXELS) -> Loaded:
    """Decode a case; an empty or full mask is taken as it is.

    Raises:
        InputError: a file that cannot be read, or a mask of another size than its composite.
    """
    composite = read_image(case.composite, max_pixels)
    mask = load_mask(case.mask, composite, max_pixels=max_pixels)
    return Loaded(case, composite, read_image(case.photo, max_pixels).image_u8, mask)
