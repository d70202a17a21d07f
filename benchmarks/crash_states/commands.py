"""The commands that are crashed: small, cheap, with the inputs that they read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from faults import samples
from faults.jobs import Job

from crash_states import warm


def synthesize(place: Path) -> Job:
    """Two shards of one photo, two candidates for each."""
    return Job("synthesize", _synthesize(place, samples.folders(place / "photos", 2)), place)


def _synthesize(place: Path, data: Path, k: int = 2) -> tuple[object, ...]:
    words = ("synthesize", "--data", data, "--generator", "color-jitter", "--k", k, "--shard-size", 1)
    return (*words, "--classifier", samples.classifier(place / "classifier"))


def _run(place: Path, data: Path, k: int = 2) -> Path:
    out = place / "run"
    end = warm.run((*_synthesize(place, data, k), "--out", out, "--quiet"), place / "said.txt")
    if end.code:
        raise RuntimeError(f"no run to work on: {end.told}")
    return out


def augment(place: Path) -> Job:
    """Two photos with two composites each become an iHarmony4 tree with as many new ones."""
    data = samples.iharmony4(place / "tree", 2)
    words = ("augment", "--data", data, "--candidates", _run(place, data), "--allow-fewer")
    return Job("augment", words, place)


def augment_parquet(place: Path) -> Job:
    """The same as Parquet files."""
    job = augment(place)
    return Job("augment parquet", (*job.words, "--format", "parquet"), place)


def export(place: Path) -> Job:
    """A run of two photos becomes a tree of hard links."""
    return Job("export", ("export", _run(place, samples.folders(place / "photos", 2))), place)


def export_copy(place: Path) -> Job:
    """The same with copies."""
    return Job("export copy", (*export(place).words, "--link", "copy"), place)


def build(place: Path) -> Job:
    """Three photos become a dataset of two splits with its card and report."""
    words = ("build-human-harmony", "--imaterialist", samples.folders(place / "photos", 3), "--generator")
    more = ("color-jitter", "--k", 2, "--classifier", samples.classifier(place / "classifier"))
    return Job("build-human-harmony", (*words, *more, "--product-filter", "none", "--test-fraction", 0.3), place)


def evaluate(place: Path) -> Job:
    """Score composites as if they were predictions, in two parts."""
    data = samples.iharmony4(place / "tree", 2)
    words = ("evaluate", "--predictions", data / "HSmall" / "composite_images", "--data", data)
    return Job("evaluate", (*words, "--list-file", "IHD_train.txt", "--workers", 1, "shard_size=2"), place)


def train(place: Path) -> Job:
    """Four steps of a small direct harmonizer, a checkpoint at every second, the older one removed."""
    data = samples.folders(place / "photos", 3)
    words = ("train", "direct", "--recipe", "train/smoke-direct", "--data", data, "--resolution", 32)
    steps = ("--max-train-steps", 4, "--checkpointing-steps", 2, "--validation-steps", 2, "validation_samples=2")
    size = ("widths=[8,16]", "norm_num_groups=4", "checkpoints_total_limit=1")
    return Job("train", (*words, *steps, *size), place, "--output-dir", _resuming)


def _resuming(out: Path) -> tuple[object, ...]:
    return ("--resume-from-checkpoint", "latest") if list(out.glob("checkpoint-*")) else ()


ALL: dict[str, Callable[[Path], Job]] = {
    "synthesize": synthesize,
    "augment": augment,
    "augment-parquet": augment_parquet,
    "export": export,
    "export-copy": export_copy,
    "build-human-harmony": build,
    "evaluate": evaluate,
    "train": train,
}
"""The commands by name."""

THREADED = ("augment",)
"""Commands that write from several threads: the order of their operations differs from run to run."""
