"""Read a picture's file within bounds: a plain file, of a stated size, in the folder that its data set may name.

A device or a FIFO is never opened: reading it could block for ever, or have effects.
"""

from __future__ import annotations

import os
import stat
from functools import lru_cache
from pathlib import Path

from harmonygen.errors import InputError, told

MAX_FILE = 2**30
"""Largest file of one picture, in bytes: 178 megapixels of six bytes each are as many."""
_KINDS = {
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}
_SNAPSHOTS = "snapshots"


def read_file(path: Path, name: str, within: Path | None = None) -> bytes:
    """Return a picture file's bytes.

    Args:
        path: where it lies.
        name: what messages call it.
        within: the folder that it must lie in once links are followed; None is anywhere.

    Raises:
        InputError: missing, unreadable, no plain file, over :data:`MAX_FILE` bytes, or outside ``within``.
    """
    check_file(path, name, within)
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(name, error) from error


def check_file(path: Path, name: str, within: Path | None = None) -> os.stat_result:
    """Return what the file system says about a picture's file, without opening it; raise as :func:`read_file` does."""
    try:
        if within is not None:
            refuse_outside(path, within, name)
        found = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _unreadable(name, error) from error
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no plain file")
        raise InputError(f"cannot read '{name}': it is {kind}, no picture file: check the path and permissions")
    if found.st_size > MAX_FILE:
        raise InputError(f"'{name}' holds {found.st_size} bytes, over the limit of {MAX_FILE}: export it smaller")
    return found


def refuse_outside(path: Path, within: Path, name: str) -> None:
    """Raise InputError if a path, once links are followed, lies outside a folder."""
    place = os.path.realpath(path.parent)
    if path.is_symlink() or path.name in ("", "..", "."):
        place = os.path.dirname(os.path.realpath(path))
    home = _home(str(within))
    if place != home and not place.startswith(home.rstrip(os.sep) + os.sep):
        raise InputError(
            f"'{name}' lies outside the data's folder '{within}': copy it there, or pass --allow-outside if you "
            "trust these data"
        )


@lru_cache(maxsize=64)
def _home(within: str) -> str:
    """Return a folder's real path; of a snapshot in Hugging Face's cache, whose files are links, the repository's."""
    real = os.path.realpath(within)
    parts = real.split(os.sep)
    if _SNAPSHOTS in parts and os.path.isdir(os.sep.join([*parts[: parts.index(_SNAPSHOTS)], "blobs"])):
        return os.sep.join(parts[: parts.index(_SNAPSHOTS)])
    return real


def _unreadable(name: str, error: Exception) -> InputError:
    why = getattr(error, "strerror", None) or told(error)
    return InputError(f"cannot read '{name}': {why}: check the path and permissions")
