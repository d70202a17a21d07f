"""The parametric harmonizer: one look at a small copy, one colour map for the foreground at any size."""

from __future__ import annotations

from pathlib import Path

from harmonygen.harmonization.load import Chosen
from harmonygen.models.checkpoints import locate, weights_digest
from harmonygen.models.device import Device
from harmonygen.models.parametric import ParametricNet
from harmonygen.pictures.images import ImageU8
from harmonygen.pictures.photo import Photo
from harmonygen.recolor.cubic import cubic_u8


class ParametricHarmonizer:
    """Guesses a map at the network's resolution and applies it to the composite's own pixels; nothing is enlarged."""

    multiple = 8

    def __init__(self, model: ParametricNet, digest: str = "") -> None:
        self.model, self.digest = model, digest
        self.resolution = model.spec.resolution

    @classmethod
    def from_pretrained(cls, name: str | Path, device: Device) -> ParametricHarmonizer:
        """Load ``starter`` or a checkpoint folder of kind ``parametric``.

        Raises:
            CheckpointError: no such folder, or of another kind.
        """
        folder = locate(name, "parametric")
        return cls(ParametricNet.from_pretrained(folder, device.name, device.dtype), weights_digest(folder))

    def __call__(self, photo: Photo, seed: int = 0, draws: int | None = None) -> ImageU8:
        """Return the harmonized picture (H, W, 3); it is the same for every seed and number of draws."""
        harmonized = photo.image_u8.copy()
        found = self.model.map_of(photo.image_u8, photo.mask, min(photo.low_mask.shape))
        harmonized[photo.mask] = cubic_u8(found, photo.image_u8[photo.mask])
        return harmonized


def make_parametric_harmonizer(run: Chosen, device: Device) -> ParametricHarmonizer:
    """Load the method for the checkpoint that was chosen."""
    return ParametricHarmonizer.from_pretrained(run.model, device)
