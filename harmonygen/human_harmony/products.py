"""Which photos show only a product: strategies ``heuristic``, ``witness``, ``person-detector``, ``list``, ``none``.

A product filter is a callable ``(image_u8, mask, real_id) -> Verdict``; it may be called from several threads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from harmonygen.data.split import bare_id, read_ids
from harmonygen.errors import UsageError, shown
from harmonygen.human_harmony.settings import ProductRule
from harmonygen.human_harmony.verdict import ProductFilter, Verdict
from harmonygen.pictures.images import ImageU8, Mask

Strategy = Literal["heuristic", "witness", "person-detector", "list", "none"]


def load_product_filter(
    name: Strategy,
    ids: Path | None = None,
    weights: Path | None = None,
    model: str = "",
    device: str = "cpu",
    rule: ProductRule | None = None,
) -> ProductFilter:
    """Return the product filter of a strategy.

    Args:
        name: ``heuristic`` (:mod:`harmonygen.human_harmony.plain_ground`), ``witness``
            (:mod:`harmonygen.human_harmony.witness`), ``person-detector``
            (:mod:`harmonygen.human_harmony.person_detector`), ``list`` or ``none``.
        ids: ``list``: the file of ids of product photos.
        weights: ``person-detector``: the user's file of torchvision weights.
        model: ``person-detector``: torchvision's name of the model; empty: told by the weights.
        device: ``person-detector`` and ``witness``: where the detector runs.
        rule: ``heuristic`` and ``witness``: the limits, if not the default ones.

    Raises:
        UsageError: an unknown name, or a strategy without its file.
        CheckpointError: weights that are of no detection model.
    """
    if name == "heuristic":
        from harmonygen.human_harmony.plain_ground import HeuristicFilter

        return HeuristicFilter(rule or ProductRule())
    if name == "witness":
        from harmonygen.human_harmony.plain_ground import HeuristicFilter
        from harmonygen.human_harmony.witness import PersonWitness
        from harmonygen.models.torso import load_torso_detector

        return PersonWitness(HeuristicFilter(rule or ProductRule()), load_torso_detector(device))
    if name == "person-detector":
        from harmonygen.human_harmony.person_detector import load_person_detector

        return load_person_detector(weights, model, device)
    if name == "list":
        if ids is None:
            raise UsageError("the product filter 'list' needs a file of photo ids: give --product-list FILE")
        return ListFilter.from_file(ids)
    if name == "none":
        return keep_all
    raise UsageError(f"product filter '{name}' is unknown: choose one of {', '.join(get_args(Strategy))}")


def keep_all(image_u8: ImageU8, mask: Mask, real_id: str) -> Verdict:
    """Keep every photo."""
    return Verdict(True, detail="no product filter")


@dataclass(frozen=True, slots=True)
class ListFilter:
    """Drop the photos of a list; ids are compared without their subset (``train/0a1b`` is ``0a1b``)."""

    ids: frozenset[str]
    name: str

    @classmethod
    def from_file(cls, path: Path) -> ListFilter:
        """Read the list (see :func:`harmonygen.data.split.read_ids`)."""
        return cls(frozenset(read_ids(path)), str(path))

    def __call__(self, image_u8: ImageU8, mask: Mask, real_id: str) -> Verdict:
        """Drop the photo if it is listed."""
        if bare_id(real_id) in self.ids:
            return Verdict(False, "product:list", f"listed in '{self.name}'")
        return Verdict(True, detail=f"not listed in '{self.name}'")

    def refuse_unknown(self, real_ids: Iterable[str]) -> None:
        """Refuse listed ids that the data do not have: a list of another data set, or misspelt.

        Raises:
            UsageError: naming the ids.
        """
        unknown = sorted(self.ids - {bare_id(real_id) for real_id in real_ids})
        if unknown:
            raise UsageError(
                f"{len(unknown)} of {len(self.ids)} ids of the product list '{self.name}' are not in the data: "
                f"{shown(unknown)}: correct the list, or take them out of it"
            )
