"""Judges as they are typed: the name of each, in columns and settings, what it is, and its settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmonygen.errors import UsageError
from harmonygen.plugins.doors import JUDGES, is_plugin


@dataclass(frozen=True, slots=True)
class NamedJudge:
    """A judge as it is asked for: its name in columns and settings, what it is, and its settings."""

    name: str
    spec: str
    settings: Mapping[str, Any]


def named_judges(typed: Sequence[str], given: Mapping[str, Any]) -> list[NamedJudge]:
    """Return the judges that were typed, each with its settings of those ``given`` by the judges' names.

    Raises:
        UsageError: two have one name, or there are settings for one that is not asked for.
    """
    split = [split_judge(each) for each in typed]
    names = [name for name, _ in split]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"two judges are called '{twice[0]}': name them, as in --judge first={split[0][1]}")
    if unknown := sorted(given.keys() - set(names)):
        raise UsageError(
            f"judge_settings are for '{unknown[0]}', but the judges are {', '.join(names)}: correct the name"
        )
    if wrong := [name for name in given if not isinstance(given[name], Mapping)]:
        raise UsageError(f"judge_settings.{wrong[0]} is not a table: write judge_settings.{wrong[0]}.NAME=value")
    return [NamedJudge(name, spec, given.get(name, {})) for name, spec in split]


def split_judge(typed: str) -> tuple[str, str]:
    """Return the name and the spec of a judge: ``name=spec``, else it is called after its package, module or folder.

    >>> split_judge("strict=mine.judges:make"), split_judge("mine.judges:make"), split_judge("models/judge-b")
    (('strict', 'mine.judges:make'), ('judges', 'mine.judges:make'), ('judge_b', 'models/judge-b'))
    """
    head, equals, tail = typed.partition("=")
    if equals and head.isidentifier() and not Path(typed).exists():
        return column_name(head), tail
    head, colon, argument = typed.partition(":")
    if head == "classifier" and colon:
        return column_name(Path(argument).name), typed
    return column_name(Path(head).name if "/" in head else head.rpartition(".")[2]), typed


def column_name(name: str) -> str:
    """Return a name as it can stand in a column's: ``p_<name>``.

    >>> column_name("Judge-B 2"), column_name("composite")
    ('judge_b_2', 'judge')
    """
    name = re.sub(r"\W+", "_", name).strip("_").lower()
    return name if name and name != "composite" else "judge"


def plugin_spec(spec: str) -> str:
    """Return the spec of the plug-in that a judge is: a folder (or ``starter``) is one for the plug-in ``classifier``.

    >>> plugin_spec("starter"), plugin_spec("mine.judges:make")
    ('classifier:starter', 'mine.judges:make')
    """
    named = not Path(spec).is_dir() and is_plugin(JUDGES, spec)
    return spec if named else f"classifier:{spec}"
