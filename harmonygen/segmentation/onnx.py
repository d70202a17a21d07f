"""The segmenter ``onnx``: a network in an ONNX file that gives a map of the foreground (ISNet, U2-Net, MODNet).

The photo is stretched to the network's own size, as these networks are used by their authors, and normalized by
``mean`` and ``std``. The first output is the map. Models that need points or boxes (SAM) are wrapped in a callable of
your own (docs/masks.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from harmonygen.errors import CheckpointError, InputError, told
from harmonygen.models.device import Device
from harmonygen.models.onnx_session import open_session
from harmonygen.pictures.images import ImageU8, resize
from harmonygen.plugins.digest import content_digest
from harmonygen.segmentation.segmented import Layers, Segmented
from harmonygen.settings import MAX_SIDE, setting

Scale = Literal["auto", "sigmoid", "stretch", "none"]

File = Annotated[Path, setting(..., "File of the network (.onnx).")]
Side = Annotated[
    int | None, setting(..., "Side of the square that the network sees.", unset="the file's", ge=16, le=MAX_SIDE)
]
Colours = tuple[float, float, float]
Mean = Annotated[Colours, setting(..., "Mean of red, green and blue that is subtracted, 0 to 1.")]
Std = Annotated[Colours, setting(..., "Deviation by which red, green and blue are divided after that.")]
Scaling = Annotated[Scale, setting(..., "How the output becomes a probability; auto: by a sigmoid outside 0 to 1.")]
_SIDE = 1024  # of a file that states none


class OnnxSegmenter:
    """One map of the foreground for the whole photo, by ONNX Runtime."""

    def __init__(self, session: Any, side: tuple[int, int], mean: Colours, std: Colours, scale: Scale) -> None:
        self.session, self.side, self.scale = session, side, scale
        self._mean, self._std = _column(mean), _column(std)
        self.digest = ""

    def __call__(self, image_u8: ImageU8) -> Segmented:
        """Return the map of a photo (H, W, 3) uint8, at the network's size.

        Raises:
            InputError: the network fails on it, or makes NaN or infinite values.
        """
        planes = resize(image_u8, *self.side).transpose(2, 0, 1).astype(np.float32) / 255
        given = ((planes - self._mean) / self._std)[None]
        try:
            first = self.session.run(None, {self.session.get_inputs()[0].name: given})[0]
        except Exception as error:  # ONNX Runtime's own classes derive from Exception alone
            raise InputError(f"the network failed ({told(error)}): give another onnx file or side") from error
        return Segmented(probability_of(_plane(np.asarray(first)), self.scale)[None], False)


def _column(colours: Colours) -> Layers:
    return np.array(colours, dtype=np.float32)[:, None, None]


def make_onnx(
    file: File,
    side: Side = None,
    mean: Mean = (0.485, 0.456, 0.406),
    std: Std = (0.229, 0.224, 0.225),
    scale: Scaling = "auto",
    *,
    device: Device,
) -> OnnxSegmenter:
    """Return the network of an ONNX file.

    Raises:
        UsageError: ONNX Runtime is not installed.
        CheckpointError: the file is not a network of one picture with three channels.
    """
    made = OnnxSegmenter(*_opened(file, side, device), mean, std, scale)
    made.digest = f"onnx:{content_digest(file).hex()[:16]}"
    return made


def _opened(file: Path, side: int | None, device: Device) -> tuple[Any, tuple[int, int]]:
    """Return a session, and the (height, width) that the network sees."""
    session = open_session(file, device)
    inputs: Sequence[Any] = session.get_inputs()
    shape = list(inputs[0].shape) if inputs else []
    if len(inputs) != 1 or len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        found = ", ".join(f"{each.name} {each.shape}" for each in inputs)
        raise CheckpointError(
            f"'{file}' takes {found}: one picture (1, 3, height, width) is needed; wrap other models in a callable "
            "(docs/masks.md)"
        )
    height, width = (stated if isinstance(stated, int) else side or _SIDE for stated in shape[2:])
    if side is not None and (height, width) != (side, side):
        raise CheckpointError(f"'{file}' works only at {width}x{height}: drop side")
    return session, (height, width)


def _plane(output: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the map (h, w) of an output whose other dimensions are 1.

    Raises:
        InputError: it is no single map.
    """
    plane = output.squeeze()
    if plane.ndim != 2:
        raise InputError(f"the first output of the network is {output.shape}: one map (1, 1, h, w) is needed")
    return plane


def probability_of(plane: np.ndarray[Any, Any], scale: Scale) -> Layers:
    """Return a map as probabilities in [0, 1].

    Raises:
        InputError: NaN or infinite values.

    >>> probability_of(np.array([[-9.0, 0.0]]), "auto").round(1).tolist()
    [[0.0, 0.5]]
    """
    values = plane.astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError("the network made NaN or infinite values of this photo")
    low, high = float(values.min()), float(values.max())
    if scale == "stretch":
        return np.asarray((values - low) / max(high - low, 1e-6), dtype=np.float32)
    if scale == "sigmoid" or (scale == "auto" and (low < -0.01 or high > 1.01)):
        return np.asarray(1 / (1 + np.exp(-np.clip(values, -60, 60))), dtype=np.float32)
    return np.asarray(np.clip(values, 0, 1))
