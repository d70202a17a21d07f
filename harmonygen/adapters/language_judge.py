"""An image-text-to-text model as a judge: how much more likely it is to say yes than no to a question.

P(composite) is the logistic of ``scale * (log P(yes) - log P(no)) + offset``. Without a calibration, scale is 1 and
offset 0: such scores rank, and are no probabilities. :mod:`harmonygen.adapters.calibrate` fits the two on own pairs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch

from harmonygen.errors import CheckpointError, UsageError, told
from harmonygen.harmonization.zeroshot.describe.vision_language import greyed, shown
from harmonygen.models.checkpoints import weights_digest
from harmonygen.models.device import Device
from harmonygen.pictures.images import ImageU8, Mask
from harmonygen.settings import setting

QUESTION = (
    "Both pictures show the same scene. In the second, everything except one object is faded to grey. Look at the "
    "light, the colours and the contrast of that object and of its surroundings. Was the object pasted in from another "
    "photo, so that its light or colour does not fit? Answer Yes or No."
)


class LanguageJudge:
    """Asks a model about each composite; a model in evaluation mode draws nothing at random."""

    def __init__(
        self, processor: Any, model: Any, digest: str, question: str, calibration: tuple[float, float]
    ) -> None:
        self._processor, self._model, self._question, self._calibration = processor, model, question, calibration
        self._yes, self._no = self._tokens("yes"), self._tokens("no")
        self.digest = digest

    def __call__(self, composites: Sequence[ImageU8], mask: Mask) -> list[float]:
        """Return P(composite) of each composite."""
        scale, offset = self._calibration
        return [
            float(1 / (1 + np.exp(-np.clip(scale * self.margin(each, mask) + offset, -60, 60)))) for each in composites
        ]

    @torch.inference_mode()
    def margin(self, composite_u8: ImageU8, mask: Mask) -> float:
        """Return log P(yes) - log P(no) for a composite (H, W, 3) uint8 and its mask (H, W)."""
        pictures = [shown(np.array(composite_u8)), shown(greyed(np.array(composite_u8), np.array(mask)))]
        content: list[dict[str, Any]] = [{"type": "image", "image": picture} for picture in pictures]
        content.append({"type": "text", "text": self._question})
        inputs = self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(self._model.device, dtype=self._model.dtype)
        logits = self._model(**inputs).logits[0, -1].float()
        return float(torch.logsumexp(logits[self._yes], 0) - torch.logsumexp(logits[self._no], 0))

    def _tokens(self, word: str) -> list[int]:
        """Return the first tokens of the ways to write a word that are not the unknown token."""
        tokenizer = self._processor.tokenizer
        ways = [word, word.capitalize(), word.upper(), f" {word}", f" {word.capitalize()}"]
        first = (tokenizer.encode(way, add_special_tokens=False)[:1] for way in ways)
        found = sorted({token for tokens in first for token in tokens if token != tokenizer.unk_token_id})
        if not found:
            raise CheckpointError(
                f"the model's tokenizer does not know the word '{word}', which is the answer asked for"
            )
        return found


def make_language_judge(
    model: Annotated[str, setting(..., "Folder of an image-text-to-text model, or its name on the Hub.")],
    question: Annotated[
        str, setting(..., "Question that the model is asked; yes stands for a composite.", unset="built in")
    ] = "",
    calibration: Annotated[
        Path | None, setting(..., "File that harmonygen.adapters.calibrate wrote.", unset="none: scores only rank")
    ] = None,
    *,
    device: Device,
) -> Callable[..., list[float]]:
    """Load a model as a judge.

    Raises:
        UsageError: transformers is not installed, or the calibration cannot be read.
        CheckpointError: the model cannot be loaded, has no chat template, or does not know the answers.
    """
    try:
        from transformers import AutoModelForImageTextToText, AutoProcessor
    except ImportError as error:
        raise UsageError(
            "a language model as judge needs the package transformers: pip install 'harmonygen[sd]'"
        ) from error
    try:
        processor = AutoProcessor.from_pretrained(model, trust_remote_code=False)
        loaded = AutoModelForImageTextToText.from_pretrained(model, trust_remote_code=False, use_safetensors=True)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise CheckpointError(
            f"'{model}' cannot be loaded as an image-text-to-text model ({told(error)}): name a folder or a Hub model "
            "of that kind, with safetensors weights and its processor"
        ) from error
    if not getattr(processor, "chat_template", None):
        raise CheckpointError(f"the processor of '{model}' has no chat template: use a model tuned to follow a chat")
    digest = weights_digest(Path(model)) if Path(model).is_dir() else f"{model}@{loaded.config._commit_hash or ''}"
    placed = loaded.to(device=device.name, dtype=device.dtype).eval()
    return LanguageJudge(processor, placed, digest, question or QUESTION, read_calibration(calibration))


def read_calibration(path: Path | None) -> tuple[float, float]:
    """Return (scale, offset) of a calibration's file; (1, 0) without one.

    Raises:
        UsageError: it cannot be read, or is not a calibration.
    """
    if path is None:
        return 1.0, 0.0
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return float(values["scale"]), float(values["offset"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"'{path}' is not a calibration ({told(error)}): write one with python -m harmonygen.adapters.calibrate"
        ) from error
