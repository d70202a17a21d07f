"""Record one command, then try it from every state that a crash can leave."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from faults.content import is_torn
from faults.jobs import Job

from crash_states import compare, warm
from crash_states.disk import Node, Operation
from crash_states.record import Recorder
from crash_states.states import State, states

_NUMBER = re.compile(r"\.\d+\.tmp")  # a process's, in the names of temporary files
Record = tuple[list[Operation], dict[int, Node]]


@dataclass
class Result:
    """What came of one command's states; ``faults`` counts what was wrong and keeps the first state of each."""

    command: str
    operations: int = 0
    states: int = 0
    tried: int = 0
    recovered: int = 0
    torn: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    @property
    def differing(self) -> int:
        """The number of states from which the command did not come to the undisturbed result."""
        return self.tried - self.recovered

    def blame(self, fault: str, state: str) -> None:
        """Count a fault."""
        self.faults[fault] += 1
        self.first.setdefault(fault, state)


class Trial:
    """A command with its inputs, its undisturbed result and the record of its operations."""

    def __init__(self, make: Callable[[Path], Job], place: Path) -> None:
        self.disk, self.said = place / "disk", place / "said.txt"
        self.disk.mkdir(parents=True)
        self.inputs = place / "inputs"
        self.inputs.mkdir()
        self.job = make(self.inputs)
        self.out = self.disk / "out"
        warm.load(self.job.command(place / "first"), self.said)
        shutil.rmtree(place / "first")
        self.operations, self.nodes = self._record()
        self.expected = compare.tree_of(self.disk)
        self._clear()  # hard links to the inputs end with it
        self.given = compare.tree_of(self.inputs)

    def _record(self) -> Record:
        self._clear()
        recorder = Recorder(self.disk)

        def recorded() -> Record:
            recorder.look()
            return recorder.operations, recorder.nodes

        end = warm.run(self.job.command(self.out), self.said, first=recorder.start, last=recorded)
        if end.code:
            raise RuntimeError(f"{self.job.name} does not work while it is recorded: {end.told}")
        return end.answer

    def states(self) -> list[State]:
        """Return every state that is to be tried."""
        return list(states(self.operations, self.nodes))

    def run(self, chosen: Sequence[State]) -> Result:
        """Try the states that were chosen."""
        began = time.monotonic()
        result = Result(self.job.name, len(self.operations))
        for state in chosen:
            self._try(state, result)
        self._clear()
        for fault in compare.differences(self.given, compare.tree_of(self.inputs)):
            result.blame(f"input: {fault}", "all states")
            result.recovered = 0
        result.seconds = time.monotonic() - began
        return result

    def _try(self, state: State, result: Result) -> None:
        self._clear()
        state.disk.rebuild(self.disk)
        torn = self._torn()
        end = warm.run(
            self.job.resumed(self.out),
            self.said,
            last=lambda: compare.differences(self.expected, compare.tree_of(self.disk)),
        )
        faults = [f"exit {end.code}: {end.told}"] if end.code else end.answer
        for fault in [*faults, *(f"torn {name}" for name in torn)]:
            result.blame(_NUMBER.sub(".#.tmp", fault.replace(str(self.disk), "")), state.said)
        result.tried += 1
        result.recovered += not faults
        result.torn += bool(torn)

    def _torn(self) -> list[str]:
        """Return files that a crash leaves under their final name and that are not whole."""
        paths = [path.relative_to(self.disk) for path in self.disk.rglob("*") if path.is_file()]
        return [str(path) for path in paths if not _is_temporary(path) and is_torn(self.disk / path)]

    def _clear(self) -> None:
        for path in self.disk.iterdir():
            shutil.rmtree(path)


def _is_temporary(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def try_share(make: Callable[[Path], Job], place: Path, share: int = 0, shares: int = 1, most: int = 0) -> Result:
    """Try a command's states, every ``shares``-th of them from ``share``; at most ``most``, evenly chosen (0: all)."""
    os.environ.update(warm.ENVIRONMENT)
    trial = Trial(make, place)
    every = trial.states()
    step = max(1, -(-len(every) // most)) if most else 1
    result = trial.run(every[::step][share::shares])
    result.states = len(every)
    return result
