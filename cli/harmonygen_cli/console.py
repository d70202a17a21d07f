"""What a command says: one JSON object on stdout when asked, everything else on stderr, with Rich."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from harmonygen.errors import printable


class Reporter:
    """Lines, tables, progress and the result of one command.

    ``quiet`` keeps only errors and the result; ``json_output`` puts the result on stdout as one JSON object.
    """

    def __init__(self, json_output: bool = False, quiet: bool = False) -> None:
        self.json_output, self.quiet = json_output, quiet

    def _console(self) -> Any:
        """Return the one console: what is printed is text, and no ``[...]`` or ``:name:`` in it is markup."""
        from rich.console import Console

        return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def line(self, text: str) -> None:
        """Print one line on stderr."""
        if not self.quiet:
            self._console().print(printable(text))

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Print a table on stderr; numbers are right-aligned."""
        if self.quiet:
            return
        from rich.table import Table

        table = Table(title=printable(title), title_justify="left", header_style="bold")
        for index, column in enumerate(columns):
            numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
            table.add_column(column, justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(f"{cell:.4g}" if isinstance(cell, float) else printable(str(cell)) for cell in row))
        self._console().print(table)

    @contextmanager
    def progress(self, label: str, unit: str = "") -> Iterator[Callable[[int, int], None]]:
        """Yield ``advance(done, total)``: a bar with rate and ETA on a terminal, plain lines elsewhere."""
        if self.quiet:
            yield lambda _done, _total: None
        elif sys.stderr.isatty():
            with self._bar(label, unit) as advance:
                yield advance
        else:
            yield _plain(label, unit)

    @contextmanager
    def _bar(self, label: str, unit: str) -> Iterator[Callable[[int, int], None]]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        name, rate = (TextColumn(f"{{task.{what}}}", markup=False) for what in ("description", "fields[rate]"))
        columns = (name, BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
        with Progress(*columns, console=self._console()) as bars:
            task = bars.add_task(label, total=None, rate="")

            def advance(done: int, total: int) -> None:
                speed = bars.tasks[0].speed
                bars.update(task, completed=done, total=total, rate=f"{speed:.2f} {unit}/s" if speed else "")

            yield advance

    def result(self, values: Mapping[str, Any]) -> None:
        """Print the command's result as one JSON object on stdout, if asked to."""
        if self.json_output:
            text = json.dumps(values, ensure_ascii=False, default=str)
            print(text.encode("utf-8", "backslashreplace").decode())  # a name that is not UTF-8 becomes JSON's escape

    def error(self, message: str, code: int) -> None:
        """Print what ended the command, on stderr, and as JSON on stdout if asked to."""
        from rich.text import Text

        self._console().print(Text.assemble(("error: ", "bold red"), printable(message)))
        self.result({"error": message, "exit_code": code})


class _Lines(logging.Handler):
    """Prints each record as one line on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        Reporter().line(record.getMessage())


@contextmanager
def warnings_as_lines(quiet: bool = False) -> Iterator[None]:
    """Print what the library warns of (its logger ``harmonygen``) as lines on stderr."""
    logger, lines = logging.getLogger("harmonygen"), _Lines()
    lines.setLevel(logging.ERROR if quiet else logging.WARNING)
    logger.addHandler(lines)
    try:
        yield
    finally:
        logger.removeHandler(lines)


def _plain(label: str, unit: str) -> Callable[[int, int], None]:
    import time

    began = last = time.monotonic()

    def advance(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < 5 and done < total:
            return
        last = now
        rate = done / max(now - began, 1e-9)
        left = (total - done) / rate if rate else 0.0
        print(f"{label}: {done}/{total} {unit}, {rate:.2f}/s, {left:.0f} s left", file=sys.stderr, flush=True)

    return advance
