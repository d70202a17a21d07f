"""Reports: one self-contained HTML page of a run or a dataset, and contact sheets."""

from __future__ import annotations

from harmonygen.report.contact_sheet import contact_sheet, write_contact_sheet
from harmonygen.report.render import ReportResult, write_report

__all__ = ["ReportResult", "contact_sheet", "write_contact_sheet", "write_report"]
