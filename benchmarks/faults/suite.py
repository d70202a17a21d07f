"""All kinds of faults, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from faults import (
    bombs,
    cluster,
    damage,
    formulas,
    kills,
    masks,
    memory,
    paths,
    pickles,
    pictures,
    runs,
    signals,
    space,
    tokens,
)
from faults.forge import Forge
from faults.jobs import Workshop, workshop
from faults.table import Row

COMMANDS: dict[str, Callable[[Workshop, bool], Iterable[Row]]] = {
    "kills": lambda shop, quick: kills.rows(shop, *((2, 1) if quick else (8, 3))),
    "signals": lambda shop, quick: signals.rows(shop, 1 if quick else 2),
    "space": lambda shop, quick: space.rows(shop, 1 if quick else 2),
    "runs": lambda shop, quick: runs.rows(shop),
    "pickles": lambda shop, quick: pickles.rows(shop),
    "tokens": lambda shop, quick: tokens.rows(shop),
    "files": lambda shop, quick: (damage.finished_shards(shop, quick), damage.as_inputs(shop)),
}
"""Kinds whose faults strike whole commands."""

VALUES: dict[str, Callable[[Path, bool], Iterable[Row]]] = {
    "damage": damage.rows,
    "bombs": bombs.rows,
    "pictures": pictures.rows,
    "masks": masks.rows,
    "paths": paths.rows,
    "formulas": formulas.rows,
    "memory": memory.rows,
    "ray": cluster.rows,
}
"""Kinds whose faults are bad inputs, most of them to functions."""

KINDS = (*COMMANDS, *VALUES)


def rows(place: Path, only: str = "", quick: bool = False) -> Iterator[Row]:
    """Yield every row, or those of one kind."""
    wanted = [name for name in COMMANDS if only in ("", name)]
    if wanted:
        with Forge(place / "said") as forge:
            shop = workshop(forge, place)
            for name in wanted:
                yield from COMMANDS[name](shop, quick)
    for name in VALUES:
        if only in ("", name):
            yield from VALUES[name](place / name, quick)
