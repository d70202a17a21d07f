"""Report figures and sample sheets to TensorBoard or Weights & Biases, through accelerate's trackers."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from PIL import Image

from harmonygen.errors import UsageError
from harmonygen.training.settings import TrainSettings

PROJECT = "harmonygen"
_PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",)}


def new_trackers(settings: TrainSettings) -> list[Any]:
    """Return the tracker that ``report_to`` names, not yet started: TensorBoard writes to ``output_dir/tensorboard``.

    Raises:
        UsageError: its package is not installed.
    """
    name = settings.report_to
    if name == "none":
        return []
    packages = _PACKAGES[name]
    if not any(find_spec(package) for package in packages):
        raise UsageError(
            f"--report-to {name}: the package {packages[0]} is not installed: 'pip install {packages[0]}', "
            "or --report-to none (history.json and the sheets are written in any case)"
        )
    from accelerate.tracking import TensorBoardTracker, WandBTracker

    if name == "tensorboard":
        return [TensorBoardTracker("tensorboard", logging_dir=str(settings.output_dir))]
    return [WandBTracker(PROJECT, name=settings.output_dir.name, dir=str(settings.output_dir))]


def start_trackers(accelerator: Accelerator, settings: TrainSettings) -> None:
    """Start the accelerator's trackers and hand them the settings."""
    if accelerator.log_with:
        accelerator.init_trackers(PROJECT, config={"task": settings.task, **flat(settings.model_dump(mode="json"))})


def log_sheet(accelerator: Accelerator, path: Path, step: int) -> None:
    """Report a sample sheet as an image."""
    for tracker in accelerator.trackers if path.is_file() else ():
        picture = np.asarray(Image.open(path).convert("RGB"))[None]
        form = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
        tracker.log_images({"sheet": picture}, step=step, **form)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    """Flatten nested settings to what trackers take.

    >>> flat({"a": 1, "b": {"c": [1, 2]}, "d": None})
    {'a': 1, 'b.c': '[1, 2]', 'd': 'None'}
    """
    found: dict[str, str | int | float | bool] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value if isinstance(value, str | int | float | bool) else str(value)
    return found
