"""The door of the command line: registers the verbs, and turns every end of a command into an exit code."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import typer

from harmonygen.errors import HarmonygenError, StorageError
from harmonygen_cli import augment, doctor, quickstart, recipes, report, score, select, synthesize, train
from harmonygen_cli.console import Reporter

EXIT_BUG, EXIT_USAGE, EXIT_STORAGE, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 2, 4, 130, 143

app = typer.Typer(
    name="harmonygen",
    help="Make, curate and measure training data for image harmonization.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("quickstart")(quickstart.quickstart)
app.command("synthesize")(synthesize.synthesize)
app.command("score")(score.score)
app.command("select")(select.select)
app.command("augment")(augment.augment)
app.command("report")(report.report)
app.command("train")(train.train)
app.add_typer(recipes.app, name="recipes")
app.command("doctor")(doctor.doctor)


class Terminated(BaseException):
    """SIGTERM was received: unwind, keep the state, end with 143."""


def dashed(arguments: Sequence[str]) -> list[str]:
    """Accept the underscore spelling of every long option.

    >>> dashed(["synthesize", "--shard_size=4", "a_b=1"])
    ['synthesize', '--shard-size=4', 'a_b=1']
    """
    turned = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        turned.append(name.replace("_", "-") + equals + value if name.startswith("--") else argument)
    return turned


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; nothing is raised."""
    try:
        outcome: Any = app(args=dashed(arguments), prog_name="harmonygen", standalone_mode=False)
        if outcome == EXIT_INTERRUPTED:  # typer turns KeyboardInterrupt into this
            raise KeyboardInterrupt
        return outcome if isinstance(outcome, int) else 0
    except HarmonygenError as error:
        return _failed(arguments, str(error), error.exit_code)
    except typer.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _failed(arguments, "stopped by the keyboard: the same command goes on from here", EXIT_INTERRUPTED)
    except Terminated:
        return _failed(arguments, "stopped by SIGTERM: the same command goes on from here", EXIT_TERMINATED)
    except (BrokenPipeError, SystemExit):  # typer turns a closed pipe into SystemExit
        return EXIT_STORAGE
    except OSError as error:
        where = f" '{error.filename}'" if error.filename else ""
        message = f"{error.strerror or error}{where}: free space or fix permissions, then repeat the command"
        return _failed(arguments, message, StorageError.exit_code)
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "ctx"):  # a wrong option: typer prints it with the usage line
            error.show()
            said = {"error": error.format_message(), "exit_code": EXIT_USAGE}
            Reporter(json_output="--json" in arguments).result(said)
            return EXIT_USAGE
        traceback.print_exc()
        return _failed(arguments, f"{type(error).__name__}: {error}: this is a bug, please report it", EXIT_BUG)


def _failed(arguments: Sequence[str], message: str, code: int) -> int:
    Reporter(json_output="--json" in arguments).error(message, code)
    return code


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def main() -> NoReturn:
    """Entry point of the ``harmonygen`` command."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run(sys.argv[1:]))
