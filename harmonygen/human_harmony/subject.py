"""What the foregrounds of a dataset are: its card is worded by the classes that its masks are made from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from harmonygen.data.categories import ALL, GARMENT_GROUPS, GARMENTS
from harmonygen.records import Pair

Kind = Literal["people", "clothing", "things", "foregrounds"]
Classes = Mapping[int, tuple[str, str]]
"""Name and supercategory of classes by id."""

HUMAN = "Human Harmony"
_PEOPLE = frozenset({"person", "people", "human", "humans", "man", "woman", "child"})
_GARMENTS = GARMENT_GROUPS | {"clothing", "clothes"}
_WITH_GARMENTS = frozenset(
    {"accessory", "accessories", "head", "neck", "arms and hands", "waist", "legs and feet"}
    | {"others", "closures", "decorations", "garment parts"}
)
"""Supercategories that are worn where garments are among them (the contest's); of COCO, an accessory is an umbrella."""
_IDS = re.compile(r"[0-9, ]*")
_NAMED = 3  # classes that a sentence names


@dataclass(frozen=True)
class Subject:
    """What the foregrounds are.

    ``counts`` says how many pairs have a class, by its id, the most frequent first; ``chosen`` is how the classes were
    chosen, ``data`` what the data are called.
    """

    kind: Kind
    classes: Classes
    counts: Mapping[int, int]
    chosen: str
    data: str

    @property
    def human(self) -> bool:
        """Whether the foregrounds are people, or what they wear."""
        return self.kind in ("people", "clothing")

    def name(self, class_id: int) -> str:
        """Return what a class is called, on one line."""
        name, _ = self.classes.get(class_id, ("", ""))
        return " ".join(name.split()) or f"class {class_id}"

    def named(self) -> str:
        """Return the classes for a sentence, empty if there are none: all if they are few, else the most frequent."""
        names = [self.name(class_id) for class_id in self.counts]
        few = ", ".join(names[:_NAMED])
        return few if len(names) <= _NAMED else f"{len(names)} classes, most often {few}"

    def title(self) -> str:
        """Return the title of a dataset that was given none.

        It names the classes if they are few, else the names that they were chosen by, else the data.
        """
        if self.human:
            return HUMAN
        few = self.named() if len(self.counts) <= _NAMED else ""
        by_name = "" if self.chosen in (ALL, GARMENTS) or _IDS.fullmatch(self.chosen) else self.chosen
        return f"Image harmonization: {few or by_name or self.data}"


def kind_of(pairs: Iterable[Pair], classes: Classes, widened: bool) -> Kind:
    """Tell what the pairs' masks cover, by the classes of their segments; ``widened`` masks cover the person.

    >>> from harmonygen.data import read_pairs
    >>> kind_of(read_pairs("sample"), {}, widened=False)
    'foregrounds'
    """
    if widened:
        return "people"
    known = {classes.get(class_id, ("", "")) for pair in pairs for class_id in ids_in(pair.extra.get("class_ids", ""))}
    person = {each for each in known if _PEOPLE & set(each)}
    garments = {each for each in known if each[1] in _GARMENTS}
    others = known - person - garments
    if not known or ("", "") in others:
        return "foregrounds"
    if others and not (garments and {group for _, group in others} <= _WITH_GARMENTS):
        return "things"
    return "people" if person else "clothing"


def ids_in(class_ids: str) -> list[int]:
    """Return the ids of a column ``class_ids``.

    >>> ids_in("0 12"), ids_in("")
    ([0, 12], [])
    """
    return [int(class_id) for class_id in class_ids.split()]


def data_name(data: str) -> str:
    """Return what data are called: the last part of a path or URL, without a suffix.

    >>> data_name("photos/"), data_name("coco/annotations/instances_val2017.json"), data_name("hf://datasets/a/b")
    ('photos', 'instances_val2017', 'b')
    """
    path = PurePath(data.rstrip("/") or data)
    return (path.stem if path.suffix.lower() in (".json", ".csv", ".parquet", ".jsonl") else path.name) or data
