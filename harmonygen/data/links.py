"""Leave out pairs whose files are links out of the data's folder: foreign data could point at anything on this disk.

Links that stay inside are followed like files. Trees that harmonygen wrote (``augment``, ``export``, ``gain``) may be
made of links to photos elsewhere, and stay readable.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from harmonygen.data.files import Inside, leads_out
from harmonygen.errors import listed
from harmonygen.records import FileSource, Pair, PairSet, PassedOver

_OURS = ("manifest.parquet", "summary.json", ".harmonygen-sample.json")
"""Files at the top of an iHarmony4 tree that harmonygen wrote."""


class _Links:
    """Tells which paths below a folder lead out of it; each folder on the way is asked about once."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside
        self._folders: dict[str, bool] = {}
        self._top = os.path.abspath(inside.root) + os.sep

    def leads_out(self, path: Path) -> bool:
        """Tell whether a path that is spelled below the folder leads out of it by a link."""
        whole = os.path.abspath(path)
        if not whole.startswith(self._top):
            return False
        folder = os.path.dirname(whole)
        if folder not in self._folders:
            self._folders[folder] = not self._inside.holds(folder)
        return self._folders[folder] or (os.path.islink(whole) and not self._inside.holds(whole))


def keep_inside(found: PairSet, anywhere: bool = False) -> PairSet:
    """Pass over the pairs whose photo or mask is a link that leads out of the data's folder (reason ``link``)."""
    root = _folder_of(found)
    if anywhere or (found.layout == "iharmony4" and any((root / name).is_file() for name in _OURS)):
        return found
    links = _Links(Inside(root))
    out = {pair.pair_id: path for pair in found if (path := _out(pair, links, root)) is not None}
    if not out:
        return found
    rows: tuple[PassedOver, ...] = tuple(leads_out(path, root) for path in dict.fromkeys(out.values()))
    kept = tuple(pair for pair in found if pair.pair_id not in out)
    told = f"{len(out)} pairs are left out whose files are links out of '{root}' ({listed(list(out))})"
    return replace(found, pairs=kept, passed_over=found.passed_over + rows, notes=(*found.notes, told))


def _folder_of(found: PairSet) -> Path:
    folder = found.root if found.root.is_dir() else found.root.parent
    return folder.parent if found.layout == "coco" and folder.name == "annotations" else folder


def _out(pair: Pair, links: _Links, root: Path) -> Path | None:
    files = [source.path for source in (pair.real, pair.mask) if isinstance(source, FileSource) and not source.url]
    files += [root / name for name in pair.originals]
    return next((path for path in files if links.leads_out(path)), None)
