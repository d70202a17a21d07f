"""The pictures of an evaluation: its page with the worst and best cases, a qualitative sheet, the ratio curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from harmonygen.data import read_pairs
from harmonygen.errors import UsageError
from harmonygen.evaluation.cases import pictures_of
from harmonygen.evaluation.page import CaseView, Shot, draw_sheet, write_page
from harmonygen.evaluation.parts import ScoringJob
from harmonygen.evaluation.predictors import Predictor
from harmonygen.evaluation.protocols import SIDE
from harmonygen.evaluation.scores import COMPOSITE, Scores
from harmonygen.evaluation.settings import EvaluateSettings
from harmonygen.evaluation.tables import Table
from harmonygen.pictures.images import read_image
from harmonygen.pictures.masks import load_mask, resize_mask
from harmonygen.records import Pair
from harmonygen.report.plots import curve, share_above
from harmonygen.report.raster import to_png
from harmonygen.runs.read import is_run
from harmonygen.storage.shards import write_bytes

SHEET, CURVE = "sheet.png", "fg_ratio.png"


def write_pictures(
    settings: EvaluateSettings,
    job: ScoringJob,
    predictors: Mapping[str, Predictor],
    scores: Scores,
    summary: dict[str, Any],
    tables: Sequence[Table],
    notes: Sequence[str],
) -> None:
    """Write ``report.html``, and where asked for ``sheet.png`` and ``fg_ratio.png``; add the curve's figures."""
    drawn = _curve(settings, scores, summary) if settings.curve or settings.beside else ""
    if drawn:
        write_bytes(settings.out / CURVE, to_png(drawn))
    if settings.sheet:
        order = spread(scores.figure(COMPOSITE, "fmse"), settings.sheet)
        rows = [_view(job, predictors, scores, index, "") for index in order]
        write_bytes(settings.out / SHEET, draw_sheet(rows))
    title = settings.title or f"Evaluation of {settings.data}"
    write_page(
        settings.out / "report.html", title, notes, tables, drawn, _cases(settings.cases, job, predictors, scores)
    )


def _cases(count: int, job: ScoringJob, predictors: Mapping[str, Predictor], scores: Scores) -> Iterator[CaseView]:
    """Yield the worst and best images of each method by foreground error (of the composites if there is no method)."""
    for method in predictors or (COMPOSITE,):
        ranked = by_error(scores.figure(method, "fmse"))
        best = ranked[: min(count, len(ranked) // 2)]
        worst = ranked[len(best) :][-count:][::-1] if count else []
        for word, chosen in (("worst", worst), ("best", best)):
            for index in chosen:
                yield _view(job, predictors, scores, index, f"{method}: {word}")


def by_error(errors: npt.NDArray[np.float64]) -> list[int]:
    """Return the images by rising error; those without one are left out, and a tie goes by position.

    >>> by_error(np.array([3.0, np.nan, 1.0]))
    [2, 0]
    """
    return [int(index) for index in np.argsort(errors, kind="stable") if np.isfinite(errors[index])]


def spread(errors: npt.NDArray[np.float64], count: int) -> list[int]:
    """Choose images spread evenly over the ranking by error, the least and the largest among them.

    >>> spread(np.array([5.0, 1.0, 3.0, 2.0, 4.0]), 3)
    [1, 2, 0]
    """
    ranked = by_error(errors)
    if len(ranked) <= count:
        return ranked
    return [ranked[round(place * (len(ranked) - 1) / max(1, count - 1))] for place in range(count)]


def _view(job: ScoringJob, predictors: Mapping[str, Predictor], scores: Scores, index: int, heading: str) -> CaseView:
    case = job.cases[index]
    target, pictures = pictures_of(case, predictors, job.rules, job.max_pixels)
    shots = []
    for method, picture in pictures.items():
        psnr, fmse = (scores.figure(method, figure)[index] for figure in ("psnr", "fmse"))
        shots.append(Shot(method, f"{psnr:.2f} dB, fMSE {fmse:.1f}", picture))
    return CaseView(heading, case.name, target.mask, (*shots, Shot("real", "", target.real_u8)))


def _curve(settings: EvaluateSettings, scores: Scores, summary: dict[str, Any]) -> str:
    """Draw the share of images whose foreground covers more than x, beside another dataset's; note both above 0.2."""
    ratios, label = scores.ratios.tolist(), f"Foreground ratios of {len(scores.ratios):,} composites"
    if settings.beside is None:
        return curve(ratios, label)
    others = fg_ratios(settings.beside, settings.max_pixels)
    summary["foreground"]["beside"] = {
        "data": settings.beside,
        "pairs": len(others),
        "share_above_0.2": share_above(others, 0.2),
    }
    return curve(ratios, label, (settings.beside, others))


def fg_ratios(data: str, max_pixels: int) -> list[float]:
    """Return the foreground ratio at 256 px of every pair of a dataset (not of a run).

    Raises:
        UsageError: a run folder.
        InputError: a mask that cannot be read.
    """
    if is_run(data):
        raise UsageError(f"beside '{data}' is a run: name the data set that it was made from")

    def ratio(pair: Pair) -> float:
        mask = load_mask(pair.mask, read_image(pair.real, max_pixels), max_pixels=max_pixels)
        return float(resize_mask(mask, SIDE, SIDE).mean())

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(ratio, read_pairs(data)))
