"""The parametric inverse: a real photo and its mask in, a distribution over the colour maps of its foreground out.

A map is sixty numbers in terms of the foreground's own colours (:mod:`harmonygen.recolor.foreground_terms`). A
checkpoint holds the principal components of a data set's own changes, whitened: they are the prior. A small network
looks at the colour statistics of foreground and background and gives a mixture of Gaussians over the components. A
candidate is one draw of it. Legend: B batch, N changes or pixels, K Gaussians, D components.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn

from harmonygen.errors import NOT_FINITE, CheckpointError, InputError, told
from harmonygen.models.checkpoints import load_weights, read_spec, write_spec
from harmonygen.models.regions import STATISTICS, statistics
from harmonygen.pictures.images import ImageU8, Mask, resize
from harmonygen.pictures.photo import shrink_mask
from harmonygen.recolor.cubic import Coefficients, cubic_terms
from harmonygen.recolor.foreground_terms import NUMBERS, ForegroundTerms
from harmonygen.settings import MAX_SIDE, Settings

__all__ = ["MapSampler", "Mixture", "ParametricInverseNet", "ParametricInverseSpec"]

Doubles = npt.NDArray[np.float64]
_WEIGHTS = "model.safetensors"
_PRIOR = ("mean", "axes")  # in full precision
_WIDTH = 192
_NARROWEST = 1e-3  # deviation of a component, of the widest one's: where a data set's changes are all alike
_LOG_SCALES = (-4.0, 3.0)  # limits of the logarithm of a Gaussian's deviations, of whitened components

# What a map keeps on the foreground's own colours: 95 in 100 training pairs keep the first
# limit, and authentic composites the second as often (11 % newly clip over 5 % at full size).
MOST_INVERTED = 0.05
MOST_CLIPPED = 0.04
MOST_DRAWS = 8
_SHRINK = 0.8
_MOST_SHRINKS = 40  # after them the change is a ten-thousandth
_KNEE = 4  # the higher, the later a change gives way before the end of the range
_GREY_STEP = 0.02
_OFF_END = 10 / 255
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


class ParametricInverseSpec(Settings):
    """What a parametric inverse's checkpoint says about itself in ``harmonygen.json``."""

    kind: Literal["parametric-inverse"] = "parametric-inverse"
    format: int = 1
    resolution: int = Field(128, ge=32, le=MAX_SIDE)
    components: int = Field(16, ge=1, le=NUMBERS)
    gaussians: int = Field(8, ge=1, le=1024)
    training_data: str = ""


class Mixture(NamedTuple):
    """Gaussians over whitened components: logits (B, K), means (B, K, D), lower triangular factors (B, K, D, D).

    The covariance of a Gaussian is its factor times the factor's transpose.
    """

    logits: Tensor
    means: Tensor
    factors: Tensor

    def log_density(self, values: Tensor) -> Tensor:
        """Return the natural logarithm (B,) of the density at values (B, D)."""
        away = (values[:, None] - self.means)[..., None]
        standard = torch.linalg.solve_triangular(self.factors, away, upper=False)[..., 0]
        log_volume = self.factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        each = -0.5 * standard.square().sum(-1) - log_volume + self.logits.log_softmax(-1)
        density: Tensor = each.logsumexp(-1) - 0.5 * values.shape[-1] * math.log(2 * math.pi)
        return density


class ParametricInverseNet(nn.Module):
    """Colour statistics, three layers, and the numbers of a mixture; ``mean`` and ``axes`` are the prior."""

    mean: Tensor
    axes: Tensor
    below: Tensor

    def __init__(self, spec: ParametricInverseSpec) -> None:
        super().__init__()
        self.spec = spec
        d = spec.components
        self.body = nn.Sequential(
            nn.Linear(STATISTICS, _WIDTH), nn.GELU(), nn.Linear(_WIDTH, _WIDTH), nn.GELU(), nn.Linear(_WIDTH, 128)
        )
        self.head = nn.Linear(128, spec.gaussians * (1 + 2 * d + d * (d - 1) // 2))
        self._spread_out()
        self.register_buffer("mean", torch.zeros(NUMBERS))
        self.register_buffer("axes", torch.eye(NUMBERS)[:, :d].contiguous())
        self.register_buffer("below", torch.tril_indices(d, d, -1), persistent=False)

    @torch.no_grad()
    def _spread_out(self) -> None:
        """Start near the prior whatever the photo: Gaussians of many widths about its mean."""
        k, d = self.spec.gaussians, self.spec.components
        nn.init.normal_(self.head.weight, std=0.01)
        bias = torch.zeros(k, self.head.out_features // k)
        bias[:, 1 : 1 + d] = 0.3 * torch.randn(k, d)
        bias[:, 1 + d : 1 + 2 * d] = torch.linspace(-1.2, 0.5, k)[:, None]
        self.head.bias.copy_(bias.flatten())

    def set_prior(self, numbers: Tensor) -> None:
        """Take mean and principal components of the changes of a data set, numbers (N, 60), N over D."""
        mean = numbers.double().mean(0)
        _, lengths, directions = torch.linalg.svd(numbers.double() - mean, full_matrices=False)
        deviations = lengths[: self.spec.components] / len(numbers) ** 0.5
        floor = _NARROWEST * max(float(deviations.max()), _NARROWEST)
        self.mean.copy_(mean)
        self.axes.copy_(directions[: self.spec.components].T * deviations.clamp(min=floor))

    def whitened(self, numbers: Tensor) -> Tensor:
        """Return the components (B, D) of changes (B, 60): of the prior's data, of mean 0 and variance 1."""
        return (numbers - self.mean) @ (self.axes / self.axes.square().sum(0))

    def forward(self, images01: Tensor, masks: Tensor) -> Mixture:
        """Return the distribution over the components of the changes of photos.

        Args:
            images01: (B, 3, R, R) real photos in [0, 1].
            masks: (B, 1, R, R) of 0 and 1.
        """
        k, d = self.spec.gaussians, self.spec.components
        found = self.head(nn.functional.gelu(self.body(statistics(images01, masks)))).float()
        logits, means, scales, rest = found.view(len(found), k, -1).split([1, d, d, d * (d - 1) // 2], dim=-1)
        factors = torch.diag_embed(scales.clamp(*_LOG_SCALES).exp())
        factors[..., self.below[0], self.below[1]] = rest
        return Mixture(logits[..., 0], means, factors)

    @torch.no_grad()
    def sampler(self, photo_u8: ImageU8, mask: Mask) -> MapSampler:
        """Return what draws maps for the foreground of a photo (H, W, 3) and its mask (H, W) bool, not empty.

        Each photo is processed by itself, in full precision: its draws depend on nothing else.
        """
        side, device = self.spec.resolution, self.mean.device
        small, small_mask = resize(photo_u8, side, side), shrink_mask(mask, side, side)
        image = torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1)))[None].to(device).float() / 255
        mixture = self(image, torch.from_numpy(small_mask)[None, None].to(device).float())
        return MapSampler(mixture, self.mean, self.axes, ForegroundTerms.of(small, small_mask))

    @classmethod
    def from_pretrained(cls, folder: Path, device: str = "cpu") -> ParametricInverseNet:
        """Load a folder of kind ``parametric-inverse`` (``model.safetensors harmonygen.json``), in full precision.

        Raises:
            CheckpointError: of another kind, damaged, or weights that do not fit.
        """
        model = cls(read_spec(folder, ParametricInverseSpec, "parametric-inverse"))
        try:
            model.load_state_dict(load_weights(folder / _WEIGHTS))
        except RuntimeError as error:
            raise CheckpointError(f"weights of '{folder}' do not fit ({told(error)}): export them again") from error
        return model.to(device).eval().requires_grad_(False)

    def save_pretrained(self, folder: Path, dtype: torch.dtype = torch.float16) -> None:
        """Write ``model.safetensors`` (learned weights in ``dtype``) and ``harmonygen.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        kept = {name: value if name in _PRIOR else value.to(dtype) for name, value in self.state_dict().items()}
        save_file({name: value.cpu().contiguous() for name, value in kept.items()}, folder / _WEIGHTS)
        write_spec(folder, self.spec)


class DrawnMap(NamedTuple):
    """A map (20, 3), and how many draws it took."""

    coefficients: Coefficients
    draws: int


class MapSampler:
    """Draws maps for one foreground; a map is a function of the generator that it is drawn with alone."""

    def __init__(self, mixture: Mixture, mean: Tensor, axes: Tensor, terms: ForegroundTerms) -> None:
        """Take a mixture of one photo (B = 1), the prior and the foreground's terms."""
        logits, self.means, self.factors, self.mean, self.axes = (
            tensor.cpu().double().numpy() for tensor in (*(part[0] for part in mixture), mean, axes)
        )
        if not all(np.isfinite(part).all() for part in (logits, self.means, self.factors)):
            raise InputError(NOT_FINITE)
        chances = np.exp(logits - logits.max())
        self.reached = np.cumsum(chances / chances.sum())
        self.terms = terms
        lighter = cubic_terms(terms.colours + _GREY_STEP) @ terms.mixing
        self.slopes: Doubles = (lighter - terms.values) / _GREY_STEP
        self.off_end = (terms.colours > _OFF_END) & (terms.colours < 1 - _OFF_END)

    def __call__(self, rng: np.random.Generator) -> DrawnMap:
        """Draw a map: the first of at most :data:`MOST_DRAWS` that is plausible, else the last one, shrunk."""
        numbers, draws = self._bent(self._drawn(rng)), 1
        while draws < MOST_DRAWS and not self.is_plausible(numbers):
            numbers, draws = self._bent(self._drawn(rng)), draws + 1
        return DrawnMap(self.terms.map(self._shrunk(numbers)), draws)

    def _drawn(self, rng: np.random.Generator) -> Doubles:
        """Draw the numbers (60,) of a change."""
        k = min(int(np.searchsorted(self.reached, rng.random(), side="right")), len(self.reached) - 1)
        components = self.means[k] + self.factors[k] @ rng.standard_normal(self.axes.shape[1])
        numbers: Doubles = self.mean + self.axes @ components
        return numbers

    def _bent(self, numbers: Doubles) -> Doubles:
        """Return the change fitted again to what it makes of the colours, bent before black and white as film is."""
        colours, change = self.terms.colours, self.terms.changed(numbers) - self.terms.colours
        room = np.where(change > 0, 1 - colours, colours) + 1e-6
        return self.terms.numbers(colours + change / (1 + np.abs(change / room) ** _KNEE) ** (1 / _KNEE))

    def _shrunk(self, numbers: Doubles) -> Doubles:
        """Return a change that is plausible, smaller if need be."""
        for _ in range(_MOST_SHRINKS):
            if self.is_plausible(numbers):
                break
            numbers = _SHRINK * numbers
        return numbers

    def is_plausible(self, numbers: Doubles) -> bool:
        """Return whether a change hardly swaps light and dark, and hardly clips, on the foreground's colours."""
        return self.inverted(numbers) <= MOST_INVERTED and self.clipped(numbers) <= MOST_CLIPPED

    def inverted(self, numbers: Doubles) -> float:
        """Return the share of pixels that a change makes darker where the photo gets lighter."""
        rises = 1 + (self.slopes @ numbers.reshape(-1, 3)) @ _LUMINANCE
        return float((rises < 0).mean())

    def clipped(self, numbers: Doubles) -> float:
        """Return the share of values that a change brings past an end of the range, of those well off it."""
        changed = self.terms.changed(numbers)
        return float((((changed < 0) | (changed > 1)) & self.off_end).mean())
