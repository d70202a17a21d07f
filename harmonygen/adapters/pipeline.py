"""A diffusers image-to-image, inpainting or image-editing pipeline as generator and as harmonizer.

The pipeline sees the photo at ``resolution`` and words. As a generator the words ask for a wrong light, drawn by the
candidate's seed; as a harmonizer they ask for the background's light.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from harmonygen.adapters.pipeline_frame import PictureFrame, frame_of, guidance_of, is_stretched, own_resolution
from harmonygen.errors import CheckpointError, InputError, UsageError, told
from harmonygen.models.checkpoints import digest_of_model, load_without_bars
from harmonygen.models.device import Device
from harmonygen.pictures.images import resize
from harmonygen.pictures.masks import resize_mask
from harmonygen.pictures.photo import Photo
from harmonygen.records import Candidate
from harmonygen.seeds import numpy_rng
from harmonygen.settings import setting

LIGHTS = (
    *("in the cold blue light of the moon", "in the warm light of tungsten lamps", "under green fluorescent tubes"),
    *("in the harsh sun of noon, overexposed", "in deep dusk, underexposed", "in golden evening light"),
    *("in the flat light of an overcast day", "in fog, with washed-out contrast", "in hard light with deep shadows"),
    *("with oversaturated colours", "with faded colours", "in the magenta light of a neon sign"),
)
"""What a foreground can be lit like; a candidate's seed chooses."""
WRONG_EDIT = "Change the light and colour of the main subject: show it {light}. Keep its shape and everything else."
WRONG_PHOTO = "a photo of the subject {light}"
MENDED_EDIT = "Make the light and colour of the main subject match the background. Keep its shape and everything else."
MENDED_PHOTO = "a natural photo, the subject in the same light as the background"
_EDITS = ("Edit", "InstructPix2Pix", "Kontext", "Flux2")
"""Parts of the names of pipelines that follow instructions; others take a description of the picture."""

Picture01 = npt.NDArray[np.float32]

Model = Annotated[str, setting(..., "Folder of a diffusers pipeline, or its name on the Hub.")]
Steps = Annotated[int, setting(..., "Number of sampling steps.", ge=1, le=1000)]
Strength = Annotated[float, setting(..., "Share of the steps that change the picture, for pipelines with strength.")]
Guidance = Annotated[float | None, setting(..., "Guidance scale; the pipeline's own if it is not given.")]
Size = Annotated[
    int | None,
    setting(
        ...,
        "Short side of the picture that the pipeline is handed, in pixels.",
        ge=16,
        le=4096,
        unset="512, or 1024 for pipelines that work at a megapixel",
    ),
]


@dataclass(frozen=True)
class Call:
    """How a pipeline is called."""

    steps: int
    strength: float
    guidance: float | None


class PicturePipeline:
    """A loaded pipeline: a picture, a mask, words and a seed in, a picture of the same size out."""

    def __init__(self, pipeline: Any, digest: str, device: str, call: Call) -> None:
        self._pipeline, self._device, self._call, self.digest = pipeline, device, call, digest
        self._takes = inspect.signature(pipeline.__call__).parameters
        self._kind = type(pipeline).__name__
        self.follows_instructions = any(part in self._kind for part in _EDITS)
        self.multiple = 2 * int(getattr(pipeline, "vae_scale_factor", 8))
        self.resolution = own_resolution(self._kind)

    def __call__(self, photo: Photo, words: str, seed: int) -> Picture01:
        """Return the picture (h, w, 3) in [0, 1] at the photo's ``low`` size.

        Raises:
            InputError: the pipeline fails on this photo, or its answer is not the whole picture.
        """
        height, width = photo.low_u8.shape[:2]
        asked = self._told(photo, words, seed, frame_of(self._kind, height, width, self.multiple))
        try:
            with torch.inference_mode():
                made = self._pipeline(**{name: value for name, value in asked.items() if name in self._takes}).images[0]
        except (ValueError, TypeError, AttributeError, IndexError) as error:
            raise InputError(f"the pipeline failed on '{photo.pair.pair_id}' ({told(error)})") from error
        answer: Picture01 = np.asarray(made, dtype=np.float32)
        if is_stretched((answer.shape[0], answer.shape[1]), height, width):
            raise InputError(
                f"the pipeline answered '{photo.pair.pair_id}', {width}x{height}, with {answer.shape[1]}x"
                f"{answer.shape[0]}: it crops or stretches pictures, so its pixels do not lie on the photo's"
            )
        return answer if answer.shape[:2] == (height, width) else bicubic(answer, height, width)

    def _told(self, photo: Photo, words: str, seed: int, frame: PictureFrame) -> dict[str, Any]:
        """Return all that a pipeline may be told, by its parameters' names."""
        size = frame.height, frame.width
        return {
            "prompt": words,
            "image": Image.fromarray(np.array(resize(photo.low_u8, *size))),
            "mask_image": Image.fromarray(np.array(resize_mask(photo.low_mask, *size), dtype=np.uint8) * 255),
            "strength": self._call.strength,
            "num_inference_steps": self._call.steps,
            "generator": torch.Generator("cpu").manual_seed(seed % 2**63),
            "output_type": "np",
            **frame.told,
            **guidance_of(self._takes, self._call.guidance),
        }


def load_pipeline(model: str, device: Device, call: Call) -> PicturePipeline:
    """Load a pipeline that takes a picture; a text-to-image one is used as image-to-image where diffusers can.

    Raises:
        CheckpointError: it cannot be loaded, or takes no picture.
        UsageError: steps and strength leave no step to take.
    """
    from diffusers import AutoPipelineForImage2Image, DiffusionPipeline
    from diffusers.utils import deprecation_utils

    load_without_bars()
    dtype = "dtype" if hasattr(deprecation_utils, "_resolve_dtype") else "torch_dtype"  # its old name warns
    try:
        pipeline = DiffusionPipeline.from_pretrained(model, **{dtype: device.dtype}, use_safetensors=True)
        if "image" not in inspect.signature(pipeline.__call__).parameters:
            pipeline = AutoPipelineForImage2Image.from_pipe(pipeline)
    except (OSError, ValueError, KeyError, ImportError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"'{model}' cannot be loaded as a pipeline that takes a picture ({told(error)}): name a folder with "
            "model_index.json and safetensors weights of an image-to-image, inpainting or image-editing pipeline"
        ) from error
    takes = inspect.signature(pipeline.__call__).parameters
    if "strength" in takes and int(call.steps * call.strength) < 1:
        raise UsageError(
            f"{call.steps} steps at strength {call.strength:g} leave no step to take: raise steps or strength until "
            "their product is 1 or more"
        )
    if getattr(pipeline, "safety_checker", None) is not None:
        pipeline.safety_checker = None  # it answers with a black picture, which would pass for a candidate
    pipeline.set_progress_bar_config(disable=True)
    return PicturePipeline(pipeline.to(device.name), digest_of_model(model, pipeline.config), device.name, call)


class PipelineGenerator:
    """Wrong light by words: candidate ``k`` has the words and the noise that its seed draws."""

    def __init__(self, pipeline: PicturePipeline, templates: Sequence[str], resolution: int) -> None:
        self._pipeline, self._templates, self.resolution = pipeline, templates, resolution
        self.digest, self.multiple = pipeline.digest, pipeline.multiple

    def words(self, seed: int) -> str:
        """Return the words that a candidate's seed draws."""
        rng = numpy_rng(seed)
        template = self._templates[int(rng.integers(len(self._templates)))]
        return template.replace("{light}", LIGHTS[int(rng.integers(len(LIGHTS)))])

    def __call__(self, photo: Photo, candidates: Sequence[Candidate]) -> Iterator[Picture01]:
        """Yield a picture (h, w, 3) in [0, 1] for each candidate."""
        for candidate in candidates:
            yield self._pipeline(photo, self.words(candidate.seed), candidate.seed)


class PipelineHarmonizer:
    """The background's light by words; of several draws the mean."""

    def __init__(self, pipeline: PicturePipeline, words: str, resolution: int) -> None:
        self._pipeline, self._words, self.resolution = pipeline, words, resolution
        self.digest, self.multiple = pipeline.digest, pipeline.multiple

    def __call__(self, photo: Photo, seed: int, draws: int | None = None) -> Picture01:
        """Return the picture (h, w, 3) in [0, 1]."""
        drawn = [self._pipeline(photo, self._words, seed + number) for number in range(draws or 1)]
        mean: Picture01 = np.mean(drawn, axis=0)
        return mean


def make_pipeline_generator(
    model: Model,
    instructions: Annotated[
        tuple[str, ...],
        setting(..., "Words that the pipeline is given; {light} becomes a random light.", unset="built in"),
    ] = (),
    steps: Steps = 20,
    strength: Strength = 0.5,
    guidance: Guidance = None,
    resolution: Size = None,
    *,
    device: Device,
) -> Callable[..., Iterator[Picture01]]:
    """Load a pipeline as a generator.

    Raises:
        CheckpointError: it cannot be loaded, or takes no picture.
        UsageError: the strength is outside (0, 1], or leaves no step to take.
    """
    pipeline = load_pipeline(model, device, _call(steps, strength, guidance))
    own = WRONG_EDIT if pipeline.follows_instructions else WRONG_PHOTO
    return PipelineGenerator(pipeline, instructions or (own,), resolution or pipeline.resolution)


def make_pipeline_harmonizer(
    model: Model,
    instruction: Annotated[str, setting(..., "Words that the pipeline is given.", unset="built in")] = "",
    steps: Steps = 20,
    strength: Strength = 0.3,
    guidance: Guidance = None,
    resolution: Size = None,
    *,
    device: Device,
) -> Callable[..., Picture01]:
    """Load a pipeline as a harmonizer.

    Raises:
        CheckpointError: it cannot be loaded, or takes no picture.
        UsageError: the strength is outside (0, 1], or leaves no step to take.
    """
    pipeline = load_pipeline(model, device, _call(steps, strength, guidance))
    own = MENDED_EDIT if pipeline.follows_instructions else MENDED_PHOTO
    return PipelineHarmonizer(pipeline, instruction or own, resolution or pipeline.resolution)


def _call(steps: int, strength: float, guidance: float | None) -> Call:
    if not 0 < strength <= 1:
        raise UsageError(f"strength is {strength:g}: it must be over 0 and at most 1")
    return Call(steps, strength, guidance)


def bicubic(picture01: Picture01, height: int, width: int) -> Picture01:
    """Resize a picture (h, w, 3) in [0, 1] of floats."""
    channels = [
        np.asarray(Image.fromarray(picture01[..., place]).resize((width, height), Image.Resampling.BICUBIC))
        for place in range(3)
    ]
    resized: Picture01 = np.clip(np.stack(channels, axis=-1), 0, 1)
    return resized
