"""Leave out pairs whose files are links out of the data's folder: foreign data could point at anything on this disk.

Links that stay inside are followed like files. Trees that harmonygen wrote (``augment``, ``export``, ``gain``) may be
made of links to photos elsewhere, and stay readable.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from harmonygen.data.files import Inside, entries, home_of, is_file, leads_out, subfolders
from harmonygen.errors import InputError, UsageError, listed
from harmonygen.records import FileSource, Pair, PairSet, PassedOver
from harmonygen.storage.bounded import refuse_outside

_OURS = ("manifest.parquet", "summary.json", ".harmonygen-sample.json")
"""Files at the top of an iHarmony4 tree that harmonygen wrote."""
_TABLES = (".parquet", ".csv", ".tsv", ".json", ".jsonl", ".txt", ".gz", ".xml")
"""Files that name pictures, or hold them."""


class _Links:
    """Tells which files below a folder are reached by links that lead out of it; each folder is listed once."""

    def __init__(self, inside: Inside) -> None:
        self._inside, self._top = inside, str(inside.root)
        self._folders: dict[str, frozenset[str] | None] = {}

    def lead_out(self, path: str) -> bool:
        """Return whether a path that is spelled below the folder leads out of it by a link."""
        folder, _, name = path.rpartition(os.sep)
        if folder not in self._folders:
            self._folders[folder] = self._links_in(folder)
        links = self._folders[folder]
        return links is None or (name in links and not self._inside.holds(path))

    def _links_in(self, folder: str) -> frozenset[str] | None:
        """Return the links in a folder; None if the folder is reached by one that leads out."""
        if not self._is_below(folder) or not os.path.isdir(folder):
            return frozenset()
        if not self._inside.holds(folder):
            return None
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_symlink())

    def _is_below(self, folder: str) -> bool:
        """Tell by the spelling; a table may name files elsewhere (:class:`harmonygen.records.FileSource`)."""
        whole, top = os.path.abspath(folder), os.path.abspath(self._top)
        return whole == top or whole.startswith(top.rstrip(os.sep) + os.sep)


def keep_inside(found: PairSet, anywhere: bool = False) -> PairSet:
    """Pass over the pairs whose photo or mask is a link that leads out of the data's folder (reason ``link``)."""
    root = _folder_of(found)
    if anywhere or (found.layout == "iharmony4" and any((root / name).is_file() for name in _OURS)):
        return found
    links = _Links(Inside(root))
    out = {pair.pair_id: path for pair in found if (path := _out(pair, links, root)) is not None}
    if not out:
        return found
    rows: tuple[PassedOver, ...] = tuple(leads_out(Path(path), root) for path in dict.fromkeys(out.values()))
    kept = tuple(pair for pair in found if pair.pair_id not in out)
    told = f"{len(out)} pairs are left out whose files are links out of '{root}' ({listed(list(out))})"
    return replace(found, pairs=kept, passed_over=found.passed_over + rows, notes=(*found.notes, told))


def check_data(data: Path, anywhere: bool = False) -> None:
    """Refuse what must not be opened: a device or FIFO, and a table, list or Parquet file that links out of a folder.

    Raises:
        UsageError: the data are neither a file nor a folder, or such a link is there and links may not lead out.
    """
    if data.exists() and not data.is_file() and not data.is_dir():
        raise UsageError(f"'{data}' is neither a file nor a folder (a device or a FIFO?): name the data themselves")
    if anywhere or not data.is_dir():
        return
    for folder in (data, *subfolders(data)):
        for entry in entries(folder):
            if entry.is_symlink() and is_file(entry) and entry.name.lower().endswith(_TABLES):
                _refuse_linked(folder / entry.name, data)


def _refuse_linked(path: Path, data: Path) -> None:
    try:
        refuse_outside(path, data, str(path))
    except InputError as error:
        raise UsageError(str(error)) from error


def _folder_of(found: PairSet) -> Path:
    if found.layout == "coco" and not found.root.is_dir():
        return home_of(found.root)
    return found.root if found.root.is_dir() else found.root.parent


def _out(pair: Pair, links: _Links, root: Path) -> str | None:
    sources = (pair.real, pair.mask)
    files = [str(source.path) for source in sources if isinstance(source, FileSource) and not source.url]
    files += [f"{root}{os.sep}{name}" for name in pair.originals]
    return next((path for path in files if links.lead_out(path)), None)
