"""The direct harmonizer: a plain regression from composite and mask, without randomness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from harmonygen.models.checkpoints import locate, weights_digest
from harmonygen.models.device import Device
from harmonygen.models.draw import to_pm1
from harmonygen.models.refiner import RefinementUNet
from harmonygen.pictures.detail import full_size
from harmonygen.pictures.images import ImageU8
from harmonygen.pictures.photo import Photo
from harmonygen.settings import Detail


class DirectHarmonizer:
    """One pass of a ``direct`` network at its resolution, brought to the composite's own size."""

    def __init__(
        self, model: RefinementUNet, digest: str = "", detail: Detail = "transfer", floor: bool = False
    ) -> None:
        self.model, self.digest, self.detail, self.floor = model, digest, detail, floor
        self.resolution, self.multiple = model.spec.resolution, model.multiple

    @classmethod
    def from_pretrained(cls, name: str | Path, device: Device, detail: Detail, floor: bool = False) -> DirectHarmonizer:
        """Load ``starter`` or a checkpoint folder of kind ``direct``.

        Raises:
            CheckpointError: no such folder, or of another kind.
        """
        folder = locate(name, "direct")
        model = RefinementUNet.from_pretrained(folder, "direct", device.name, device.dtype)
        return cls(model, weights_digest(folder), detail, floor)

    @torch.no_grad()
    def __call__(self, photo: Photo, seed: int = 0, draws: int | None = None) -> ImageU8:
        """Return the harmonized picture (H, W, 3); it is the same for every seed and number of draws."""
        device = next(self.model.parameters()).device
        mask = torch.from_numpy(photo.low_mask[None, None].astype(np.float32)).to(device)
        harmonized = self.model(to_pm1(photo.low_u8).to(device), mask)
        picture01 = ((harmonized[0].permute(1, 2, 0) + 1) / 2).cpu().numpy()
        return full_size(photo, photo.low_u8, picture01, self.detail, floor=self.floor)
