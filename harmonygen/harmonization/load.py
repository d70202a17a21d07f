"""Load the checkpoints of a harmonization method."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from harmonygen.errors import UsageError
from harmonygen.harmonization.settings import ONE_ANSWER, Method
from harmonygen.models.checkpoints import SPEC_NAME, locate, read_json
from harmonygen.models.device import AS_STATED, Device, Sampling, keep_memory
from harmonygen.pictures.images import ImageU8, Picture01
from harmonygen.pictures.photo import Photo
from harmonygen.settings import Detail


class HarmonizationMethod(Protocol):
    """What harmonization needs of a method; ``photo`` is a composite, sized with ``detail="transfer"``."""

    digest: str
    resolution: int
    multiple: int

    def __call__(self, photo: Photo, seed: int, draws: int | None = None) -> ImageU8:
        """Return the harmonized picture: the mean of ``draws`` results (what the checkpoint states if not given)."""


@runtime_checkable
class DecodingMethod(HarmonizationMethod, Protocol):
    """A method whose network makes pixels at a size of its own."""

    def picture(self, photo: Photo, seed: int, draws: int | None = None) -> tuple[ImageU8, Picture01]:
        """Return the composite (h, w, 3) uint8 at that size, and the picture in [0, 1] that the network makes there."""


def method_of(model: str | Path) -> Method:
    """Return the method that a checkpoint is for, by the ``kind`` that it states; the starter's is ``parametric``.

    Raises:
        CheckpointError: no such folder.
    """
    if str(model) == "starter":
        return "parametric"
    spec = locate(model, "parametric") / SPEC_NAME
    kind = read_json(spec).get("kind") if spec.is_file() else None
    return kind if kind in ONE_ANSWER else "diffharmony"


def load_harmonizer(
    method: Method,
    model: str | Path,
    refine: str | Path | None,
    device: Device,
    sampling: Sampling = AS_STATED,
    detail: Detail = "transfer",
) -> HarmonizationMethod:
    """Load the checkpoints of a method; ``starter`` stands for the shipped ones.

    Raises:
        UsageError: a method that is no single model, or a refiner for a method that takes none.
        CheckpointError: not there, or of another kind or direction.
    """
    if method == "zero-shot":
        raise UsageError(
            "--method zero-shot describes, edits and judges for minutes a picture and runs in 'harmonygen harmonize' "
            "alone: harmonize first, then work on its folder, as with 'harmonygen evaluate --predictions'"
        )
    if method in ONE_ANSWER and refine is not None:
        raise UsageError(f"--refine {refine} goes with diffharmony and diffharmony++, not with {method}: drop it")
    if method == "parametric":
        from harmonygen.harmonization.parametric import ParametricHarmonizer

        return ParametricHarmonizer.from_pretrained(model, device)
    if method == "direct":
        from harmonygen.harmonization.direct import DirectHarmonizer

        return DirectHarmonizer.from_pretrained(model, device, detail)
    from harmonygen.harmonization.diffusion import DiffusionHarmonizer

    keep_memory()
    conditional = method == "diffharmony++"
    return DiffusionHarmonizer.from_pretrained(model, device, sampling, detail, refine=refine, harmony_vae=conditional)
