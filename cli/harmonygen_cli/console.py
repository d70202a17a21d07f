"""What a command says: one JSON object on stdout when asked, everything else on stderr, with Rich."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from harmonygen.errors import printable

BYTES = "bytes"
"""The unit of progress that is shown in MB."""


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
        """Yield ``advance(done, total)``: a bar on a terminal, plain lines elsewhere, with times and rate."""
        if self.quiet:
            yield lambda _done, _total: None
        elif sys.stderr.isatty():
            with self._bar(label, unit) as advance:
                yield advance
        else:
            yield Lines(label, unit)

    @contextmanager
    def _bar(self, label: str, unit: str) -> Iterator[Callable[[int, int], None]]:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        name, rate = (TextColumn(f"{{task.{what}}}", markup=False) for what in ("description", "fields[rate]"))
        left = TextColumn("left", markup=False)
        done_of = DownloadColumn() if unit == BYTES else MofNCompleteColumn()
        columns = (name, BarColumn(), done_of, TimeElapsedColumn(), rate, TimeRemainingColumn(), left)
        with Progress(*columns, console=self._console()) as bars:
            task = bars.add_task(label, total=None, rate="")

            def advance(done: int, total: int) -> None:
                speed = bars.tasks[0].speed
                bars.update(task, completed=done, total=total, rate=rate_of(speed, unit) if speed else "")

            yield advance

    def result(self, values: Mapping[str, Any]) -> None:
        """Print the command's result as one JSON object on stdout, if asked to."""
        if self.json_output:
            text = json.dumps(values, ensure_ascii=False, default=str)
            # A name that is not UTF-8 becomes JSON's escape.
            print(text.encode("utf-8", "backslashreplace").decode(), flush=True)

    def error(self, message: str, code: int) -> None:
        """Print what ended the command, on stderr, and as JSON on stdout if asked to."""
        self.fault(message)
        self.result({"error": message, "exit_code": code})

    def fault(self, message: str) -> None:
        """Print what is wrong on stderr, be it quiet or not."""
        from rich.text import Text

        self._console().print(Text.assemble(("error: ", "bold red"), printable(message)))


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


class Lines:
    """Progress as plain lines on stderr: one at once, one within a second or two, then one every five seconds."""

    def __init__(self, label: str, unit: str) -> None:
        self._label, self._unit = label, unit
        self._began = self._due = time.monotonic()
        self._first: tuple[float, int] | None = None  # when work was first told of, and what was done by then

    def __call__(self, done: int, total: int) -> None:
        """Print a line if one is due."""
        now = time.monotonic()
        if now < self._due and done < total:
            return
        self._due = now + (5.0 if self._first else 1.0)
        since, before = self._first = self._first or (now, done)
        speed = (done - before) / (now - since) if now > since else 0.0
        rate = rate_of(speed, self._unit if self._unit == BYTES else "")
        left = f", {rate}, {clock((total - done) / speed)} left" if speed else ""
        of = size(total) if self._unit == BYTES else f"{total} {self._unit}".rstrip()
        said = f"{self._label}: {size(done) if self._unit == BYTES else done}/{of}, "
        said += f"{clock(now - self._began)} elapsed{left}"
        print(said, file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Return a length of time in hours, minutes and seconds.

    >>> clock(65.4), clock(3600 * 30)
    ('1:05', '30:00:00')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def pace(speed: float) -> str:
    """Return a rate per second in the unit of time that suits it.

    >>> pace(12.34), pace(0.25)
    ('12.3/s', '15.0/min')
    """
    return f"{speed:.3g}/s" if speed >= 1 else f"{60 * speed:.1f}/min"


def rate_of(speed: float, unit: str) -> str:
    """Return a rate per second with its unit; bytes are told in MB.

    >>> rate_of(12.34, "pairs"), rate_of(5.92e7, BYTES), rate_of(0.25, "")
    ('12.3/s pairs', '59.2 MB/s', '15.0/min')
    """
    return f"{size(speed)}/s" if unit == BYTES else f"{pace(speed)} {unit}".rstrip()


def size(count: float) -> str:
    """Return a number of bytes in MB, small ones in kB.

    >>> size(12_137_971), size(8_823), size(0)
    ('12.1 MB', '8.8 kB', '0 kB')
    """
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.2g} kB"
