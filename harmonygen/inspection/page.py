"""The page of an inspection: what was found, and mask outlines over photos, odd ones first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from harmonygen.errors import InputError, listed
from harmonygen.inspection.audit import Audit, spread
from harmonygen.inspection.check import Checked, Looked
from harmonygen.inspection.headers import threads_here
from harmonygen.inspection.told import Row, mask_kinds, rows
from harmonygen.pictures.mask_reading import MaskReading
from harmonygen.records import Pair
from harmonygen.report import pages, plots
from harmonygen.report.render import data_url, put_page
from harmonygen.report.thumbnails import SmallMask, Thumbnail, small_mask_of, thumbnail_of

HEIGHT = 224  # pixels of a photo on the page
_ODD_RATIOS = (0.01, 0.9)  # a foreground smaller or larger than this is looked at first
_MOST_LISTED = 200


@dataclass(frozen=True, slots=True)
class ShownPair:
    """A pair on the page: its photo with the mask's outline, what it is and what is odd about it."""

    name: str
    facts: str
    odd: tuple[str, ...]
    fault: str
    photo: Thumbnail | None
    mask: SmallMask | None

    @property
    def url(self) -> str:
        """The photo as a data URL."""
        return data_url(self.photo)

    @property
    def aspect(self) -> float:
        """Width over height."""
        return round(self.photo.width / self.photo.height, 4) if self.photo else 1.0


def write_page(path: Path, seen: Audit, facts: dict[str, Any], shown: int) -> None:
    """Write the page of an audit, with at most ``shown`` pairs."""
    put_page(path, render_page(seen, facts, shown).encode())


def render_page(seen: Audit, facts: dict[str, Any], shown: int) -> str:
    """Return the page's HTML."""
    ratios = [each.ratio for each in seen.checked if each.ratio is not None]
    label = f"Histogram of the foreground ratios of {len(ratios):,} pairs"
    return pages.page(
        "inspect.html.j2",
        style=pages.asset("report.css"),
        title=facts["data"],
        facts=facts,
        figures=_figures(facts),
        rows=[row for row in rows(facts) if row[0] not in ("cannot be used", "passed over", "left out", "note")],
        histogram=Markup(plots.histogram([("passed", ratios)], label, "foreground ratio")) if ratios else None,
        tallies=_tallies(seen, facts),
        lists=_lists(seen),
        shots=make_shots(seen, shown),
    )


def _figures(facts: dict[str, Any]) -> list[Row]:
    counts = {"pairs": facts["pairs"], "photos": facts["photos"], "cannot be used": facts["bad"]["count"]}
    for name in ("passed_over", "left_out"):
        counts[name.replace("_", " ")] = sum(held["count"] for held in facts[name].values())
    return [(f"{count:,}", name) for name, count in counts.items()]


def _tallies(seen: Audit, facts: dict[str, Any]) -> list[tuple[str, list[tuple[str, int]]]]:
    """Return (heading, counts) of what is worth a bar each."""
    found = [
        ("How masks were understood", mask_kinds(seen.checked).most_common()),
        *((f"Colour {name}", list(facts[name].items())) for name in ("modes", "profiles") if len(facts[name]) > 1),
    ]
    return [(heading, counts) for heading, counts in found if counts]


def _lists(seen: Audit) -> list[tuple[str, int, list[tuple[str, str, str]]]]:
    """Return (heading, how many, the first as name, kind and message) of what is not used."""
    found = seen.found
    lists = {
        "Cannot be used": [(row.id, row.stage, row.message) for row in seen.bad],
        "Passed over": [(row.name, row.reason, row.message) for row in found.passed_over],
        "Left out": [(row.id, row.error, row.message) for row in found.left_out],
    }
    return [(heading, len(listed), listed[:_MOST_LISTED]) for heading, listed in lists.items() if listed]


def make_shots(seen: Audit, shown: int) -> list[ShownPair]:
    """Return the pairs to show, those with a fault first, then those with most oddities, then others evenly."""
    pairs = {pair.pair_id: pair for pair in seen.found}
    same = {name for group in (*seen.same_photos, *seen.look_alikes) for name in group}
    odd = {each.pair_id: oddities(each, pairs[each.pair_id], same) for each in seen.checked}
    first = sorted(
        (each for each in seen.checked if each.fault or odd[each.pair_id]),
        key=lambda each: (each.fault is None, -len(odd[each.pair_id])),
    )[:shown]
    taken = {each.pair_id for each in first}
    others = spread([each for each in seen.checked if each.pair_id not in taken], shown - len(first))
    chosen = [*first, *(others if shown > len(first) else [])]
    with ThreadPoolExecutor(threads_here()) as threads:
        return list(threads.map(lambda each: _shot(pairs[each.pair_id], each, odd[each.pair_id], seen), chosen))


def oddities(found: Checked, pair: Pair, same: set[str]) -> tuple[str, ...]:
    """Return what is unusual about a pair, in a few words each."""
    photo, mask, ratio = found.photo, found.mask, found.ratio
    marks = {
        "small foreground": ratio is not None and ratio < _ODD_RATIOS[0],
        "large foreground": ratio is not None and ratio > _ODD_RATIOS[1],
        "another photo like it": pair.real_id in same,
    }
    if mask is not None:
        marks[_read_as(mask)] = mask.kind not in ("two-valued", "segmentation")
        marks["that the mask follows the upright photo is assumed"] = mask.assumed
    if photo is not None:
        marks[f"EXIF orientation {photo.orientation}"] = photo.orientation != 1
        marks[f"mode {photo.mode}, {photo.bits} bit"] = photo.mode != "RGB" or photo.bits != 8
        marks |= {said: bool(said) for said in (photo.how, photo.warning)}
    return tuple(said for said, true in marks.items() if true)


def _read_as(mask: MaskReading) -> str:
    parts = [f"foreground {listed(mask.foreground)}"] if mask.foreground else []
    parts += [f"ignored {listed(mask.ignored)}"] if mask.ignored else []
    return ", ".join([f"mask read as {mask.kind}", *parts])


def _shot(pair: Pair, found: Checked, odd: tuple[str, ...], seen: Audit) -> ShownPair:
    looked = Looked(pair, seen.rules)
    with suppress(InputError):
        looked.read()
    photo = thumbnail_of(looked.decoded.image_u8, HEIGHT) if looked.decoded else None
    mask = small_mask_of(looked.mask, HEIGHT) if looked.mask is not None else None
    return ShownPair(pair.pair_id, _facts(found), odd, found.fault.message if found.fault else "", photo, mask)


def _facts(found: Checked) -> str:
    parts = []
    if found.header is not None:
        height, width = found.header.upright
        parts.append(f"{width}x{height} {found.header.format}")
    if found.ratio is not None:
        parts.append(f"foreground {found.ratio:.1%}")
    return " · ".join(parts)
