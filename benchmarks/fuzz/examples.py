"""Many trials, drawn by hypothesis from one seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from fuzz.trial import Outcome, Watch, outside_folder, run_trial

BLOCK = 50


def run_examples(folder: Path, count: int, number: int) -> Iterator[Outcome]:
    """Run ``count`` trials in ``folder``. Each block of them is drawn from the seed ``number`` and its own position."""
    outside, classifier = outside_folder(folder), tiny_classifier(folder / "classifier")
    watch = Watch(outside)
    found: list[Outcome] = []

    def trial(data: st.DataObject) -> None:
        found.append(run_trial(data.draw, folder / "work", outside, watch, classifier))

    for start in range(0, count, BLOCK):
        examples = settings(
            max_examples=min(BLOCK, count - start),
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        seed(number * 10_000 + start)(examples(given(st.data())(trial)))()
        yield from found
        found.clear()


def tiny_classifier(folder: Path) -> Path:
    """Write a randomly initialised classifier of 32 pixels."""
    import torch

    from harmonygen.models.classifier import ClassifierSpec, HarmonyResNet

    torch.manual_seed(0)
    HarmonyResNet(ClassifierSpec(depth="resnet10", in_channels=4, input_size=32)).save_pretrained(folder)
    return folder
