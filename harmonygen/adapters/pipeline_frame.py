"""What a pipeline has to be told so that its answer lies on its picture: sizes, and the kind of guidance it follows.

An editing pipeline knows where things are by their places on the grid of its latents. Some choose the answer's size, or
the picture's, by themselves; where the two differ, the answer is enlarged or shifted against the picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import Parameter
from typing import Any

MEGAPIXEL = 1024 * 1024
_AT_A_MEGAPIXEL = ("QwenImageEdit", "Flux2", "FluxKontext")
"""How the names of pipelines begin that work at about a megapixel by themselves."""
_LEAST = 64  # pixels of a side: Flux2 refuses less
_STRETCH = 0.1  # how far the sides' ratio may be off before an answer counts as cropped; whole patches cost 3 % at most


@dataclass(frozen=True)
class PictureFrame:
    """The size of the picture that a pipeline is handed, and what it is told of sizes."""

    height: int
    width: int
    told: Mapping[str, Any] = field(default_factory=dict)


def frame_of(kind: str, height: int, width: int, multiple: int) -> PictureFrame:
    """Return the frame in which a pipeline of the class ``kind`` answers a picture, whose sides are multiples.

    >>> frame_of("QwenImageEditPipeline", 512, 768, 16)
    PictureFrame(height=512, width=768, told={})
    >>> frame_of("Flux2Pipeline", 1024, 1536, 16).told["width"]
    1248
    """
    if kind.startswith("QwenImageEdit"):  # it brings each picture to a megapixel, and answers there if told nothing
        return PictureFrame(height, width)
    if kind.startswith(_AT_A_MEGAPIXEL):  # Flux2 crops a larger picture, but not its answer
        height, width = _within(height, width, multiple)
    told = {"height": height, "width": width, "max_area": height * width, "_auto_resize": False}
    return PictureFrame(height, width, told)


def own_resolution(kind: str) -> int:
    """Return the short side, in pixels, of the picture that a pipeline of the class ``kind`` is handed by default.

    >>> own_resolution("StableDiffusionInpaintPipeline"), own_resolution("Flux2KleinPipeline")
    (512, 1024)
    """
    return 1024 if kind.startswith(_AT_A_MEGAPIXEL) else 512


def guidance_of(takes: Mapping[str, Parameter], guidance: float | None) -> dict[str, Any]:
    """Return what a pipeline with these parameters is told of guidance; without any, its own default holds.

    A pipeline whose own guidance is a true one (two passes, with and without the words) takes it only beside a negative
    prompt.
    """
    true = takes.get("true_cfg_scale")
    if true is None or ("guidance_scale" in takes and not true.default > 1):
        return {} if guidance is None else {"guidance_scale": guidance}
    scale = true.default if guidance is None else guidance
    return {"true_cfg_scale": scale, **({"negative_prompt": " "} if scale > 1 else {})}


def is_stretched(made: tuple[int, int], height: int, width: int) -> bool:
    """Tell whether an answer of size ``made`` cannot be the whole picture: its sides have another ratio.

    >>> is_stretched((832, 1248), 512, 768), is_stretched((1024, 1024), 512, 768)
    (False, True)
    """
    return abs(math.log(made[1] * height / (made[0] * width))) > _STRETCH


def _within(height: int, width: int, multiple: int) -> tuple[int, int]:
    """Return a size of at most a megapixel whose sides are multiples and not too short; a size that is so stays."""
    scale = max(_LEAST / min(height, width), min(1, math.sqrt(MEGAPIXEL / (height * width))))
    least = math.ceil(_LEAST / multiple) * multiple
    tall, wide = (max(least, int(side * scale) // multiple * multiple) for side in (height, width))
    return tall, wide
