"""One description by hand, for every photo."""

from __future__ import annotations

from harmonygen.pictures.photo import Photo
from harmonygen.seeds import stable_seed
from harmonygen.harmonization.zeroshot.words import Description, by_hand


class HandDescriber:
    """Gives every photo the words of a person: ``girl, sunny`` and ``dark, night``.

    Raises:
        InputError: the words make no description (see :func:`~harmonygen.harmonization.zeroshot.words.by_hand`).
    """

    name = "hand"

    def __init__(self, foreground: str, background: str) -> None:
        self.description = by_hand(foreground, background)
        self.digest = f"{stable_seed('hand', *self.description.prompts):016x}"

    def __call__(self, photo: Photo, alternatives: int = 3) -> list[Description]:
        """Return the one description."""
        return [self.description]
