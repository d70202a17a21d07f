"""One random chain of file formats for both pictures of a pair, so that no format tells a composite from a photo.

A photo that was stored once and a composite that was made from it and stored again differ in chroma resolution,
compression, sharpness and noise; a network finds that sooner than it finds light. Here a chain of such steps is drawn
from the sample's own generator and applied to both alike, after compositing.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from harmonygen.pictures.images import ImageU8
from harmonygen.training.settings import ChainSettings

Step = Callable[[Image.Image], Image.Image]
_FILTERS = (
    Image.Resampling.BOX,
    Image.Resampling.BILINEAR,
    Image.Resampling.HAMMING,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
)
_BLOCK = 8  # JPEG's, in pixels
_SUBSAMPLINGS = (0, 1, 2)  # Pillow's numbers of 4:4:4, 4:2:2 and 4:2:0
_FASTEST = 0  # of WebP's efforts: the largest file, its artefacts the same


class Chain:
    """Steps in their order; called with a picture (H, W, 3) ``uint8``, it returns one of the same size."""

    def __init__(self, steps: list[Step]) -> None:
        self.steps = steps

    def __call__(self, image_u8: ImageU8) -> ImageU8:
        """Put a picture through every step."""
        if not self.steps:
            return image_u8
        image = Image.fromarray(image_u8)
        for step in self.steps:
            image = step(image)
        return np.asarray(image)


def draw_chain(rng: np.random.Generator, settings: ChainSettings, height: int, width: int) -> Chain:
    """Draw the chain of one sample of ``height`` x ``width``; nothing is drawn if the chain is off.

    Its steps are those of a picture's life: resampled, made sharper or softer, noise added, colour halved, stored.
    """
    if not settings.probability or rng.random() >= settings.probability:
        return Chain([])
    kinds: tuple[tuple[float, Callable[[], Step]], ...] = (
        (settings.resample, lambda: _resample(rng, settings, height, width)),
        (settings.sharpen, lambda: _sharpen(rng)),
        (settings.blur, lambda: _blur(rng)),
        (settings.noise, lambda: _noise(rng, settings.max_noise, height, width)),
        (settings.halve_chroma, lambda: _halve_chroma(rng)),
        (settings.encode, lambda: _encode(rng, settings)),
    )
    return Chain([draw() for share, draw in kinds if rng.random() < share])


def _resample(rng: np.random.Generator, settings: ChainSettings, height: int, width: int) -> Step:
    """Resize to another size by one filter, and back by another."""
    scale = float(np.exp(rng.uniform(np.log(settings.min_scale), np.log(settings.max_scale))))
    there, back = (_FILTERS[int(rng.integers(len(_FILTERS)))] for _ in range(2))
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return lambda image: image.resize(size, there).resize((width, height), back)


def _sharpen(rng: np.random.Generator) -> Step:
    unsharp = ImageFilter.UnsharpMask(rng.uniform(0.5, 1.5), int(rng.integers(20, 121)), 0)
    return lambda image: image.filter(unsharp)


def _blur(rng: np.random.Generator) -> Step:
    gauss = ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9))
    return lambda image: image.filter(gauss)


def _noise(rng: np.random.Generator, most: float, height: int, width: int) -> Step:
    """Add one field to whichever picture comes: noise of luma, or half of the time of each channel."""
    channels = int(rng.choice((1, 3)))
    drawn = rng.standard_normal((height, width, channels), dtype=np.float32)
    field: npt.NDArray[np.int16] = np.rint(drawn * np.float32(rng.uniform(0.5, most))).astype(np.int16)
    return lambda image: Image.fromarray(np.clip(np.asarray(image) + field, 0, 255).astype(np.uint8))


def _halve_chroma(rng: np.random.Generator) -> Step:
    back = _FILTERS[int(rng.integers(2))]  # decoders repeat the values or interpolate

    def halve(image: Image.Image) -> Image.Image:
        luma, blue, red = image.convert("YCbCr").split()
        halved = (plane.reduce(2).resize(image.size, back) for plane in (blue, red))
        return Image.merge("YCbCr", (luma, *halved)).convert("RGB")

    return halve


def _encode(rng: np.random.Generator, settings: ChainSettings) -> Step:
    """Store as JPEG or WebP, the grid of blocks shifted by chance, as a crop shifts it, and read it again."""
    options: dict[str, Any] = {
        "format": "WEBP" if rng.random() < settings.webp else "JPEG",
        "quality": int(rng.integers(settings.min_quality, settings.max_quality + 1)),
    }
    subsampling = _SUBSAMPLINGS[int(rng.integers(len(_SUBSAMPLINGS)))]
    options |= {"subsampling": subsampling} if options["format"] == "JPEG" else {"method": _FASTEST}
    down, right = rng.integers(_BLOCK, size=2).tolist() if rng.random() < settings.shift_grid else (0, 0)

    def encode(image: Image.Image) -> Image.Image:
        padded = np.pad(np.asarray(image), ((down, 0), (right, 0), (0, 0)), mode="edge")
        stored = io.BytesIO()
        Image.fromarray(padded).save(stored, **options)
        read = Image.open(stored).convert("RGB")
        return read.crop((right, down, read.width, read.height))

    return encode
