"""What a plug-in is made from, in a few hex digits: a run is not resumed with another one under the same name.

A plug-in's own ``digest`` attribute counts, such as the digest of its weights. Without one it is the package's version
and the source of its modules. Its settings count in both cases, and the content of files that they name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harmonygen.errors import UsageError
from harmonygen.plugins.doors import Place
from harmonygen.seeds import digest_of_bytes
from harmonygen.settings import Settings, asked

_PLAIN = (str, int, float, bool, type(None), Path)


def plugin_digest(place: Place, made: Any, settings: Settings) -> str:
    """Return the digest of a plug-in that was built with settings.

    A setting that is marked :data:`harmonygen.settings.HOW` does not count.
    """
    own = getattr(made, "digest", "")
    base = str(own) if own else f"{place.name}:{digest_of_bytes(_sources(place))}"
    counted = asked(settings)
    files = [getattr(settings, name) for name in counted]
    parts = [repr(sorted(counted.items())).encode(), *(content_digest(value) for value in files)]
    return f"{base}+{digest_of_bytes(parts)}" if counted else base


def object_digest(given: Any, name: str) -> str:
    """Return the digest of a callable that was passed in Python.

    Raises:
        UsageError: it holds what cannot be seen from outside (a closure, an object's state) and has no ``digest``.
    """
    own = getattr(given, "digest", "")
    if own:
        return str(own)
    parts = [_source_of(given if inspect.isroutine(given) else type(given), name), repr(_state(given, name)).encode()]
    return f"{name}:{digest_of_bytes(parts)}"


def content_digest(value: Any) -> bytes:
    """Return the digest of the file that a setting names, empty if it names none."""
    if not isinstance(value, Path) or not value.is_file():
        return b""
    with value.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()


def _sources(place: Place) -> Iterator[bytes]:
    """Yield the plug-in's own name, its package's version and the source of every module of the package, by name."""
    yield f"{place.target} {place.package}".encode()
    top = sys.modules[place.target.partition(":")[0].partition(".")[0]]
    folders = [Path(folder) for folder in getattr(top, "__path__", ())]
    files = [(path.relative_to(folder), path) for folder in folders for path in folder.rglob("*.py")]
    alone = getattr(top, "__file__", None)
    for name, path in sorted(files) or ([(Path(Path(alone).name), Path(alone))] if alone else []):
        yield f"{name}".encode()
        yield hashlib.sha256(path.read_bytes()).digest()


def _source_of(given: Any, name: str) -> bytes:
    try:
        return inspect.getsource(given).encode()
    except (OSError, TypeError) as error:
        raise _unseen(name, "its source is not there") from error


def _state(given: Any, name: str) -> Any:
    """Return what a callable holds besides its code, in values that are written out in full."""
    if inspect.isfunction(given):
        if given.__closure__ or not _is_plain([*(given.__defaults__ or ()), *(given.__kwdefaults__ or {}).values()]):
            raise _unseen(name, "it holds values of its surroundings")
        return given.__defaults__, given.__kwdefaults__
    state = dataclasses.asdict(given) if dataclasses.is_dataclass(given) and not isinstance(given, type) else None
    if state is None or not _is_plain(list(state.values())):
        raise _unseen(name, f"a {type(given).__name__} holds values that are not compared")
    return sorted(state.items())


def _is_plain(values: Sequence[Any] | Mapping[Any, Any]) -> bool:
    each = [*values.keys(), *values.values()] if isinstance(values, Mapping) else list(values)
    return all(
        _is_plain(value) if isinstance(value, list | tuple | dict) else isinstance(value, _PLAIN) for value in each
    )


def _unseen(name: str, why: str) -> UsageError:
    return UsageError(
        f"what '{name}' is made of cannot be seen ({why}), so a run could not tell whether it changed: give it a "
        "'digest' attribute, such as a version or the digest of its weights"
    )


Handed = Callable[..., Any]
"""A callable that is handed over in Python instead of a name."""
