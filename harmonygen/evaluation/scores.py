"""The figures of one image, as a row, and of all images of all methods, as one array with its groups."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from harmonygen.data.published import BINS, bin_of
from harmonygen.evaluation.metrics import decibels, lab_bias, squared_error, ssim_map, ssim_of_map
from harmonygen.evaluation.protocols import Target
from harmonygen.pictures.images import ImageU8

COMPOSITE = "composite"
"""The method that every evaluation has: the raw composite."""
FIGURES = ("mse", "psnr", "fmse", "fpsnr", "ssim", "fssim", "bias_l", "bias_a", "bias_b")
HIGHER = frozenset({"psnr", "fpsnr", "ssim", "fssim"})
"""Figures of which more is better."""
EMPTY, EQUAL = "empty foreground", "equal to the photo"

SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("name", "subset", "method")),
        *((name, pa.float64()) for name in FIGURES),
        ("fg_ratio", pa.float64()),
        ("bin", pa.string()),
        *((name, pa.int32()) for name in ("width", "height")),
        ("flag", pa.string()),
    ]
)
"""Columns of the per-image table; a figure that an image does not have is null."""

Row = dict[str, Any]
Floats = npt.NDArray[np.float64]


def score(image_u8: ImageU8, target: Target, with_ssim: bool = True) -> Row:
    """Return the figures of one picture (H, W, 3) at the scored size, and ``flag``: what is odd about it.

    An empty foreground has no foreground figure: they are None and the row is flagged.
    """
    squared, inside = squared_error(image_u8, target.real_u8), target.mask
    area = int(inside.sum())
    row: Row = dict.fromkeys(FIGURES)
    row["mse"] = float(squared.mean())
    row["psnr"] = decibels(row["mse"])
    row["flag"] = EQUAL if row["mse"] == 0 else ""
    similar = ssim_map(image_u8, target.real_u8) if with_ssim else None
    if similar is not None:
        row["ssim"] = ssim_of_map(similar)
    if not area:
        return {**row, "flag": EMPTY}
    row["fmse"] = float(squared[inside].sum() / (3 * area))
    row["fpsnr"] = decibels(row["fmse"])
    row["fssim"] = float(similar[inside].mean()) if similar is not None else None
    row["bias_l"], row["bias_a"], row["bias_b"] = lab_bias(image_u8, target.real_u8, inside)
    return row


def full_row(name: str, subset: str, method: str, figures: Row, target: Target) -> Row:
    """Return a row of :data:`SCHEMA`."""
    height, width = target.size
    place = {"fg_ratio": target.ratio, "bin": bin_of(target.ratio), "width": width, "height": height}
    return {"name": name, "subset": subset, "method": method, **figures, **place}


@dataclass(frozen=True)
class Scores:
    """All figures: ``values`` (M methods, N images, figures), NaN where an image has none, and each image's groups.

    ``photos`` says which photo an image's composite was made from: composites of one photo are resampled together.
    """

    methods: tuple[str, ...]
    names: tuple[str, ...]
    subsets: tuple[str, ...]
    bins: tuple[str, ...]
    ratios: Floats
    photos: tuple[str, ...]
    flags: tuple[tuple[str, str, str], ...]
    values: Floats

    def figure(self, method: str, figure: str) -> Floats:
        """Return one figure (N,) of one method."""
        found: Floats = self.values[self.methods.index(method), :, FIGURES.index(figure)]
        return found

    def groups(self) -> Iterator[tuple[str, npt.NDArray[np.intp]]]:
        """Yield ``all``, each subset (if there are several) and each bin that holds an image, with their images."""
        yield "all", np.arange(len(self.names))
        known = sorted(set(self.subsets))
        for subset in known if len(known) > 1 else ():
            yield f"subset {subset or '(none)'}", np.flatnonzero(np.array(self.subsets) == subset)
        for name in BINS:
            inside = np.flatnonzero(np.array(self.bins) == name)
            if inside.size:
                yield f"bin {name}", inside


def gather(table: pa.Table, methods: Sequence[str], photos: Sequence[str]) -> Scores:
    """Arrange a per-image table (images in their order, each with all methods in theirs) as :class:`Scores`."""
    each = len(methods)
    columns = [table.column(name).to_numpy(zero_copy_only=False).astype(np.float64) for name in FIGURES]
    values = np.stack(columns, axis=1).reshape(-1, each, len(FIGURES)).transpose(1, 0, 2)
    first = table.take(pa.array(np.arange(0, table.num_rows, each)))
    flagged = zip(*(table.column(name).to_pylist() for name in ("name", "method", "flag")), strict=True)
    return Scores(
        methods=tuple(methods),
        names=tuple(first.column("name").to_pylist()),
        subsets=tuple(first.column("subset").to_pylist()),
        bins=tuple(first.column("bin").to_pylist()),
        ratios=first.column("fg_ratio").to_numpy(),
        photos=tuple(photos),
        flags=tuple((name, method, flag) for name, method, flag in flagged if flag),
        values=values,
    )


def finite(value: float) -> float | None:
    """Return a float as JSON may hold it: None for NaN and infinity.

    >>> finite(math.nan), finite(1.5)
    (None, 1.5)
    """
    return value if math.isfinite(value) else None
