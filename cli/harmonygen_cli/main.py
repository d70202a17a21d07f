"""The door of the command line: registers the verbs, and turns every end of a command into an exit code."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from types import FrameType, ModuleType
from typing import Annotated, Any, NoReturn

import typer

from harmonygen.errors import HarmonygenError, StorageError
from harmonygen_cli.console import Reporter, warnings_as_lines
from harmonygen_cli.once import OnceCommand

EXIT_BUG, EXIT_USAGE, EXIT_STORAGE, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 2, 4, 130, 143
_AGAIN = 0.01  # seconds until a signal that was lost is sent once more

VERBS = {
    "quickstart": "Run the whole job on the built-in sample.",
    "inspect": "Show how data are read: pairs, masks, photos, what is left out.",
    "masks": "Make masks for photos that have none.",
    "synthesize": "Make, score and select candidate composites of photos.",
    "score": "Score a finished run by other judges.",
    "select": "Select among a finished run's candidates again.",
    "review": "Accept and reject a run's candidates in the browser.",
    "why": "Show where a candidate came from and why it was chosen.",
    "augment": "Mix candidates into a harmonization dataset.",
    "export": "Write a run for harmonization or editing trainers.",
    "build-human-harmony": "Build a dataset from segmented photos.",
    "publish": "Verify a built dataset and publish it on the Hub.",
    "harmonize": "Harmonize composites.",
    "gain": "Measure what augmentation is worth.",
    "evaluate": "Score predictions or models.",
    "report": "Write an HTML page of a run or a dataset.",
    "train": "Train a model.",
    "import-weights": "Turn released weights into a checkpoint folder.",
    "check-plugin": "Check a plug-in: generator, judge, harmonizer or segmenter.",
    "recipes": "List, print, copy and check recipes.",
    "doctor": "Show what this machine can run, and what is missing.",
}
"""Each verb is the module of its name (``-`` as ``_``), which holds the command, or an ``app``, of its name."""


COMPLETING = "_HARMONYGEN_COMPLETE"
"""The environment variable by which a shell asks for completions."""


def _say_version(asked: bool) -> None:
    if asked:
        from harmonygen import __version__

        print(f"harmonygen {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and end.")
]


class Terminated(BaseException):
    """SIGTERM was received: unwind, keep the state, end with 143."""


def door(arguments: Sequence[str]) -> typer.Typer:
    """Return the app of the verb in ``arguments``, or the list of all verbs: what is not asked for is not imported."""
    app = typer.Typer(
        name="harmonygen",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # plain help: half the time
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help="Make, curate and measure training data for image harmonization.")(_of_all_verbs)
    asked = _asked(arguments or _being_completed())
    if asked not in VERBS:
        for verb, summary in VERBS.items():
            app.command(verb, help=summary)(lambda: None)
    elif hasattr(module := verb_module(asked), "app"):
        app.add_typer(module.app, name=asked)
    else:
        app.command(asked, cls=OnceCommand, epilog=_below_help(arguments))(getattr(module, asked.replace("-", "_")))
    return app


def _asked(arguments: Sequence[str]) -> str:
    """Return the verb among what was typed, empty if there is none."""
    return next((argument for argument in arguments if not argument.startswith("-")), "")


def _below_help(arguments: Sequence[str]) -> str | None:
    """Return what help says about plug-ins that the command names; nothing is imported if it asks for no help."""
    if not {"--help", "-h"} & set(arguments):
        return None
    from harmonygen_cli.plugin_help import plugin_help

    return plugin_help(dashed(arguments)) or None


def _of_all_verbs(version: Version = False) -> None:
    """Take the options that stand before a verb."""


def _being_completed() -> list[str]:
    """Return the words after the program's name that a shell asks to have completed."""
    typed = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")
    return typed.split()[1:] if COMPLETING in os.environ else []


def verb_module(verb: str) -> ModuleType:
    """Return the module of a verb."""
    return importlib.import_module(f"harmonygen_cli.{verb.replace('-', '_')}")


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


def spelled_out(arguments: Sequence[str]) -> list[str]:
    """Return what was typed with dashes in options, and a value behind options that may be typed without one."""
    typed, verb = dashed(arguments), _asked(arguments)
    command = getattr(verb_module(verb), verb.replace("-", "_"), None) if verb in VERBS else None
    return command.filled(typed) if hasattr(command, "filled") else typed


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; nothing is raised."""
    try:
        with warnings_as_lines(quiet="--quiet" in arguments):
            app = door(arguments)
            outcome: Any = app(args=spelled_out(arguments), prog_name="harmonygen", standalone_mode=False)
        if outcome == EXIT_INTERRUPTED:  # typer turns KeyboardInterrupt into this
            raise KeyboardInterrupt
        return outcome if isinstance(outcome, int) else 0
    except HarmonygenError as error:
        return _failed(arguments, str(error), error.exit_code)
    except typer.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _failed(arguments, f"stopped by the keyboard: {_resuming(arguments)}", EXIT_INTERRUPTED)
    except Terminated:
        return _failed(arguments, f"stopped by SIGTERM: {_resuming(arguments)}", EXIT_TERMINATED)
    except (BrokenPipeError, SystemExit):  # typer turns a closed pipe into SystemExit, and ends a completion by it
        return 0 if COMPLETING in os.environ else EXIT_STORAGE
    except OSError as error:
        where = f" '{error.filename}'" if error.filename else ""
        message = f"{error.strerror or error}{where}: free space or fix permissions, then repeat the command"
        return _failed(arguments, message, StorageError.exit_code)
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "format_message"):  # a wrong option, shown with the usage line
            error.show()
            said = {"error": error.format_message(), "exit_code": EXIT_USAGE}
            Reporter(json_output="--json" in arguments).result(said)
            return EXIT_USAGE
        traceback.print_exc()
        return _failed(arguments, f"{type(error).__name__}: {error}: this is a bug, please report it", EXIT_BUG)


def _resuming(arguments: Sequence[str]) -> str:
    if "train" in arguments[:1]:
        return "rerun the same command with --resume-from-checkpoint latest to resume from the last checkpoint"
    return "rerun the same command to resume"


def _failed(arguments: Sequence[str], message: str, code: int) -> int:
    Reporter(json_output="--json" in arguments).error(message, code)
    return code


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def _say_again(lost: sys.UnraisableHookArgs) -> None:
    """Send a signal once more whose exception was raised, and lost, where Python lets none out: in a ``__del__``."""
    kinds = {Terminated: signal.SIGTERM, KeyboardInterrupt: signal.SIGINT}
    number = kinds.get(lost.exc_type)
    if number is None:
        sys.__unraisablehook__(lost)
        return
    if number == signal.SIGTERM:
        signal.signal(number, _terminate)
    again = threading.Timer(_AGAIN, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


def main() -> NoReturn:
    """Entry point of the ``harmonygen`` command."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.unraisablehook = _say_again
    sys.exit(run(sys.argv[1:]))
