"""The product filter ``witness``: the heuristic, but a photo stays where the shipped detector is sure of a person.

The heuristic goes by the colour of skin and drops people in grey or dark pictures. The detector alone would not do:
it takes two thirds of clothing that nobody wears for a person at the score from which `masks` counts one, so a far
higher one is asked for here. The error rates of both are in benchmarks/RESULTS.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harmonygen.human_harmony.verdict import ProductFilter, Verdict
from harmonygen.models.torso import Detect
from harmonygen.pictures.images import ImageU8, Mask

MIN_SCORE = 0.9


@dataclass(frozen=True, slots=True)
class PersonWitness:
    """Keep what ``judge`` keeps, and photos in which a person is seen with a score of ``min_score`` or more."""

    judge: ProductFilter
    detect: Detect
    min_score: float = MIN_SCORE

    def __call__(self, image_u8: ImageU8, mask: Mask, real_id: str) -> Verdict:
        """Judge one photo (H, W, 3) by its clothing mask (H, W)."""
        verdict = self.judge(image_u8, mask, real_id)
        if verdict.keep:
            return verdict
        best = max((torso.score for torso in self.detect(image_u8)), default=0.0)
        measures = {**verdict.measures, "person": best}
        if best >= self.min_score:
            return Verdict(
                True, detail=f"a person is seen (score {best:.2f}), though {verdict.detail}", measures=measures
            )
        return replace(
            verdict,
            reason="product:witness",
            detail=f"{verdict.detail}; no person is seen (best score {best:.2f})",
            measures=measures,
        )
