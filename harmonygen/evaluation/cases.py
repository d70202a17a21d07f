"""Score cases: decode composite, photo and mask once, and score what each method made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from harmonygen.data.composites import Case
from harmonygen.errors import InputError
from harmonygen.evaluation.predictors import Loaded, Predictor
from harmonygen.evaluation.protocols import ProtocolRules, Target
from harmonygen.evaluation.scores import COMPOSITE, Row, full_row, score
from harmonygen.pictures.images import MAX_PIXELS, ImageU8, read_image
from harmonygen.pictures.masks import load_mask


def score_triplets(
    cases: Iterable[Case],
    predictors: Mapping[str, Predictor],
    rules: ProtocolRules | None = None,
    *,
    with_ssim: bool = True,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[Row]:
    """Yield a row of :data:`harmonygen.evaluation.scores.SCHEMA` for each case and method, the raw composite first.

    Args:
        cases: what is scored, as :func:`harmonygen.data.composites.read_cases` gives it.
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
    case: Case, predictors: Mapping[str, Predictor], rules: ProtocolRules, with_ssim: bool, max_pixels: int = MAX_PIXELS
) -> list[Row]:
    """Return the rows of one case: the raw composite, then each method."""
    target, pictures = pictures_of(case, predictors, rules, max_pixels)
    return [
        full_row(case.name, case.subset, method, score(picture, target, with_ssim), target)
        for method, picture in pictures.items()
    ]


def pictures_of(
    case: Case, predictors: Mapping[str, Predictor], rules: ProtocolRules, max_pixels: int = MAX_PIXELS
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


def load_case(case: Case, max_pixels: int = MAX_PIXELS) -> Loaded:
    """Decode a case; an empty or full mask is taken as it is.

    Raises:
        InputError: a file that cannot be read, or a mask of another size than its composite.
    """
    composite = read_image(case.composite, max_pixels)
    mask = load_mask(case.mask, composite, "refuse", max_pixels)
    return Loaded(case, composite, read_image(case.real, max_pixels).image_u8, mask)
