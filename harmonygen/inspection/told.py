"""Say what an audit found: in one line, as the rows of a table, and as JSON."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Any

from harmonygen.data import LAYOUTS
from harmonygen.errors import TooManyBadInputsError, listed
from harmonygen.inspection.audit import Audit
from harmonygen.inspection.check import Checked
from harmonygen.inspection.headers import FileHeader
from harmonygen.inspection.twins import Groups
from harmonygen.records import Quarantined
from harmonygen.report.plots import counts

Row = tuple[str, str]
_FIRST = 5  # examples of each kind
_VALUES = 32  # values and sentences that are counted one by one
_QUOTED = re.compile("'[^']*'" + '|"[^"]*"')
_NUMBER = re.compile(r"\b\d[\d.,x]*\b")


def first_line(audit: Audit) -> str:
    """Return what was read in one line: layout, pairs, masks, what is left out, what is bad.

    ``folders: 200 pairs of 150 photos; masks two-valued; 3 files skipped (2 suffix, 1 hidden); 1 bad input``
    """
    return "; ".join(_sentence(audit))


def lines(audit: Audit) -> tuple[str, ...]:
    """Return the first line and, one line each, what a user should know of how the data were understood."""
    return (first_line(audit), *(f"note: {note}" for note in audit.found.notes))


def _sentence(audit: Audit) -> Iterator[str]:
    found = audit.found
    pairs, photos = len(found), len({pair.real_id for pair in found})
    of = f" of {photos:,} photos" if photos != pairs else ""
    yield f"{found.layout}: {pairs:,} pairs{of}"
    if kinds := mask_kinds(audit.checked):
        looked = "" if audit.complete else f" ({sum(kinds.values())} looked at)"
        yield f"masks {listed([name for name, _ in kinds.most_common()])}{looked}"
    if found.passed_over:
        reasons = Counter(each.reason for each in found.passed_over).most_common()
        yield f"{plural(len(found.passed_over), 'file')} passed over ({_counted(reasons)})"
    if found.left_out:
        yield f"{plural(len(found.left_out), 'photo')} left out"
    if audit.bad:
        looked = "" if audit.complete or audit.looked_at == pairs else f" ({audit.looked_at:,} pairs looked at)"
        yield f"{plural(len(audit.bad), 'input')} cannot be used{looked}, first: {audit.bad[0].message}"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> plural(1, "input"), plural(1200, "input")
    ('1 input', '1,200 inputs')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _counted(reasons: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in reasons)


def mask_kinds(checked: Sequence[Checked]) -> Counter[str]:
    """Count how masks were understood, by kind."""
    return Counter(each.mask.kind for each in checked if each.mask)


def as_json(audit: Audit) -> dict[str, Any]:
    """Return everything that was found, as JSON; ``exit_code`` is that of a run on these inputs."""
    found, error = audit.found, refusal(audit)
    headers = photo_headers(audit)
    return {
        "layout": found.layout,
        "why": why(audit),
        "root": str(found.root),
        "lists": [str(path) for path in found.lists],
        "pairs": len(found),
        "photos": len({pair.real_id for pair in found}),
        "subsets": dict(Counter(pair.subset for pair in found if pair.subset)),
        "notes": list(found.notes),
        "looked_at": {"headers": audit.looked_at, "pixels": len(audit.checked), "all": audit.complete},
        "passed_over": by_reason((each.reason, each.name, each.message) for each in found.passed_over),
        "left_out": by_reason((each.error, each.id, each.message) for each in found.left_out),
        "masks": {kind: masks_of(audit.checked, kind) for kind in mask_kinds(audit.checked)},
        "formats": dict(Counter(each.format for each in headers)),
        "modes": dict(Counter(f"{each.mode}, {each.bits} bit" for each in headers)),
        "profiles": dict(Counter(each.profile or "none" for each in headers)),
        "converted": _said(audit.checked, "how"),
        "assumed": _said(audit.checked, "warning"),
        "orientation": orientations(audit),
        "sizes": sizes(headers),
        "fg_ratio": ratios(audit.checked),
        "same_photos": audit.same_photos,
        "same_masks": audit.same_masks,
        "look_alikes": audit.look_alikes,
        "bad": {"count": len(audit.bad), "expected": audit.expected, "allowed": audit.allowed, **bad_kinds(audit.bad)},
        "error": error,
        "exit_code": TooManyBadInputsError.exit_code if error else 0,
    }


def refusal(audit: Audit) -> str:
    """Return the message that a run on these inputs would end with, or ""."""
    try:
        audit.refuse()
    except TooManyBadInputsError as error:
        return str(error)
    return ""


def why(audit: Audit) -> str:
    """Say how the layout looks that was found, or chosen."""
    return LAYOUTS.get(audit.found.layout, "a run of synthesize: its candidates that may be used")


def by_reason(found: Iterable[tuple[str, str, str]]) -> dict[str, dict[str, Any]]:
    """Count (reason, name, message) by reason, with the first few of each, the most frequent first."""
    counted: dict[str, dict[str, Any]] = {}
    for reason, name, message in found:
        held = counted.setdefault(reason, {"count": 0, "first": []})
        held["count"] += 1
        if len(held["first"]) < _FIRST:
            held["first"].append({"name": name, "message": message})
    return dict(sorted(counted.items(), key=lambda item: -item[1]["count"]))


def bad_kinds(bad: Sequence[Quarantined]) -> dict[str, Any]:
    """Count what is bad by its kind: the message without names and numbers."""
    return {"reasons": by_reason((kind_of(each.message), each.id, each.message) for each in bad)}


def kind_of(message: str) -> str:
    """Return a message without the names and numbers in it.

    >>> kind_of("mask 'a.png' is 30x20 but its photo is 60x40: re-export it")
    'mask … is N but its photo is N: re-export it'
    """
    return _NUMBER.sub("N", _QUOTED.sub("…", message))


def photo_headers(audit: Audit) -> list[FileHeader]:
    """Return the headers of the photos, each file once; of cells, those of the pairs that were read."""
    sources = dict.fromkeys(pair.real for pair in audit.found)
    files = [header for source in sources if (header := audit.headers.get(source)) is not None]
    return files or [each.header for each in audit.checked if each.header is not None]


def masks_of(checked: Sequence[Checked], kind: str) -> dict[str, Any]:
    """Return how many masks are of a kind, and how many have each value, as what it is taken."""
    found = [each.mask for each in checked if each.mask and each.mask.kind == kind]
    roles = ("values", "foreground", "ignored")
    counted = {role: Counter(value for each in found for value in getattr(each, role)) for role in roles}
    return {"count": len(found), **{role: dict(values.most_common(_VALUES)) for role, values in counted.items()}}


def _said(checked: Sequence[Checked], what: str) -> dict[str, int]:
    """Count the photos by what was done to them (``how``) or had to be assumed of them (``warning``)."""
    readings = (getattr(each.photo, what) for each in checked if each.photo)
    return dict(Counter(part for said in readings if said for part in said.split("; ")).most_common(_VALUES))


def orientations(audit: Audit) -> dict[str, Any]:
    """Count the pairs whose photo has an EXIF orientation other than 1, and what their masks follow."""
    turned = [each for each in audit.checked if each.photo and each.photo.orientation != 1]
    photos = Counter(each.photo.orientation for each in turned if each.photo)
    return {"photos": dict(sorted(photos.items())), "masks_follow": dict(Counter(map(_followed, turned)))}


def _followed(found: Checked) -> str:
    if found.mask is None or found.mask.assumed:
        return "nothing that is known: upright is assumed"
    return "the stored photo" if found.mask.turned else "the upright photo"


def sizes(headers: Sequence[FileHeader]) -> dict[str, list[int]]:
    """Return the smallest, the median and the largest photo as [width, height], upright, by the number of pixels."""
    ordered = sorted((each.upright[::-1] for each in headers), key=lambda size: (size[0] * size[1], size))
    if not ordered:
        return {}
    return {
        "smallest": list(ordered[0]),
        "median": list(ordered[len(ordered) // 2]),
        "largest": list(ordered[-1]),
    }


def ratios(checked: Sequence[Checked]) -> dict[str, Any]:
    """Return the smallest, median and largest foreground ratio in [0, 1], and counts in 20 equal bins."""
    found = [each.ratio for each in checked if each.ratio is not None]
    if not found:
        return {}
    figures = {"smallest": min(found), "median": median(found), "largest": max(found)}
    return {**{name: round(value, 4) for name, value in figures.items()}, "histogram": counts(found)}


def rows(facts: dict[str, Any]) -> list[Row]:
    """Return the rows of the table (what, what was found) of what :func:`as_json` returns."""
    looked = facts["looked_at"]
    pixels = "all" if looked["all"] else f"{looked['pixels']:,} of {facts['pairs']:,}, evenly spread"
    return [
        ("layout", f"{facts['layout']}: {facts['why']}"),
        *(("note", note) for note in facts["notes"]),
        ("pairs", f"{facts['pairs']:,} of {plural(facts['photos'], 'photo')}{_tally(facts['subsets'], ': ')}"),
        ("looked at", f"headers of {looked['headers']:,} pairs; pixels of {pixels}"),
        *(("passed over", _reason(*item)) for item in facts["passed_over"].items()),
        *(("left out", _reason(*item)) for item in facts["left_out"].items()),
        *(("masks", _kind_row(*item)) for item in facts["masks"].items()),
        ("photos", "; ".join(_tally(facts[name]) for name in ("formats", "modes") if facts[name])),
        ("colour profiles", _tally(facts["profiles"])),
        ("converted", _tally(facts["converted"])),
        ("assumed", _tally(facts["assumed"])),
        ("EXIF orientation", _turned_row(facts["orientation"])),
        ("sizes", ", ".join(f"{name} {width}x{height}" for name, (width, height) in facts["sizes"].items())),
        ("foreground", ", ".join(f"{name} {facts['fg_ratio'][name]:.1%}" for name in list(facts["fg_ratio"])[:3])),
        ("same bytes", _groups(facts["same_photos"], "photo") + _groups(facts["same_masks"], "mask", "; ")),
        ("look the same", _groups(facts["look_alikes"], "photo")),
        *(("cannot be used", _reason(kind, held)) for kind, held in facts["bad"]["reasons"].items()),
        ("a run would", _verdict(facts)),
    ]


def _tally(counted: dict[Any, int], before: str = "") -> str:
    return before + ", ".join(f"{count:,} {name}" for name, count in counted.items()) if counted else ""


def _reason(reason: str, held: dict[str, Any]) -> str:
    return f"{held['count']:,} {reason}, such as {held['first'][0]['message']}"


def _kind_row(kind: str, held: dict[str, Any]) -> str:
    named = {"with": held["values"], "foreground": held["foreground"], "ignored": held["ignored"]}
    values = [f"{role} {listed(list(found), most=12)}" for role, found in named.items() if found]
    return "; ".join([f"{held['count']:,} {kind}", *values])


def _turned_row(found: dict[str, Any]) -> str:
    if not found["photos"]:
        return "none is turned"
    turned = ", ".join(f"{count:,} of {orientation}" for orientation, count in found["photos"].items())
    follow = ", ".join(f"{count:,} {what}" for what, count in found["masks_follow"].items())
    return f"{turned}; their masks follow: {follow}"


def _groups(groups: Groups, noun: str, before: str = "") -> str:
    if not groups:
        return ""
    names = sum(map(len, groups))
    return f"{before}{plural(names, noun)} in {plural(len(groups), 'group')}, such as {listed(groups[0], most=3)}"


def _verdict(facts: dict[str, Any]) -> str:
    bad = facts["bad"]
    if facts["error"]:
        return f"end with exit code {facts['exit_code']}: {facts['error']}"
    about = f", about {bad['expected']:,} by the sample" if bad["expected"] > bad["count"] else ""
    return f"succeed: {plural(bad['count'], 'input')} cannot be used{about}, {bad['allowed']:,} allowed"
