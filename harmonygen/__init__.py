"""harmonygen: make, curate and measure training data for image harmonization."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Harmonizer": "harmonygen.api",
    "HarmonyClassifier": "harmonygen.api",
    "InverseHarmonizer": "harmonygen.api",
    "data": "harmonygen.data",
    "metrics": "harmonygen.metrics",
}

__all__ = ["Harmonizer", "HarmonyClassifier", "InverseHarmonizer", "__version__", "data", "metrics"]


def __getattr__(name: str) -> Any:
    """Import the public names on first use, so that ``import harmonygen`` stays light."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'harmonygen' has no attribute {name!r}")
    module = importlib.import_module(_PUBLIC[name])
    return module if module.__name__.rpartition(".")[2] == name else getattr(module, name)
