"""Reports: one self-contained HTML page of a run or a dataset, a page to review a run, and contact sheets."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harmonygen.report.render import ReportResult, write_report
    from harmonygen.report.review import write_review
    from harmonygen.report.sheet import contact_sheet, write_contact_sheet

__all__ = ["ReportResult", "contact_sheet", "write_contact_sheet", "write_report", "write_review"]

_HOMES = {
    "ReportResult": "render",
    "contact_sheet": "sheet",
    "write_contact_sheet": "sheet",
    "write_report": "render",
    "write_review": "review",
}


def __getattr__(name: str) -> Any:
    """Import the public names on first use, so that the settings alone stay light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'harmonygen.report' has no attribute {name!r}")
    return getattr(importlib.import_module(f"harmonygen.report.{_HOMES[name]}"), name)
