"""Describers: a sized composite in, descriptions of its foreground and background out, the best first.

Three kinds: ``rules`` measures, ``model`` asks a vision-language model, ``hand`` has words that a person gave.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from harmonygen.errors import UsageError
from harmonygen.harmonization.zeroshot.words import Description
from harmonygen.pictures.photo import Photo
from harmonygen.records import Pair

if TYPE_CHECKING:
    import torch

Kind = Literal["rules", "model", "hand"]


class Describer(Protocol):
    """What the loop needs to know of a describer; ``digest`` tells what decides its words."""

    name: str
    digest: str

    def __call__(self, photo: Photo, alternatives: int = 3) -> list[Description]:
        """Return 1 to ``alternatives`` different descriptions of a composite, the best first.

        Raises:
            InputError: this composite alone has none.
        """


def load_describer(
    kind: Kind,
    *,
    foreground: str | None = None,
    background: str | None = None,
    captions: str | Path | None = None,
    pairs: Iterable[Pair] = (),
    model: str | Path | None = None,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    seed: int = 0,
    retries: int = 3,
    subject: str = "object",
) -> Describer:
    """Load a describer.

    Args:
        kind: ``rules``, ``model`` or ``hand``.
        foreground: hand: the object and its words, for every photo.
        background: hand: the words of the surroundings, for every photo.
        captions: hand: a caption file in their place.
        pairs: the photos to come: a caption file's line that fits several of them is refused for each.
        model: model: a folder or name of a Hugging Face image-text-to-text model.
        device: model: where it runs.
        dtype: model: its floating type; as stored if not given.
        seed: model: what its further samples are drawn from.
        retries: model: how many further samples are drawn when a reply is not of the form.
        subject: rules: what the object is called where the photo does not say.

    Raises:
        UsageError: an unknown kind, an option that is missing or of another kind, or a wrong caption file.
        InputError: words by hand that make no description.
        CheckpointError: the model cannot be loaded.
    """
    _refuse(kind, {"foreground": foreground, "background": background, "captions": captions, "model": model})
    if kind == "model":
        from harmonygen.harmonization.zeroshot.describe.vision_language import VisionLanguageDescriber
        from harmonygen.models.picture_chat import PictureChat

        return VisionLanguageDescriber(PictureChat.load(str(model), device, dtype), seed=seed, retries=retries)
    if kind == "rules":
        from harmonygen.harmonization.zeroshot.describe.rules import RuleDescriber

        return RuleDescriber(subject)
    if captions is not None:
        from harmonygen.harmonization.zeroshot.describe.captions import CaptionDescriber

        return CaptionDescriber.from_file(Path(captions), pairs)
    from harmonygen.harmonization.zeroshot.describe.captions import HandDescriber

    return HandDescriber(foreground or "", background or "")


_NEEDED: dict[str, tuple[frozenset[str], ...]] = {
    "rules": (frozenset(),),
    "model": (frozenset({"model"}),),
    "hand": (frozenset({"foreground", "background"}), frozenset({"captions"})),
}
_HOW = {
    "rules": "no words, caption file or model",
    "model": "a model (a folder or name of a Hugging Face image-text-to-text model) and nothing else",
    "hand": "foreground and background words, or a caption file in their place",
}


def _refuse(kind: str, options: dict[str, str | Path | None]) -> None:
    if kind not in _NEEDED:
        raise UsageError(f"describer '{kind}' is not known: use one of {', '.join(_NEEDED)}")
    given = frozenset(name for name, value in options.items() if value is not None)
    if given not in _NEEDED[kind]:
        found = ", ".join(sorted(given)) or "none of them"
        raise UsageError(f"describer '{kind}' takes {_HOW[kind]}; found {found}: give what it takes, or another kind")
