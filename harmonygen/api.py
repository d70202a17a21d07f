"""The Python door: the few public names, which accept PIL images, NumPy arrays and tensors.

Images: PIL images, (H, W, 3) uint8 arrays, (H, W, 3) float arrays in [0, 1], or (3, H, W) tensors in [0, 1]. Masks:
PIL images, (H, W) bool, uint8 or float arrays, or (H, W) / (1, H, W) tensors; at or above half is foreground.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from harmonygen.errors import UsageError
from harmonygen.harmonization.load import Chosen, HarmonizationMethod, load_harmonizer, method_of
from harmonygen.models.device import Device, Sampling
from harmonygen.pictures.images import Decoded, ImageU8, Mask, to_rgb, to_u8
from harmonygen.pictures.mask_values import to_mask, understand_array
from harmonygen.pictures.masks import check_mask
from harmonygen.pictures.photo import Photo, Sizing, size_photo
from harmonygen.plugins.load import Judge, load_judge
from harmonygen.records import Candidate, FileSource, Pair
from harmonygen.seeds import candidate_seed
from harmonygen.settings import Detail, Fit, Sampler
from harmonygen.synthesis.generators.diffusion import DiffusionGenerator

_MEMORY = Pair("memory", "memory", "0", FileSource(Path("memory")), FileSource(Path("memory-mask")))
_SLACK = 0.1  # what bicubic resizing may leave outside [0, 1]; the ranges [-1, 1] and [0, 255] go further


class InverseHarmonizer:
    """Turns a real photo and a mask into inharmonious composites, by the inverse latent diffusion model.

    >>> from skimage import data
    >>> mask = np.zeros((512, 512), bool)
    >>> mask[100:300, 150:350] = True
    >>> model = InverseHarmonizer.from_pretrained("starter", device="cpu")
    >>> composites = model(data.astronaut(), mask, k=2, seed=0)
    >>> [composite.size for composite in composites]
    [(512, 512), (512, 512)]
    >>> bool((np.asarray(composites[0])[~mask] == data.astronaut()[~mask]).all())
    True
    """

    def __init__(self, generator: DiffusionGenerator, fit: Fit = "native", detail: Detail = "transfer") -> None:
        self.generator, self.fit, self.detail = generator, fit, detail

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = "starter",
        *,
        device: str = "auto",
        dtype: str = "auto",
        steps: int | None = None,
        batch_size: str = "auto",
        fit: Fit = "native",
        detail: Detail = "transfer",
    ) -> InverseHarmonizer:
        """Load ``starter``, ``starter-fast`` or an inverse checkpoint folder, which states ``steps`` if none are given.

        Raises:
            CheckpointError: no such folder, or a checkpoint of another kind or direction.
        """
        where = Device.pick(device, dtype, batch_size)
        generator = DiffusionGenerator.from_pretrained(name, where, Sampling(steps), detail)
        return cls(generator, fit, detail)

    def __call__(
        self, real: Any, mask: Any, k: int = 10, seed: int = 0, resolution: int | None = None
    ) -> list[Image.Image]:
        """Return ``k`` composites as PIL images; the background is the photo's own, bit for bit.

        Raises:
            UsageError: an input of a kind that is not accepted.
            InputError: the mask is empty, full, or not of the photo's size.
        """
        generator = self.generator
        photo = _sized(
            real, mask, Sizing(resolution or generator.resolution, generator.multiple, self.fit, self.detail)
        )
        candidates = [Candidate("memory", index, candidate_seed(seed, "memory", index)) for index in range(k)]
        return [Image.fromarray(composite) for composite in generator(photo, candidates)]


class Harmonizer:
    """Turns a composite and its mask into a harmonious picture, by the method's model.

    >>> from skimage import data
    >>> mask = np.zeros((512, 512), bool)
    >>> mask[100:300, 150:350] = True
    >>> model = Harmonizer.from_pretrained("starter", device="cpu")
    >>> harmonized = model(data.astronaut(), mask, seed=0, draws=2)
    >>> bool((np.asarray(harmonized)[~mask] == data.astronaut()[~mask]).all())
    True
    """

    def __init__(self, harmonizer: HarmonizationMethod, fit: Fit = "native") -> None:
        self.harmonizer, self.fit = harmonizer, fit

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = "starter",
        *,
        method: str | None = None,
        settings: Mapping[str, Any] | None = None,
        refine: str | Path | None = None,
        device: str = "auto",
        dtype: str = "auto",
        steps: int | None = None,
        sampler: Sampler | None = None,
        batch_size: str = "auto",
        fit: Fit = "native",
        detail: Detail = "transfer",
    ) -> Harmonizer:
        """Load ``starter`` (``parametric`` alone) or a checkpoint folder, whose method is detected if not given.

        ``method``, or the place of the folder, can name a plug-in; ``settings`` are the plug-in's own (docs/plugins).

        Raises:
            UsageError: ``zero-shot``, which runs in `harmonygen harmonize` alone.
            CheckpointError: no such folder, or a checkpoint of another kind or direction.
        """
        where = Device.pick(device, dtype, batch_size)
        chosen = Chosen(name, refine, Sampling(steps, sampler), detail)
        return cls(load_harmonizer(method or method_of(name), chosen, where, settings), fit)

    def __call__(
        self, composite: Any, mask: Any, seed: int = 0, draws: int | None = None, resolution: int | None = None
    ) -> Image.Image:
        """Return the harmonized picture; its background is the composite's own, bit for bit.

        Args:
            composite: the picture to harmonize.
            mask: its foreground, of its size.
            seed: each seed is another result, where the method draws any.
            draws: how many results are averaged (what the checkpoint states if not given): more of them lower the
                expected squared error.
            resolution: short side the model works at, pixels; its own if not given.

        Raises:
            UsageError: an input of a kind that is not accepted, or under one draw.
            InputError: the mask is empty, full, or not of the composite's size.
        """
        if draws is not None and draws < 1:
            raise UsageError(f"draws is {draws}: it must be 1 or more")
        sizing = Sizing(resolution or self.harmonizer.resolution, self.harmonizer.multiple, self.fit)
        photo = _sized(composite, mask, sizing)
        return Image.fromarray(self.harmonizer(photo, candidate_seed(seed, "memory", 0), draws))


class HarmonyClassifier:
    """Tells how likely a picture is to be a composite.

    >>> from skimage import data
    >>> classifier = HarmonyClassifier.from_pretrained("starter", device="cpu")
    >>> mask = np.zeros((512, 512), bool)
    >>> mask[100:300, 150:350] = True
    >>> p = classifier([data.astronaut()], [mask])
    >>> 0 <= p[0] <= 1
    True
    """

    def __init__(self, scorer: Judge) -> None:
        self.scorer = scorer

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = "starter",
        *,
        settings: Mapping[str, Any] | None = None,
        device: str = "auto",
        dtype: str = "float32",
    ) -> HarmonyClassifier:
        """Load ``starter``, a classifier folder, or a plug-in that is a judge, with ``settings`` of its own.

        Raises:
            CheckpointError: no such folder, or not a classifier.
        """
        return cls(load_judge(str(name), settings or {}, Device.pick(device, dtype)))

    def __call__(self, images: Sequence[Any], masks: Sequence[Any]) -> list[float]:
        """Return P(composite) of each image, in [0, 1]."""
        if len(images) != len(masks):
            raise UsageError(f"{len(images)} images but {len(masks)} masks: give one mask per image")
        pairs = zip(images, masks, strict=True)
        return [self.scorer([as_image_u8(image)], as_mask(mask))[0] for image, mask in pairs]


def _sized(image: Any, mask: Any, sizing: Sizing) -> Photo:
    """Return any accepted image and mask as a sized photo."""
    image_u8, foreground = as_image_u8(image), as_mask(mask)
    if foreground.shape != image_u8.shape[:2]:
        raise UsageError(f"mask is {foreground.shape[::-1]} but its photo is {image_u8.shape[1::-1]}: resize it")
    decoded = Decoded(image_u8, image_u8.shape[1::-1], 1)
    return size_photo(_MEMORY, decoded, check_mask(foreground, "mask"), sizing)


def as_image_u8(image: Any) -> ImageU8:
    """Return any accepted image as (H, W, 3) uint8."""
    if isinstance(image, Image.Image):
        return to_rgb(image)
    array = image.detach().cpu().numpy().transpose(1, 2, 0) if hasattr(image, "detach") else np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3:
        raise UsageError(
            f"an image has shape {array.shape}: a PIL image, (H, W, 3) array or (3, H, W) tensor is needed"
        )
    if array.dtype == np.uint8:
        return np.asarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise UsageError(f"an image is of {array.dtype}: uint8, or float in [0, 1], is needed")
    if not ((array >= -_SLACK) & (array <= 1 + _SLACK)).all():
        low, high = float(array.min()), float(array.max())
        raise UsageError(f"a float image has values from {low:g} to {high:g}: [0, 1] is needed, or uint8")
    return to_u8(array)


def as_mask(mask: Any) -> Mask:
    """Return any accepted mask as (H, W) bool: pictures and whole numbers by their values, fractions from 0.5 on."""
    if isinstance(mask, Image.Image):
        return to_mask(mask)
    array = np.squeeze(mask.detach().cpu().numpy() if hasattr(mask, "detach") else np.asarray(mask))
    if array.ndim != 2:
        raise UsageError(f"a mask has shape {array.shape}: (H, W) is needed")
    if array.dtype == np.bool_:
        return array
    if np.issubdtype(array.dtype, np.integer):
        return understand_array(array)[0]
    return np.asarray(array >= 0.5)
