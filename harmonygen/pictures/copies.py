"""Find copies of photos under other names: re-encoded, resized, mirrored, cropped, framed or slightly turned.

Every photo is described by the low frequencies of some windows of it (:data:`WINDOWS`): a cropped photo is like a
window of the whole one. Pairs whose descriptions are alike are candidates. The photos of each candidate are then
decoded again, one is laid over the other, and their fine detail is compared: many photos are alike in their low
frequencies, copies alone in their detail. ``benchmarks/leak_rates.py`` measures how often that finds a copy.
Legend: N photos, W windows, S pixels a side, D numbers of a description.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

from harmonygen.errors import InputError
from harmonygen.pictures.phash import Hashes, decode_small, grey_of, phash
from harmonygen.records import ImageSource

Floats = npt.NDArray[np.float32]
Grey = npt.NDArray[np.float32]
Warp = npt.NDArray[np.float64]
Progress = Callable[[int, int], None]

WINDOWS = (
    (0.0, 0.0, 1.0, 1.0),
    (0.05, 0.05, 0.95, 0.95),
    (0.1, 0.1, 0.9, 0.9),
    (0.0, 0.0, 0.9, 0.9),
    (0.1, 0.0, 1.0, 0.9),
    (0.0, 0.1, 0.9, 1.0),
    (0.1, 0.1, 1.0, 1.0),
)
"""Windows of a photo that are described: left, top, right, bottom, as shares of its sides. The whole comes first."""
ALIKE = 0.7
"""Correlation of descriptions that makes a candidate; a few pairs in 10,000 of different photos have it."""
SAME = 0.4
"""Correlation of fine detail that makes a copy: copies had 0.6 or more, distinct photos 0.2 or less."""
_GATE = 0.5  # the same at a third of the size, where copies had 0.7 or more: most candidates end here
_SIDE, _LOW = 96, 8  # pixels a side that are compared, frequencies a side that describe
_STEPS = 5  # of fitting how one photo lies over another; copies need two or three
_RIM = 0.08  # share of a side at each edge that is not compared
_MOST = 3  # candidates of a photo that are looked at, the likeliest
_KEPT = 1000  # small pictures of candidates in memory, 37 kB each
_ROWS = 256  # photos compared at a time with all others: 256 x 8,000 x 4 bytes = 8 MB


@dataclass(frozen=True, slots=True)
class Looks:
    """What a look tells of photos: ``hashes`` (N,), ``readable`` (N,), descriptions and small pictures.

    ``windows`` (N, W, D) are the descriptions, ``small`` (N, 32, 32) the photos in grey, uint8: 3 kB a photo in all.
    """

    hashes: Hashes
    readable: npt.NDArray[np.bool_]
    windows: Floats
    small: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, count: int) -> Looks:
        """Return room for the looks of this many photos."""
        return cls(
            np.zeros(count, dtype=np.uint64),
            np.zeros(count, dtype=np.bool_),
            np.zeros((count, len(WINDOWS), _LOW * _LOW - 1), dtype=np.float32),
            np.zeros((count, _SIDE // 3, _SIDE // 3), dtype=np.uint8),
        )

    def __getitem__(self, part: slice | npt.NDArray[np.intp]) -> Looks:
        return Looks(self.hashes[part], self.readable[part], self.windows[part], self.small[part])


@dataclass(frozen=True, slots=True)
class Copy:
    """Two photos that are one: their places, in words what kind of copy, and the correlation of their fine detail."""

    left: int
    right: int
    kind: str
    alike: float


def look_at(sources: Sequence[ImageSource], progress: Progress | None = None) -> Looks:
    """Hash and describe photos in threads; one that cannot be read hashes to 0. ``progress`` gets (done, total)."""
    looks = Looks.of(len(sources))
    with ThreadPoolExecutor(max_workers=min(16, (os.cpu_count() or 1) + 2)) as threads:
        for index, found in enumerate(threads.map(_look_or_none, sources)):
            if found is not None:
                looks.hashes[index], looks.windows[index], looks.small[index] = found
                looks.readable[index] = True
            if progress is not None:
                progress(index + 1, len(sources))
    return looks


def _look_or_none(source: ImageSource) -> tuple[int, Floats, Grey] | None:
    try:
        image = decode_small(source)
    except InputError:
        return None
    grey = small_grey(image)
    third = grey.reshape(_SIDE // 3, 3, _SIDE // 3, 3).mean(axis=(1, 3))
    return phash(image), describe(grey), np.rint(third)


def small_grey(image: Image.Image) -> Grey:
    """Return an upright image in grey (S, S), 0..255, whatever its aspect."""
    return np.asarray(Image.fromarray(grey_of(image)).resize((_SIDE, _SIDE), Image.Resampling.BOX))


def describe(grey: Grey) -> Floats:
    """Return the descriptions (W, D) of the windows of a small grey picture (S, S).

    They are the 8 x 8 lowest frequencies but the mean, each times its frequency since photos have less of higher ones.
    """
    across, down, weights = _frequencies()
    found = np.einsum("wfy,yx,wgx->wfg", down, grey, across, optimize=True) * weights
    flat = found.reshape(len(WINDOWS), -1)[:, 1:]
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6), dtype=np.float32)


@cache
def _frequencies() -> tuple[Floats, Floats, Floats]:
    """Return the cosines of windows' columns and rows (W, 8, S each), and the frequencies' weights (8, 8)."""
    across = np.stack([_cosines(left, right) for left, _, right, _ in WINDOWS])
    down = np.stack([_cosines(top, bottom) for _, top, _, bottom in WINDOWS])
    order = np.arange(_LOW, dtype=np.float32)
    return across, down, np.hypot(order[:, None], order[None, :])


def _cosines(start: float, stop: float) -> Floats:
    """Return the first 8 rows of a DCT-II over a part of a side (8, S); pixels count by their share inside."""
    edges = np.arange(_SIDE + 1) / _SIDE
    inside = np.clip(np.minimum(edges[1:], stop) - np.maximum(edges[:-1], start), 0, None)
    place = (np.minimum(edges[1:], stop) + np.maximum(edges[:-1], start)) / 2
    phase = np.pi * np.arange(_LOW)[:, None] * (place - start) / (stop - start)
    cosines = np.cos(phase) * np.where(np.arange(_LOW), np.sqrt(2), 1)[:, None] * inside
    return np.asarray(cosines / (stop - start), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Likeness:
    """A candidate: places, how alike the descriptions are, the window of ``outer``, and whether it is mirrored.

    One photo as a whole resembles a window of the other; ``left_is_outer`` says whether the other is the left one.
    """

    left: int
    right: int
    alike: float
    window: int
    left_is_outer: bool
    mirrored: bool

    @property
    def guess(self) -> Warp:
        """Where the inner photo lies in the outer one: in the window."""
        left, top, right, bottom = WINDOWS[self.window]
        return np.array([[right - left, 0, left], [0, bottom - top, top]])

    def ordered(self, left: npt.NDArray[Any], right: npt.NDArray[Any]) -> tuple[Grey, Grey]:
        """Return the pictures of both photos, the inner one first and the way round that the outer one is."""
        inner, outer = (right, left) if self.left_is_outer else (left, right)
        return (inner[:, ::-1] if self.mirrored else inner).astype(np.float32), outer.astype(np.float32)


def candidates(left: Looks, right: Looks, alike: float = ALIKE) -> Iterator[Likeness]:
    """Yield the pairs of photos whose descriptions are alike: of each left photo the three likeliest.

    If both are the same photos, each pair comes once. Mirroring a picture turns the sign of its odd frequencies
    across: so the even and the odd part of a correlation tell that of the photo and that of its mirror image.
    """
    odd = np.arange(1, _LOW * _LOW) % _LOW % 2 == 1
    for start in range(0, len(left.windows), _ROWS):
        found = []
        for place, (one, other) in enumerate(_sides(left.windows[start : start + _ROWS], right.windows)):
            even, part = one[:, ~odd] @ other[:, ~odd].T, one[:, odd] @ other[:, odd].T
            total = even + np.abs(part)
            rows, columns = np.nonzero(total >= alike)
            how = 2 * place + (part[rows, columns] < 0)
            found.append(np.stack([rows + start, columns, how, total[rows, columns]]))
        yield from _likeliest(np.concatenate(found, axis=1), within=left is right)


def _likeliest(found: npt.NDArray[np.float64], within: bool) -> Iterator[Likeness]:
    """Yield the likeliest pairs of each left photo from rows of left, right, how and likeness (4, F)."""
    if within:
        found = found[:, found[0] < found[1]]
    seen: dict[int, set[int]] = {}
    for left, right, how, alike in found[:, np.lexsort((-found[3], found[0]))].T:
        of_left = seen.setdefault(int(left), set())
        if len(of_left) < _MOST and int(right) not in of_left:
            of_left.add(int(right))
            yield _likeness(int(left), int(right), float(alike), int(how))


def _sides(left: Floats, right: Floats) -> Iterator[tuple[Floats, Floats]]:
    """Yield what is compared: each window of the left with the whole right, then the whole left with each window."""
    for window in range(len(WINDOWS)):
        yield left[:, window], right[:, 0]
    for window in range(1, len(WINDOWS)):
        yield left[:, 0], right[:, window]


def _likeness(left: int, right: int, alike: float, how: int) -> Likeness:
    place, mirrored = divmod(how, 2)
    outer = place < len(WINDOWS)
    return Likeness(left, right, alike, place if outer else place - len(WINDOWS) + 1, outer, bool(mirrored))


def copies(
    left: Looks, right: Looks, left_sources: Sequence[ImageSource], right_sources: Sequence[ImageSource]
) -> list[Copy]:
    """Return the pairs of photos that are one photo; those that may be (:func:`candidates`) are decoded once more."""
    found = []
    seen = lru_cache(maxsize=_KEPT)(lambda source: small_grey(decode_small(source)))
    for pair in candidates(left, right):
        outline = lay_over(*pair.ordered(left.small[pair.left], right.small[pair.right]), pair.guess, _GATE)
        if outline is None:
            continue
        fine = pair.ordered(seen(left_sources[pair.left]), seen(right_sources[pair.right]))
        laid = lay_over(*fine, outline[0], SAME)
        if laid is not None:
            found.append(Copy(pair.left, pair.right, kind_of(pair.mirrored, *size_and_turn(laid[0])), laid[1]))
    return found


def size_and_turn(warp: Warp) -> tuple[float, float]:
    """Return by how much a map enlarges, of 1, and by how many degrees it turns."""
    turn = np.degrees(np.arctan2(warp[1, 0] - warp[0, 1], warp[0, 0] + warp[1, 1]))
    return float(np.sqrt(abs(np.linalg.det(warp[:, :2])))), float(turn)


def kind_of(mirrored: bool, size: float, turn: float) -> str:
    """Say what kind of copy it is: ``size`` is the share of a side of the larger one, ``turn`` in degrees.

    >>> kind_of(True, 0.9, 0.1), kind_of(False, 1.0, 0.0)
    ('mirrored, cropped or framed', 're-encoded')
    """
    told = [(mirrored, "mirrored"), (abs(size - 1) > 0.01, "cropped or framed"), (abs(turn) > 1, "turned")]
    return ", ".join(word for true, word in told if true) or "re-encoded"


def lay_over(inner: Grey, outer: Grey, guess: Warp, least: float) -> tuple[Warp, float] | None:
    """Lay ``inner`` over ``outer``, both (size, size): return how it lies, and the correlation of the detail there.

    None if that is under ``least``, or if it lies where no copy would: turned by over 10 degrees, scaled by over 1.5,
    or more than half outside.
    """
    warp = _fitted(inner, outer, guess)
    laid, inside = warped(outer, warp)
    scale, turn = size_and_turn(warp)
    if abs(turn) > 10 or not 1 / 1.5 < scale < 1.5 or inside.mean() < 0.4:
        return None
    found = correlation(detail(inner), detail(laid), inside)
    return (warp, found) if found >= least else None


def _fitted(inner: Grey, outer: Grey, warp: Warp) -> Warp:
    """Return the affine map (2, 3) from places in ``inner`` to places in ``outer``, sides 0 to 1, from a first guess.

    Gauss-Newton on the difference of the two, slightly blurred (Lucas and Kanade 1981), with a gain and an offset of
    brightness. The rim does not count: a frame reaches into it.
    """
    fixed, moving = gaussian_filter(inner, 1.5), gaussian_filter(outer, 1.5)
    x, y = _places(len(inner))
    for _ in range(_STEPS):
        laid, inside = warped(moving, warp)
        down, across = np.gradient((laid + fixed) / 2, 1 / len(inner))
        columns = [across, across * x, across * y, down, down * x, down * y, laid, np.ones_like(laid)]
        system = np.stack([column[inside] for column in columns]).astype(np.float64)
        gram = system @ system.T + np.eye(len(system)) * max(1e-9 * float((system**2).sum()), 1e-9)
        step = np.clip(np.linalg.solve(gram, system @ (fixed - laid)[inside]), -0.2, 0.2)  # of a side; far jumps err
        warp = warp @ np.array([[1 + step[1], step[2], step[0]], [step[4], 1 + step[5], step[3]], [0, 0, 1]])
        if np.abs(step[:6]).max() < 0.1 / len(inner):
            break
    return warp


@cache
def _places(size: int) -> tuple[Floats, Floats]:
    """Return the places x and y (size, size) of pixels' middles, sides 0 to 1."""
    middle = ((np.arange(size) + 0.5) / size).astype(np.float32)
    x, y = np.meshgrid(middle, middle)
    return x, y


def warped(outer: Grey, warp: Warp) -> tuple[Grey, npt.NDArray[np.bool_]]:
    """Return what of ``outer`` lies under each pixel of an inner picture of its size, and which lie well inside it."""
    size = len(outer)
    x, y = _places(size)
    column, row = (warp[axis, 0] * x + warp[axis, 1] * y + warp[axis, 2] for axis in (0, 1))
    inside = (column > 0) & (column < 1) & (row > 0) & (row < 1)
    inside &= (np.abs(x - 0.5) < 0.5 - _RIM) & (np.abs(y - 0.5) < 0.5 - _RIM)
    return map_coordinates(outer, [row * size - 0.5, column * size - 0.5], order=1, mode="nearest"), inside


def detail(grey: Grey) -> Grey:
    """Return a picture's fine detail: what a blur of two pixels takes away, at one strength everywhere."""
    fine = grey - gaussian_filter(grey, 2)
    return np.asarray(fine / np.sqrt(gaussian_filter(fine**2, 4) + 4), dtype=np.float32)


def correlation(one: Grey, other: Grey, inside: npt.NDArray[np.bool_]) -> float:
    """Return the correlation of two pictures inside a region."""
    a, b = one[inside] - one[inside].mean(), other[inside] - other[inside].mean()
    return float((a * b).sum() / max(float(np.sqrt((a**2).sum() * (b**2).sum())), 1e-6))
