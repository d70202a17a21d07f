"""Score composites with a harmony classifier of either kind: a ResNet, or a judge on an ImageNet trunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from harmonygen.errors import CheckpointError
from harmonygen.models.checkpoints import SPEC_NAME, locate, read_json, weights_digest
from harmonygen.models.classifier import ClassifierSpec, HarmonyResNet, composite_share
from harmonygen.models.judge import JUDGE_DEPTH, HarmonyJudge
from harmonygen.pictures.images import ImageU8, Mask, resize
from harmonygen.pictures.masks import resize_mask

__all__ = [
    "Classifier",
    "ClassifierScorer",
    "Scorer",
    "load_classifier",
    "new_classifier",
    "take_weights",
]

Classifier = HarmonyResNet | HarmonyJudge


def load_classifier(folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Classifier:
    """Load a classifier folder of either kind; its ``depth`` says which.

    Raises:
        CheckpointError: no classifier, damaged, or weights that do not fit the stated architecture.
    """
    is_judge = read_json(folder / SPEC_NAME).get("depth") == JUDGE_DEPTH
    kind: type[Classifier] = HarmonyJudge if is_judge else HarmonyResNet
    return kind.from_pretrained(folder, device, dtype)


def new_classifier(spec: ClassifierSpec) -> Classifier:
    """Build a classifier with new weights; raise CheckpointError if its depth is not known."""
    return HarmonyJudge(spec) if spec.depth == JUDGE_DEPTH else HarmonyResNet(spec)


Scorer = Callable[[Sequence[ImageU8], Mask], list[float]]
"""Composites (H, W, 3) uint8 of one pair and their mask (H, W) bool -> P(composite) of each, in [0, 1]."""


def take_weights(model: Classifier, begun: Classifier) -> None:
    """Give a classifier the weights of another one of its kind, to continue training from.

    Raises:
        CheckpointError: they are of two kinds or depths, or have their labels the other way round.
    """
    if isinstance(model, HarmonyResNet) and isinstance(begun, HarmonyResNet):
        model.load_classifier(begun)
    elif isinstance(model, HarmonyJudge) and isinstance(begun, HarmonyJudge) and model.spec.labels == begun.spec.labels:
        model.load_state_dict(begun.state_dict())
    else:
        raise CheckpointError(
            f"the classifier to start from is of depth {begun.spec.depth} with outputs {begun.spec.labels}, "
            f"{model.spec.depth} with {model.spec.labels} is needed: choose another, or set depth"
        )


class ClassifierScorer:
    """A harmony classifier as a scorer: whole image, resized to the classifier's input size."""

    def __init__(self, model: Classifier, digest: str = "", batch_size: int = 32) -> None:
        self.model, self.digest, self.batch_size = model, digest, batch_size
        self.network: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = model
        """What computes the logits: the model, or another runtime."""

    @classmethod
    def from_pretrained(cls, name: str | Path, device: str, dtype: torch.dtype = torch.float32) -> ClassifierScorer:
        """Load ``starter`` or a classifier folder."""
        folder = locate(name, "classifier")
        return cls(load_classifier(folder, device, dtype), weights_digest(folder))

    @torch.no_grad()
    def __call__(self, composites: Sequence[ImageU8], mask: Mask) -> list[float]:
        """Return P(composite) of each composite."""
        scores: list[float] = []
        for images, masks in self._batches(composites, mask):
            scores += self.probabilities(self.network(images, masks)).tolist()
        return scores

    @torch.no_grad()
    def features(self, composites: Sequence[ImageU8], mask: Mask) -> npt.NDArray[np.float32]:
        """Return what the model's last layer is given of each of N composites (N, F)."""
        seen: list[torch.Tensor] = []
        hook = self.model.last.register_forward_pre_hook(lambda _layer, given: seen.append(given[0].float().cpu()))
        try:
            for images, masks in self._batches(composites, mask):
                self.model(images, masks)
        finally:
            hook.remove()
        return torch.cat(seen).numpy()

    def _batches(self, composites: Sequence[ImageU8], mask: Mask) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield images (B, 3, side, side) in [0, 1] and masks (B, 1, side, side), a batch at a time."""
        side, enlarge = self.model.spec.input_size, self.model.spec.enlarge
        parameter = next(self.model.parameters())
        small = np.stack([resize(composite, side, side, enlarge) for composite in composites])
        images = torch.from_numpy(small).permute(0, 3, 1, 2).to(parameter.device, parameter.dtype) / 255
        masks = torch.from_numpy(resize_mask(mask, side, side)).to(parameter.device, parameter.dtype)
        for chunk in torch.split(images, self.batch_size):
            yield chunk, masks.expand(len(chunk), 1, -1, -1)

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Return P(composite) (B,) of logits (B, 2)."""
        return composite_share(logits, self.model.spec)
