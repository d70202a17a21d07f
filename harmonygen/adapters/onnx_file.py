"""An ONNX file of image and mask as generator, judge or harmonizer, run by ONNX Runtime.

Inputs are recognised by their channels and names: an image (1, 3, H, W), a mask (1, 1, H, W), and for a generator what
makes candidates differ: ``noise`` of any fixed or free shape, filled from the seed, or ``seed``, one integer. The
output is an image (1, 3, H, W), or a judge's P(composite), one number or (1, 1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from harmonygen.adapters.pipeline import bicubic
from harmonygen.errors import CheckpointError, UsageError
from harmonygen.models.device import Device
from harmonygen.models.onnx_session import open_session
from harmonygen.pictures.images import ImageU8, Mask, resize
from harmonygen.pictures.photo import Photo, shrink_mask
from harmonygen.records import Candidate
from harmonygen.seeds import numpy_rng
from harmonygen.settings import setting

Picture01 = npt.NDArray[np.float32]
Values = Literal["01", "pm1", "255"]
File = Annotated[Path, setting(..., "ONNX file.")]
Range = Annotated[Values, setting(..., "Range of image values: 0 to 1, -1 to 1, or 0 to 255.")]
Size = Annotated[
    int, setting(..., "Short side that it works at, in pixels, if the file leaves it open.", ge=8, le=8192)
]
_SCALE: dict[Values, tuple[float, float]] = {"01": (1, 0), "pm1": (2, -1), "255": (255, 0)}
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class OnnxModel:
    """A loaded file: a picture, its mask and a seed in, the first output out."""

    def __init__(self, path: Path, values: Values, device: Device) -> None:
        """Open the file.

        Raises:
            UsageError: onnxruntime is not installed.
            CheckpointError: it cannot be opened, or has other inputs than an image, a mask, noise and a seed.
        """
        self._session = open_session(path, device)
        self._scale, self._offset = _SCALE[values]
        self.inputs = {_role(each, path): each for each in self._session.get_inputs()}
        if "image" not in self.inputs:
            raise CheckpointError(f"'{path}' has no input of shape (1, 3, H, W): an image is needed")

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """(height, width) that the file wants, or None if both are free."""
        height, width = self.inputs["image"].shape[2:]
        return (height, width) if isinstance(height, int) and isinstance(width, int) else None

    @property
    def is_random(self) -> bool:
        """Whether it takes noise or a seed."""
        return bool(self.inputs.keys() & {"noise", "seed"})

    def __call__(self, image_u8: ImageU8, mask: Mask, seed: int = 0) -> npt.NDArray[np.float32]:
        """Return the first output of one picture (h, w, 3) uint8 and its mask (h, w)."""
        height, width = self.fixed_size or image_u8.shape[:2]
        image = resize(np.array(image_u8), height, width).astype(np.float32) / 255 * self._scale + self._offset
        fed: dict[str, npt.NDArray[Any]] = {"image": image.transpose(2, 0, 1)[None]}
        if "mask" in self.inputs:
            fed["mask"] = shrink_mask(np.array(mask), height, width).astype(np.float32)[None, None]
        if "noise" in self.inputs:
            shape = _noise_shape(self.inputs["noise"].shape, height, width)
            fed["noise"] = numpy_rng("onnx", seed).standard_normal(shape).astype(np.float32)
        given = {self.inputs[role].name: _typed(self.inputs[role], value) for role, value in fed.items()}
        if "seed" in self.inputs:
            given[self.inputs["seed"].name] = np.array([seed % 2**31], dtype=np.int64).reshape(
                [1] * len(self.inputs["seed"].shape)
            )
        return np.asarray(self._session.run(None, given)[0], dtype=np.float32)

    def picture(self, photo: Photo, seed: int) -> Picture01:
        """Return the picture (h, w, 3) in [0, 1] at the photo's ``low`` size.

        Raises:
            UsageError: the output is not an image.
        """
        made = self(photo.low_u8, photo.low_mask, seed)
        if made.ndim != 4 or made.shape[:2] != (1, 3):
            raise UsageError(f"the ONNX file gives an output {made.shape}: an image (1, 3, H, W) is needed")
        picture: Picture01 = (made[0].transpose(1, 2, 0) - self._offset) / self._scale
        height, width = photo.low_u8.shape[:2]
        if picture.shape[:2] == (height, width):
            return picture
        return bicubic(picture, height, width)


class OnnxGenerator:
    """Candidate ``k`` from the noise or the seed that its own seed gives."""

    def __init__(self, model: OnnxModel, resolution: int, multiple: int) -> None:
        self._model, self.resolution, self.multiple = model, resolution, multiple

    def __call__(self, photo: Photo, candidates: Sequence[Candidate]) -> Iterator[Picture01]:
        """Yield a picture (h, w, 3) in [0, 1] for each candidate."""
        for candidate in candidates:
            yield self._model.picture(photo, candidate.seed)


class OnnxHarmonizer:
    """One pass of the file; of several draws the mean, if it draws."""

    def __init__(self, model: OnnxModel, resolution: int, multiple: int) -> None:
        self._model, self.resolution, self.multiple = model, resolution, multiple

    def __call__(self, photo: Photo, seed: int, draws: int | None = None) -> Picture01:
        """Return the picture (h, w, 3) in [0, 1]."""
        several = (draws or 1) if self._model.is_random else 1
        mean: Picture01 = np.mean([self._model.picture(photo, seed + number) for number in range(several)], axis=0)
        return mean


class OnnxJudge:
    """The file's number for each composite, shrunk to ``resolution``."""

    def __init__(self, model: OnnxModel, resolution: int) -> None:
        self._model, self._resolution = model, resolution

    def __call__(self, composites: Sequence[ImageU8], mask: Mask) -> list[float]:
        """Return P(composite) of each composite."""
        height, width = mask.shape
        scale = min(1.0, self._resolution / min(height, width))
        size = max(1, round(height * scale)), max(1, round(width * scale))
        small = shrink_mask(np.array(mask), *size)
        return [self._score(self._model(resize(np.array(each), *size), small)) for each in composites]

    def _score(self, output: npt.NDArray[np.float32]) -> float:
        if output.size != 1:
            raise UsageError(f"the ONNX file gives an output {output.shape}: one number, P(composite), is needed")
        return float(output.reshape(-1)[0])


def make_onnx_generator(
    file: File, values: Range = "01", resolution: Size = 256, multiple: int = 8, *, device: Device
) -> Callable[..., Iterator[Picture01]]:
    """Load a file as a generator.

    Raises:
        UsageError: it takes neither noise nor a seed, so all candidates of a photo would be equal.
        CheckpointError: it cannot be opened.
    """
    model = OnnxModel(file, values, device)
    if not model.is_random:
        raise UsageError(f"'{file}' takes neither 'noise' nor 'seed': all candidates of a photo would be equal")
    return OnnxGenerator(model, resolution, multiple)


def make_onnx_judge(file: File, values: Range = "01", resolution: Size = 256, *, device: Device) -> Callable[..., Any]:
    """Load a file as a judge; raises CheckpointError if it cannot be opened."""
    return OnnxJudge(OnnxModel(file, values, device), resolution)


def make_onnx_harmonizer(
    file: File, values: Range = "01", resolution: Size = 256, multiple: int = 8, *, device: Device
) -> Callable[..., Picture01]:
    """Load a file as a harmonizer; raises CheckpointError if it cannot be opened."""
    return OnnxHarmonizer(OnnxModel(file, values, device), resolution, multiple)


def _role(given: Any, path: Path) -> str:
    name, channels = given.name.lower(), given.shape[1] if len(given.shape) == 4 else None
    if "seed" in name:
        return "seed"
    if "noise" in name:
        return "noise"
    if channels == 1 or "mask" in name:
        return "mask"
    if channels == 3:
        return "image"
    raise CheckpointError(
        f"'{path}' has an input '{given.name}' of shape {given.shape}: image (1, 3, H, W), mask (1, 1, H, W), noise "
        "and seed are known"
    )


def _noise_shape(stated: Sequence[Any], height: int, width: int) -> tuple[int, ...]:
    free = {len(stated) - 2: height, len(stated) - 1: width}
    return tuple(size if isinstance(size, int) else free.get(place, 1) for place, size in enumerate(stated))


def _typed(given: Any, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return value.astype(_TYPES.get(given.type, np.float32))
