"""The arithmetic of augmentation at blending ratio gamma (DiffHarmony++, REFERENCE section 6).

``N1`` (real, mask) pairs and ``N2`` original composites: ``ceil(gamma * N2 / N1)`` candidates are added to each pair,
subset by subset or with one ratio over all. Exact fractions, so that a float's error never adds a candidate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from harmonygen.errors import UsageError


def per_pair(gamma: float, pairs: int, composites: int) -> int:
    """Return ``ceil(gamma * composites / pairs)``, exactly; ``gamma`` is taken as the decimal it prints as.

    Raises:
        UsageError: gamma is negative or not finite.

    >>> per_pair(1.0, 2188, 6967), per_pair(0.1, 10, 100), per_pair(0.0, 5, 5)
    (4, 1, 0)
    """
    return ceil(exact(gamma) * Fraction(composites, pairs)) if pairs else 0


def exact(gamma: float) -> Fraction:
    """Return gamma as the fraction that its shortest decimal spells: 0.1 is 1/10, not 0.1000000000000000055..."""
    try:
        value = Fraction(str(gamma))
    except ValueError as error:
        raise UsageError(f"--gamma is {gamma}: it must be a number, 0 or more") from error
    if value < 0:
        raise UsageError(f"--gamma is {gamma}: it must be 0 or more")
    return value


@dataclass(frozen=True, slots=True)
class GammaRow:
    """One subset's arithmetic: ``pairs`` is N1, ``composites`` N2, ``ratio`` the exact gamma N2/N1."""

    subset: str
    pairs: int
    composites: int
    ratio: Fraction
    per_pair: int

    @property
    def added(self) -> int:
        """Composites added: ``per_pair`` for each pair."""
        return self.per_pair * self.pairs


@dataclass(frozen=True, slots=True)
class GammaPlan:
    """The arithmetic of a whole dataset, one row a subset in name order."""

    gamma: float
    per_subset: bool
    rows: tuple[GammaRow, ...]

    @property
    def pairs(self) -> int:
        """N1 over all subsets."""
        return sum(row.pairs for row in self.rows)

    @property
    def composites(self) -> int:
        """N2 over all subsets."""
        return sum(row.composites for row in self.rows)

    @property
    def added(self) -> int:
        """Composites added over all subsets."""
        return sum(row.added for row in self.rows)

    @property
    def needed_k(self) -> int:
        """Candidates that every pair must have: the largest count of any subset."""
        return max((row.per_pair for row in self.rows), default=0)

    def count(self, subset: str) -> int:
        """Return how many candidates each pair of ``subset`` gets."""
        return next(row.per_pair for row in self.rows if row.subset == subset)


def plan_gamma(gamma: float, counts: Mapping[str, tuple[int, int]], per_subset: bool = True) -> GammaPlan:
    """Work out the candidates a pair from ``counts``: subset -> (N1 pairs, N2 original composites).

    With ``per_subset`` each subset has its own ratio; without, all share the ratio of the sums.

    Raises:
        UsageError: no pairs at all, no original composites, or a gamma that is negative or not finite.

    >>> [row.per_pair for row in plan_gamma(1.0, {"a": (2, 10), "b": (10, 10)}).rows]
    [5, 1]
    >>> [row.per_pair for row in plan_gamma(1.0, {"a": (2, 10), "b": (10, 10)}, per_subset=False).rows]
    [2, 2]
    """
    pairs, composites = (sum(column) for column in zip(*counts.values(), strict=True)) if counts else (0, 0)
    if not pairs or not composites:
        raise UsageError(
            f"gamma mixes candidates in proportion to a dataset's own composites, found {composites} composites of "
            f"{pairs} pairs: point --data at a dataset that has composites (build-human-harmony makes one)"
        )
    rows = []
    for subset in sorted(counts):
        own, all_pairs = counts[subset], (pairs, composites)
        n1, n2 = own if per_subset else all_pairs
        ratio = exact(gamma) * Fraction(n2, n1) if n1 else Fraction(0)
        rows.append(GammaRow(subset, *own, ratio, per_pair(gamma, n1, n2)))
    return GammaPlan(gamma, per_subset, tuple(rows))


def count_pairs(pairs: Iterable[tuple[str, int]]) -> dict[str, tuple[int, int]]:
    """Count (N1, N2) by subset from one ``(subset, original composites)`` a pair.

    >>> count_pairs([("a", 3), ("a", 2), ("b", 1)])
    {'a': (2, 5), 'b': (1, 1)}
    """
    counts: dict[str, tuple[int, int]] = {}
    for subset, originals in pairs:
        n1, n2 = counts.get(subset, (0, 0))
        counts[subset] = (n1 + 1, n2 + originals)
    return counts
