"""Load a harmonization method: its checkpoints, or a plug-in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Protocol, runtime_checkable

from harmonygen.errors import UsageError
from harmonygen.harmonization.settings import ONE_ANSWER, REFINED
from harmonygen.models.checkpoints import SPEC_NAME, locate, read_json
from harmonygen.models.device import AS_STATED, Device, Sampling
from harmonygen.pictures.images import ImageU8, Picture01
from harmonygen.pictures.photo import Photo
from harmonygen.plugins.doors import HARMONIZERS, is_plugin
from harmonygen.plugins.guard import GuardedHarmonizer
from harmonygen.plugins.load import load_plugin
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


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a verb asks of a method, which a built-in one is handed as ``run``.

    ``model`` and ``refine`` are checkpoint folders, or ``starter``; ``detail`` is how a change gets to full size.
    """

    model: str | Path
    refine: str | Path | None = None
    sampling: Sampling = AS_STATED
    detail: Detail = "transfer"


def method_of(model: str | Path) -> str:
    """Return the method that a checkpoint is for, by the ``kind`` that it states; the starter's is ``parametric``.

    A text that is no folder but names a plug-in is a method itself.

    Raises:
        CheckpointError: no such folder.
    """
    if str(model) == "starter":
        return "parametric"
    if not Path(model).is_dir() and is_plugin(HARMONIZERS, str(model)):
        return str(model)
    spec = locate(model, "parametric") / SPEC_NAME
    kind = read_json(spec).get("kind") if spec.is_file() else None
    return str(kind) if kind in ONE_ANSWER else "diffharmony"


def load_harmonizer(
    method: str, chosen: Chosen, device: Device, given: Mapping[str, Any] | None = None
) -> HarmonizationMethod:
    """Load a method: one of ours with the checkpoints that are ``chosen``, or a plug-in with the settings ``given``.

    Raises:
        UsageError: a method that is not known, that is no single model, or that takes no refiner; wrong settings.
        CheckpointError: a checkpoint that is missing, or of another kind or direction.
        PluginError: a plug-in that cannot be built.
    """
    if chosen.refine is not None and method not in (*REFINED, "zero-shot"):
        raise UsageError(f"--refine {chosen.refine} goes with {' and '.join(REFINED)}, not with {method}: drop it")
    if method not in HARMONIZERS.own and str(chosen.model) not in ("starter", method):
        raise UsageError(
            f"--model {chosen.model} does not go with --method {method}, which has settings of its own: "
            "write method_settings.NAME=value"
        )
    guard = partial(GuardedHarmonizer, detail=chosen.detail)
    made: HarmonizationMethod = load_plugin(HARMONIZERS, method, given or {}, {"device": device, "run": chosen}, guard)
    return made


def refuse_zero_shot() -> NoReturn:
    """Raise UsageError: the method is no single model, and `harmonize` loads it by itself."""
    raise UsageError(
        "--method zero-shot describes, edits and judges for minutes per picture, and runs in 'harmonygen harmonize' "
        "alone: harmonize first, then work on its folder, as with 'harmonygen evaluate --predictions'"
    )
