"""Names of composites: ``<Subset>/composite_images/<id>_<mask>_<variant>.jpg`` (REFERENCE section 1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from harmonygen.data.files import bad
from harmonygen.data.ids import safe_id
from harmonygen.errors import InputError, UsageError
from harmonygen.records import Quarantined

COMPOSITES, MASKS, REALS = "composite_images", "masks", "real_images"
_NAME = re.compile(r"(?P<real>.+)_(?P<mask>[^_/]+)_(?P<variant>[^_/]+)(?P<suffix>\.[A-Za-z0-9]+)")
_LEADS_OUT = re.compile(r"[\\\0]|^/|^[A-Za-z]:|(?:^|/)\.\.(?:/|$)")


@dataclass(frozen=True, slots=True)
class CompositeName:
    """A composite's path taken apart: ``<subset>/composite_images/<real>_<mask>_<variant><suffix>``.

    >>> name = CompositeName.parse("Hday2night/composite_images/d1048-20120628-200951_1_3.jpg")
    >>> name.real, name.mask, name.variant, name.mask_name
    ('d1048-20120628-200951', '1', '3', 'Hday2night/masks/d1048-20120628-200951_1.png')
    """

    subset: str
    real: str
    mask: str
    variant: str
    suffix: str = ".jpg"

    @classmethod
    def parse(cls, line: str, subset: str = "") -> CompositeName:
        """Take apart a list's line: ``<Subset>/composite_images/<name>``, or less of it with ``subset`` given.

        Raises:
            InputError: the name is not ``<id>_<mask>_<variant>.<suffix>`` or lies in another folder.
            UsageError: the path leads out of its folder.
        """
        _refuse_paths([line])
        return cls._split(line, subset)

    @classmethod
    def _split(cls, line: str, subset: str) -> CompositeName:
        folder, _, name = line.rpartition("/")
        found = _NAME.fullmatch(name)
        if found is None:
            raise InputError(f"'{line}' is not a composite: <id>_<mask>_<variant>.jpg is needed: rename or drop it")
        return cls(_subset_of(folder, subset, line), found["real"], found["mask"], found["variant"], found["suffix"])

    @property
    def composite_name(self) -> str:
        """The composite's path relative to the dataset's root."""
        return f"{self._in(COMPOSITES)}{self.real}_{self.mask}_{self.variant}{self.suffix}"

    @property
    def mask_name(self) -> str:
        """The mask's path relative to the root, in the usual format."""
        return f"{self._in(MASKS)}{self.mask_stem}.png"

    @property
    def real_name(self) -> str:
        """The photo's path relative to the root, in the usual format."""
        return f"{self._in(REALS)}{self.real}.jpg"

    @property
    def mask_stem(self) -> str:
        """The mask's file name without its suffix."""
        return f"{self.real}_{self.mask}"

    @property
    def pair_id(self) -> str:
        """``<Subset>/<id>_<mask>``, cleaned as file names are."""
        return f"{self.real_id}_{safe_id(self.mask)}"

    @property
    def real_id(self) -> str:
        """``<Subset>/<id>``, cleaned as file names are."""
        return f"{self._prefix}{safe_id(self.real)}"

    @property
    def _prefix(self) -> str:
        return f"{self.subset}/" if self.subset else ""

    def _in(self, folder: str) -> str:
        return f"{self._prefix}{folder}/"


def _subset_of(folder: str, subset: str, line: str) -> str:
    if folder in ("", COMPOSITES):
        return subset
    found, _, last = folder.rpartition("/")
    if last != COMPOSITES or "/" in found:
        raise InputError(
            f"'{line}' is not <Subset>/{COMPOSITES}/<name>: write paths relative to the dataset's root, or drop it"
        )
    return found


def _refuse_paths(lines: Iterable[str]) -> None:
    faulty = [line for line in lines if _LEADS_OUT.search(line) or _is_deep(line)]
    if faulty:
        named = ", ".join(repr(line[:120]) for line in faulty[:5])
        raise UsageError(
            f"{len(faulty)} path(s) leave their folder, or have an id with '/', '\\', '..' or NUL: {named}: "
            f"write <Subset>/{COMPOSITES}/<id>_<mask>_<variant>.jpg"
        )


def _is_deep(line: str) -> bool:
    """Return whether a name has folders of its own, which is an id with a slash."""
    return "/" in line.partition(f"{COMPOSITES}/")[2]


def parse_lines(lines: Iterable[str], subset: str = "") -> tuple[list[CompositeName], list[Quarantined]]:
    """Parse a list's lines; those that name no composite come back as quarantine rows.

    Raises:
        UsageError: paths lead out of their folder; the first are named.
    """
    lines = list(lines)
    _refuse_paths(lines)
    names, faults = [], []
    for line in lines:
        try:
            names.append(CompositeName._split(line, subset))
        except InputError as error:
            faults.append(bad(line, str(error)))
    return names, faults
