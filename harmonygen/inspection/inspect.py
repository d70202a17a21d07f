"""`harmonygen inspect`: read data as the other verbs do, and say what is used, what is not, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmonygen.data import read_pairs
from harmonygen.data.composites import read_composites
from harmonygen.inspection.audit import GLANCE, PLAN, Audit, Depth, Progress, audit
from harmonygen.inspection.check import Rules
from harmonygen.inspection.page import write_page
from harmonygen.inspection.settings import InspectSettings
from harmonygen.inspection.told import as_json, lines
from harmonygen.records import PairSet
from harmonygen.report.render import refuse_foreign_page
from harmonygen.runs.read import is_run
from harmonygen.settings import Settings

Say = Callable[[str], None]


@dataclass(frozen=True)
class InspectResult:
    """What an inspection found, as JSON, and the page that was written, if one was asked for."""

    facts: dict[str, Any]
    lines: tuple[str, ...]
    page: Path | None = None


def inspect_data(settings: InspectSettings, progress: Progress | None = None) -> InspectResult:
    """Read data and look through them; nothing is written but the page.

    Raises:
        UsageError: the data cannot be read, or the page's file is none of harmonygen's.
        StorageError: the data cannot be listed, or the page cannot be written.
    """
    refuse_foreign_page(settings.out)
    found = _read(settings)
    depth = Depth(None if settings.every else settings.sample, None if settings.headers else 0)
    seen = audit(found, rules_of(settings), depth, progress)
    facts = {"data": settings.data, **as_json(seen)}
    if settings.out is not None:
        write_page(settings.out, seen, facts, settings.shown)
    return InspectResult(facts, lines(seen), settings.out)


def _read(settings: InspectSettings) -> PairSet:
    how: dict[str, Any] = {name: getattr(settings, name) for name in ("list_file", "subset", "limit")}
    if is_run(settings.data):
        return read_composites(settings.data, reading=settings.reading(), **how).as_pairs()
    return read_pairs(settings.data, reading=settings.reading(), **how)


def rules_of(settings: Settings) -> Rules:
    """Return what a run with these settings asks of its inputs; the rest stays as :class:`Rules` has it."""
    asked = {name: getattr(settings, name) for name in Rules.__dataclass_fields__ if hasattr(settings, name)}
    return Rules(**asked)


def foresee(found: PairSet, settings: Settings, say: Say | None = None) -> Audit:
    """Look at the inputs of a run that is only planned.

    Raises:
        TooManyBadInputsError: the run would end with it.
    """
    seen = audit(found, rules_of(settings), PLAN)
    _say(seen, say)
    seen.refuse()
    return seen


def glance(found: PairSet, settings: Settings, say: Say | None) -> None:
    """Say in one line what a run is about to read, as far as a glance tells."""
    if say:
        _say(audit(found, rules_of(settings), GLANCE), say)


def _say(seen: Audit, say: Say | None) -> None:
    if say:
        for line in lines(seen):
            say(line)
