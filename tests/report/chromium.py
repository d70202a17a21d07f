"""Headless Chromium over its debugging pipe: open a page, press keys, read state, take pictures of it.

The protocol is JSON ended by a zero byte, commands into the browser's file descriptor 3, answers out of its 4.
Used by the tests of the review page and by benchmarks/review_page.py; nothing beyond the standard library.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OFFLINE = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")
_DUP = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execvp(sys.argv[3], sys.argv[3:])"
)
_KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "End": 35, "Home": 36}
_KEYS |= {"Escape": 27, "Tab": 9, "Enter": 13}


def find_chromium() -> str | None:
    """Return the path of a Chromium or Chrome on PATH."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Chromium:
    """One headless browser with one page; a context manager. ``requests`` has every address asked for but ``data:``."""

    def __init__(self, binary: str, profile: Path, size: tuple[int, int] = (1440, 900)) -> None:
        into, self._in = (self._above_ten(end) for end in os.pipe())
        self._out, out = (self._above_ten(end) for end in os.pipe())
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", *OFFLINE, "--remote-debugging-pipe"]
        options += [f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _DUP, str(into), str(out), binary, *options],
            pass_fds=(into, out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(into)
        os.close(out)
        self._buffer, self._number, self._session = b"", 0, ""
        self._events: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._attach(size)

    @staticmethod
    def _above_ten(descriptor: int) -> int:
        moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)  # 3 and 4 are the browser's ends
        os.close(descriptor)
        return moved

    def _attach(self, size: tuple[int, int]) -> None:
        page = next(t for t in self.send("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.resize(*size)

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, _kind: type | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the browser and everything it started."""
        with contextlib.suppress(OSError, EOFError, subprocess.TimeoutExpired):
            self._session = ""
            self.send("Browser.close", timeout=5)
            self._process.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its own session: the browser's processes and no others
        self._process.wait()
        for end in (self._in, self._out):
            os.close(end)

    def send(self, method: str, timeout: float = 60, **parameters: Any) -> dict[str, Any]:
        """Send one command and return its result; events that arrive meanwhile are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._in, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + timeout
        while True:
            answer = self._receive(until, method)
            if answer.get("id") != self._number:
                self._note(answer)
            elif "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']}")
            else:
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self, until: float, what: str) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._out], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError(f"chromium did not answer: {what}")
            if not (chunk := os.read(self._out, 1 << 20)):
                raise EOFError("chromium ended")
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def _note(self, event: dict[str, Any]) -> None:
        method, found = event.get("method", ""), event.get("params", {})
        self._events.append(event)
        if method == "Network.requestWillBeSent":
            if not found["request"]["url"].startswith("data:"):
                self.requests.append(found["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(found["exceptionDetails"])[:600])
        elif method == "Log.entryAdded" and found["entry"]["level"] == "error":
            self.errors.append(found["entry"]["text"])

    def wait_event(self, method: str, timeout: float = 60) -> dict[str, Any]:
        """Return the parameters of the next event of a name, also one that has come already."""
        until = time.monotonic() + timeout
        while True:
            for event in self._events:
                if event.get("method") == method:
                    self._events.remove(event)
                    found: dict[str, Any] = event["params"]
                    return found
            self._note(self._receive(until, method))

    def open(self, address: str) -> None:
        """Go to an address and wait for the load event."""
        self._events.clear()
        self.send("Page.navigate", url=address)
        self.wait_event("Page.loadEventFired")

    def reload(self) -> None:
        """Load the page again."""
        self._events.clear()
        self.send("Page.reload")
        self.wait_event("Page.loadEventFired")

    def value(self, expression: str) -> Any:
        """Return what a JavaScript expression (or the promise it gives) comes to."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:600])
        return answer["result"].get("value")

    def until(self, expression: str, timeout: float = 20) -> Any:
        """Wait until an expression is truthy, and return it."""
        end = time.monotonic() + timeout
        while not (found := self.value(expression)):
            if time.monotonic() > end:
                raise TimeoutError(f"not true in {timeout} s: {expression}")
            time.sleep(0.02)
        return found

    def press(self, *keys: str, hold: bool = False) -> None:
        """Press keys one after the other, as a keyboard does; ``hold`` leaves them down."""
        for key in keys:
            named = _KEYS.get(key)
            code = {"windowsVirtualKeyCode": named or ord(key.upper()), "key": key}
            text = {} if named and key != "Enter" else {"text": "\r" if key == "Enter" else key}
            self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **code, **text)
            if not hold:
                self.release(key)

    def release(self, key: str) -> None:
        """Let a key go."""
        code = _KEYS.get(key) or ord(key.upper())
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def click(self, selector: str) -> None:
        """Click the middle of an element with the mouse."""
        box = f"document.querySelector({selector!r}).getBoundingClientRect()"
        x, y = self.value(f"(r => [r.x + r.width / 2, r.y + r.height / 2])({box})")
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def choose_file(self, selector: str, path: Path) -> None:
        """Give a file to a file input, as its dialog would."""
        handle = self.send("Runtime.evaluate", expression=f"document.querySelector({selector!r})")["result"]["objectId"]
        self.send("DOM.setFileInputFiles", files=[str(path)], objectId=handle)

    def downloads_to(self, folder: Path) -> None:
        """Save downloads in a folder, without a question."""
        folder.mkdir(parents=True, exist_ok=True)
        session, self._session = self._session, ""
        self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder), eventsEnabled=False)
        self._session = session

    def resize(self, width: int, height: int, mobile: bool = False) -> None:
        """Give the page a size in CSS pixels."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def scheme(self, name: str) -> None:
        """Prefer ``light`` or ``dark`` colours."""
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def screenshot(self, path: Path) -> Path:
        """Save the window as a PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))
        return path
