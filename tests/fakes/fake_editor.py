"""Stand-ins for the models of zero-shot harmonization: an editor that shifts colours, a describer, a scorer."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from harmonygen.harmonization.zeroshot.words import Description

WORDS = [
    Description("girl", ("sunny",), ("dark", "night")),
    Description("girl", ("bright",), ("dim",)),
    Description("girl", ("warm",), ("cool",)),
]


@dataclass(frozen=True)
class FakeEdited:
    picture01: np.ndarray
    figures: dict = field(default_factory=dict)


class StepEditor:
    """Moves the foreground's mean colour ``step`` of the way to the background's; a negative step leads away."""

    resolution, multiple = 64, 8

    def __init__(self, step=0.4):
        self.step, self.digest, self.calls = step, f"step {step}", []

    def needs(self, height, width):
        return {"weights": 3 << 30, "activations": 5 << 20, "latents": 0, "total": (3 << 30) + (5 << 20)}

    def __call__(self, picture01, composite01, mask, description, progress=None):
        self.calls.append((picture01, composite01, description))
        shift = self.step * (composite01[~mask].mean(axis=0) - picture01[mask].mean(axis=0))
        edited = np.where(mask[..., None], picture01 + shift, composite01)
        return FakeEdited(edited.astype(np.float32), {"shift": float(np.abs(shift).mean())})


class FakeDescriber:
    name, digest = "fake", "words"

    def __init__(self, descriptions=WORDS):
        self.descriptions = list(descriptions)

    def __call__(self, photo, alternatives=3):
        return self.descriptions[:alternatives]


class ColourScorer:
    """P(composite) = how far the foreground's mean colour is from the background's; a classifier's interface."""

    digest = "colours"

    def __call__(self, pictures_u8, mask):
        return [colour_distance(picture / 255, mask) for picture in pictures_u8]


def colour_distance(picture01, mask):
    """Mean absolute difference of the mean colours inside and outside the mask, in [0, 1]."""
    return float(np.abs(picture01[mask].mean(axis=0) - picture01[~mask].mean(axis=0)).mean())
