"""Train the harmony classifier on real photos and composites, half and half (REFERENCE section 5)."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harmonygen.models.checkpoints import locate
from harmonygen.models.classifier import ClassifierSpec, HarmonyResNet
from harmonygen.models.judge import HarmonyJudge
from harmonygen.models.scorer import load_classifier, new_classifier, take_weights
from harmonygen.training.composites import Batch
from harmonygen.training.observe import save_rows
from harmonygen.training.settings import ClassifierTraining
from harmonygen.training.task import Losses

_CROSS_ENTROPY_SHARE = 0.5
_LEVELS = 127.5  # 8-bit units in one unit of [-1, 1]
_WHOLE_WEIGHT = 250.0  # foreground MSE, squared 8-bit units, from which a pair has its whole weight


class ClassifierTask:
    """Cross entropy between photo and composite; each sample gives both, so the classes are balanced."""

    def __init__(self, settings: ClassifierTraining) -> None:
        self.settings = settings
        spec = ClassifierSpec(
            depth=settings.depth,
            in_channels=settings.in_channels,
            input_size=settings.resolution,
            enlarge=settings.enlarge,
            training_data=settings.data,
        )
        self.model = new_classifier(spec)
        if settings.init:
            take_weights(self.model, load_classifier(locate(settings.init, "classifier")))
        elif settings.imagenet:
            self.model.load_imagenet()
        if settings.linear_probe:
            self.model.freeze_trunk()
        elif isinstance(self.model, HarmonyJudge):
            self.model.freeze_trunk(settings.frozen_blocks)
        self.module: nn.Module = self.model
        self.calibration = (1.0, 0.0)

    def loss(self, module: nn.Module, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Losses]:
        """Cross entropy over the photos and the composites of a batch, and with ``pairwise`` over each pair's order."""
        if self.settings.linear_probe and isinstance(self.model, HarmonyResNet):
            self.model.network.eval()  # a frozen trunk keeps its batch statistics too
        images, masks, labels = both(batch)
        logits = module(images, masks).float()
        weights = pair_weights(batch) if self.settings.loss == "pairwise" else torch.ones_like(logits[:, 0]).chunk(2)[0]
        each = F.cross_entropy(logits, labels, label_smoothing=self.settings.label_smoothing, reduction="none")
        loss = (each * weights.repeat(2)).mean()
        figures = {"accuracy": float((logits.argmax(1) == labels).float().mean())}
        if self.settings.loss == "pairwise":
            margin = margins(logits)
            loss = (F.softplus(-margin) * weights).mean() + _CROSS_ENTROPY_SHARE * loss
            figures["ranked"] = float((margin > 0).float().mean())
        return loss, figures

    @torch.no_grad()
    def validate(self, batches: list[Batch]) -> Losses:
        """AUC, pairs ranked right, accuracy and expected calibration error (15 bins) on held-out pairs.

        With ``calibrate`` the error is that after a scale and a shift fitted to these very pairs, which the export
        gets: judge it on other photos.
        """
        scores = []
        self.model.eval()
        device = next(self.model.parameters()).device
        for batch in batches:
            images, masks, _ = both({name: value.to(device) for name, value in batch.items()})
            scores.append(self.model.p_composite(images, masks).cpu().chunk(2))
        real, composite = (torch.cat(side).double().numpy() for side in zip(*scores, strict=True))
        p, y = np.concatenate([real, composite]), np.repeat([False, True], len(real))
        if self.settings.calibrate:
            self.calibration = fit_calibration(p, y)
            p = calibrated(p, self.calibration)
        ranked = float((composite > real).mean() + (composite == real).mean() / 2)
        accuracy = float(((p >= 0.5) == y).mean())
        return {"auc": auc(p, y), "ranked": ranked, "accuracy": accuracy, "ece": ece(p, y), "n": float(len(p))}

    def export(self, folder: Path) -> None:
        """Write the classifier folder in half precision, its head calibrated if that is asked for."""
        exported = copy.deepcopy(self.model)
        exported.calibrate(*self.calibration)
        exported.save_pretrained(folder)

    @torch.no_grad()
    def sheet(self, batches: list[Batch], path: Path) -> None:
        """Held-out photos above, their composites below."""
        save_rows([batches[0]["real"][:8], batches[0]["composite"][:8]], path)


def both(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Stack photos and composites: images (2B, 3, R, R) in [0, 1], masks (2B, 1, R, R), labels (2B,), 1 = composite."""
    images = torch.cat([batch["real"], batch["composite"]]) / 2 + 0.5
    masks = torch.cat([batch["mask"], batch["mask"]])
    count = len(batch["real"])
    labels = torch.cat([torch.zeros(count), torch.ones(count)]).long().to(images.device)
    return images, masks, labels


def margins(logits: Tensor) -> Tensor:
    """Return how far each composite's log-odds are above its photo's (B,), from logits (2B, 2) of :func:`both`.

    >>> margins(torch.tensor([[0.0, 1.0], [0.0, 3.0]]))
    tensor([2.])
    """
    real, composite = (logits[:, 1] - logits[:, 0]).chunk(2)
    return composite - real


def pair_weights(batch: Batch) -> Tensor:
    """Weigh pairs (B,) by their change: a change that is hardly visible counts little."""
    changed = (batch["real"] - batch["composite"]).square().mean(dim=1, keepdim=True) * _LEVELS**2
    area = torch.maximum(batch["mask"].mean(dim=(1, 2, 3)), batch["mask"].new_tensor(0.01))
    return (changed.mean(dim=(1, 2, 3)) / area / _WHOLE_WEIGHT).clamp(max=1)


def fit_calibration(p: npt.NDArray[np.float64], y: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Fit P = sigmoid(scale * logit(p) + shift) to labels by maximum likelihood (Platt); return (scale, shift).

    >>> labels = np.array([True, False] * 40 + [False, True] * 10)
    >>> scale, shift = fit_calibration(np.array([0.99, 0.01] * 50), labels)
    >>> bool(0 < scale < 0.5 and abs(shift) < 1e-6)
    True
    """
    from scipy.optimize import minimize

    logits, sign = logit(p), np.where(y, 1.0, -1.0)

    def loss(values: npt.NDArray[np.float64]) -> float:
        return float(np.logaddexp(0, -sign * (values[0] * logits + values[1])).mean())

    found = minimize(loss, np.array([1.0, 0.0]), method="BFGS").x
    return float(found[0]), float(found[1])


def calibrated(p: npt.NDArray[np.float64], calibration: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Return probabilities after :func:`fit_calibration`'s scale and shift."""
    scale, shift = calibration
    fitted: npt.NDArray[np.float64] = 1 / (1 + np.exp(-(scale * logit(p) + shift)))
    return fitted


def logit(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return log(p / (1 - p)), finite at 0 and 1."""
    clipped = np.clip(p, 1e-7, 1 - 1e-7)
    return np.asarray(np.log(clipped / (1 - clipped)))


def auc(p: npt.NDArray[np.float64], y: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve: the chance that a composite scores above a photo, ties counting half.

    >>> auc(np.array([0.1, 0.9]), np.array([False, True]))
    1.0
    """
    from scipy.stats import rankdata

    positives = int(y.sum())
    if positives in (0, len(y)):
        return float("nan")
    ranks = rankdata(p)
    return float((ranks[y].sum() - positives * (positives + 1) / 2) / (positives * (len(y) - positives)))


def ece(p: npt.NDArray[np.float64], y: npt.NDArray[np.bool_], bins: int = 15) -> float:
    """Return the expected calibration error of P(composite): mean |confidence - frequency| over equal bins.

    >>> ece(np.array([0.0, 1.0]), np.array([False, True]))
    0.0
    """
    index = np.minimum((p * bins).astype(int), bins - 1)
    gaps = [
        abs(p[index == b].mean() - y[index == b].mean()) * (index == b).mean()
        for b in range(bins)
        if (index == b).any()
    ]
    return float(sum(gaps))
