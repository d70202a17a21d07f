"""Write a review's steps: each is on the disk before it counts (:mod:`harmonygen.runs.review_log`)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import harmonygen
from harmonygen.runs.review_log import HEAD, REVIEW, Key, Marks, keys_of, read_log, reviewer_name, said_of
from harmonygen.storage.shards import make_folder, storage_errors, sync


class LogWriter:
    """Appends steps to one reviewer's log. There must be one writer of a log at a time."""

    def __init__(self, folder: Path, plan_digest: str, reviewer: str) -> None:
        """Open the log of a run in ``folder``, which is made on the first step; an unfinished last line is cut off.

        Raises:
            UsageError: the log is of another run, or damaged.
        """
        self.path = folder / REVIEW / f"{reviewer_name(reviewer)}.jsonl"
        names = (harmonygen.__version__, folder.resolve().name, plan_digest, reviewer)
        self._head = dict(zip(HEAD, names, strict=True))
        self.marks = (read_log(self.path, plan_digest) if self.path.is_file() else None) or Marks()
        self._file = -1

    def write(self, step: Mapping[str, Any]) -> list[Key]:
        """Write a step to the disk, then take it; return the candidates whose marks it changed.

        Raises:
            ValueError: it is not a step; nothing is written.
            StorageError: it cannot be written; the log is as before.
        """
        whole = {"at": now(), **step}
        if "undo" not in step:
            said_of(whole), keys_of(whole["of"])
        elif not self.marks.steps:
            raise ValueError("there is no step to undo")
        with storage_errors(f"'{self.path}'"):
            self._append(_line(whole))
        return self.marks.take(whole)

    def _append(self, line: bytes) -> None:
        if self._file < 0:
            self._open()
        before = os.fstat(self._file).st_size
        try:
            self._write(line)
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, before)
            raise

    def _open(self) -> None:
        make_folder(self.path.parent)
        self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            content = self.path.read_bytes()
            whole = content.rfind(b"\n") + 1
            os.ftruncate(self._file, whole)
            if not whole:
                self._write(_line(self._head))
            os.fsync(self._file)
            sync(self.path.parent)
        except OSError:
            self.close()
            raise

    def _write(self, line: bytes) -> None:
        view = memoryview(line)
        while view:
            view = view[os.write(self._file, view) :]

    def close(self) -> None:
        """Close the file; a later step opens it again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _line(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n").encode()


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
