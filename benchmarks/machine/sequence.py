"""The state machine: 20 steps of verbs, kills, full disks, injured files and changed inputs against the model."""

from __future__ import annotations

import errno
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, Phase, assume, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from machine.actions import OK, STORAGE, WRONG_USE, Augment, Score, Select, Step, Synthesize
from machine.book import FOLDERS, Book
from machine.commands import command, snapshot
from machine.world import CLASSIFIERS, SETTINGS, World

STEPS = 20
KILLED = -9

PAIRS = [f"HSmall/p{index}_1" for index in range(3)]
RULES = st.sampled_from([None, "max-composite", "random", "quantile", "diverse"])
GATES = st.sampled_from([{}, {"min_fmse": 20.0}, {"min_fmse": 500.0}, {"min_structure": 0.9}, {"max_clipped": 0.01}])
DECISIONS = st.dictionaries(
    st.tuples(st.sampled_from(PAIRS), st.integers(0, 2)), st.sampled_from(["accept", "reject"]), max_size=6
)
COUNTS = st.sampled_from([None, 1, 2, 3])
SYNTHESES = st.builds(Synthesize, st.sampled_from([*SETTINGS]), st.sampled_from([False, False, True]))
SELECTIONS = st.builds(Select, RULES, COUNTS, st.sampled_from([None, 0, 7]), GATES)
REVIEWS = st.builds(Select, count=COUNTS, decisions=DECISIONS)
SCORINGS = st.builds(Score, st.sampled_from(CLASSIFIERS))
MIXES = st.builds(
    Augment,
    st.sampled_from(["tree-0", "tree-1"]),
    st.sampled_from([0.5, 1.0, 1.5]),
    st.sampled_from(["random", "top", "selected"]),
    st.sampled_from([True, True, False]),
)
OPTIONS = st.sampled_from(
    [
        ("--limit", 2),
        ("--image-format", "webp"),
        ("--max-side", 32),
        ("--keep", "best"),
        ("rule=random",),
        ("--seed", 8),
    ]
)
ACTIONS = st.one_of(SYNTHESES, SELECTIONS, REVIEWS, SCORINGS, MIXES)
AT = st.integers(0, 60)
"""The number of the event, of those that touch a file, that a command is struck at."""


class Machine(RuleBasedStateMachine):
    """One sequence; ``world`` and ``tally`` are set by :func:`machine_of`."""

    world: World
    tally: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.struck: Any = None

    @initialize(salt=st.integers(0, 2**62), finished=st.sampled_from(["", "plain", "plain", "other"]))
    def begin(self, salt: int, finished: str) -> None:
        """Begin with nothing, or with a finished run."""
        assume(salt)  # hypothesis begins with the simplest sequence, whatever the seed: it is not counted
        self.world.reset(finished)
        self.book = Book(self.world)
        if finished:
            self.book.model |= {"settings": {finished}, "choices": [self.world.references[finished].first]}
        self.tally["sequences"] += 1

    # The verbs

    @rule(action=SYNTHESES)
    def synthesize(self, action: Synthesize) -> None:
        """Begin, resume or repeat the run."""
        self._do("synthesize", action)

    @rule(action=SELECTIONS)
    def select(self, action: Select) -> None:
        """Select by other options."""
        self._do("select", action)

    @rule(action=REVIEWS)
    def decide(self, action: Select) -> None:
        """Apply a review; one that names a candidate which the run does not have is refused."""
        self._do("decide", action)

    @rule(decisions=DECISIONS)
    def decide_for_another_run(self, decisions: dict[Any, str]) -> None:
        """Apply a review of another run: it is refused."""
        self._do("decide", Select(decisions=decisions, of_run="0123456789abcdef"))

    @rule(action=SCORINGS)
    def score(self, action: Score) -> None:
        """Score by another classifier."""
        self._do("score", action)

    @rule(action=MIXES)
    def augment(self, action: Augment) -> None:
        """Mix the run into a tree."""
        self._do("augment", action)

    @precondition(lambda self: self.book.settings())
    @rule(more=OPTIONS)
    def change_an_option(self, more: tuple[object, ...]) -> None:
        """Repeat `synthesize` with an option that the run was not begun with: it is refused."""
        self._do("change an option", Synthesize(self.book.settings(), more=more))

    # What strikes them

    @rule(action=ACTIONS, at=AT)
    def kill(self, action: Any, at: int) -> None:
        """Kill a command at one of its events."""
        self._do("kill", action, {"does": "die", "at": at})

    @rule(action=ACTIONS, at=AT, ops=st.sampled_from([["fsync"], ["rename"], ["open"], ["link"], ["mkdir"], ["write"]]))
    def fill_the_disk(self, action: Any, at: int, ops: list[str]) -> None:
        """Let a command find no space at one of its calls."""
        self._do("fill the disk", action, {"does": "error", "errno": errno.ENOSPC, "ops": ops, "at": at % 12})

    @precondition(lambda self: self.struck)
    @rule()
    def resume(self) -> None:
        """Repeat the command that was struck last."""
        self._do("resume", self.struck)

    @precondition(lambda self: self.book.settings() and not self.book.missing())
    @rule(part=st.integers(0, 5), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def corrupt_a_byte(self, part: int, place: float, bit: int) -> None:
        """Flip a bit of a part of the run."""
        names = [f"{folder}/{name}" for folder in FOLDERS for name in sorted(self.book.reference.parts)]
        name = names[part % len(names)]
        path = self.world.run / name
        content, again = bytearray(path.read_bytes()), name in self.book.model["damaged"]
        at = int(place * len(content))
        content[at] ^= 1 << bit
        path.write_bytes(bytes(content))
        self.book.model["damaged"][name] = bytes(content)
        self.book.model["places"][name] = max(at, self.book.model["places"].get(name, 0) if again else 0)
        self.tally["corrupt a byte"] += 1

    @precondition(lambda self: self.book.model["damaged"])
    @rule()
    def remove_what_is_corrupt(self) -> None:
        """Do what the messages say: remove the file. The next `synthesize` makes it again."""
        for name in self.book.model["damaged"]:
            (self.world.run / name).unlink(missing_ok=True)
        self.tally["remove what is corrupt"] += 1

    @precondition(lambda self: self.book.settings() and not self.book.model["changed"])
    @rule(index=st.integers(0, 2), mask=st.booleans())
    def exchange_an_input(self, index: int, mask: bool) -> None:
        """Put another photo, or a redrawn mask, in the place of one."""
        name = f"HSmall/masks/p{index}_1.png" if mask else f"HSmall/real_images/p{index}.jpg"
        self.book.exchange(name, PAIRS[index])
        self.tally["exchange an input"] += 1

    @precondition(lambda self: self.book.model["changed"])
    @rule()
    def put_inputs_back(self) -> None:
        """Put back what was exchanged: the run is good again."""
        self.book.put_back()
        self.tally["put inputs back"] += 1

    # What has to hold

    def _do(self, kind: str, action: Any, trap: dict[str, Any] | None = None) -> None:
        """Run a command, struck or not, and hold what it did against the model."""
        if isinstance(action, Synthesize) and (action.overwrite or not self.book.settings() or self.book.remade()):
            self.book.put_back()  # what is made from what is there has no undisturbed run to be compared with
        step = action.step(self.book)
        home = self.world.now / step.home
        strike = trap and {**trap, "out": home, "data": self.world.data}
        injured = bool(self.book.model["damaged"])
        before = self._folders()
        end = command(step.words, strike, alone=self.book.may_crash())
        self.tally[kind] += 1
        self.tally[f"{kind}: exit {end.code}"] += 1
        codes = step.codes | self._struck_codes(trap) | ({WRONG_USE, STORAGE} if injured else set())
        told = f"'{kind} {step.words[0]}' ended with {end.code}, {sorted(codes)} are expected: {end.said[-3000:]}"
        assert end.code in codes, told
        self._refuse_other_changes(step, before, end.code, injured)
        self._note(action, step, end.code, end.said, injured)
        found = list(self.book.faults())
        assert not found, f"after '{kind} {step.words[0]}' (exit {end.code}): {'; '.join(found)}"

    @staticmethod
    def _struck_codes(trap: dict[str, Any] | None) -> set[int]:
        return {KILLED if trap["does"] == "die" else STORAGE} if trap else set()

    def _folders(self) -> dict[str, Any]:
        return {name: snapshot(self.world.now / name) for name in ("run", "tree-0", "tree-1")}

    def _refuse_other_changes(self, step: Step, before: dict[str, Any], code: int, injured: bool) -> None:
        """Check that nothing but the command's own folder changed, and that neither if there was nothing to do."""
        after = self._folders()
        still = {name for name in after if name != step.home or (code == WRONG_USE and not injured) or step.idle}
        changed = [
            f"{name}/{path}"
            for name in still
            for path in before[name].keys() | after[name].keys()
            if before[name].get(path) != after[name].get(path)
        ]
        assert not changed, f"'{step.words[0]}' ended with {code} and changed {sorted(changed)}"

    def _note(self, action: Any, step: Step, code: int, said: str, injured: bool) -> None:
        """Write into the model what the command has done."""
        if code == OK:
            step.done()
            self.struck = None if self.struck == action else self.struck
            strays = self.book.strays() if step.home == "run" else []
            assert not strays, f"'{step.words[0]}' succeeded and left {strays}"
        elif code in (KILLED, STORAGE) or injured:
            step.struck()
            self.struck = action
        if code in (WRONG_USE, STORAGE) and injured and step.codes == {OK}:
            named = [name for name in self.book.model["damaged"] if name.rpartition("/")[2] in said]
            assert named or "ENOSPC" in said or code == STORAGE, f"no injured file is named: {said[-2000:]}"


def machine_of(world: World, tally: Counter[str]) -> type[Machine]:
    """Return the state machine of a world, which counts its steps in ``tally``."""
    return type("Sequence", (Machine,), {"world": world, "tally": tally})


def run_sequence(world: World, tally: Counter[str], base: int, index: int, shrink: bool = False) -> None:
    """Run sequence ``index`` of those that ``base`` seeds; it depends on these two numbers alone.

    Raises:
        AssertionError: something is not as the model says (or whatever else went wrong).
    """
    machine = seed(base * 1_000_003 + index)(machine_of(world, tally))
    phases = [Phase.generate, *([Phase.shrink] if shrink else [])]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=1,
            stateful_step_count=STEPS,
            database=None,
            deadline=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )
