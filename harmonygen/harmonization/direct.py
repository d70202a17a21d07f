"""The direct harmonizer: a plain regression from composite and mask, without randomness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from harmonygen.harmonization.load import Chosen
from harmonygen.models.checkpoints import locate, weights_digest
from harmonygen.models.device import Device
from harmonygen.models.draw import to_pm1
from harmonygen.models.refiner import RefinementUNet
from harmonygen.pictures.detail import full_size
from harmonygen.pictures.images import ImageU8, Picture01
from harmonygen.pictures.photo import Photo
from harmonygen.settings import Detail


class DirectHarmonizer:
    """One pass of a ``direct`` network at its resolution, brought to the composite's own size."""

    def __init__(self, model: RefinementUNet, digest: str = "", detail: Detail = "transfer") -> None:
        self.model, self.digest, self.detail = model, digest, detail
        self.resolution, self.multiple = model.spec.resolution, model.multiple

    @classmethod
    def from_pretrained(cls, name: str | Path, device: Device, detail: Detail) -> DirectHarmonizer:
        """Load ``starter`` or a checkpoint folder of kind ``direct``.

        Raises:
            CheckpointError: no such folder, or of another kind.
        """
        folder = locate(name, "direct")
        model = RefinementUNet.from_pretrained(folder, "direct", device.name, device.dtype)
        return cls(model, weights_digest(folder), detail)

    def __call__(self, photo: Photo, seed: int = 0, draws: int | None = None) -> ImageU8:
        """Return the harmonized picture (H, W, 3); it is the same for every seed and number of draws."""
        low_u8, picture01 = self.picture(photo)
        return full_size(photo, low_u8, picture01, self.detail)

    @torch.no_grad()
    def picture(self, photo: Photo, seed: int = 0, draws: int | None = None) -> tuple[ImageU8, Picture01]:
        """Return what the network makes at its own size, nothing pasted.

        Returns:
            The composite (h, w, 3) uint8 at that size, and the harmonized picture (h, w, 3) in [0, 1].
        """
        device = next(self.model.parameters()).device
        mask = torch.from_numpy(photo.low_mask[None, None].astype(np.float32)).to(device)
        harmonized = self.model(to_pm1(photo.low_u8).to(device), mask)
        return photo.low_u8, ((harmonized[0].permute(1, 2, 0) + 1) / 2).cpu().numpy()


def make_direct(run: Chosen, device: Device) -> DirectHarmonizer:
    """Load the method for the checkpoint that was chosen."""
    return DirectHarmonizer.from_pretrained(run.model, device, run.detail)
