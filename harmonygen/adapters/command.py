"""A command as generator, judge or harmonizer: a tool with an environment of its own, called once per photo.

The command gets a folder as its last argument. In it lie ``job.json``, ``image.png`` and ``mask.png`` (white is the
foreground); a generator's and a harmonizer's pictures are expected in ``out/0.png``, ``out/1.png`` ..., a judge's
numbers in ``scores.json``, a list. ``job.json`` has ``kind``, ``seeds`` (one per picture), and for a judge
``composites``, the files to score.

A command that takes too long is killed with all it started; that photo is quarantined, as if it had failed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image

from harmonygen.errors import InputError, UsageError, told
from harmonygen.pictures.images import ImageU8, Mask, decode
from harmonygen.pictures.photo import Photo
from harmonygen.records import Candidate
from harmonygen.seeds import digest_of_bytes
from harmonygen.settings import setting

Line = Annotated[str, setting(..., "Command; the job's folder is added as its last argument.")]
Seconds = Annotated[float, setting(..., "Seconds after which the command is killed.", gt=0, le=86_400)]
Full = Annotated[bool, setting(..., "Give the command the photo at full size instead of a reduced copy.")]
Size = Annotated[int, setting(..., "Short side of the picture that it gets, in pixels.", ge=8, le=8192)]
_TOLD = 300  # characters of what the command said that a message quotes


class Tool:
    """The command with its time limit, and what it is made from."""

    def __init__(self, command: str, timeout: float) -> None:
        """Look for the command.

        Raises:
            UsageError: the command is empty, or its program is missing.
        """
        self._words, self._timeout = shlex.split(command), timeout
        if not self._words or shutil.which(self._words[0]) is None:
            raise UsageError(f"the command '{command}' names a program that does not exist: check its path")
        files = [Path(word) for word in self._words if Path(word).is_file()]
        contents = [hashlib.sha256(path.read_bytes()).hexdigest().encode() for path in files]
        self.digest = f"command:{digest_of_bytes([command.encode(), *contents])}"

    def run(self, folder: Path, what: str) -> None:
        """Run it on a job's folder.

        Raises:
            InputError: it takes too long, or ends with another exit code than 0.
        """
        with (folder / "log.txt").open("wb") as log:
            started = subprocess.Popen(
                [*self._words, str(folder)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
            try:
                code = started.wait(self._timeout)
            except subprocess.TimeoutExpired as error:
                raise InputError(f"the command took over {self._timeout:g} s for '{what}' and was killed") from error
            finally:
                _kill(started)
        if code:
            raise InputError(f"the command ended with exit code {code} for '{what}': {_last_words(folder / 'log.txt')}")


class CommandGenerator:
    """One call of the command for all candidates of a photo that are asked for at once."""

    def __init__(self, tool: Tool, full: bool, resolution: int) -> None:
        self._tool, self._full, self.resolution, self.digest = tool, full, resolution, tool.digest

    def __call__(self, photo: Photo, candidates: Sequence[Candidate]) -> Iterator[ImageU8]:
        """Yield a picture (H, W, 3) uint8 for each candidate."""
        yield from _pictures(self._tool, "generator", photo, self._full, [each.seed for each in candidates])


class CommandHarmonizer:
    """One call of the command for a composite; of several draws the mean."""

    def __init__(self, tool: Tool, full: bool, resolution: int) -> None:
        self._tool, self._full, self.resolution, self.digest = tool, full, resolution, tool.digest

    def __call__(self, photo: Photo, seed: int, draws: int | None = None) -> Any:
        """Return the picture (H, W, 3) in [0, 1]."""
        seeds = [seed + number for number in range(draws or 1)]
        made = list(_pictures(self._tool, "harmonizer", photo, self._full, seeds))
        return (np.mean(made, axis=0) / 255).astype(np.float32)


class CommandJudge:
    """One call of the command for all composites of a photo."""

    def __init__(self, tool: Tool) -> None:
        self._tool, self.digest = tool, tool.digest

    def __call__(self, composites: Sequence[ImageU8], mask: Mask) -> list[float]:
        """Return P(composite) of each composite.

        Raises:
            InputError: it writes no list of numbers.
        """
        with _job("judge", composites[0], mask) as folder:
            names = [f"composites/{number}.png" for number in range(len(composites))]
            (folder / "composites").mkdir()
            for name, composite in zip(names, composites, strict=True):
                Image.fromarray(np.array(composite)).save(folder / name, compress_level=1)
            _write(folder, {"kind": "judge", "composites": names})
            self._tool.run(folder, "a pair's composites")
            try:
                return [float(score) for score in json.loads((folder / "scores.json").read_text())]
            except (OSError, ValueError, TypeError) as error:
                raise InputError(f"the command wrote no list of numbers into scores.json ({told(error)})") from error


def make_command_generator(
    command: Line, timeout: Seconds = 600, full: Full = False, resolution: Size = 512
) -> Callable[..., Iterator[ImageU8]]:
    """Return a command as a generator; raises UsageError if its program is missing."""
    return CommandGenerator(Tool(command, timeout), full, resolution)


def make_command_judge(command: Line, timeout: Seconds = 600) -> Callable[..., list[float]]:
    """Return a command as a judge; raises UsageError if its program is missing."""
    return CommandJudge(Tool(command, timeout))


def make_command_harmonizer(
    command: Line, timeout: Seconds = 600, full: Full = False, resolution: Size = 512
) -> Callable[..., Any]:
    """Return a command as a harmonizer; raises UsageError if its program is missing."""
    return CommandHarmonizer(Tool(command, timeout), full, resolution)


@contextmanager
def _job(kind: str, image_u8: ImageU8, mask: Mask) -> Iterator[Path]:
    """Make a folder with a picture and its mask; it is removed at the end."""
    with tempfile.TemporaryDirectory(prefix=f"harmonygen-{kind}-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        Image.fromarray(np.array(image_u8)).save(folder / "image.png", compress_level=1)
        Image.fromarray(np.array(mask, dtype=np.uint8) * 255).save(folder / "mask.png", compress_level=1)
        (folder / "out").mkdir()
        yield folder


def _pictures(tool: Tool, kind: str, photo: Photo, full: bool, seeds: Sequence[int]) -> Iterator[ImageU8]:
    image_u8, mask = (photo.image_u8, photo.mask) if full else (photo.low_u8, photo.low_mask)
    with _job(kind, image_u8, mask) as folder:
        _write(folder, {"kind": kind, "seeds": list(seeds), "pair_id": photo.pair.pair_id})
        tool.run(folder, photo.pair.pair_id)
        for number in range(len(seeds)):
            path = folder / "out" / f"{number}.png"
            if not path.is_file():
                raise InputError(f"the command wrote no out/{number}.png for '{photo.pair.pair_id}'")
            made = decode(path.read_bytes(), path.name).image_u8
            if made.shape != image_u8.shape:
                raise InputError(
                    f"the command wrote out/{number}.png of {made.shape[1]}x{made.shape[0]} for "
                    f"'{photo.pair.pair_id}': {image_u8.shape[1]}x{image_u8.shape[0]} is needed, as image.png"
                )
            yield made


def _write(folder: Path, job: dict[str, Any]) -> None:
    (folder / "job.json").write_text(json.dumps(job))


def _kill(started: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the command and of what it started."""
    with suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)
    started.wait()


def _last_words(path: Path) -> str:
    said = path.read_bytes()[-_TOLD:].decode(errors="replace").strip()
    return " ".join(said.split()) or "it said nothing"
