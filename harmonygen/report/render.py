"""Render a run or dataset as one self-contained HTML file: pictures, style and script inside, no request made."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from harmonygen.errors import UsageError
from harmonygen.records import ImageSource
from harmonygen.report import pages, plots
from harmonygen.report.dropped import WHY
from harmonygen.report.gather import gather
from harmonygen.report.rows import Gathered, PairRow, Tile, choose_rows, fitting, matching
from harmonygen.report.settings import MAX_CANDIDATES
from harmonygen.report.thumbnails import SmallMask, Thumbnail, each, small_mask, thumbnail
from harmonygen.runs.job_folder import PLAN
from harmonygen.runs.tables import VETO
from harmonygen.storage.shards import is_abandoned, make_folder, remove_strays, storage_errors, strays, write_bytes

FILENAME = "report.html"
SMALL, LARGE = 128, 384  # heights of thumbnails, pixels
LARGE_UP_TO = 500  # candidates; a page of large thumbnails stays near 10 MB
_MARK, _HEAD = b'<meta name="generator" content="harmonygen">', 4096
"""What every page bears among its first bytes."""
EAGER_ROWS = 24  # pairs whose pictures show without JavaScript and on paper

GATES = {
    "clipped": "too much of the foreground went to 0 or 255",
    "fmse-low": "the foreground hardly changed",
    "fmse-high": "the foreground changed beyond belief",
    "structure": "the foreground's structure was lost",
    "drift": "the background changed",
    "score-low": "the judge's score is too low",
    "duplicate": "the same pixels as an earlier candidate",
    "no-score": "the judge's score is no probability",
}
"""What each gate refuses, in words; see :func:`gate_words`."""

Progress = Callable[[int, int], None]


def gate_words(gate: str) -> str:
    """Return what a gate refuses, in words; its name if it has none.

    >>> gate_words("drift"), gate_words("judge:strict"), gate_words("mine")
    ('the background changed', 'the judge strict gives it too low a score', 'mine')
    """
    if gate.startswith(VETO):
        return f"the judge {gate.removeprefix(VETO)} gives it too low a score"
    return GATES.get(gate, gate)


@dataclass(frozen=True, slots=True)
class ReportResult:
    """A written report: its path and size, and how much of the folder it shows.

    ``unreadable`` counts photos, masks and candidates whose picture could not be read; the page says so in their place.
    ``changed`` are the pairs whose photo or mask is no longer what the run was made from; the page says so on top.
    """

    path: Path
    pairs: int
    pairs_shown: int
    candidates: int
    candidates_shown: int
    unreadable: int
    bytes: int
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RowPictures:
    """Thumbnails of the shown rows by source; what is not in it could not be read."""

    photos: Mapping[ImageSource, Thumbnail]
    masks: Mapping[ImageSource, SmallMask]


def write_report(
    run: Path,
    out: Path | None = None,
    *,
    pairs: Sequence[str] = (),
    max_candidates: int = MAX_CANDIDATES,
    progress: Progress | None = None,
) -> ReportResult:
    """Write the HTML report of a run folder or a built dataset; equal input gives an equal file.

    Args:
        run: the folder; an unfinished run is reported as far as it got.
        out: the HTML file; by default ``report.html`` in the folder.
        pairs: show only pairs whose id fits one of these patterns (``*`` and ``?``); plots still count all.
        max_candidates: over this many, show pairs spread evenly over the ranking by best score.
        progress: called with pictures done and in all.

    Raises:
        UsageError: the folder is neither a run nor a dataset, or ``out`` is a file that is not a page of harmonygen.
        StorageError: a file cannot be read or the report cannot be written.
    """
    refuse_foreign_page(out)
    gathered = gather(run)
    among = matching(gathered.rows, pairs)
    shown = choose_rows(gathered.rows, fitting(gathered.rows, among, max_candidates), among)
    rows = [gathered.rows[index] for index in shown]
    pictures, unreadable = make_pictures(rows, progress)
    return written(out or run / FILENAME, render(gathered, rows, pictures, len(among)), gathered, rows, unreadable)


def refuse_foreign_page(path: Path | None) -> None:
    """Raise UsageError if a file is named for a page that is there already and is none of harmonygen's."""
    if path is not None and path.exists():
        with storage_errors(f"'{path}'"):
            head = path.open("rb").read(_HEAD) if path.is_file() else b""
        if _MARK not in head:
            raise UsageError(f"'{path}' exists already and is not a page of harmonygen: choose another --out")


def put_page(path: Path, content: bytes) -> None:
    """Write a page, and remove what a killed command left half written of it."""
    make_folder(path.parent)
    left = strays(path.parent, {path.name}) if (path.parent / PLAN).is_file() else []
    remove_strays(stray for stray in left if is_abandoned(stray))
    write_bytes(path, content)


def written(path: Path, html: str, gathered: Gathered, rows: Sequence[PairRow], unreadable: int) -> ReportResult:
    """Write a page of ``rows``, some of what was gathered, and say what it shows."""
    content = html.encode()
    put_page(path, content)
    tiles = sum(len(row.tiles) for row in rows)
    pairs, changed = len(gathered.rows), tuple(gathered.changed)
    return ReportResult(path, pairs, len(rows), len(gathered.tiles), tiles, unreadable, len(content), changed)


def make_pictures(rows: Sequence[PairRow], progress: Progress | None = None) -> tuple[RowPictures, int]:
    """Make the thumbnails of rows, and count the sources that could not be read."""
    photos = [row.real for row in rows] + [t.picture for row in rows for t in row.tiles if t.picture is not None]
    masks = [row.mask for row in rows]
    total, finished = len(set(photos)) + len(set(masks)), 0
    height = LARGE if len(photos) - len(rows) <= LARGE_UP_TO else SMALL

    def done(count: int) -> None:
        nonlocal finished
        finished += count
        if progress is not None:
            progress(finished, total)

    pictures = RowPictures(each(photos, thumbnail, height, done), each(masks, small_mask, height, done))
    return pictures, total - len(pictures.photos) - len(pictures.masks)


def render(gathered: Gathered, rows: Sequence[PairRow], pictures: RowPictures, matched: int) -> str:
    """Return the page's HTML. All text is escaped; only this package's own SVG, style and script are not."""
    return pages.page(
        "report.html.j2",
        page=gathered,
        style=pages.asset("report.css"),
        script=pages.asset("report.js"),
        figures=figures(gathered),
        histograms=_histograms(gathered),
        deciders=gathered.deciders().most_common(),
        curve=_curve(gathered),
        tally=gathered.tally().most_common(),
        gate_words=gate_words,
        why=WHY,
        left_out_sheet=_left_out_sheet(gathered),
        refused=sorted({gate for row in rows for gate in row.gates}),
        subsets=sorted({row.subset for row in rows if row.subset}),
        rows=[_row_view(row, pictures) for row in rows],
        matched=matched,
        eager_rows=EAGER_ROWS,
    )


def figures(gathered: Gathered) -> list[tuple[str, str]]:
    """Return the headline figures as (value, what it counts)."""
    tiles = gathered.tiles
    if gathered.kind == "dataset":
        return [(f"{len(gathered.rows):,}", "pairs"), (f"{len(tiles):,}", "composites")]
    rate = [] if gathered.rate is None else [(f"{gathered.rate:,.3g}", "candidates/s")]
    return [
        (f"{len(gathered.rows):,}", "pairs"),
        (f"{len(tiles):,}", "candidates made"),
        (f"{sum(tile.picture is not None for tile in tiles):,}", "kept"),
        (f"{sum(tile.selected for tile in tiles):,}", "selected"),
        (f"{sum(bool(tile.gate) and not tile.usable for tile in tiles):,}", "refused by a gate"),
        (f"{len(gathered.quarantine):,}", "quarantined"),
        *([(f"{gathered.left_out.total:,}", "photos left out")] if gathered.left_out else []),
        *rate,
    ]


def _histograms(gathered: Gathered) -> list[tuple[str, Markup]]:
    """Return the judge's name and its histogram, "" for the score itself, which comes first."""
    scores = {"": [(tile, tile.p_composite) for tile in gathered.tiles]}
    for place, name in enumerate(gathered.judges):
        scores[name] = [(tile, tile.judged[place]) for tile in gathered.tiles if tile.judged]
    return [(name, drawn) for name, given in scores.items() if (drawn := _histogram(given, name))]


def _histogram(scores: Sequence[tuple[Tile, float | None]], judge: str) -> Markup | None:
    known = [(_layer(tile), score) for tile, score in scores if score is not None]
    if not known:
        return None
    layers = [(name, [score for layer, score in known if layer == name]) for name in ("selected", "passed", "gated")]
    words = f"Histogram of the scores of {len(known):,} candidates" + (f" by the judge {judge}" if judge else "")
    return Markup(plots.histogram(layers, words, f"p_{judge or 'composite'}"))


def _layer(tile: Tile) -> str:
    return "selected" if tile.selected else "passed" if tile.usable else "gated"


def _curve(gathered: Gathered) -> Markup | None:
    ratios = [row.fg_ratio for row in gathered.rows if row.fg_ratio is not None]
    return Markup(plots.curve(ratios, f"Foreground ratios of {len(ratios):,} pairs")) if ratios else None


def _left_out_sheet(gathered: Gathered) -> str:
    left = gathered.left_out
    return data_url(Thumbnail(left.sheet, left.width, left.height)) if left and left.sheet else ""


def _row_view(row: PairRow, pictures: RowPictures) -> dict[str, Any]:
    real, mask = pictures.photos.get(row.real), pictures.masks.get(row.mask)
    known = next((seen for seen in _seen(row, pictures)), None)
    ratio = row.fg_ratio if row.fg_ratio is not None else mask.fg_ratio if mask else None
    return {
        "row": row,
        "ratio": ratio,
        "real": data_url(real),
        "mask": mask,
        "aspect": round(known.width / known.height, 4) if known else 1.0,
        "height": known.height if known else 0,
        "tiles": [(tile, data_url(pictures.photos.get(tile.picture)) if tile.picture else "") for tile in row.ranked()],
        "rank": {tile.k: rank for rank, tile in enumerate(row.tiles)},
    }


def _seen(row: PairRow, pictures: RowPictures) -> Iterator[Thumbnail]:
    sources = [row.real, *(tile.picture for tile in row.tiles if tile.picture is not None)]
    return (pictures.photos[source] for source in sources if source in pictures.photos)


def data_url(picture: Thumbnail | None) -> str:
    """Return a thumbnail as a data URL, "" if there is none."""
    return "" if picture is None else f"data:image/webp;base64,{base64.b64encode(picture.webp).decode()}"
