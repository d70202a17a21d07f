"""Read and write 3D LUTs as ``.cube`` files (Adobe Cube LUT Specification 1.0; DaVinci Resolve's dialect is read)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harmonygen.errors import InputError, StorageError
from harmonygen.recolor.foreground import Floats
from harmonygen.recolor.lut import Lut, apply_lut, identity_lut, lut_size
from harmonygen.storage.shards import whole_file

MAX_SIZE = 256


@dataclass
class _Cube:
    """What has been read of one file: the grid size, the ends of the input range and the rows with their line."""

    name: str
    size: int = 0
    size_line: int = 0
    domain_min: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    domain_max: list[float] = field(default_factory=lambda: [1.0, 1.0, 1.0])
    rows: list[list[float]] = field(default_factory=list)

    def fault(self, line: int, message: str) -> InputError:
        """Return the error for a line, counted from 1."""
        return InputError(f"{self.name}, line {line}: {message}")


def read_cube(path: Path) -> Lut:
    """Read a ``.cube`` file.

    Input domains other than ``[0, 1]`` (``DOMAIN_MIN``, ``DOMAIN_MAX``, ``LUT_3D_INPUT_RANGE``) are resampled onto
    ``[0, 1]``.

    Args:
        path: the file; red changes fastest in it.

    Returns:
        (S, S, S, 3) ``float32``, indexed ``lut[r, g, b]``; values outside ``[0, 1]`` are kept.

    Raises:
        InputError: the file cannot be read, holds a 1D LUT or is malformed; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"LUT '{path}' cannot be read as text: {error}") from error
    cube = _Cube(path.name)
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        words = line.split("#")[0].split()
        if words and words[0] != "TITLE":
            _take_line(cube, number, words)
    if cube.size == 0:
        raise cube.fault(len(lines), "the file ends without LUT_3D_SIZE: it is not a 3D .cube LUT")
    if len(cube.rows) != cube.size**3:
        found = f"{len(cube.rows)} rows, LUT_3D_SIZE {cube.size} needs {cube.size**3}"
        raise cube.fault(len(lines), f"the file ends after {found}: export it again")
    # Red is fastest in the file, so the array read is [b, g, r].
    table = np.array(cube.rows, np.float32).reshape(cube.size, cube.size, cube.size, 3)
    return _onto_unit_domain(np.ascontiguousarray(table.transpose(2, 1, 0, 3)), cube)


def _take_line(cube: _Cube, number: int, words: list[str]) -> None:
    """Add one line that is neither empty, a comment nor a title."""
    keyword, values = words[0], words[1:]
    if keyword == "LUT_3D_SIZE":
        _take_size(cube, number, values)
    elif keyword in ("LUT_1D_SIZE", "LUT_1D_INPUT_RANGE"):
        raise cube.fault(number, f"{keyword} found, a 1D LUT: only 3D LUTs are read, export it as a 3D .cube")
    elif keyword == "DOMAIN_MIN":
        cube.domain_min = _three_numbers(cube, number, values)
    elif keyword == "DOMAIN_MAX":
        cube.domain_max = _three_numbers(cube, number, values)
    elif keyword == "LUT_3D_INPUT_RANGE":
        low, high = _numbers(cube, number, values, 2)
        cube.domain_min, cube.domain_max = [low] * 3, [high] * 3
    elif keyword[0].isalpha() and keyword.lower() not in ("nan", "inf", "infinity"):
        raise cube.fault(number, f"unknown keyword {keyword!r}: remove the line or export the LUT again")
    elif cube.size == 0:
        raise cube.fault(number, "colours come before LUT_3D_SIZE: the header must come first")
    else:
        cube.rows.append(_three_numbers(cube, number, words))


def _take_size(cube: _Cube, number: int, values: list[str]) -> None:
    """Read LUT_3D_SIZE, once."""
    if cube.size:
        raise cube.fault(number, f"LUT_3D_SIZE again, first on line {cube.size_line}: keep one")
    if len(values) != 1 or not values[0].isdecimal() or not 2 <= int(values[0]) <= MAX_SIZE:
        raise cube.fault(number, f"LUT_3D_SIZE {' '.join(values)!r} is not one whole number from 2 to {MAX_SIZE}")
    cube.size, cube.size_line = int(values[0]), number


def _three_numbers(cube: _Cube, number: int, words: list[str]) -> list[float]:
    """Read one red, green, blue triple."""
    return _numbers(cube, number, words, 3)


def _numbers(cube: _Cube, number: int, words: list[str], count: int) -> list[float]:
    """Read ``count`` finite numbers."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != count or not np.all(np.isfinite(values)):
        raise cube.fault(number, f"{' '.join(words)!r} is not {count} finite numbers: export the LUT again")
    return values


def _onto_unit_domain(lut: Lut, cube: _Cube) -> Lut:
    """Resample a LUT over ``[domain_min, domain_max]`` onto ``[0, 1]``; beyond the domain its ends are held."""
    low, high = np.array(cube.domain_min), np.array(cube.domain_max)
    if np.any(high <= low):
        raise InputError(f"{cube.name}: DOMAIN_MAX {cube.domain_max} is not above DOMAIN_MIN {cube.domain_min}")
    if not np.any(low) and np.all(high == 1.0):
        return lut
    position01: Floats = (identity_lut(cube.size) - low) / (high - low)
    return apply_lut(position01, lut, "trilinear")


def write_cube(path: Path, lut: Lut, title: str = "") -> None:
    """Write a ``.cube`` file that ``read_cube`` gives back exactly.

    Args:
        path: where to; an existing file is replaced.
        lut: (S, S, S, 3), indexed ``lut[r, g, b]``.
        title: one line without quotation marks, or nothing.

    Raises:
        UsageError: the LUT is not (S, S, S, 3).
        StorageError: the file cannot be written.
    """
    size = lut_size(lut)
    header = [f'TITLE "{" ".join(title.replace(chr(34), "").split())}"'] if title else []
    header += [f"LUT_3D_SIZE {size}", "DOMAIN_MIN 0 0 0", "DOMAIN_MAX 1 1 1"]
    rows = np.asarray(lut, np.float32).transpose(2, 1, 0, 3).reshape(-1, 3).tolist()
    # 9 significant digits tell every float32 apart.
    body = [f"{red:.9g} {green:.9g} {blue:.9g}" for red, green, blue in rows]
    try:
        with whole_file(path) as temporary:
            temporary.write_text("\n".join([*header, *body, ""]), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"LUT '{path}' cannot be written: {error}") from error
