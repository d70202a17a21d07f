"""The command that makes a build again, for its card: every option that differs from its default, as it is typed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harmonygen.human_harmony.settings import HumanHarmonySettings
from harmonygen.runs.read import Run

VERB = "build-human-harmony"
_ELSEWHERE = {"out", "workers"}
"""Options that do not matter to what comes out."""
_WIDTH = 100
_SELECTED_BY = ("rule", "count", "seed")


def command(settings: HumanHarmonySettings) -> str:
    """Return the command that makes a build, over several lines if need be, with paths as they were given.

    >>> print(command(HumanHarmonySettings(data="my photos", k=3, clean=False, gates={"min_fmse": 5})))
    harmonygen build-human-harmony --data 'my photos' --k 3 --no-clean gates.min_fmse=5.0
    """
    fields = type(settings).model_fields
    order = ["data", *(name for name in fields if name != "data" and name not in _ELSEWHERE)]
    changed = settings.model_dump(exclude_defaults=True)
    groups = [group for name in order if name in changed for group in _typed(name, changed[name])]
    return _wrapped(["harmonygen", VERB], sorted(groups, key=lambda group: not group[0].startswith("--")))


def later_steps(settings: HumanHarmonySettings, run: Run) -> list[str]:
    """Return what was done to a build's run since its command made it, in sentences of Markdown.

    The command alone selects by its own rule; `select`, `score` and reviews of before change the rows.
    """
    held = run.reselected
    if not held:
        return []
    planned = run.plan["settings"]
    steps = []
    changed = [[f"--{name}", str(held[name])] for name in _SELECTED_BY if held[name] != planned.get(name, 1)]
    changed += [
        [f"--{name.replace('_', '-')}", str(value)]
        for name, value in held["gates"].items()
        if value != planned["gates"][name]
    ]
    if held["classifier_digest"] != run.plan["classifier_digest"]:
        steps.append(
            f"`harmonygen score FOLDER/work/synthesize --classifier CLASSIFIER`, whose weights have the digest "
            f"{held['classifier_digest']}"
        )
    if changed:
        steps.append(f"`{_wrapped(['harmonygen', 'select', 'FOLDER/work/synthesize'], changed, 10_000)}`")
    if run.decisions and settings.decisions is None:
        steps.append("a review, whose decisions are given to the command by `--decisions`")
    return steps


def _typed(name: str, value: Any) -> Iterator[list[str]]:
    """Yield the groups of words that give a field its value; a group stays on one line."""
    option = f"--{name.replace('_', '-')}"
    if isinstance(value, Mapping):
        yield from ([f"{name}.{inner}={_toml(held)}"] for inner, held in value.items())
    elif isinstance(value, bool):
        yield [option if value else f"--no-{option.removeprefix('--')}"]
    elif value is None:
        yield [f"{name}=none"]
    elif isinstance(value, tuple | list) and not value:
        yield [f"{name}=[]"]
    elif isinstance(value, tuple | list):
        yield from ([option, str(each)] for each in value)
    else:
        yield [f"{option}={value}"] if str(value).startswith("-") else [option, str(value)]


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _wrapped(start: Sequence[str], groups: Sequence[Sequence[str]], width: int = _WIDTH) -> str:
    """Join words for a shell, on lines that end in a backslash."""
    lines = [shlex.join(start)]
    for group in groups:
        words = shlex.join(group)
        if len(lines[-1]) + len(words) + 3 > width:
            lines.append(f"    {words}")
        else:
            lines[-1] += f" {words}"
    return " \\\n".join(lines)
