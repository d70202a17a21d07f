"""One trial: a data set with its mutations, one verb that reads it, and what may come of it."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import shutil
import signal
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from fuzz.bases import BASES, photo
from fuzz.mutations import MUTATIONS, Draw

ALLOWED = (0, 2, 3)
MEMORY = 600  # MB that one command may take beyond what the process has
SECONDS = 20
_IN_OPEN = 0x20


@dataclass(frozen=True)
class Outcome:
    """What came of a trial: its line in the log, its exit code, and what is wrong with it ("" if nothing is)."""

    told: str
    code: int
    fault: str


class Watch:
    """Notes what is opened in a folder, by whatever code, through the kernel's inotify."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._handle = libc.inotify_init1(os.O_NONBLOCK)
        for path in (folder, *folder.iterdir()):
            libc.inotify_add_watch(self._handle, os.fsencode(path), _IN_OPEN)

    def opened(self) -> bool:
        """Tell whether anything was opened since it was asked last."""
        try:
            return len(os.read(self._handle, 65536)) >= struct.calcsize("iIII")
        except BlockingIOError:
            return False


class TooLong(BaseException):
    """A command ran past its time."""


def outside_folder(parent: Path) -> Path:
    """Make the folder that nothing may open: a photo that would be a good one, and a text."""
    folder = parent / "outside"
    folder.mkdir()
    photo(9).save(folder / "secret.png")
    (folder / "secret.json").write_text("{}")
    return folder


def run_trial(draw: Draw, work: Path, outside: Path, watch: Watch, classifier: Path) -> Outcome:
    """Make a data set, change it, and read it with a verb."""
    shutil.rmtree(work, ignore_errors=True)
    name = draw(st.sampled_from(sorted(BASES)))
    data = BASES[name](work / "data")
    changes = draw(st.lists(st.sampled_from(sorted(MUTATIONS)), min_size=1, max_size=3))
    for change in changes:
        MUTATIONS[change](draw, work / "data", outside)
    words = draw(st.sampled_from(commands(data, work / "out", classifier)))
    watch.opened()
    code, said, megabytes = _run(words)
    told = f"{name}: {', '.join(changes)}: {' '.join(words[:1] + [word for word in words if word.startswith('--')])}"
    opened = watch.opened() and not data.is_symlink()  # a link that the user names is the user's
    return Outcome(told, code, _fault(code, said, megabytes, opened))


def commands(data: Path, out: Path, classifier: Path) -> list[list[str]]:
    """Return the commands that read a data set."""
    source, result = ["--data", str(data)], ["--out", str(out)]
    cheap = ["--generator", "color-jitter", "--k", "1", "--classifier", str(classifier)]
    synthesize = ["synthesize", *source, *cheap, *result]
    return [
        synthesize,
        [*synthesize, "--max-bad-fraction", "1"],
        [*synthesize, "--max-bad-fraction", "1", "--mask-resize", "nearest"],
        [*synthesize, "--dry-run"],
        ["inspect", str(data), "--max-bad-fraction", "1"],
        ["inspect", str(data), "--out", str(out.with_suffix(".html"))],
    ]


def _run(words: Sequence[str]) -> tuple[int, str, float]:
    from harmonygen_cli.main import run

    said = io.StringIO()
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            with _time_limit():
                code = run(words)
        except TooLong:
            code = -1
    return code, said.getvalue(), _peak() - before


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def too_long(*_: object) -> None:
        raise TooLong

    previous = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def _peak() -> float:
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _fault(code: int, said: str, megabytes: float, opened: bool) -> str:
    last = said.strip().rpartition("\n")[2]
    if code == -1:
        return f"ran over {SECONDS} s"
    if code not in ALLOWED:
        return f"exit {code}: {last[-200:]}"
    if opened:
        return "opened a file outside the data"
    if megabytes > MEMORY:
        return f"took {megabytes:.0f} MB"
    if "\x1b" in said or any(0xD800 <= ord(letter) <= 0xDFFF for letter in said):
        return f"escape codes or lone surrogates in what was said: {said[-200:]!r}"
    if code in (2, 3) and "error:" not in said:
        return f"exit {code} without a word"
    return ""
