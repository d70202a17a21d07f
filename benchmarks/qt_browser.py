"""Chromium as Qt WebEngine has it, driven over standard input: for machines without a Chromium of their own.

Run by a Python that has PySide6; each line in is a JSON command, each line out its answer. :class:`QtBrowser` is the
other end, with the methods of tests/report/chromium.py that benchmarks use.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class QtBrowser:
    """A browser window of a size in pixels; ``python`` is an interpreter that has PySide6."""

    def __init__(self, python: str, size: tuple[int, int] = (1280, 860), dark: bool = False) -> None:
        flags = "--no-sandbox --disable-gpu --single-process" + (
            " --blink-settings=preferredColorScheme=0" if dark else ""
        )
        surroundings = {"QT_QPA_PLATFORM": "offscreen", "QTWEBENGINE_CHROMIUM_FLAGS": flags}
        surroundings |= {"QTWEBENGINE_DISABLE_SANDBOX": "1"}
        self.process = subprocess.Popen(
            [python, __file__, *map(str, size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **surroundings},
            start_new_session=True,
        )

    def __enter__(self) -> QtBrowser:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End the browser by SIGKILL: its own session, and no other process."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _ask(self, command: dict[str, Any]) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise EOFError("the browser ended")
        return json.loads(line)["value"]

    def open(self, address: str) -> None:
        """Go to an address and wait for the load event."""
        self._ask({"open": address})

    def value(self, expression: str) -> Any:
        """Return what a JavaScript expression, or the promise it gives, comes to."""
        found = self._ask({"js": expression})
        if isinstance(found, dict) and "__error" in found:
            raise RuntimeError(found["__error"])
        return found

    def until(self, expression: str, timeout: float = 30) -> Any:
        """Wait until an expression is truthy, and return it."""
        end = time.monotonic() + timeout
        while not (found := self.value(expression)):
            if time.monotonic() > end:
                raise TimeoutError(f"not true in {timeout} s: {expression}")
            time.sleep(0.02)
        return found

    def resize(self, width: int, height: int) -> None:
        """Give the window a size."""
        self._ask({"size": [width, height]})

    def tab(self) -> None:
        """Press the Tab key."""
        self._ask({"tab": 1})

    def screenshot(self, path: Path) -> Path:
        """Save the window as a PNG."""
        self._ask({"shot": str(path)})
        return path


_AWAITED = """window.__answer = undefined; window.__asked = true;
(async () => (%s))().then(value => { window.__answer = [value === undefined ? null : value]; },
                          error => { window.__answer = [{ __error: String(error && error.stack || error) }]; }); 0"""

_LONGEST = 240  # seconds until an expression is given up

_ANSWER = "window.__answer ? JSON.stringify(window.__answer) : window.__asked ? '' : 'gone'"


def _read(lines: queue.Queue[str]) -> None:
    """Put each line of the standard input into a queue, and "" at its end."""
    for line in sys.stdin:
        lines.put(line)
    lines.put("")


def _next(lines: queue.Queue[str], wait: Callable[[int], None]) -> str:
    """Return the next command; events are handled until there is one."""
    while lines.empty():
        wait(1)
    return lines.get()


class _Window:
    """The browser's own end: one view, and events handled while it waits."""

    def __init__(self, width: int, height: int) -> None:
        from PySide6.QtWebEngineWidgets import QWebEngineView
        from PySide6.QtWidgets import QApplication

        self.app = QApplication(sys.argv[:1])
        self.view = QWebEngineView()
        self.view.resize(width, height)
        self.view.show()

    def wait(self, milliseconds: int) -> None:
        """Handle events for a while."""
        from PySide6.QtCore import QEventLoop, QTimer

        loop = QEventLoop()
        QTimer.singleShot(milliseconds, loop.quit)
        loop.exec()

    def run(self, script: str) -> Any:
        """Run a script; None if the page was left meanwhile, whose answer never comes."""
        from PySide6.QtCore import QEventLoop, QTimer

        loop, found = QEventLoop(), []
        self.view.page().runJavaScript(script, 0, lambda value: (found.append(value), loop.quit()))
        QTimer.singleShot(2000, loop.quit)
        if not found:
            loop.exec()
        return found[0] if found else None

    def value(self, expression: str) -> Any:
        """Return what an expression, or its promise, comes to."""
        self.run(_AWAITED % expression)
        end = time.monotonic() + _LONGEST
        while not (answer := self.run(_ANSWER)) or answer == "gone":
            if time.monotonic() > end:
                return {"__error": "no answer"}
            if answer == "gone":  # the page was left
                self.run(_AWAITED % expression)
            self.wait(2)
        return json.loads(answer)[0]

    def open(self, address: str) -> None:
        """Go to an address and wait for the load event."""
        from PySide6.QtCore import QEventLoop, QUrl

        loop = QEventLoop()
        self.view.loadFinished.connect(loop.quit)
        self.view.load(QUrl(address))
        loop.exec()
        self.view.loadFinished.disconnect(loop.quit)

    def tab(self) -> None:
        """Press the Tab key, as a keyboard does."""
        from PySide6.QtCore import QEvent, Qt
        from PySide6.QtGui import QKeyEvent

        self.view.activateWindow()
        self.view.setFocus()
        for kind in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
            key = QKeyEvent(kind, Qt.Key.Key_Tab, Qt.KeyboardModifier.NoModifier, "\t")
            self.app.sendEvent(self.view.focusProxy(), key)
        self.wait(150)

    def answer(self, command: dict[str, Any]) -> Any:
        """Do what a command asks for, and return its answer."""
        if "open" in command:
            return self.open(command["open"])
        if "js" in command:
            return self.value(command["js"])
        if "size" in command:
            self.view.resize(*command["size"])
            return self.wait(300)
        if "tab" in command:
            return self.tab()
        self.wait(100)
        return self.view.grab().save(command["shot"])


def _serve(width: int, height: int) -> None:
    window = _Window(width, height)
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    while line := _next(lines, window.wait):  # the page goes on while no command comes
        print(json.dumps({"value": window.answer(json.loads(line))}), flush=True)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
