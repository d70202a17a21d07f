"""Find, list, load and override TOML recipes.

A recipe is ``recipes/<kind>/<name>.toml``: found beside the repository first, then in the installed package, or
given by path. A name without its kind is enough where it is unambiguous.
"""

from __future__ import annotations

import difflib
import itertools
import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from harmonygen.errors import UsageError

_PACKAGE = Path(__file__).resolve().parent
_ROOTS = (_PACKAGE.parent / "recipes", _PACKAGE / "_recipes")


def roots() -> list[Path]:
    """Return the folders that hold recipes, in the order they are searched."""
    return [root for root in _ROOTS if root.is_dir()]


def names(kind: str | None = None) -> list[str]:
    """List recipe names as ``kind/name``, of one kind or of all, sorted."""
    found = {path.relative_to(root).with_suffix("").as_posix() for root in roots() for path in root.rglob("*.toml")}
    return sorted(name for name in found if kind is None or name.startswith(f"{kind}/"))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the closest known name, or nothing.

    >>> nearest("lerning_rate", ["learning_rate", "steps"])
    " (did you mean 'learning_rate'?)"
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def find(name: str) -> Path:
    """Return the path of a recipe given by path, by ``kind/name`` or by a name that only one kind has.

    Raises:
        UsageError: no such recipe, or several kinds have it.
    """
    if name.endswith(".toml") or Path(name).is_file():
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"recipe '{name}' is not a file: check the path, or see 'harmonygen recipes ls'")
        return path
    if ".." not in name and not Path(name).is_absolute() and (whole := _path(name)):
        return whole
    matches = [known for known in names() if known.rpartition("/")[2] == name]
    if len(matches) != 1:
        found = f"stands for {' and '.join(matches)}" if matches else f"is not known{nearest(name, names())}"
        raise UsageError(f"recipe '{name}' {found}: see 'harmonygen recipes ls'")
    return next(path for root in roots() if (path := root / f"{matches[0]}.toml").is_file())


def _path(name: str) -> Path | None:
    """Return the path of the recipe that ``kind/name`` spells in full, if there is one."""
    return next((path for root in roots() if (path := root / f"{name}.toml").is_file()), None)


def summary(name: str) -> str:
    """Return the first sentence of a recipe's comment, after the line with its command; "" where there is none.

    >>> summary("gain/smoke")
    'Try that a study runs here: three photos, LUT candidates and two steps.'
    """
    comment = itertools.takewhile(lambda line: line.startswith("#"), find(name).read_text("utf-8").splitlines())
    words = " ".join(line.lstrip("# ") for line in comment if not line.startswith("# harmonygen "))
    return re.split(r"(?<=[.?])\s", words, maxsplit=1)[0]


def load(name: str) -> dict[str, Any]:
    """Load a recipe's TOML as a dict; raise UsageError with the line if it is not valid TOML."""
    path = find(name)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"recipe '{path}' is not valid TOML ({error}): fix that line") from error


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """Parse ``key=value`` words; values are TOML (``8``, ``true``, ``[1, 2]``), else text; dots nest.

    >>> parse_overrides(["steps=8", "model.depth=resnet18"])
    {'steps': 8, 'model': {'depth': 'resnet18'}}
    """
    parsed: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"'{pair}' is not an override: write key=value")
        node = parsed
        *parents, leaf = key.replace("-", "_").split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise UsageError(
                    f"'{pair}' sets a key of '{parent}', which an earlier override set to {node!r}: drop one"
                )
        node[leaf] = _toml_value(text)
    return parsed


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``over`` laid on it, tables merged key by key."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged
