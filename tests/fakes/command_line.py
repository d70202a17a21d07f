"""The real command line, looked at without running anything."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from harmonygen_cli.from_settings import Command
from harmonygen_cli.main import VERBS, door, spelled_out, verb_module

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def made_from_settings() -> dict[str, Command[Any]]:
    """Return the verbs whose options are made from settings."""
    found = {verb: getattr(verb_module(verb), verb.replace("-", "_"), None) for verb in VERBS}
    return {verb: made for verb, made in found.items() if isinstance(made, Command)}


def find(words: list[str]) -> tuple[Any, str, list[str]]:
    """Return the command that words name, its name, and the words that are left."""
    command, name, left = typer.main.get_command(door(words)), "harmonygen", list(words)
    while hasattr(command, "commands"):
        name, *left = left
        command = command.commands[name]
    return command, name, left


def every_command() -> dict[str, Any]:
    """Return each command by what is typed for it: ``augment``, ``recipes ls``."""
    found = {}
    for verb in VERBS:
        command = typer.main.get_command(door([verb])).commands[verb]
        inner = getattr(command, "commands", None)
        found |= {f"{verb} {name}": each for name, each in inner.items()} if inner else {verb: command}
    return found


def option_names(command: Any) -> set[str]:
    """Return the spellings of a command's options."""
    options = [each for each in command.params if each.param_type_name == "option"]
    return {name for each in options for name in (*each.opts, *each.secondary_opts)} - {"-h", "--help"}


def help_of(verb: str) -> str:
    """Return a verb's help, on lines as long as they need."""
    command, name, _ = find(verb.split())
    context = command.make_context(name, [], resilient_parsing=True, terminal_width=10_000, max_content_width=10_000)
    return command.get_help(context)


def parse(words: list[str]) -> dict[str, Any]:
    """Parse words as the command line does, strictly, and return its parameters."""
    command, name, left = find(spelled_out(words))
    return command.make_context(name, left, resilient_parsing=False).params


def commands_in(text: str) -> Iterator[str]:
    """Yield the ``harmonygen ...`` commands of a Markdown page or a docstring, in blocks and between backticks."""
    blocks = r"^( *)```[^\n]*\n(.*?)^ *```"
    for block in re.finditer(blocks, text, re.DOTALL | re.MULTILINE):
        yield from (line.strip() for line in block[2].replace("\\\n", " ").splitlines() if "harmonygen" in line)
    prose = re.sub(blocks, "", text, flags=re.DOTALL | re.MULTILINE)
    yield from (" ".join(code[1].split()) for code in re.finditer(r"`([^`]*\bharmonygen[^`]*)`", prose))


def words_of(said: str) -> list[list[str]]:
    """Return the words after each ``harmonygen`` of a line of shell; comments, pipes and dots for the rest are cut.

    >>> words_of("$ harmonygen select outputs/a --count 3  # by hand"), words_of("import harmonygen")
    ([['select', 'outputs/a', '--count', '3']], [])
    """
    found = []
    for part in re.split(r"\s(?:&&|;|\||>|2>)\s", said):
        starts = re.match(r"^(?:\$ )?(?:[A-Z_0-9]+=\S+ )*(?:\S*harmonygen|.*\$\(which harmonygen\)) +(\S.*)$", part)
        words = shlex.split(starts[1], comments=True) if starts else []
        found.append([word for word in words if word not in ("...", "…")])
    return [words for words in found if words]


def shown_commands() -> list[tuple[str, str, list[str]]]:
    """Return (page or verb, what is shown, words) of every command in the pages and in the help."""
    texts = {str(page.relative_to(ROOT)): page.read_text() for page in PAGES}
    texts |= {f"{verb} --help": inspect.cleandoc(command.help or "") for verb, command in every_command().items()}
    return [
        (where, said, words) for where, text in texts.items() for said in commands_in(text) for words in words_of(said)
    ]
