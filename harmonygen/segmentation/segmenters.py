"""The door of segmenters: a built-in name, a package's entry point, ``module:attribute``, or an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from harmonygen.errors import InputError, PluginError
from harmonygen.models.device import Device
from harmonygen.pictures.images import ImageU8
from harmonygen.plugins.doors import SEGMENTERS, find_plugin
from harmonygen.plugins.guard import Guarded
from harmonygen.plugins.load import load_plugin
from harmonygen.plugins.plugin import Plugin
from harmonygen.segmentation.segmented import Segmented, read_layers


class NamedSegmenter(Protocol):
    """A segmenter with a digest: (H, W, 3) uint8 -> what was found."""

    digest: str

    def __call__(self, image_u8: ImageU8) -> Segmented:
        """Return what was found in a photo."""


class GuardedSegmenter(Guarded):
    """A plug-in as a segmenter: what it returns is checked and read by :func:`read_layers`."""

    def __call__(self, image_u8: ImageU8) -> Segmented:
        """Return what was found in a photo (H, W, 3) uint8.

        Raises:
            InputError: the plug-in failed, or its values are not finite.
            PluginError: what it returned is not a probability.
        """
        shown = image_u8.view()
        shown.flags.writeable = False
        with self._failing("a photo"):
            value = self.made(shown)
        try:
            return read_layers(value)
        except FloatingPointError as error:
            raise InputError(f"{self.told} made NaN or infinite values of this photo") from error
        except (ValueError, TypeError) as error:
            raise PluginError(f"{self.told}: {error}") from error


def spelled(spec: str) -> str:
    """Return a spec in which an ONNX file is an argument of ``onnx``.

    >>> spelled("models/isnet.onnx"), spelled("selfie")
    ('onnx:models/isnet.onnx', 'selfie')
    """
    return f"onnx:{spec}" if spec.lower().endswith(".onnx") and not spec.startswith("onnx:") else spec


def check_segmenter(spec: str, given: Mapping[str, Any]) -> None:
    """Refuse a segmenter that is not known, and settings that it does not have; no weights are read.

    Raises:
        UsageError: naming what there is.
    """
    place = find_plugin(SEGMENTERS, spelled(spec))
    if given or place.argument is not None:
        Plugin(place).settings(given)


def load_segmenter(spec: str, given: Mapping[str, Any], device: str = "auto") -> NamedSegmenter:
    """Return the segmenter that a spec stands for, built with the settings ``given``.

    Raises:
        UsageError: it is not known or cannot be imported, its settings are wrong, or the device is missing.
        CheckpointError: weights that are missing or do not fit.
        PluginError: it cannot be built.
    """
    handed = {"device": Device.pick(device)}
    made: NamedSegmenter = load_plugin(SEGMENTERS, spelled(spec), given, handed, GuardedSegmenter)
    return made
