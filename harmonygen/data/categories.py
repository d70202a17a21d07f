"""The categories that a segmentation data set names, and the choice of classes among them.

iMaterialist-2020's ids 0 to 12 are its garments (REFERENCE section 1). Where the data set itself says which
categories are garments, by their supercategory, that is what counts.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmonygen.errors import StorageError, UsageError, listed

LABELS = "label_descriptions.json"
ALL, GARMENTS = "all", "garments"
GARMENT_IDS = frozenset(range(13))
GARMENT_GROUPS = frozenset({"garment", "garments", "upperbody", "lowerbody", "wholebody"})
"""Supercategories that are garments; the last three are the contest's and Fashionpedia's."""


@dataclass(frozen=True, slots=True)
class Categories:
    """Categories by id, each with its name and supercategory; none where the data set does not describe them."""

    where: str
    by_id: Mapping[int, tuple[str, str]]

    def fault(self, class_id: int) -> str:
        """Say why a class id is not one of these, or return ""."""
        if not self.by_id or class_id in self.by_id:
            return ""
        return f"class {class_id} is not in '{self.where}' ({len(self.by_id)} categories)"

    def choose(self, classes: str) -> frozenset[int] | None:
        """Return the ids that ``classes`` stands for; None for all.

        Args:
            classes: ``all``; ``garments``; or ids, names and supercategories, separated by commas.

        Raises:
            UsageError: an id or name that is missing, or no category is a garment.

        >>> known = Categories("x", {0: ("shirt, blouse", "upperbody"), 23: ("shoe", "legs and feet")})
        >>> sorted(known.choose("garments")), sorted(known.choose("blouse, 23")), known.choose("all")
        ([0], [0, 23], None)
        """
        wanted = [part.strip() for part in classes.casefold().split(",") if part.strip()]
        if not wanted:
            raise UsageError(f"classes is {classes!r}: give {ALL}, {GARMENTS}, or ids or names separated by commas")
        if wanted == [ALL]:
            return None
        if wanted == [GARMENTS]:
            return self._garments()
        return frozenset().union(*map(self._ids, wanted))

    def _garments(self) -> frozenset[int]:
        groups = {group for _, group in self.by_id.values()} - {""}
        if not groups:
            return GARMENT_IDS
        found = frozenset(key for key, (_, group) in self.by_id.items() if group in GARMENT_GROUPS)
        if not found:
            raise UsageError(
                f"no category of '{self.where}' is a garment (supercategories {', '.join(sorted(groups))}): "
                "give their ids or names"
            )
        return found

    def _ids(self, wanted: str) -> frozenset[int]:
        if wanted.isascii() and wanted.isdigit():
            why = self.fault(int(wanted))
            if why:
                raise UsageError(f"{why}: its ids are {_spans(self.by_id)}")
            return frozenset({int(wanted)})
        found = frozenset(key for key, (name, group) in self.by_id.items() if wanted in (name, group, *_words(name)))
        if not found:
            names = [word for name, group in self.by_id.values() for word in (*_words(name), group)]
            near = difflib.get_close_matches(wanted, names, 1)
            known = listed([name for name, _ in self.by_id.values() if name], "classes") or "none that are named"
            hint = f"did you mean {near[0]!r}?" if near else f"its classes are {known}"
            raise UsageError(f"class {wanted!r} is not in '{self.where}': {hint}")
        return found


def _words(name: str) -> list[str]:
    """Return the alternatives of a name such as ``shirt, blouse``."""
    return [part.strip() for part in name.split(",")]


def _spans(ids: Iterable[int]) -> str:
    """Return ids as spans.

    >>> _spans([0, 1, 2, 5])
    '0-2, 5'
    """
    spans: list[list[int]] = []
    for key in sorted(ids):
        if spans and key == spans[-1][1] + 1:
            spans[-1][1] = key
        else:
            spans.append([key, key])
    return ", ".join(f"{first}-{last}" if first < last else f"{first}" for first, last in spans)


def read_labels(folder: Path) -> Categories:
    """Read ``label_descriptions.json`` of a folder; without the file, no category is described.

    Raises:
        UsageError: the file is not JSON with ``categories`` that have ids.
        StorageError: it cannot be read.
    """
    path = folder / LABELS
    if not path.is_file():
        return Categories(LABELS, {})
    try:
        return to_categories(json.loads(path.read_bytes())["categories"], str(path))
    except OSError as error:
        raise StorageError(f"cannot read '{path}': {error.strerror or error}: check the path") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"'{path}' does not describe labels ({type(error).__name__} {error}): it needs categories, each with id, "
            "name and supercategory; fix it or take it away"
        ) from error


def to_categories(described: Iterable[Mapping[str, Any]], where: str) -> Categories:
    """Return categories from their descriptions: ``id``, ``name``, ``supercategory``."""
    names = {
        int(each["id"]): (str(each.get("name") or "").casefold(), str(each.get("supercategory") or "").casefold())
        for each in described
    }
    return Categories(where, names)
