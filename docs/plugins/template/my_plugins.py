"""Four plug-ins of ten lines each: replace what stands in ``__call__`` by your model."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np


@dataclass
class Light:
    """A generator: the foreground under a light of another colour and strength."""

    strength: Annotated[float, "How far the light changes, 0 to 1."] = 0.4

    def __call__(self, photo, candidates):
        """Yield one picture for each candidate, drawn from its seed alone."""
        for candidate in candidates:
            light = 1 + self.strength * np.random.default_rng(candidate.seed).uniform(-1, 1, 3)
            yield np.clip(photo.image_u8 * light, 0, 255).astype(np.uint8)


@dataclass
class Cast:
    """A judge: the farther the mean colours of foreground and background are apart, the likelier a composite."""

    scale: Annotated[float, "Difference of the mean colours that counts as one half, in 8-bit units."] = 40.0

    def __call__(self, composites, mask):
        """Return one score from 0 to 1 for each composite."""
        apart = [np.linalg.norm(each[mask].mean(axis=0) - each[~mask].mean(axis=0)) for each in composites]
        return [1 - 0.5 ** (distance / self.scale) for distance in apart]


@dataclass
class ColourMatch:
    """A harmonizer: the foreground's mean colour is moved toward the background's."""

    strength: Annotated[float, "How far the mean colour moves, 0 to 1."] = 0.5

    def __call__(self, photo, seed, draws):
        """Return a picture of the composite's size."""
        gap = photo.image_u8[~photo.mask].mean(axis=0) - photo.image_u8[photo.mask].mean(axis=0)
        return np.clip(photo.image_u8 + self.strength * gap, 0, 255).astype(np.uint8)


@dataclass
class Rim:
    """A segmenter: what has another colour than the photo's rim is the foreground."""

    scale: Annotated[float, "Difference from the rim's mean colour that counts as one half, in 8-bit units."] = 40.0

    def __call__(self, image):
        """Return the probability (H, W) that a pixel of a photo (H, W, 3) uint8 is foreground."""
        rim = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]).mean(axis=0)
        return 1 - 0.5 ** (np.linalg.norm(image - rim, axis=-1) / self.scale)
