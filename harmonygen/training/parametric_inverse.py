"""Train the parametric inverse: a real photo and its mask in, a distribution over its foreground's colour maps out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from harmonygen.models.checkpoints import locate
from harmonygen.models.parametric_inverse import ParametricInverseNet, ParametricInverseSpec
from harmonygen.pictures.images import ImageU8, Mask, to_u8
from harmonygen.recolor.cubic import cubic_u8
from harmonygen.seeds import numpy_rng
from harmonygen.training.changes import foreground_change
from harmonygen.training.composites import Batch, Samples, to_pm1
from harmonygen.training.observe import save_rows
from harmonygen.training.settings import ParametricInverseTraining
from harmonygen.training.task import Losses

_SHEET_COLUMNS = 8
_SHEET_DRAWS = 3


class ParametricInverseTask:
    """Negative log-likelihood of the changes that made the composites, as components of the data's own changes."""

    def __init__(self, settings: ParametricInverseTraining, data: Samples) -> None:
        self.settings = settings
        self.model = _begun(settings) if settings.init else _new(settings, data)
        self.module: nn.Module = self.model

    def loss(self, module: nn.Module, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Losses]:
        """Mean negative log-likelihood of a batch, in nats per change."""
        mixture = module(batch["real"] / 2 + 0.5, batch["mask"])
        return -mixture.log_density(self.model.whitened(batch["change"])).mean(), {}

    @torch.no_grad()
    def validate(self, batches: list[Batch]) -> Losses:
        """Held-out likelihoods in nats per change, and what one draw for each photo changes.

        ``nll`` stands beside that of the prior, whatever the photo (``nll_prior``), and that with photos exchanged
        (``nll_exchanged``). ``fmse`` is the median foreground change of the draws, ``fmse_composite`` that of the
        pairs, in squared 8-bit units; ``redrawn`` is the share of draws whose first map was not plausible.
        """
        self.model.eval()
        moved = [{name: value.to(self.model.mean.device) for name, value in batch.items()} for batch in batches]
        likelihoods = torch.cat([self._likelihoods(batch) for batch in moved]).mean(0).tolist()
        drawn = np.array([row for number, batch in enumerate(moved) for row in self._drawn(batch, number)])
        fmse, fmse_composite, draws = drawn.T
        return {
            **dict(zip(("nll", "nll_prior", "nll_exchanged"), likelihoods, strict=True)),
            "fmse": float(np.median(fmse)),
            "fmse_composite": float(np.median(fmse_composite)),
            "redrawn": float((draws > 1).mean()),
            "n": float(len(drawn)),
        }

    def _likelihoods(self, batch: Batch) -> Tensor:
        """Return the negative log-likelihoods (B, 3) under the model, the prior, and the model at another photo."""
        mixture, values = self.model(batch["real"] / 2 + 0.5, batch["mask"]), self.model.whitened(batch["change"])
        exchanged = type(mixture)(*(part.roll(1, 0) for part in mixture))
        prior = 0.5 * (values.square() + math.log(2 * math.pi)).sum(1)
        return torch.stack([-mixture.log_density(values), prior, -exchanged.log_density(values)], dim=1)

    def _drawn(self, batch: Batch, number: int) -> list[tuple[float, float, int]]:
        """Return the change that one draw makes, that of the composite, and the draws taken, for each photo."""
        rows = []
        for place, (real, composite, mask) in enumerate(_pictures(batch)):
            candidate, draws = self._candidate(real, mask, number, place)
            rows.append((foreground_change(real, candidate, mask), foreground_change(real, composite, mask), draws))
        return rows

    def _candidate(self, real: ImageU8, mask: Mask, *number: int) -> tuple[ImageU8, int]:
        """Return a candidate composite of a photo, drawn by its number, and how many draws it took."""
        drawn = self.model.sampler(real, mask)(numpy_rng("validation", *number))
        candidate = real.copy()
        candidate[mask] = cubic_u8(drawn.coefficients, real[mask])
        return candidate, drawn.draws

    def export(self, folder: Path) -> None:
        """Write the checkpoint folder: weights in half precision, the prior in full."""
        self.model.save_pretrained(folder)

    @torch.no_grad()
    def sheet(self, batches: list[Batch], path: Path) -> None:
        """Rows: real photo, composite, three candidates; one column per held-out pair."""
        few = {name: value[:_SHEET_COLUMNS] for name, value in batches[0].items()}
        photos = [(real, mask) for real, _, mask in _pictures(few)]
        rows = [
            torch.stack([to_pm1(self._candidate(*photo, row, place)[0]) for place, photo in enumerate(photos)])
            for row in range(_SHEET_DRAWS)
        ]
        save_rows([few["real"], few["composite"], *rows], path)


def _new(settings: ParametricInverseTraining, data: Samples) -> ParametricInverseNet:
    """Return a new network whose prior is that of the data's changes."""
    model = ParametricInverseNet(
        ParametricInverseSpec(
            resolution=settings.resolution,
            components=settings.components,
            gaussians=settings.gaussians,
            training_data=_about(settings),
        )
    )
    model.set_prior(torch.stack([data[i]["change"] for i in range(settings.prior_samples)]))
    return model


def _begun(settings: ParametricInverseTraining) -> ParametricInverseNet:
    """Return the network to start from, with its own prior, components and Gaussians."""
    model = ParametricInverseNet.from_pretrained(locate(settings.init, "parametric-inverse"))
    about = f"{_about(settings)}; before that {model.spec.training_data or 'not stated'}"
    model.spec = model.spec.model_copy(update={"resolution": settings.resolution, "training_data": about})
    return model.train().requires_grad_(True)


def _about(settings: ParametricInverseTraining) -> str:
    return "; ".join([settings.data, *settings.extra_data, *filter(None, [settings.borrowers])])


def _pictures(batch: Batch) -> list[tuple[ImageU8, ImageU8, Mask]]:
    """Return photo, composite and mask of each sample as (R, R, 3) uint8 and (R, R) bool."""
    real, composite = (_u8(batch[name]) for name in ("real", "composite"))
    inside: npt.NDArray[np.bool_] = (batch["mask"][:, 0] > 0.5).cpu().numpy()
    return list(zip(real, composite, inside, strict=True))


def _u8(images_pm1: Tensor) -> npt.NDArray[np.uint8]:
    return to_u8((images_pm1 / 2 + 0.5).permute(0, 2, 3, 1).cpu().numpy())
