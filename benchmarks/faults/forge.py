"""Run the command line many times in processes of their own, without paying for its imports each time.

A server process imports what is heavy once and forks a child a command; a :class:`Forge` is its client. The child is
`harmonygen` as it is installed: `harmonygen_cli.main.main` with its own `sys.argv`, handlers and exit code.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg"}


@dataclass(frozen=True)
class End:
    """How a command ended: its exit code (minus the signal's number if one killed it) and what it said."""

    code: int
    out: str
    err: str
    events: tuple[tuple[str, str], ...] = ()

    @property
    def told(self) -> str:
        """The last line of what was said on stderr."""
        return (self.err.strip().splitlines() or [""])[-1]


class Forge:
    """A server of commands; use it in a ``with`` block."""

    def __init__(self, place: Path) -> None:
        self.place, self.count = place, 0

    def __enter__(self) -> Forge:
        self.place.mkdir(parents=True, exist_ok=True)
        self.server = subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n{SERVE}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ENVIRONMENT},
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self.server.stdin
        self.server.stdin.close()
        self.server.wait(60)

    def start(self, *words: object, trap: dict[str, Any] | None = None, env: dict[str, str] | None = None) -> int:
        """Start a command; return its number."""
        self.count += 1
        stem = str(self.place / f"{self.count:05d}")
        trap = {**trap, "log": f"{stem}.log"} if trap else None
        self._ask({"argv": [str(word) for word in words], "trap": trap, "env": env or {}, "stem": stem})
        return self.count

    def wait(self, number: int) -> End:
        """Wait for a command's end."""
        code = self._ask({"wait": number})
        stem = self.place / f"{number:05d}"
        log = stem.with_suffix(".log")
        lines = log.read_text().splitlines() if log.is_file() else []
        out, err = (stem.with_suffix(suffix).read_text(errors="replace") for suffix in (".out", ".err"))
        return End(code, out, err, tuple((kind, path) for kind, _, path in (line.partition("\t") for line in lines)))

    def run(self, *words: object, trap: dict[str, Any] | None = None, env: dict[str, str] | None = None) -> End:
        """Run a command to its end."""
        return self.wait(self.start(*words, trap=trap, env=env))

    def _ask(self, request: dict[str, Any]) -> int:
        assert self.server.stdin
        assert self.server.stdout
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        answer = self.server.stdout.readline()
        if not answer:
            raise RuntimeError("the server of commands is gone")
        return int(answer)


SERVE = "from faults.forge import serve; serve()"


def serve() -> None:
    """Answer requests on standard input until it is closed."""
    import importlib

    for name in ("datasets", "diffusers", "jinja2", "skimage.metrics", "skimage.measure", "torch"):
        importlib.import_module(name)
    jobs = ("synthesis.synthesize", "synthesis.reselect", "augmentation.augment", "augmentation.export")
    for name in (*jobs, "human_harmony.build", "harmonization.harmonize", "evaluation.evaluate"):
        importlib.import_module(f"harmonygen.{name}")
    for name in ("classifier", "direct", "run", "loop"):
        importlib.import_module(f"harmonygen.training.{name}")
    importlib.import_module("harmonygen.report")
    children: list[int] = []
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(children[request["wait"] - 1], 0)[1])
        else:
            answer = os.fork()
            if not answer:
                _live(request)
            children.append(answer)
        print(answer, flush=True)


def _live(request: dict[str, Any]) -> None:
    """Be one command, from its first line to its exit code; never returns."""
    import signal
    import traceback

    code = 1
    try:
        os.setsid()
        for descriptor, suffix in ((1, ".out"), (2, ".err")):
            os.dup2(os.open(request["stem"] + suffix, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.update(request["env"])
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["harmonygen", *request["argv"]]
        from harmonygen_cli.main import main

        if request["trap"]:
            from faults.trap import Trap

            Trap(request["trap"]).set()
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:  # as the interpreter itself ends
        code = 130
        traceback.print_exc()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
