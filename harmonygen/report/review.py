"""The review page: accept and reject candidates with keys, decisions saved in the browser and exported as a file.

One self-contained HTML file that makes no request. The pictures lie in blocks of text behind the page's own script and
are decoded when they are looked at, so that the page answers before it is loaded whole (docs/review.md).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

import harmonygen
from harmonygen.errors import UsageError
from harmonygen.records import ImageSource
from harmonygen.report import pages
from harmonygen.report.gather import gather
from harmonygen.report.render import Progress, ReportResult, RowPictures, gate_words, refuse_foreign_page, written
from harmonygen.report.rows import Gathered, PairRow, Tile, choose_rows, matching
from harmonygen.report.settings import MAX_CANDIDATES
from harmonygen.report.thumbnails import Thumbnail, each, small_mask, thumbnail
from harmonygen.runs.read import look_inside

FILENAME = "review.html"
HEIGHTS = ((500, 384), (2_500, 256))  # up to so many pictures, so many pixels high; more are SMALL
SMALL = 128
BLOCK = 64  # pictures and outlines in a block of text

_SCRIPTS = ("data.js", "store.js", "list.js", "stage.js", "page.js")


@dataclass(frozen=True, slots=True)
class Identity:
    """What ties decisions to a run: its folder's name, its plan and how many candidates a pair selects."""

    folder: str
    plan_digest: str
    count: int
    notes: tuple[str, ...] = ()


def write_review(
    run: Path,
    out: Path | None = None,
    *,
    pairs: Sequence[str] = (),
    max_candidates: int = MAX_CANDIDATES,
    progress: Progress | None = None,
) -> ReportResult:
    """Write the review page of a run, or of the run inside a build; equal input gives an equal file.

    Args:
        run: the folder; of an unfinished run, what is there.
        out: the HTML file; by default ``review.html`` in the folder.
        pairs: only pairs whose id fits one of these patterns (``*`` and ``?``).
        max_candidates: over this many, each pair has only its first in line (the selected one, then the next best);
            over this many pairs, they are spread evenly over the ranking by best score.
        progress: called with pictures done and in all.

    Raises:
        UsageError: the folder is not a run, or ``out`` is a file that is not a page of harmonygen.
        StorageError: a file cannot be read or the page cannot be written.
    """
    refuse_foreign_page(out)
    gathered = gather(run)
    if gathered.kind != "run":
        raise UsageError(
            f"'{run}' is a built dataset: a review decides what a run selects, give the run folder of synthesize "
            "(of build-human-harmony, the folder that was its --out)"
        )
    among = [row for index in matching(gathered.rows, pairs) if (row := in_line(gathered.rows[index])).tiles]
    rows = cut(among, max_candidates)
    pictures, unreadable = make_pictures(rows, progress)
    html = render(gathered, rows, pictures, identify(run))
    return written(out or run / FILENAME, html, gathered, rows, unreadable)


def identify(folder: Path) -> Identity:
    """Read what decisions on a run, or on the run inside a build, must name."""
    run = look_inside(folder)
    keep = run.plan["settings"]["keep"]
    notes = (f"This run kept '{keep}' of its candidates, so select cannot select again: synthesize with --keep all.",)
    count = int(run.selection["count"])
    return Identity(folder.resolve().name, run.plan_digest, count, notes if keep != "all" else ())


def in_line(row: PairRow) -> PairRow:
    """Return a pair with the candidates whose pictures were kept, in the order in which they would be selected.

    First what a reviewer rejected (it came first once), then the selected, the others by the rule's rank, and last
    what a gate refused.
    """
    kept = [tile for tile in row.tiles if tile.picture is not None]
    return replace(row, tiles=tuple(sorted(kept, key=_place)))


def _place(tile: Tile) -> tuple[int, int, bool, float, int]:
    group = 0 if tile.review == "reject" else 1 if tile.selected else 2 if tile.usable else 3
    rank = tile.reason.rpartition(" rank ")[2]
    score = tile.p_composite
    return group, int(rank) if rank.isdecimal() else 0, score is None, -(score or 0.0), tile.k


def cut(rows: Sequence[PairRow], max_candidates: int) -> list[PairRow]:
    """Keep at most about ``max_candidates``: the first in line of each pair, and of too many pairs a spread."""
    if sum(len(row.tiles) for row in rows) <= max_candidates:
        return list(rows)
    few = [rows[index] for index in choose_rows(rows, max_candidates)]
    return [replace(row, tiles=row.tiles[: max(1, max_candidates // len(few))]) for row in few]


def make_pictures(rows: Sequence[PairRow], progress: Progress | None = None) -> tuple[RowPictures, int]:
    """Make the pictures of rows, and count those that could not be read.

    The photos and the first of each pair, which are looked at large, may be larger than the others.
    """
    leads = [row.real for row in rows] + [_source(row.tiles[0]) for row in rows]
    others = [_source(tile) for row in rows for tile in row.tiles[1:]]
    masks = [row.mask for row in rows]
    total, finished = len(set(leads)) + len(set(others)) + len(set(masks)), 0

    def done(count: int) -> None:
        nonlocal finished
        finished += count
        if progress is not None:
            progress(finished, total)

    lead, every = _height(len(leads) // 2), _height(len(leads) // 2 + len(others))
    photos = each(leads, thumbnail, lead, done) | each(others, thumbnail, every, done)
    pictures = RowPictures(photos, each(masks, small_mask, min(lead, 256), done))
    return pictures, total - len(pictures.photos) - len(pictures.masks)


def _source(tile: Tile) -> ImageSource:
    assert tile.picture is not None, "in_line leaves out what was not kept"
    return tile.picture


def _height(count: int) -> int:
    return next((height for limit, height in HEIGHTS if count <= limit), SMALL)


def render(gathered: Gathered, rows: Sequence[PairRow], pictures: RowPictures, identity: Identity) -> str:
    """Return the page's HTML. All text is escaped; only this package's own style and scripts are not."""
    tiles = sum(len(row.tiles) for row in rows)
    whole = tiles == len(gathered.tiles)
    return pages.page(
        "review/review.html.j2",
        name=gathered.name,
        notes=(*gathered.notes, *identity.notes),
        shown=None if whole else (tiles, len(gathered.tiles), len(rows), len(gathered.rows)),
        style=pages.asset("review/common.css") + pages.asset("review/review.css"),
        scripts=[pages.asset(f"review/{name}") for name in _SCRIPTS],
        gates=_gates(rows),
        judges=gathered.judges,
        deciders=sorted({tile.decided_by for row in rows for tile in row.tiles if tile.decided_by}),
        run=_script_json({**_facts(rows, pictures, identity, whole), "judges": gathered.judges}),
        blocks=[Markup(block) for block in _blocks(rows, pictures)],
    )


def _gates(rows: Sequence[PairRow]) -> list[str]:
    return sorted({tile.gate for row in rows for tile in row.tiles if tile.gate})


def _script_json(value: Any) -> Markup:
    """Write JSON that cannot end the script element it stands in."""
    return Markup(json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"))


def _facts(rows: Sequence[PairRow], pictures: RowPictures, identity: Identity, whole: bool) -> Mapping[str, Any]:
    entry = 0
    pairs = []
    for row in rows:
        pairs.append(_pair_facts(row, pictures, entry))
        entry += 2 + len(row.tiles)
    return {
        "version": harmonygen.__version__,
        "folder": identity.folder,
        "digest": identity.plan_digest,
        "count": identity.count,
        "whole": whole,
        "block": BLOCK,
        "gates": {gate: gate_words(gate) for gate in _gates(rows)},
        "pairs": pairs,
    }


def _pair_facts(row: PairRow, pictures: RowPictures, entry: int) -> list[Any]:
    """Return a pair for the script: see ``data.js``; ``entry`` is the number of its photo's entry."""
    seen = [row.real, *map(_source, row.tiles)]
    known = next((pictures.photos[source] for source in seen if source in pictures.photos), None)
    mask = pictures.masks.get(row.mask)
    ratio = row.fg_ratio if row.fg_ratio is not None else mask.fg_ratio if mask else None
    box = f"0 0 {mask.width} {mask.height}" if mask else ""
    tiles = [_tile_facts(tile) for tile in row.tiles]
    aspect = round(known.width / known.height, 4) if known else 1.0
    return [row.pair_id, row.subset, aspect, _rounded(ratio), row.width, row.height, box, entry, tiles]


def _tile_facts(tile: Tile) -> list[Any]:
    facts = [tile.k, _rounded(tile.p_composite), tile.gate, int(tile.selected), tile.review, _rounded(tile.fmse, 0)]
    return [*facts, [_rounded(score) for score in tile.judged], tile.decided_by] if tile.judged else facts


def _rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)


def _blocks(rows: Sequence[PairRow], pictures: RowPictures) -> Iterator[str]:
    """Yield blocks of :data:`BLOCK` lines: of each pair its photo, its mask's outline, then its candidates."""
    lines: list[str] = []
    for row in rows:
        mask = pictures.masks.get(row.mask)
        lines += [_base64(pictures.photos.get(row.real)), mask.path if mask else ""]
        lines += [_base64(pictures.photos.get(_source(tile))) for tile in row.tiles]
        while len(lines) >= BLOCK:
            yield "\n".join(lines[:BLOCK])
            lines = lines[BLOCK:]
    if lines:
        yield "\n".join(lines)


def _base64(picture: Thumbnail | None) -> str:
    return "" if picture is None else base64.b64encode(picture.webp).decode()
