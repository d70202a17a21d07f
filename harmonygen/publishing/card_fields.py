"""Check a dataset card's front matter against the Hub's own schema, without a network.

The classes of `huggingface_hub` and `datasets` read the card as the Hub's libraries do; the values that the Hub has
lists for are compared with the lists that these packages carry (sizes, languages, creators, multilinguality) and with
:mod:`harmonygen.data.hub_fields` (licences, tasks). The Hub itself checks once more when it is written to.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from harmonygen.data.hub_fields import LICENCE_NAME, LICENCES, TASKS

_RESOURCES = "datasets.utils.resources"
_LONGEST = 300  # characters of a list of what is possible


def field_faults(card: str) -> Iterator[tuple[str, str]]:
    """Yield (what is wrong, what to do) of a card's front matter; the Hub, or its libraries, would refuse it.

    Args:
        card: the whole ``README.md``, whose YAML parses.
    """
    front = _as_libraries_read(card)
    if isinstance(front, str):
        yield front, "correct the card by hand"
        return
    yield from _text_faults(front)
    for name, allowed in _lists():
        for value in _values(front.get(name)):
            if not isinstance(value, str) or value not in allowed:
                yield f"'{name}' has {value!r}, which the Hub does not know", _remedy(str(value), allowed)


def field_notes(card: str) -> Iterator[str]:
    """Yield what the Hub takes but warns of, or what it will not find by it."""
    front = _as_libraries_read(card)
    if isinstance(front, str):
        return
    for value in _values(front.get("task_categories")):
        if value not in TASKS:
            yield f"the card's 'task_categories' has {value!r}, which is none of the Hub's tasks"
    if front.get("license") == "other" and not LICENCE_NAME.fullmatch(str(front.get("license_name", ""))):
        yield (
            "the card's license is 'other': a 'license_name' of lower-case letters, digits, dots and dashes says which "
            f"(found {front.get('license_name')!r})"
        )


def _as_libraries_read(card: str) -> dict[str, Any] | str:
    """Return the front matter as the Hub's libraries read it, or what they say against it."""
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCard

    try:
        data = DatasetCard(card).data
        front: dict[str, Any] = data.to_dict()  # type: ignore[no-untyped-call]
        MetadataConfigs.from_dataset_card_data(data).get_default_config_name()
        DatasetInfosDict.from_dataset_card_data(data)
    except Exception as error:  # these libraries say what is wrong in many ways
        told = " ".join(str(error).split())
        return f"the Hub's libraries cannot read its front matter ({type(error).__name__}: {told[:_LONGEST]})"
    return front


def _text_faults(front: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("pretty_name", "license_name", "license_link"):
        if not isinstance(front.get(name, ""), str):
            yield f"'{name}' is {front[name]!r}, not text", "put it in quotes"
    for name in ("tags", "task_categories", "task_ids", "source_datasets"):
        if not all(isinstance(value, str) for value in _values(front.get(name))):
            yield f"'{name}' is {front[name]!r}, not a list of texts", "put each in quotes"


def _lists() -> Iterator[tuple[str, Collection[str]]]:
    """Yield the fields that the Hub has lists for; one whose list this version of `datasets` lacks is left out."""
    yield "license", LICENCES
    if languages := _carried("languages.json"):
        yield "language", {*languages, "code", "multilingual"}
    if sizes := _carried("size_categories.json"):
        yield "size_categories", {*sizes, "other"}
    if creators := _carried("creators.json"):
        yield "annotations_creators", creators["annotations"]
        yield "language_creators", creators["language"]
    if multilingualities := _carried("multilingualities.json"):
        yield "multilinguality", multilingualities


@cache
def _carried(name: str) -> Any:
    """Return a list that `datasets` carries, None if this version does not."""
    try:
        return json.loads((files(_RESOURCES) / name).read_text(encoding="utf-8"))
    except (ModuleNotFoundError, FileNotFoundError):
        return None


def _values(stated: Any) -> list[Any]:
    return stated if isinstance(stated, list) else [] if stated is None else [stated]


def _remedy(value: str, allowed: Collection[str]) -> str:
    near = difflib.get_close_matches(value.lower(), list(allowed), 3, 0.5)
    if near:
        return f"did you mean {' or '.join(near)}?"
    every = ", ".join(sorted(allowed))
    return f"use one of {every}" if len(every) < _LONGEST else "use one of the Hub's (hf.co/docs/hub/datasets-cards)"
