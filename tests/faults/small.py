"""Small inputs, commands run in this process, and what is seen of a folder: what the tests of this folder share."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from faults import samples
from PIL import Image

HERE = Path(__file__).resolve().parent
LOOSE = ("gates.max_clipped=1", "gates.min_fmse=0", "gates.max_fmse=65025", "gates.min_structure=-1")
"""Gates that every candidate passes, whatever the photo."""
JITTER = ("--generator", "color-jitter", "--k", 2)

ALL_CASES = bool(os.environ.get("HARMONYGEN_ALL_CASES"))
"""`make test` tries a spread of the costly cases; with this variable every case is tried."""


def some(cases: Iterable[Any], count: int) -> list[Any]:
    """Return ``count`` cases spread evenly over all, or all of them with :data:`ALL_CASES`."""
    every = list(cases)
    return every if ALL_CASES or count >= len(every) else [every[i * len(every) // count] for i in range(count)]


@dataclass(frozen=True)
class End:
    """How a command ended: its exit code, and what it wrote to stdout and to stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        return json.loads(self.out)

    @property
    def close(self) -> str:
        """All that was said on stderr, without white space: tables and titles are wrapped."""
        return "".join(self.err.split())


def command(*words: object) -> End:
    """Run one `harmonygen` command in this process."""
    from harmonygen_cli.main import run

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(word) for word in words])
    return End(code, out.getvalue(), err.getvalue())


def done(*words: object) -> End:
    """Run one command that has to succeed."""
    end = command(*words)
    assert end.code == 0, f"{words[0]} ended with {end.code}: {end.err[-2000:]}"
    return end


Seen = dict[str, tuple[Any, ...]]


def snapshot(place: Path) -> Seen:
    """Return each path at and below ``place``: kind and mode, time of change, content or link target."""
    below = (Path(root) / name for root, folders, files in os.walk(place) for name in (*folders, *files))
    return {str(path.relative_to(place.parent)): _seen(path) for path in (place, *below)}


def _seen(path: Path) -> tuple[Any, ...]:
    found = path.lstat()
    if path.is_symlink():
        return found.st_mode, found.st_mtime_ns, os.readlink(path)
    return found.st_mode, found.st_mtime_ns, path.read_bytes() if path.is_file() else b""


def differences(before: Seen, after: Seen) -> dict[str, list[str]]:
    """Return what became of the paths of a snapshot, nothing if all is as it was."""
    gone, new = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
    changed = sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
    return {word: names for word, names in (("gone", gone), ("new", new), ("changed", changed)) if names}


def picture(index: int) -> np.ndarray:
    """Return a piece of a real photo, (48, 64, 3) uint8; no two of eight look alike."""
    whole = Image.fromarray(samples.picture(index // 4, 192, 256))
    left, top = 128 * (index % 2), 96 * (index // 2 % 2)
    return np.asarray(whole.crop((left, top, left + 128, top + 96)).resize((64, 48)))


def photos(root: Path, count: int = 4) -> Path:
    """Write photos ``p0`` .. and masks in the layout `folders`; the pairs are ``p0_0`` .. ."""
    for index in range(count):
        samples.save(picture(index), root / "images" / f"p{index}.png")
        samples.save(samples.ellipse(), root / "masks" / f"p{index}.png")
    return root


def tree(root: Path, count: int = 4, subset: str = "HSmall") -> Path:
    """Write a tree in iHarmony4 layout without any list: one composite for each of ``count`` photos."""
    home = root / subset
    for index in range(count):
        real, mask = picture(index), samples.ellipse()
        samples.save(real, home / "real_images" / f"p{index}.png")
        samples.save(mask, home / "masks" / f"p{index}_1.png")
        changed = np.where(mask[..., None], real // 2 + 40, real).astype(np.uint8)
        samples.save(changed, home / "composite_images" / f"p{index}_1_1.png")
    return root


def names_of(*indices: int, subset: str = "HSmall") -> list[str]:
    """Return the composites of :func:`tree` as a list names them."""
    return [f"{subset}/composite_images/p{index}_1_1.png" for index in indices]


def copied(source: Path, target: Path) -> Path:
    """Copy a folder with its times."""
    shutil.copytree(source, target, symlinks=True)
    return target


def rows(folder: Path, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """Return the rows of all Parquet files of a folder, in the order of their names."""
    return [
        row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path, columns=columns).to_pylist()
    ]


def pixels(source: Path | bytes) -> np.ndarray:
    """Decode a picture as a trainer's loader does: RGB, (H, W, 3) uint8."""
    opened = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    return np.asarray(opened.convert("RGB"))
