"""What zero-shot editing does on the trained toy, in figures: for its tests and `benchmarks/zero_shot_edits.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from toy_text_to_image import COLOURS, Drawn, draw

from harmonygen.harmonization.settings import ZeroShotSettings
from harmonygen.harmonization.zeroshot.edges import sobel
from harmonygen.harmonization.zeroshot.editor import Edited, load_editor, psnr
from harmonygen.harmonization.zeroshot.schedule import invert, reconstruct
from harmonygen.harmonization.zeroshot.text_to_image import TextToImage, to_images, to_picture
from harmonygen.harmonization.zeroshot.words import Description

UNSEEN = 1_000_000  # seeds from here on were never trained on
TOY = ZeroShotSettings(inversion_steps=10, refine_learning_rate=0.02, refine_keep=0.4)
"""The published settings, but for fewer steps, and rates for token embeddings fifty times as large."""


@dataclass(frozen=True)
class Scene:
    """A drawn composite (64, 64, 3) in [0, 1], its mask, and what a describer would say of it."""

    picture01: np.ndarray
    mask: np.ndarray
    description: Description

    @property
    def target(self) -> str:
        """The colour word that the edit goes to: the field's."""
        return self.description.background[0]


def scenes(count: int, seed: int = UNSEEN) -> list[Scene]:
    """Return unseen scenes whose shape and field have different colours."""
    found: list[Scene] = []
    while len(found) < count:
        drawn: Drawn = draw(seed)
        seed += 1
        shape, colour, _, field = drawn.caption.split(", ")
        if colour != field:
            picture = (drawn.picture_u8 / np.float32(255)).astype(np.float32)
            found.append(Scene(picture, drawn.mask, Description(shape, (colour,), (field,))))
    return found


@torch.no_grad()
def inversion_psnr(model: TextToImage, chosen: Sequence[Scene], steps: int) -> tuple[list[float], list[float]]:
    """Return each picture's PSNR (dB) when inverted and reconstructed unguided, and the autoencoder's alone."""
    schedule, null, found, alone = model.schedule(steps), model.unconditional(), [], []
    for scene in chosen:
        latents = model.encode(to_images(scene.picture01, model.device))
        noise = invert(model.predict, schedule, latents, null)[-1]
        again = to_picture(model.decode(reconstruct(model.predict, schedule, noise, null)))
        found.append(psnr(again, scene.picture01))
        alone.append(psnr(to_picture(model.decode(latents)), scene.picture01))
    return found, alone


def edits(folder: Path, chosen: Sequence[Scene], settings: ZeroShotSettings) -> list[Edited]:
    """Edit each scene once."""
    editor = load_editor(folder, "cpu", torch.float32, settings)
    return [editor(scene.picture01, scene.picture01, scene.mask, scene.description) for scene in chosen]


def colour_distance(picture01: np.ndarray, scene: Scene) -> float:
    """Return how far the foreground's mean colour lies from the target word's, in 8-bit RGB units."""
    mean = picture01[scene.mask].mean(0) * 255
    return float(np.linalg.norm(mean - np.array(COLOURS[scene.target])))


def edge_correlation(picture01: np.ndarray, scene: Scene) -> float:
    """Return the correlation of Sobel edges inside the mask, its outline left out, with the composite's."""
    from scipy.ndimage import binary_erosion

    inside = binary_erosion(scene.mask, iterations=2)
    cpu = torch.device("cpu")
    both = [sobel(to_images(picture, cpu))[0, 0].numpy()[inside] for picture in (picture01, scene.picture01)]
    return float(np.corrcoef(*both)[0, 1])
