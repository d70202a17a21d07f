"""The small runs of tests/workflows, for the engines."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location(
    "workflow_fixtures", Path(__file__).resolve().parents[1] / "workflows" / "conftest.py"
)
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)

six_photos, settings_of, rows_of, tree = (
    _fixtures.six_photos,
    _fixtures.settings_of,
    _fixtures.rows_of,
    _fixtures.tree,
)
