"""An image-text-to-text model as a judge: how much more likely it is to say yes than no to a question.

P(composite) is the logistic of ``scale * (log P(yes) - log P(no)) + offset``. Without a calibration, scale is 1 and
offset 0: such scores rank, and are no probabilities. :mod:`harmonygen.adapters.calibrate` fits the two on own pairs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from harmonygen.errors import CheckpointError, UsageError, told
from harmonygen.models.device import Device
from harmonygen.models.picture_chat import PictureChat
from harmonygen.pictures.images import ImageU8, Mask
from harmonygen.settings import setting

QUESTION = (
    "Both pictures show the same scene. In the second, everything except one object is faded to grey. Look at the "
    "light, the colours and the contrast of that object and of its surroundings. Was the object pasted in from another "
    "photo, so that its light or colour does not fit? Answer Yes or No."
)


class LanguageJudge:
    """Asks a model about each composite; a model in evaluation mode draws nothing at random."""

    def __init__(self, chat: PictureChat, question: str, calibration: tuple[float, float]) -> None:
        self._chat, self._question, self._calibration = chat, question, calibration
        self._yes, self._no = self._answers()
        self.digest = chat.digest

    def __call__(self, composites: Sequence[ImageU8], mask: Mask) -> list[float]:
        """Return P(composite) of each composite."""
        scale, offset = self._calibration
        return [
            float(1 / (1 + np.exp(-np.clip(scale * self.margin(each, mask) + offset, -60, 60)))) for each in composites
        ]

    @torch.inference_mode()
    def margin(self, composite_u8: ImageU8, mask: Mask) -> float:
        """Return log P(yes) - log P(no) for a composite (H, W, 3) uint8 and its mask (H, W)."""
        inputs = self._chat.inputs(composite_u8, mask, self._question)
        logits = self._chat.model(**inputs).logits[0, -1].float()
        return float(torch.logsumexp(logits[self._yes], 0) - torch.logsumexp(logits[self._no], 0))

    def _answers(self) -> tuple[list[int], list[int]]:
        """Return the tokens that a yes and a no may begin with, without those that begin both (such as a space's)."""
        yes, no = self._tokens("yes"), self._tokens("no")
        for word, own in (("yes", yes - no), ("no", no - yes)):
            if not own:
                raise CheckpointError(
                    f"the model's tokenizer does not know the word '{word}', which is the answer asked for"
                )
        return sorted(yes - no), sorted(no - yes)

    def _tokens(self, word: str) -> set[int]:
        """Return the first tokens of the ways to write a word that are not the unknown token."""
        tokenizer = self._chat.processor.tokenizer
        ways = [word, word.capitalize(), word.upper(), f" {word}", f" {word.capitalize()}"]
        first = (tokenizer.encode(way, add_special_tokens=False)[:1] for way in ways)
        return {token for tokens in first for token in tokens if token != tokenizer.unk_token_id}


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
    chat = PictureChat.load(model, device.name, device.dtype)
    return LanguageJudge(chat, question or QUESTION, read_calibration(calibration))


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
