"""An image-text-to-text model of the user's that is shown a composite and asked about it.

It sees the composite twice: as it is, and with all but the foreground faded to grey.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from harmonygen.errors import CheckpointError, UsageError, told
from harmonygen.models.checkpoints import digest_of_model, load_without_bars
from harmonygen.pictures.images import ImageU8, Mask

MAX_SIDE = 768  # pixels of the pictures shown
_GREYED = 0.35  # how much of the background's grey is left under the white


@dataclass(frozen=True)
class PictureChat:
    """The model on its device, its processor, and the digest of its weights."""

    processor: Any
    model: Any
    digest: str

    @classmethod
    def load(cls, model: str, device: str, dtype: torch.dtype | None = None) -> PictureChat:
        """Load a folder, or a model of the Hub by its name: safetensors weights alone, and no code of the model's own.

        Without a ``dtype`` the weights stay as they are stored.

        Raises:
            UsageError: transformers is not installed.
            CheckpointError: it cannot be loaded, is of another kind, or has no chat template.
        """
        try:
            from transformers import AutoModelForImageTextToText, AutoProcessor
        except ImportError as error:
            raise UsageError(
                f"asking the model '{model}' needs the package transformers (4.51 or newer): "
                "pip install 'harmonygen[sd]'"
            ) from error
        load_without_bars()
        try:
            processor = AutoProcessor.from_pretrained(model, trust_remote_code=False)
            loaded = AutoModelForImageTextToText.from_pretrained(model, trust_remote_code=False, use_safetensors=True)
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
            raise CheckpointError(
                f"'{model}' cannot be loaded as an image-text-to-text model ({told(error)}): name a folder or a Hub "
                "model of that kind, with safetensors weights and its processor"
            ) from error
        if not getattr(processor, "chat_template", None):
            raise CheckpointError(
                f"the processor of '{model}' has no chat template: use a model tuned to follow a chat"
            )
        placed = loaded.to(device=device, dtype=dtype).eval()
        return cls(processor, placed, digest_of_model(model, loaded.config))

    def inputs(self, composite_u8: ImageU8, mask: Mask, question: str) -> Any:
        """Return both pictures of a composite (H, W, 3) uint8 and a question, tokenised and on the model's device."""
        plain = np.array(composite_u8)
        pictures = [chat_picture(plain), chat_picture(greyed(plain, np.array(mask)))]
        content: list[dict[str, Any]] = [{"type": "image", "image": picture} for picture in pictures]
        content.append({"type": "text", "text": question})
        inputs = self.processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        return inputs.to(self.model.device, dtype=self.model.dtype)


def greyed(image_u8: ImageU8, mask: Mask) -> ImageU8:
    """Return (H, W, 3) uint8 with all but the foreground turned to a light grey."""
    grey = image_u8.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    faint = np.rint(255 - _GREYED * (255 - grey)).astype(np.uint8)
    marked: ImageU8 = np.where(mask[..., None], image_u8, faint[..., None])
    return marked


def chat_picture(image_u8: ImageU8) -> Image.Image:
    """Return a picture at most :data:`MAX_SIDE` pixels wide and high."""
    picture = Image.fromarray(image_u8)
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    return picture
