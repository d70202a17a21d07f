"""Stands in for iDIH's predict_for_dir.py: the same options; results are named like their inputs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

sys.path.insert(0, ".")
from idih_rules import pixels, pull


def main() -> None:
    """Harmonize every file of a folder, at one size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model_type", choices=["improved_ssam256", "improved_dih256"])
    parser.add_argument("checkpoint", type=Path)
    for name in ("--images", "--masks", "--gpu", "--config-path", "--results-path"):
        parser.add_argument(name, required=True)
    parser.add_argument("--resize", type=int, default=256)
    options = parser.parse_args()
    assert yaml.safe_load(Path(options.config_path).read_text())["EXPS_PATH"]
    model = json.loads(options.checkpoint.read_text())
    Path(options.results_path).mkdir(parents=True, exist_ok=True)
    for name in os.listdir(options.images):
        image = pixels(Path(options.images) / name, options.resize)
        mask = "_".join(name.split("_")[:-1]) + ".png"
        inside = pixels(Path(options.masks) / mask, options.resize)[..., 0] > 100
        image[inside] += model["strength"] * pull(image, inside)
        made = Image.fromarray(np.clip(np.rint(image), 0, 255).astype(np.uint8))
        made.save(Path(options.results_path) / name, **({} if name.endswith(".png") else {"quality": 85}))


if __name__ == "__main__":
    main()
