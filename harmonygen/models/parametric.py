"""The parametric harmonizer: a picture and its mask in, one curved colour map for the foreground out.

The map is cubic in red, green and blue (:mod:`harmonygen.recolor.cubic`), so the answer is sixty numbers whatever the
picture's size. It starts at the foreground's Lab statistics moved half-way to the background's; the network looks at
both and says how far to trust that start, and what to add.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn

from harmonygen.errors import CheckpointError, told
from harmonygen.models.checkpoints import load_weights, read_spec, write_spec
from harmonygen.models.judge import RegionFeatures
from harmonygen.models.trunk import Trunk
from harmonygen.pictures.images import ImageU8, Mask, resize
from harmonygen.pictures.masks import resize_mask
from harmonygen.recolor.cubic import EXPONENTS, TERMS, Coefficients, cubic_terms, fit_cubic, identity_cubic
from harmonygen.recolor.foreground_terms import usual_colours
from harmonygen.recolor.statistics_transfer import lab_transfer
from harmonygen.settings import MAX_SIDE, Settings

__all__ = ["ParametricNet", "ParametricSpec", "starting_map", "torch_terms"]

_WEIGHTS = "model.safetensors"
_NUMBERS = 3 * TERMS
_STEP = 0.1  # of what the network adds, in units of the orthonormal terms
_FIT_PIXELS = 1024
_RIDGE = 1e-4


class ParametricSpec(Settings):
    """What a parametric checkpoint says about itself in ``harmonygen.json``.

    ``strength`` is the share of the map's change that is applied: 1 is all of it.
    """

    kind: Literal["parametric"] = "parametric"
    format: int = 1
    resolution: int = Field(128, ge=32, le=MAX_SIDE)
    strength: float = Field(1.0, gt=0, le=1)
    training_data: str = ""


class ParametricNet(nn.Module):
    """Trunk, region features, and a head of the map's numbers and of the trust in the starting map."""

    mixing: Tensor
    identity: Tensor

    def __init__(self, spec: ParametricSpec) -> None:
        super().__init__()
        self.spec = spec
        self.trunk = Trunk(mask_hint=True)
        self.regions = RegionFeatures()
        self.head = nn.Sequential(nn.Linear(RegionFeatures.width, 128), nn.GELU(), nn.Linear(128, _NUMBERS + 1))
        for parameter in self.head[-1].parameters():
            nn.init.zeros_(parameter)
        self.register_buffer("mixing", torch.from_numpy(orthonormal_terms()).float())
        self.register_buffer("identity", torch.from_numpy(identity_cubic()).float())

    def forward(self, images01: Tensor, masks: Tensor, starts: Tensor) -> Tensor:
        """Return maps (B, 20, 3).

        Args:
            images01: (B, 3, R, R) composites in [0, 1].
            masks: (B, 1, R, R) of 0 and 1.
            starts: (B, 20, 3) of :func:`starting_map`.
        """
        numbers = self.head(self.regions(self.trunk(images01, masks), images01, masks)).float()
        trust = torch.sigmoid(numbers[:, -1] + 1)[:, None, None]
        added = self.mixing @ numbers[:, :-1].view(-1, TERMS, 3) * _STEP
        maps: Tensor = self.identity + trust * (starts - self.identity + added)
        return maps

    @torch.no_grad()
    def map_of(self, composite_u8: ImageU8, mask: Mask, resolution: int | None = None) -> Coefficients:
        """Return the map (20, 3) for the foreground of a composite (H, W, 3) and its mask (H, W) bool.

        ``resolution`` is the side of the square that is looked at, a multiple of 8; by default the spec's.
        """
        side, like = resolution or self.spec.resolution, next(self.parameters())
        small, small_mask = resize(composite_u8, side, side), resize_mask(mask, side, side)
        if not small_mask.any():
            return identity_cubic()
        image = torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1)))[None].to(like) / 255
        start = torch.from_numpy(starting_map(small, small_mask))[None].to(like.device).float()
        found = self(image, torch.from_numpy(small_mask)[None, None].to(like), start)[0].cpu().double().numpy()
        applied: Coefficients = identity_cubic() + self.spec.strength * (found - identity_cubic())
        return applied

    @classmethod
    def from_pretrained(cls, folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> ParametricNet:
        """Load a folder of kind ``parametric`` (``model.safetensors harmonygen.json``).

        Raises:
            CheckpointError: of another kind, damaged, or weights that do not fit.
        """
        model = cls(read_spec(folder, ParametricSpec, "parametric"))
        fixed = {"mixing": model.mixing, "identity": model.identity}
        try:
            model.load_state_dict({**load_weights(folder / _WEIGHTS), **fixed})
        except RuntimeError as error:
            raise CheckpointError(f"weights of '{folder}' do not fit ({told(error)}): export them again") from error
        model = model.to(device=device, dtype=dtype).eval().requires_grad_(False)
        model.mixing, model.identity = (fixed[name].to(device) for name in ("mixing", "identity"))  # in full precision
        return model

    def save_pretrained(self, folder: Path, dtype: torch.dtype = torch.float16) -> None:
        """Write ``model.safetensors`` (learned weights in ``dtype``) and ``harmonygen.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        learned = {name: value for name, value in self.state_dict().items() if name not in ("mixing", "identity")}
        save_file({name: value.to(dtype).cpu().contiguous() for name, value in learned.items()}, folder / _WEIGHTS)
        write_spec(folder, self.spec)


def starting_map(composite_u8: ImageU8, mask: Mask) -> Coefficients:
    """Return the cubic map (20, 3) nearest to the half-strength Lab transfer of a composite's foreground.

    Args:
        composite_u8: (H, W, 3), small.
        mask: (H, W) bool, not empty.
    """
    source, target = composite_u8[mask], lab_transfer(composite_u8, mask)[mask]
    step = max(1, len(source) // _FIT_PIXELS)
    return fit_cubic(source[::step] / 255.0, target[::step] / 255.0, _RIDGE)


def torch_terms(rgb01: Tensor) -> Tensor:
    """Return the monomials (..., 20) of colours (..., 3), as :func:`harmonygen.recolor.cubic.cubic_terms` does."""
    powers = torch.stack([torch.ones_like(rgb01), rgb01, rgb01**2, rgb01**3], dim=-1)
    red, green, blue = ([powers[..., axis, power] for power in range(4)] for axis in range(3))
    return torch.stack([red[r] * green[g] * blue[b] for r, g, b in EXPONENTS], dim=-1)


def orthonormal_terms() -> Coefficients:
    """Return (20, 20): columns are combinations of the monomials that are orthonormal over usual colours.

    Usual colours are those of :func:`~harmonygen.recolor.foreground_terms.usual_colours`.
    """
    terms = cubic_terms(usual_colours())
    gram = terms.T @ terms / len(terms) + 1e-6 * np.eye(TERMS)
    mixing: Coefficients = np.linalg.inv(np.linalg.cholesky(gram)).T
    return mixing
