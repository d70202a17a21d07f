"""How often the 95 % interval of Cohen's kappa holds the truth, by simulation: for docs/review.md.

python benchmarks/kappa_coverage.py
"""

from __future__ import annotations

import numpy as np

from harmonygen.review.agreement import interval, kappa

DRAWS = 4000


def shares(true: float, accepted: float) -> np.ndarray:
    """Return the 2 x 2 shares of two reviewers who each accept a share, with a true kappa."""
    apart = accepted * (1 - accepted) * (1 - true)
    return np.array([accepted - apart, apart, apart, 1 - accepted - apart])


def coverage(n: int, true: float, accepted: float, rng: np.random.Generator) -> float:
    """Return how often the interval of ``n`` candidates holds the true kappa."""
    found = [kappa(table.tolist()) for table in rng.multinomial(n, shares(true, accepted), size=DRAWS)]
    held = [low <= true <= high for low, high in (interval(*each) for each in found if each is not None)]
    return float(np.mean(held))


def main() -> None:
    """Print the table."""
    rng = np.random.default_rng(0)
    cases = [(0.4, 0.5), (0.6, 0.5), (0.8, 0.5), (0.6, 0.8), (0.8, 0.8)]
    print("n     " + "  ".join(f"kappa {true}, {accepted:.0%}" for true, accepted in cases))
    for n in (30, 50, 100, 300):
        print(f"{n:<6}" + "  ".join(f"{coverage(n, *case, rng):14.1%}" for case in cases))


if __name__ == "__main__":
    main()
