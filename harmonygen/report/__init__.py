"""Reports: one self-contained HTML page of a run or a dataset, a page to review a run, and contact sheets."""

from __future__ import annotations

from harmonygen.report.contact_sheet import contact_sheet, write_contact_sheet
from harmonygen.report.render import ReportResult, write_report
from harmonygen.report.review import write_review

__all__ = ["ReportResult", "contact_sheet", "write_contact_sheet", "write_report", "write_review"]
