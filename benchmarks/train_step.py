"""Training steps a second: what keeping decoded composites is worth, and the order of pixels in memory.

    python benchmarks/train_step.py --data tree --threads 1                    # an iHarmony4 tree with composites
    python benchmarks/train_step.py --data tree --recipe starter/direct-128

Every row is a training of its own from new weights on the same samples: as it ships, with every composite decoded at
each use, and with the other order of pixels. Rows take turns, the best of the rounds counts; the first steps do not,
they decode what is kept afterwards. The losses are compared: exit code 1 if they are further apart than rounding puts
them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from harmonygen.augmentation.export import export
from harmonygen.augmentation.settings import ExportSettings
from harmonygen.settings import resolve
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.synthesis.synthesize import synthesize
from harmonygen.training import loop
from harmonygen.training.run import train
from harmonygen.training.settings import DirectTraining

_LOSSES_APART = 0.05


def seconds_a_step(settings: DirectTraining, order: torch.memory_format | None) -> tuple[float, float]:
    """Train; return seconds a step over the second half, and the last loss that was logged."""
    marks: list[tuple[float, str]] = []
    usual = loop._fastest_format
    loop._fastest_format = (lambda *_: order) if order else usual
    try:
        train(settings, lambda line: marks.append((time.perf_counter(), line)))
    finally:
        loop._fastest_format = usual
    (began, _), (ended, line) = [mark for mark in marks if mark[1].startswith("step ")][-2:]
    return (ended - began) / settings.logging_steps, float(line.split(" loss ")[1].split()[0])


def jittered_sample(folder: Path) -> Path:
    """Write the sample's photos with composites by colour jitter as a tree, and return it."""
    gates = {"min_fmse": 1.0, "max_fmse": 65025.0, "min_structure": -1.0, "max_clipped": 1.0}
    run = resolve(SynthesizeSettings, None, {"generator": "color-jitter", "k": 10, "keep": "all", "gates": gates})
    synthesize(run.model_copy(update={"out": folder / "run"}))
    export(ExportSettings(run=folder / "run", out=folder / "tree", which="all"))
    return folder / "tree"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="an iHarmony4 tree or list; the sample with colour jitter if not given")
    parser.add_argument("--recipe", default="starter/direct")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    made = tempfile.TemporaryDirectory()
    data = options.data or jittered_sample(Path(made.name))
    half = options.steps // 2
    changed: dict[str, Any] = {"data": str(data), "source": "stored", "split_file": None, "exclude": (), "init": ""}
    changed |= {"max_train_steps": 2 * half, "logging_steps": half, "checkpointing_steps": 2 * half}
    settings = resolve(DirectTraining, options.recipe).model_copy(update={**changed, "validation_steps": 2 * half})
    rows: dict[str, tuple[dict[str, Any], torch.memory_format | None]] = {
        "decoded at each use": ({"photo_memory_gb": 0.0}, None),
        "channels last": ({}, torch.channels_last),
        "contiguous": ({}, torch.contiguous_format),
        "as shipped": ({}, None),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for _ in range(options.rounds):
        for name, (change, order) in rows.items():
            with tempfile.TemporaryDirectory() as folder:
                run = settings.model_copy(update={**change, "output_dir": Path(folder) / "run"})
                found[name].append(seconds_a_step(run, order))
    batch, (first, *_) = settings.train_batch_size, [min(took)[0] for took in found.values()]
    print(f"{options.recipe}: {settings.resolution} px, batches of {batch}, {options.threads} threads\n")
    print("| what | seconds a step | images/s | times | loss |\n|---|---:|---:|---:|---:|")
    for name, took in found.items():
        seconds, loss = min(took)[0], took[0][1]
        print(f"| {name} | {seconds:.3f} | {batch / seconds:.1f} | {first / seconds:.2f} | {loss:.4f} |")
    losses = [loss for took in found.values() for _, loss in took]
    return int(max(losses) - min(losses) > _LOSSES_APART * min(losses))


if __name__ == "__main__":
    sys.exit(main())
