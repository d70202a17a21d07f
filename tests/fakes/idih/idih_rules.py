"""iDIH's rules of finding configs, lists, photos and masks, written from the facts; no code of it is here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

TRAINED_ON = ("HFLICKR_PATH", "HDAY2NIGHT_PATH", "HCOCO_PATH", "HADOBE5K_PATH")
VALIDATED_ON = TRAINED_ON[:3]


def config_of(script: Path) -> dict:
    """Return the config of a model script: from files above it, up to the working directory; what is near counts."""
    found: dict = {}
    for place in (script.with_suffix(".yml"), *(folder / "config.yml" for folder in script.absolute().parents)):
        if place.is_file():
            found = {**yaml.safe_load(place.read_text()), **found}
        if place.parent == Path.cwd() and place.name == "config.yml":
            break
    return found


def family_of(script: Path) -> str:
    """Return the script's path below the folder ``models``, which it must lie in."""
    parts = script.with_suffix("").parts
    return "/".join(parts[len(parts) - parts[::-1].index("models") :])


def samples(folder: Path, split: str) -> list[tuple[Path, Path, Path]]:
    """Return composite, photo and mask of each line of the one list of a split."""
    (listed,) = [path for path in folder.glob("*.txt") if path.stem.endswith(split)]
    found = []
    for line in listed.read_text().splitlines():
        *parts, _ = line.strip().split("_")
        photo, mask = f"{parts[0]}.jpg", f"{'_'.join(parts)}.png"
        found.append(
            (folder / "composite_images" / line.strip(), folder / "real_images" / photo, folder / "masks" / mask)
        )
    return found


def pixels(path: Path, side: int = 0) -> np.ndarray:
    """Return a picture as (H, W, 3) floats, at a side if one is given."""
    opened = Image.open(path).convert("RGB")
    return np.asarray(opened.resize((side, side)) if side else opened, np.float64)


def pull(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return what brings the foreground's mean colour to the background's."""
    return image[~mask].mean(axis=0) - image[mask].mean(axis=0)
