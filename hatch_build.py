"""Hatchling's hook for what the package says of itself: README as shown outside the repository, and its addresses.

Both come from ``repository`` in pyproject.toml's ``[tool.hatch.metadata.hooks.custom]``, which is empty until the
repository has a public address.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class AboutThePackage(MetadataHookInterface):
    """Fills in the dynamic fields ``readme`` and ``urls``."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the fields in the project's metadata."""
        root, repository = Path(self.root), str(self.config.get("repository", ""))
        made = runpy.run_path(str(root / "docs" / "hooks" / "outside.py"))
        text = made["shown_outside"]((root / "README.md").read_text(encoding="utf-8"), repository)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        metadata["urls"] = made["addresses"](repository)
