"""Ask a vision-language model of the user's for the object and its words; its replies are read strictly.

The model sees the composite and a copy in which all but the foreground is greyed, with the seven lists. Its first
reply is its most likely one; a reply that is not of the form is asked for again, as a seeded sample.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from harmonygen.errors import CheckpointError, InputError, UsageError
from harmonygen.harmonization.zeroshot.words import (
    LISTS,
    MAX_SUBJECT,
    Description,
    ReplyError,
    parse_replies,
    shortened,
)
from harmonygen.models.checkpoints import weights_digest
from harmonygen.pictures.images import ImageU8, Mask
from harmonygen.pictures.photo import Photo
from harmonygen.seeds import stable_seed

MAX_SIDE = 768  # pixels of the pictures shown
TEMPERATURE = 0.7
_LINE_TOKENS = 64  # of a reply, for each alternative
_GREYED = 0.35  # how much of the background's grey is left under the white


class VisionLanguageDescriber:
    """Describes with a Hugging Face image-text-to-text model that takes two pictures in a chat.

    Args:
        processor: the model's processor, with a chat template.
        model: the model, on its device.
        digest: tells the weights.
        seed: what further samples are drawn from, together with the photo's id.
        retries: how many further samples may be drawn.
    """

    name = "model"

    def __init__(self, processor: Any, model: Any, digest: str, *, seed: int = 0, retries: int = 3) -> None:
        if retries < 0:
            raise UsageError(f"retries is {retries}: it must be 0 or more")
        self._processor = processor
        self._model = model
        self._seed = seed
        self._tries = retries + 1
        self.digest = f"{stable_seed('model', digest, question(1), seed, retries):016x}"

    @classmethod
    def from_pretrained(
        cls, model: str, device: str, dtype: torch.dtype | None = None, *, seed: int = 0, retries: int = 3
    ) -> VisionLanguageDescriber:
        """Load a folder, or a model of the Hub by its name; of safetensors and without any code of its own.

        Raises:
            UsageError: transformers is not installed.
            CheckpointError: it cannot be loaded, is of another kind, or has no chat template.
        """
        try:
            from transformers import AutoModelForImageTextToText, AutoProcessor
        except ImportError as error:
            raise UsageError(
                "describing with a model needs the package transformers (4.51 or newer): pip install 'harmonygen[sd]', "
                "or take another describer"
            ) from error
        try:
            processor = AutoProcessor.from_pretrained(model, trust_remote_code=False)
            loaded = AutoModelForImageTextToText.from_pretrained(model, trust_remote_code=False, use_safetensors=True)
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
            raise CheckpointError(
                f"'{model}' cannot be loaded as an image-text-to-text model ({shortened(str(error))}): name a folder "
                "or a Hub model of that kind, with safetensors weights and its processor"
            ) from error
        if not getattr(processor, "chat_template", None):
            raise CheckpointError(
                f"the processor of '{model}' has no chat template: use a model tuned to follow a chat"
            )
        return cls(
            processor, loaded.to(device=device, dtype=dtype).eval(), _digest(model, loaded), seed=seed, retries=retries
        )

    def __call__(self, photo: Photo, alternatives: int = 3) -> list[Description]:
        """Ask until there are ``alternatives`` descriptions or no try is left.

        Raises:
            InputError: no reply was of the form; the last is quoted.
        """
        inputs = self._inputs(photo, alternatives)
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

    def _inputs(self, photo: Photo, alternatives: int) -> Any:
        """Return what the model is asked, tokenised and on its device."""
        pictures = [shown(photo.image_u8), shown(greyed(photo.image_u8, photo.mask))]
        content: list[dict[str, Any]] = [{"type": "image", "image": picture} for picture in pictures]
        content.append({"type": "text", "text": question(alternatives)})
        inputs = self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        return inputs.to(self._model.device, dtype=self._model.dtype)

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


def greyed(image_u8: ImageU8, mask: Mask) -> ImageU8:
    """Return (H, W, 3) uint8 with all but the foreground turned to a light grey."""
    grey = image_u8.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    faint = np.rint(255 - _GREYED * (255 - grey)).astype(np.uint8)
    marked: ImageU8 = np.where(mask[..., None], image_u8, faint[..., None])
    return marked


def shown(image_u8: ImageU8) -> Image.Image:
    """Return a picture at most :data:`MAX_SIDE` pixels wide and high."""
    picture = Image.fromarray(image_u8)
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    return picture


def _digest(model: str, loaded: Any) -> str:
    """Return a digest of a folder's weights, or a Hub model's name and commit."""
    if Path(model).is_dir():
        return weights_digest(Path(model))
    return f"{model}@{getattr(loaded.config, '_commit_hash', None) or ''}"
