"""Make candidates of a run again, from its data and weights, and compare them with what is stored, bit for bit."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harmonygen.data import read_pairs
from harmonygen.errors import StorageError, UsageError, shown
from harmonygen.models.device import pick_device
from harmonygen.pictures.images import ImageU8, Mask, decode_plainly, encode
from harmonygen.pictures.photo import load_photo
from harmonygen.records import Pair, PairSet
from harmonygen.runs.job_folder import SUMMARY, versions
from harmonygen.runs.read import Run
from harmonygen.storage.shards import read_json
from harmonygen.synthesis.load import load_generator, sizing_of
from harmonygen.synthesis.plan import make_plan
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.synthesis.shard import ShardContext, draw


@dataclass(frozen=True, slots=True)
class Recreated:
    """A candidate made again: ``pixels`` that differ from the stored one, by at most ``most`` 8-bit levels."""

    pair_id: str
    k: int
    pixels: int
    most: int

    @property
    def equal(self) -> bool:
        """Whether it is the stored one, bit for bit."""
        return not self.pixels


def recreate(run: Run, wanted: Mapping[str, Collection[int]], device: str = "auto") -> Iterator[Recreated]:
    """Make the wanted candidates (k by pair id) again, pair by pair in the run's order.

    All K of a pair are drawn, in one batch as the run drew them.

    Raises:
        UsageError: the run's data, photos or weights are not what the run was made from, or a candidate is not kept.
    """
    stored = _stored(run, wanted)
    run.refuse_changed(set(wanted))
    context = _context(run, device)
    for pair in context.pairs:
        if pair.pair_id in wanted:
            yield from _again(pair, context, stored[pair.pair_id])


def _stored(run: Run, wanted: Mapping[str, Collection[int]]) -> dict[str, dict[int, bytes]]:
    """Return the wanted candidates' encoded pictures."""
    rows = [row for row in run.rows().to_pylist() if row["k"] in wanted.get(row["pair_id"], ())]
    found: dict[str, dict[int, bytes]] = {}
    for row, encoded in run.composites(rows):
        found.setdefault(row["pair_id"], {})[row["k"]] = encoded
    missing = [f"{name} {k}" for name, ks in wanted.items() for k in ks if k not in found.get(name, {})]
    if missing:
        raise UsageError(f"'{run.folder}' keeps no picture of {shown(missing, 'candidates')}: nothing to compare with")
    return found


def _context(run: Run, device: str) -> ShardContext:
    """Load what drew the run.

    Raises:
        UsageError: it is not what it was: what changed is named.
    """
    settings = SynthesizeSettings.model_validate(
        {**run.plan["settings"], "device": pick_device(device), "engine": "local", "workers": 0}
    )
    pairs = _pairs(run, settings)
    generator = load_generator(settings, pairs, settings.device)
    plan = make_plan(settings, pairs, pairs.layout, pairs.root, generator.digest, run.plan["classifier_digest"])
    remedy = "recreate it where its data and weights are as they were"
    plan.job.refuse_another(run.plan, run.folder, remedy)
    return ShardContext(settings, plan.digest, {}, sizing_of(settings, generator), pairs, generator, _no_scores)


def _pairs(run: Run, settings: SynthesizeSettings) -> PairSet:
    try:
        return read_pairs(
            settings.data,
            list_file=settings.list_file,
            subset=settings.subset,
            limit=settings.limit,
            reading=settings.reading(),
        )
    except (UsageError, StorageError) as error:
        where = f"--recreate needs the data of the run '{run.folder}', which cannot be read"
        raise UsageError(f"{where}: {error}") from error


def _no_scores(_composites: Sequence[ImageU8], _mask: Mask) -> list[float]:
    raise NotImplementedError("nothing is scored here")


def _again(pair: Pair, context: ShardContext, stored: Mapping[int, bytes]) -> Iterator[Recreated]:
    drawn = draw(load_photo(pair, context.sizing), context)
    for k, encoded in sorted(stored.items()):
        made = decode_plainly(encode(drawn.composites[k], context.settings.image_format), pair.pair_id)
        yield _compared(pair.pair_id, k, made, decode_plainly(encoded, pair.pair_id))


def _compared(pair_id: str, k: int, made: ImageU8, stored: ImageU8) -> Recreated:
    if made.shape != stored.shape:
        return Recreated(pair_id, k, max(made.size, stored.size) // 3, 255)
    apart = np.abs(made.astype(np.int16) - stored.astype(np.int16)).max(axis=2)
    return Recreated(pair_id, k, int((apart > 0).sum()), int(apart.max(initial=0)))


def other_versions(run: Run) -> dict[str, tuple[Any, str]]:
    """Return the packages whose versions are not those that made the run: then, and now."""
    then = read_json(run.folder / SUMMARY).get("versions", {})
    return {name: (then[name], now) for name, now in versions().items() if name in then and then[name] != now}
