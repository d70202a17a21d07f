"""What keeps a plug-in to the guarantees, whatever it returns.

Pictures have the photo's size and 8 bits, are finite, and their background is the photo's own, bit for bit; scores are
numbers in [0, 1], one for each composite. What a plug-in gets cannot be written to, so that it cannot change the photo.
An exception of a plug-in is an :class:`InputError` that names it, and quarantines the photo; a return value that breaks
the contract is a :class:`PluginError` and ends the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from harmonygen.errors import HarmonygenError, InputError, PluginError, told
from harmonygen.pictures.detail import full_size
from harmonygen.pictures.images import ImageU8, Mask, paste, to_u8
from harmonygen.pictures.photo import Photo
from harmonygen.records import Candidate
from harmonygen.settings import Detail

RESOLUTION, MULTIPLE = 256, 1
"""Short side of ``low_u8`` and what its sides are multiples of, for a plug-in that does not say it."""
_LOW, _HIGH = -0.1, 1.1  # what resizing may leave outside [0, 1]; the ranges [-1, 1] and [0, 255] go further


class Guarded:
    """What all three have: the plug-in's name in messages, its digest, and the size it works at."""

    def __init__(self, made: Callable[..., Any], name: str, told: str, digest: str, device: str = "cpu") -> None:
        self.made, self.name, self.told, self.digest, self.device = made, name, told, digest, device
        self.resolution = int(getattr(made, "resolution", RESOLUTION))
        self.multiple = int(getattr(made, "multiple", MULTIPLE))

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        """Name the plug-in in what it raises; memory and disk trouble stay what they are."""
        try:
            yield
        except (HarmonygenError, MemoryError, OSError):
            raise
        except Exception as error:
            if type(error).__name__ == "OutOfMemoryError":  # torch's, which repeats with the next photo
                raise
            raise InputError(f"{self.told} failed on '{what}' ({type(error).__name__}: {told(error)})") from error

    def picture(self, value: Any, photo: Photo, detail: Detail) -> ImageU8:
        """Return what a plug-in made as (H, W, 3) uint8 of the photo's size, its background the photo's.

        Raises:
            InputError: NaN or infinite values.
            PluginError: it is not a picture of the photo's size, nor of the model's.
        """
        made: Any = np.asarray(value) if isinstance(value, np.ndarray | Image.Image) else np.zeros(0)
        full, low = photo.image_u8.shape, photo.low_u8.shape
        if made.shape not in (full, low) or not (made.dtype == np.uint8 or np.issubdtype(made.dtype, np.floating)):
            raise PluginError(
                f"{self.told} returned {_told_value(value)} for '{photo.pair.pair_id}': an array {full} (or {low}, the "
                "size of low_u8) of uint8, or of floats in [0, 1], is needed"
            )
        self._refuse_range(made, photo)
        if made.shape == full:
            return paste(made if made.dtype == np.uint8 else to_u8(made), photo.image_u8, photo.mask)
        picture01 = made / np.float32(255) if made.dtype == np.uint8 else made.astype(np.float32)
        return full_size(photo, photo.low_u8, picture01, detail)

    def _refuse_range(self, made: Any, photo: Photo) -> None:
        if made.dtype == np.uint8:
            return
        if not np.isfinite(made).all():
            raise InputError(f"{self.told} made NaN or infinite values of '{photo.pair.pair_id}'")
        low, high = float(made.min()), float(made.max())
        if low < _LOW or high > _HIGH:
            raise PluginError(f"{self.told} returned floats from {low:g} to {high:g}: [0, 1] is needed, or uint8")


class GuardedGenerator(Guarded):
    """A plug-in as a generator: one composite for each candidate, in their order."""

    def __init__(self, *named: Any, detail: Detail = "transfer", **more: Any) -> None:
        super().__init__(*named, **more)
        self.detail: Detail = detail

    def __call__(self, photo: Photo, candidates: Sequence[Candidate]) -> Iterator[ImageU8]:
        """Yield one composite per candidate."""
        shown, made = read_only(photo), 0
        with self._failing(photo.pair.pair_id):
            values = iter(self.made(shown, list(candidates)))
        while True:
            with self._failing(photo.pair.pair_id):
                value = next(values, _END)
            if value is _END:
                break
            made += 1
            if made <= len(candidates):
                yield self.picture(value, photo, self.detail)
        if made != len(candidates):
            raise PluginError(f"{self.told} made {made} pictures for {len(candidates)} candidates: yield one for each")


class GuardedJudge(Guarded):
    """A plug-in as a judge: P(composite) of each composite."""

    def __call__(self, composites: Sequence[ImageU8], mask: Mask) -> list[float]:
        """Return one score in [0, 1] for each composite; NaN stays NaN, which no rule selects."""
        with self._failing("a pair's composites"):
            scores = np.asarray(_plain(self.made([_shown(each) for each in composites], _shown(mask))))
        if scores.shape != (len(composites),) or not (np.issubdtype(scores.dtype, np.number)):
            raise PluginError(
                f"{self.told} returned {_told_value(scores)} for {len(composites)} composites: a list of one float for "
                "each is needed"
            )
        outside = [float(score) for score in scores if not (np.isnan(score) or 0 <= score <= 1)]
        if outside:
            raise PluginError(f"{self.told} gave the score {outside[0]:g}: a probability from 0 to 1 is needed")
        return [float(score) for score in scores]


class GuardedHarmonizer(Guarded):
    """A plug-in as a harmonizer."""

    def __init__(self, *named: Any, detail: Detail = "transfer", **more: Any) -> None:
        super().__init__(*named, **more)
        self.detail: Detail = detail

    def __call__(self, photo: Photo, seed: int, draws: int | None = None) -> ImageU8:
        """Return the harmonized picture; its background is the composite's own."""
        with self._failing(photo.pair.pair_id):
            value = self.made(read_only(photo), seed, draws)
        return self.picture(value, photo, self.detail)


_END = object()


def read_only(photo: Photo) -> Photo:
    """Return a photo whose arrays cannot be written to; they are the same memory."""
    arrays = {name: _shown(getattr(photo, name)) for name in ("image_u8", "mask", "low_u8", "low_mask")}
    return replace(photo, **arrays)


def _shown(array: Any) -> Any:
    shown = array.view()
    shown.flags.writeable = False
    return shown


def _plain(scores: Any) -> Any:
    """Return scores as NumPy takes them; a tensor may be on another device."""
    return scores.detach().float().cpu().numpy() if hasattr(scores, "detach") else scores


def _told_value(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array {tuple(value.shape)} of {value.dtype}"
    return f"a {type(value).__name__}"
