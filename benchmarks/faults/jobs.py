"""The jobs that faults are injected into: a command each, small, with what is needed to start it and to go on."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from faults import content, samples
from faults.forge import End, Forge

Words = tuple[object, ...]


@dataclass(frozen=True)
class Job:
    """A verb with small inputs; ``words`` are its options but ``--out``, ``data`` the folder it reads."""

    name: str
    words: Words
    data: Path
    out_option: str = "--out"
    again: Callable[[Path], Words] = lambda _out: ()

    def command(self, out: Path) -> Words:
        """Return the command that begins the job in ``out``."""
        return (*self.words, self.out_option, out, "--quiet")

    def resumed(self, out: Path) -> Words:
        """Return the command that goes on with it."""
        return (*self.command(out), *self.again(out))


@dataclass(frozen=True)
class Workshop:
    """Where the suite works: a forge of commands, a folder, and one run of each job that nothing happened to."""

    forge: Forge
    place: Path
    classifier: Path
    data: Path

    def straight(self, job: Job) -> tuple[dict[str, object], End]:
        """Run a job without faults; return what it made and how it went."""
        out = self.out_of(job)
        end = self.forge.run(*job.command(out), trap={"out": str(out), "data": str(job.data), "does": "nothing"})
        if end.code:
            raise RuntimeError(f"{job.name} does not work at all: {end.err[-2000:]}")
        made = content.content(out)
        shutil.rmtree(out)
        return made, end

    def out_of(self, job: Job) -> Path:
        """Return the folder of a job's runs, always the same: digests may tell where the data were."""
        return self.place / "disk" / f"{job.name.replace(' ', '-')}-out"

    def trap(self, job: Job, out: Path, **spec: object) -> dict[str, object]:
        """Return a trap's settings for a job."""
        return {"out": str(out), "data": str(job.data), **spec}


def workshop(forge: Forge, place: Path) -> Workshop:
    """Make the inputs that all jobs share."""
    (place / "disk").mkdir()
    return Workshop(forge, place, samples.classifier(place / "classifier"), samples.folders(place / "photos", 4))


def synthesize(shop: Workshop) -> Job:
    """Candidates by LUTs: two shards of two photos."""
    words = ("synthesize", "--data", shop.data, "--generator", "lut", "--k", 2, "--shard-size", 2)
    return Job("synthesize lut", (*words, "--classifier", shop.classifier), shop.data)


def starter(shop: Workshop) -> Job:
    """Candidates by the starter's diffusion model and classifier: two shards of one photo."""
    words = ("synthesize", "--data", shop.data, "--k", 2, "--shard-size", 1, "--limit", 2, "--steps", 2)
    return Job("synthesize starter", (*words, "--resolution", 64), shop.data)


def augment(shop: Workshop, kind: str = "iharmony4") -> Job:
    """Mix a finished run into a small tree."""
    data, run = shop.place / "tree", shop.place / "tree-run"
    if not data.is_dir():
        samples.iharmony4(data, 4)
        words = ("synthesize", "--data", data, "--generator", "lut", "--k", 4, "--classifier", shop.classifier)
        end = shop.forge.run(*words, "--out", run, "--quiet")
        if end.code:
            raise RuntimeError(end.err[-2000:])
    words = ("augment", "--data", data, "--candidates", run, "--format", kind, "--allow-fewer")
    return Job(f"augment {kind}", words, data)


def human_harmony(shop: Workshop) -> Job:
    """Build a small dataset with its card and report."""
    words = ("build-human-harmony", "--imaterialist", shop.data, "--generator", "lut", "--k", 2)
    more = ("--classifier", shop.classifier, "--product-filter", "none", "--test-fraction", 0.3, "shard_size=2")
    return Job("build-human-harmony", (*words, *more), shop.data)


def harmonize(shop: Workshop) -> Job:
    """Harmonize four composites by a direct model."""
    data, model = shop.place / "composites", shop.place / "direct"
    if not data.is_dir():
        samples.composites(data, 4)
        samples.direct(model)
    words = ("harmonize", "--composites", data / "composites", "--masks", data / "masks", "--method", "direct")
    return Job("harmonize", (*words, "--model", model), data)


def evaluate(shop: Workshop) -> Job:
    """Score the composites of the small tree as if they were predictions."""
    data = augment(shop).data
    words = ("evaluate", "--predictions", data / "HSmall" / "composite_images", "--data", data)
    return Job("evaluate", (*words, "--list-file", "IHD_train.txt"), data)


def train(shop: Workshop) -> Job:
    """Train a small direct harmonizer for six steps, a checkpoint at every second."""
    words = ("train", "direct", "--recipe", "train/smoke-direct", "--data", shop.data, "--resolution", 32)
    steps = ("--max-train-steps", 6, "--checkpointing-steps", 2, "--validation-steps", 3, "validation_samples=2")
    return Job("train", (*words, *steps), shop.data, "--output-dir", _go_on)


def _go_on(out: Path) -> Words:
    return ("--resume-from-checkpoint", "latest") if list(out.glob("checkpoint-*")) else ()


ALL: tuple[Callable[[Workshop], Job], ...] = (synthesize, starter, augment, human_harmony, harmonize, evaluate, train)


def label(event: tuple[str, str]) -> str:
    """Return an event without the numbers of processes, parts and photos, so that like ones are one.

    >>> label(("rename", "pairs/part-00001-of-00003.parquet"))
    'rename pairs/part-#-of-#.parquet'
    """
    kind, path = event
    return f"{kind} {re.sub('[0-9]+', '#', path)}"


def moments(events: tuple[tuple[str, str], ...], most: int) -> list[int]:
    """Choose up to ``most`` events to strike at: the last of each kind, then the first, then others in between."""
    labels = [label(event) for event in events]
    last = {name: number for number, name in enumerate(labels)}
    first = {name: number for number, name in reversed(list(enumerate(labels)))}
    chosen = list(dict.fromkeys([*last.values(), *first.values(), *range(len(events))]))
    if len(last) > most:  # then evenly over the kinds
        chosen = [list(last.values())[place * len(last) // most] for place in range(most)]
    return sorted(chosen[:most])
