"""Stop between steps: Ctrl-C and SIGTERM wait for the step at work, so that a checkpoint of it can be written."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Within the block the first signal is only noted; the second acts at once, as it would outside the block.

    Signals that are ignored, and threads other than the main one, are left alone. So are runs of several processes
    (``enabled`` false): each would stop at a step of its own, and the last checkpoint counts for them.
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled and threading.current_thread() is threading.main_thread()
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        for number in _SIGNALS if self.enabled else ():
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def act(self) -> None:
        """Do what the noted signal would have done; return if there was none."""
        if self.received is not None:
            self._deliver(self.received, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            self._deliver(signal.Signals(number), frame)
        self.received = signal.Signals(number)

    def _deliver(self, number: signal.Signals, frame: FrameType | None) -> None:
        before = self._before.get(number, signal.SIG_DFL)
        self._restore()
        if callable(before):
            before(number, frame)
        else:
            os.kill(os.getpid(), number)

    def _restore(self) -> None:
        while self._before:
            number, before = self._before.popitem()
            signal.signal(number, before)


def leave_process_group(_worker: int) -> None:
    """Put a loader's worker into a group of its own: what is sent to the whole group must not kill it.

    Ctrl-C, ``timeout`` and job schedulers signal the group. The main process needs its workers to finish the step; it
    can still end one by itself, and a worker whose main process was killed notices and ends.
    """
    os.setpgid(0, 0)
