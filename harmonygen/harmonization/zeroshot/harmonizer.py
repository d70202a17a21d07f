"""Zero-shot harmonization as a harmonizer: the loop's best edit, carried to the composite's own size.

No harmonization training is in it: words say how foreground and background look, a text-to-image model edits, and
the harmony classifier judges (REFERENCE section 8).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harmonygen.errors import UsageError
from harmonygen.harmonization.settings import ZeroShotSettings
from harmonygen.harmonization.zeroshot.loop import Editing, Limits, Picture01, Trace, Watch, run
from harmonygen.pictures.detail import full_size
from harmonygen.pictures.images import ImageU8, Mask, to_u8
from harmonygen.pictures.photo import Photo
from harmonygen.records import Pair
from harmonygen.settings import Detail

if TYPE_CHECKING:
    import torch

    from harmonygen.harmonization.zeroshot.describe import Describer
    from harmonygen.plugins.load import Judge


class SizedEditor(Editing, Protocol):
    """What the harmonizer needs of an editor beside its edits: the sizes it works at, its digest and its memory."""

    resolution: int
    multiple: int
    digest: str

    def needs(self, height: int, width: int) -> dict[str, int]:
        """Return the bytes that an edit of (height, width) pixels takes by part, with their ``total``."""


@dataclass(frozen=True, slots=True)
class Harmonized:
    """A harmonized picture (H, W, 3), how it came about, and the low-resolution pictures by their edit's number."""

    image_u8: ImageU8
    trace: Trace
    pictures_u8: tuple[ImageU8, ...]


class ZeroShotHarmonizer:
    """Describe, edit and judge a composite; of every edit the trace keeps words, scores and decisions."""

    def __init__(
        self,
        editor: SizedEditor,
        describer: Describer,
        scorer: Judge,
        limits: Limits,
        detail: Detail = "transfer",
    ) -> None:
        self.editor, self.describer, self.scorer, self.limits, self.detail = editor, describer, scorer, limits, detail
        self.resolution, self.multiple = editor.resolution, editor.multiple
        self.digests = {"editor": editor.digest, "describer": describer.digest, "classifier": scorer.digest}
        self.digest = "+".join(self.digests.values())

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        device: str,
        dtype: torch.dtype,
        settings: ZeroShotSettings,
        detail: Detail = "transfer",
        *,
        pairs: Iterable[Pair] = (),
        seed: int = 0,
    ) -> ZeroShotHarmonizer:
        """Load a Stable Diffusion folder, the describer and the classifier.

        Args:
            name: the folder, in diffusers' format.
            device: where all run.
            dtype: of the Stable Diffusion's weights.
            settings: everything else.
            detail: how the change gets to the composite's own size.
            pairs: the composites to come, which captions are checked against.
            seed: of the describer's samples.

        Raises:
            UsageError: ``starter``, or words, captions or a describer that cannot be used.
            CheckpointError: a folder that is missing or of another kind.
        """
        if str(name) == "starter":
            raise UsageError(
                "--method zero-shot needs a Stable Diffusion and none ships with harmonygen: give --model the folder "
                "of a Stable Diffusion 1.x or 2.x in diffusers' format (unet/ vae/ text_encoder/ tokenizer/ scheduler/)"
            )
        from harmonygen.harmonization.zeroshot.describe import load_describer
        from harmonygen.harmonization.zeroshot.editor import load_editor
        from harmonygen.models.device import Device
        from harmonygen.plugins.load import load_judge

        describer = load_describer(
            settings.describer,
            foreground=settings.foreground,
            background=settings.background,
            captions=settings.captions,
            pairs=pairs,
            model=settings.describer_model,
            device=device,
            seed=seed,
            retries=settings.describer_retries,
            subject=settings.prompt_subject,
        )
        scorer = load_judge(settings.classifier, {}, Device.pick(device, "float32", "1"))
        limits = Limits(settings.iterations, settings.alternatives, settings.allow_unchanged)
        return cls(load_editor(name, device, dtype, settings), describer, scorer, limits, detail)

    def harmonize(self, photo: Photo, seed: int, watch: Watch | None = None) -> Harmonized:
        """Return the harmonized picture at the composite's own size, with its trace; call ``watch`` after each edit.

        Raises:
            InputError: the composite cannot be described or edited.
            UsageError: the device's memory does not hold an edit of this size.
        """
        with _enough_memory(photo):
            outcome = run(photo, self.editor, self.describer, self._score, seed, self.limits, watch)
        pictures = tuple(to_u8(picture01) for picture01 in outcome.pictures01)
        image = full_size(photo, photo.low_u8, outcome.picture01, self.detail) if outcome.trace.best else photo.image_u8
        return Harmonized(image, replace(outcome.trace, digests=self.digests), pictures)

    def __call__(self, photo: Photo, seed: int, draws: int | None = None) -> ImageU8:
        """Return the harmonized picture (H, W, 3); ``draws`` means nothing here."""
        return self.harmonize(photo, seed).image_u8

    def _score(self, picture01: Picture01, mask: Mask) -> float:
        return self.scorer([to_u8(picture01)], mask)[0]


@contextmanager
def _enough_memory(photo: Photo) -> Iterator[None]:
    """Say what to do when the accelerator's memory is full."""
    from torch import OutOfMemoryError

    try:
        yield
    except OutOfMemoryError as error:
        height, width = photo.low_mask.shape
        raise UsageError(
            f"not enough memory to edit '{photo.pair.pair_id}' at {width}x{height} ({str(error).partition('.')[0]}): "
            "add --low-memory, lower --resolution, or choose another --device; what is done is kept"
        ) from error
