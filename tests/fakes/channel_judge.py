"""Judges that anyone can check: how bright one channel of the foreground is."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmonygen.synthesis import reselect as module
from harmonygen.synthesis.panel import Panel
from harmonygen.synthesis.reselect import reselect


class Channel:
    """A judge: how bright one channel of the foreground is."""

    def __init__(self, channel: int) -> None:
        self.channel, self.digest = channel, f"channel-{channel}"

    def __call__(self, composites, mask) -> list[float]:
        return [float(composite[mask][:, self.channel].mean() / 255) for composite in composites]


def judge_by_channels(run: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], **asked) -> Path:
    """Score a run by a judge a channel, and select by them."""
    monkeypatch.setattr(module, "_sum_up", lambda *_: None)
    panel = Panel({name: Channel(place) for place, name in enumerate(names)})
    reselect(run, scorer=panel, scorer_digest=panel.digest, **asked)
    return run
