"""Read a dataset card: which files belong to which split of which configuration, and what they should hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from harmonygen.errors import UsageError

_FRONT = re.compile(r"---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_ADVICE = "build the dataset again, or correct the card by hand"


@dataclass(frozen=True)
class Info:
    """What the card says about a configuration: columns (None if it does not tell) and rows by split."""

    schema: pa.Schema | None
    rows: Mapping[str, int]


@dataclass(frozen=True)
class Card:
    """A dataset card: glob patterns by (configuration, split), what it says about each configuration, its Markdown."""

    patterns: Mapping[tuple[str, str], tuple[str, ...]]
    infos: Mapping[str, Info]
    text: str

    def homes(self, path: str) -> list[tuple[str, str]]:
        """Return every (configuration, split) that a path in the repository belongs to."""
        return [home for home, globs in self.patterns.items() if matches(path, globs)]


def matches(path: str, patterns: tuple[str, ...]) -> bool:
    """Return whether a path in a repository matches one of the glob patterns, as the Hub understands them.

    >>> matches("data/train-00000-of-00001.parquet", ("data/train-*",)), matches("data/x/train-1", ("data/*",))
    (True, False)
    """
    from fsspec.utils import glob_translate  # type: ignore[import-untyped]

    return any(re.match(glob_translate(pattern), path) for pattern in patterns)


def read_card(readme: str) -> Card:
    """Read the YAML front matter of a ``README.md``.

    Raises:
        UsageError: no front matter, YAML that does not parse, no ``configs``, or fields of another form.
    """
    front = _front(readme)
    configs = front.get("configs")
    if not isinstance(configs, list) or not configs:
        raise UsageError(f"the card has no 'configs', so nothing says which file is which split: {_ADVICE}")
    patterns: dict[tuple[str, str], tuple[str, ...]] = {}
    for config in configs:
        if not isinstance(config, dict) or "data_files" not in config:
            raise UsageError(f"a config of the card has no 'data_files' (found {config!r}): {_ADVICE}")
        name = str(config.get("config_name", "default"))
        for split, globs in _data_files(config["data_files"]):
            patterns[name, split] = (*patterns.get((name, split), ()), *globs)
    first = next(iter(patterns))[0] if patterns else "default"
    return Card(patterns, dict(_infos(front.get("dataset_info"), first)), readme)


def _front(readme: str) -> Mapping[str, Any]:
    import yaml  # type: ignore[import-untyped]

    found = _FRONT.match(readme.lstrip("\ufeff"))
    if found is None:
        raise UsageError(f"the card does not begin with YAML between two lines of '---': {_ADVICE}")
    try:
        front = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        told = " ".join(str(error).split())
        raise UsageError(f"the card's YAML does not parse ({told}): {_ADVICE}") from error
    if not isinstance(front, dict):
        raise UsageError(
            f"the card's YAML is not a mapping of names to values (found {type(front).__name__}): {_ADVICE}"
        )
    return front


def _data_files(stated: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield (split, patterns) of the forms that ``datasets`` reads: text, list, mapping, list of split and path."""
    if isinstance(stated, str):
        yield "train", (stated,)
    elif isinstance(stated, dict):
        for split, path in stated.items():
            yield str(split), _texts(path)
    elif isinstance(stated, list) and all(isinstance(item, str) for item in stated):
        yield "train", tuple(stated)
    elif isinstance(stated, list) and all(isinstance(item, dict) and "path" in item for item in stated):
        for item in stated:
            yield str(item.get("split", "train")), _texts(item["path"])
    else:
        raise UsageError(f"'data_files' of the card has an unknown form ({stated!r}): {_ADVICE}")


def _texts(path: Any) -> tuple[str, ...]:
    texts = tuple(path) if isinstance(path, list) else (path,)
    if not all(isinstance(text, str) for text in texts):
        raise UsageError(f"a path of 'data_files' is not text ({path!r}): {_ADVICE}")
    return texts


def _infos(stated: Any, first: str) -> Iterator[tuple[str, Info]]:
    for info in stated if isinstance(stated, list) else [stated] if stated else []:
        if not isinstance(info, dict):
            raise UsageError(f"'dataset_info' of the card has an unknown form ({info!r}): {_ADVICE}")
        try:
            rows = {str(split["name"]): int(split["num_examples"]) for split in info.get("splits", [])}
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"'splits' of the card's dataset_info cannot be read ({error!r}): {_ADVICE}") from error
        yield str(info.get("config_name", first)), Info(_schema(info.get("features")), rows)


def _schema(features: Any) -> pa.Schema | None:
    if features is None:
        return None
    from datasets import Features

    try:
        schema: pa.Schema = Features._from_yaml_list(features).arrow_schema
    except Exception as error:  # its own code says what is wrong in many ways
        raise UsageError(f"'features' of the card's dataset_info cannot be read ({error!r}): {_ADVICE}") from error
    return schema
