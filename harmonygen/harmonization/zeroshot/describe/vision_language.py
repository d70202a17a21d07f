"""Ask a vision-language model of the user's for the object and its words; its replies are read strictly.

The model sees the composite and a copy in which all but the foreground is greyed, with the seven lists. Its first
reply is its most likely one; a reply that is not of the form is asked for again, as a seeded sample.
"""

from __future__ import annotations

from typing import Any

import torch

from harmonygen.errors import InputError, UsageError
from harmonygen.harmonization.zeroshot.words import (
    LISTS,
    MAX_SUBJECT,
    Description,
    ReplyError,
    parse_replies,
    shortened,
)
from harmonygen.models.picture_chat import PictureChat
from harmonygen.pictures.photo import Photo
from harmonygen.seeds import stable_seed

TEMPERATURE = 0.7
_LINE_TOKENS = 64  # of a reply, for each alternative


class VisionLanguageDescriber:
    """Describes with a Hugging Face image-text-to-text model that takes two pictures in a chat.

    Args:
        chat: the model, on its device.
        seed: what further samples are drawn from, together with the photo's id.
        retries: how many further samples may be drawn.
    """

    name = "model"

    def __init__(self, chat: PictureChat, *, seed: int = 0, retries: int = 3) -> None:
        if retries < 0:
            raise UsageError(f"retries is {retries}: it must be 0 or more")
        self._processor, self._model, self._chat = chat.processor, chat.model, chat
        self._seed = seed
        self._tries = retries + 1
        self.digest = f"{stable_seed('model', chat.digest, question(1), seed, retries):016x}"

    def __call__(self, photo: Photo, alternatives: int = 3) -> list[Description]:
        """Ask until there are ``alternatives`` descriptions or no try is left.

        Raises:
            InputError: no reply was of the form; the last is quoted.
        """
        inputs = self._chat.inputs(photo.image_u8, photo.mask, question(alternatives))
        found: dict[Description, None] = {}
        last = ""
        for attempt in range(self._tries):
            reply = self._reply(
                inputs, stable_seed("describe", self._seed, photo.pair.pair_id, attempt), attempt > 0, alternatives
            )
            try:
                found.update(dict.fromkeys(parse_replies(reply)))
            except ReplyError as error:
                last = f"{error}; the reply was {shortened(reply)}"
            if len(found) >= alternatives:
                break
        if not found:
            raise InputError(
                f"the model described '{photo.pair.pair_id}' in no usable way in {self._tries} tries. The last one: "
                f"{last}. Allow more tries, give its words by hand, or use a model that follows instructions better"
            )
        return list(found)[:alternatives]

    def _reply(self, inputs: Any, seed: int, sample: bool, alternatives: int) -> str:
        """Return one reply: the most likely one, or a sample that ``seed`` alone decides."""
        device = self._model.device
        options = {"do_sample": True, "temperature": TEMPERATURE} if sample else {"do_sample": False}
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.inference_mode():
            torch.manual_seed(seed)
            tokens = self._model.generate(**inputs, max_new_tokens=_LINE_TOKENS * alternatives, **options)
        if not getattr(self._model.config, "is_encoder_decoder", False):
            tokens = tokens[:, inputs["input_ids"].shape[1] :]
        return str(self._processor.batch_decode(tokens, skip_special_tokens=True)[0])


def question(alternatives: int) -> str:
    """Return what is asked: the lists, the form of a line and how many lines."""
    lists = "\n".join(f"- {name}: {', '.join(words)}" for name, words in LISTS.items())
    return (
        "Both pictures show the same scene. In the second, everything except one object, the foreground, is faded to "
        "grey; the rest is the background. The object was taken from another photo, so its light may differ from the "
        "light around it.\n"
        f"Name the object in at most {MAX_SUBJECT} words. Then choose, from the lists below, the words that fit the "
        "look of the object itself, and those that fit the look of the background. Take at most one word of a list "
        "for each, leave a list out where none of its words fits, and use no other words.\n"
        f"{lists}\n"
        f"Write {alternatives} different answers, the best first, each on a line of its own and in exactly this form, "
        "with nothing before or after it:\n"
        "object & (foreground) word word & (background) word word"
    )
