"""The arms of a gain study: what each adds to the base set, and its data set as an iHarmony4 tree.

Every arm that adds candidates is a run of `synthesize` (and `select`) mixed in by `augment`; only duplicates are
linked here.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from harmonygen import seeds
from harmonygen.augmentation import pick as picks
from harmonygen.augmentation.augment import augment
from harmonygen.augmentation.dataset import Originals, photo_path, read_originals
from harmonygen.augmentation.export import refuse_names, write_pairs_and_composites
from harmonygen.augmentation.gamma import GammaPlan, per_pair, plan_gamma
from harmonygen.augmentation.leak_guard import same_photos
from harmonygen.augmentation.settings import AugmentSettings
from harmonygen.data import read_pairs
from harmonygen.data import write_tree as tree
from harmonygen.errors import UsageError
from harmonygen.gain.sets import (
    SUMMARY,
    base_folder,
    foreseen,
    has_composites,
    link,
    link_tree,
    pairs_and_composites,
    split_pairs,
    transfers,
    write_table,
)
from harmonygen.gain.settings import GainSettings
from harmonygen.recipes import nearest
from harmonygen.records import Pair
from harmonygen.runs.read import Run, rows_by_pair
from harmonygen.settings import Rule
from harmonygen.storage import shards
from harmonygen.synthesis.reselect import reselect
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.synthesis.synthesize import synthesize

Say = Callable[[str], None]
BASE = "base"
_OTHER_SEED = 1  # the colour-transfer control draws from other seeds than the base set


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm: ``gamma`` times the base set's composites are added, ``rule`` chooses them among an arm's candidates.

    They are of the base set's own photos, or with ``extra`` of photos that it does not have.
    """

    name: str
    kind: Literal["base", "inverse", "jitter", "color-transfer", "duplicates"]
    gamma: float = 1.0
    rule: Rule = "random"
    extra: bool = False

    def says(self) -> str:
        """Say what the arm is."""
        added = f"gamma = {self.gamma:g}: "
        of = " of photos that the base set does not have" if self.extra else ""
        return {
            "base": "the base set alone",
            "inverse": f"{added}candidates of the inverse model{of}, {self.rule}",
            "jitter": f"{added}colour jitter of the foreground{of}",
            "color-transfer": f"{added}colour transfer{of or ' from other seeds'}",
            "duplicates": f"{added}the base set's own composites again",
        }[self.kind]


def arms_of(settings: GainSettings) -> tuple[Arm, ...]:
    """Return the study's arms, base first; of ``settings.arms`` if they are named.

    Raises:
        UsageError: a name that is none.
    """
    arms = [Arm(BASE, "base", 0.0)]
    arms += [Arm(f"gamma-{gamma:g}", "inverse", gamma, settings.rule) for gamma in settings.gammas]
    arms += [Arm(control, control) for control in settings.controls]
    known = settings.rule if 1.0 in settings.gammas else None  # gamma-1 is that rule's arm
    arms += [Arm(f"rule-{rule}", "inverse", 1.0, rule) for rule in settings.rules if rule != known]
    for kind in settings.extra:
        rule = settings.rule if kind == "inverse" else "random"
        arms += [Arm(f"extra-{kind}-{gamma:g}", kind, gamma, rule, extra=True) for gamma in settings.extra_gammas]
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names):
        raise UsageError(f"arms come twice ({', '.join(names)}): name each gamma, control and rule once")
    for name in settings.arms:
        if name not in names:
            raise UsageError(f"--arms {name} is not in this study{nearest(name, names)}: it has {', '.join(names)}")
    return tuple(arm for arm in arms if not settings.arms or arm.name in (BASE, *settings.arms))


def arm_folder(settings: GainSettings, arm: Arm) -> Path:
    """Return the folder of an arm's data set."""
    return settings.out / "data" / arm.name


def added(settings: GainSettings, arm: Arm) -> int:
    """Return how many composites an arm asks for: by the base set where it is made, else by the settings."""
    if arm.kind == "base":
        return 0
    if (base_folder(settings) / SUMMARY).is_file():
        return _plan(settings, arm).added
    masks, composites = foreseen(settings)
    return masks * per_pair(arm.gamma, masks, composites)


def make_arm(settings: GainSettings, arm: Arm, say: Say) -> Path:
    """Write an arm's data set, unless it is there; the base set has to be.

    Raises:
        UsageError: too few candidates, or photos of the test split among them.
    """
    out = arm_folder(settings, arm)
    if arm.kind == "base" or (out / SUMMARY).is_file():
        return out
    if arm.kind == "duplicates":
        duplicate(read_originals(base_folder(settings)), out, arm.gamma)
        return out
    say(f"{arm.name}: {arm.says()}")
    run, pick = _candidates(settings, arm)
    if arm.extra:
        mix(settings, run, pick, added(settings, arm), out)
        return out
    augment(
        AugmentSettings(
            gamma=arm.gamma,
            data=str(base_folder(settings)),
            candidates=run,
            out=out,
            pick=pick,
            link="sym",
            leak_guard=settings.leak_guard,
            allow_fewer=True,
            photos="own",  # as in the base set
            seed=settings.seed,
        )
    )
    return out


def _candidates(settings: GainSettings, arm: Arm) -> tuple[Path, Literal["random", "selected"]]:
    """Return the run of an arm's candidates, made if it is missing, and how they are picked from it."""
    data, runs, prefix = base_folder(settings), settings.out / "candidates", ""
    if arm.extra:
        data, prefix = write_extra_table(settings), "extra-"
    how = {**settings.candidates.model_dump(), **settings.reading_of_copies()}
    inverse = SynthesizeSettings(**how, data=str(data), out=runs / f"{prefix}inverse", keep="all")
    if arm.kind == "jitter":
        run = inverse.model_copy(update={"generator": "color-jitter", "out": runs / f"{prefix}jitter"})
        synthesize(run)
        return run.out, "random"
    if arm.kind == "color-transfer":
        most = min(_most(settings, arm), settings.originals.k)
        out = runs / (f"extra-color-transfer-{most}" if arm.extra else "color-transfer")
        synthesize(transfers(settings, data, out, most, _OTHER_SEED))
        return out, "random"
    synthesize(inverse)
    if arm.rule == "random":
        return inverse.out, "random"
    return _selected(settings, arm, inverse.out), "selected"


def _selected(settings: GainSettings, arm: Arm, run: Path) -> Path:
    """Return a copy of a run whose candidates are selected by the arm's rule, as many a pair as the arm needs."""
    count = _most(settings, arm)
    copy = run.parent / f"{'extra-' if arm.extra else ''}{arm.rule}-{count}"
    if not copy.is_dir():
        with shards.storage_errors(f"'{copy}'"), shards.whole_folder(copy) as temporary:
            shutil.copytree(run, temporary, ignore=shutil.ignore_patterns("report.html", ".*"), dirs_exist_ok=True)
    reselect(copy, arm.rule, count=min(count, settings.candidates.k))
    return copy


def _most(settings: GainSettings, arm: Arm) -> int:
    """Return the most composites that an arm asks of one pair."""
    if arm.extra:
        return per_extra_pair(settings, added(settings, arm))
    return _plan(settings, arm).needed_k


def _plan(settings: GainSettings, arm: Arm) -> GammaPlan:
    return plan_gamma(arm.gamma, pairs_and_composites(read_originals(base_folder(settings))))


def duplicate(dataset: Originals, out: Path, gamma: float) -> None:
    """Write the base set with its own composites again: as many as augment would add at ``gamma``, pair by pair."""
    gamma_plan = plan_gamma(gamma, pairs_and_composites(dataset))
    listed: list[str] = []
    for pair in dataset.train:
        listed += pair.originals
        for k in range(gamma_plan.count(pair.subset)):
            name = pair.originals[k % len(pair.originals)]
            copy = tree.new_composite(dataset.inside(pair)[1], "dup", k, PurePosixPath(name).suffix)
            link(dataset.root / name, out / copy)
            listed.append(copy)
    link_tree(dataset, out, listed)
    photos = len({photo_path(pair) for pair in dataset.train})
    shards.write_json(out / SUMMARY, {"photos": photos, "composites": len(listed)})


_SUBSET = "extra"


_SPARE = 2


def table_path(settings: GainSettings) -> Path:
    """Return the table of the extra photos, which `synthesize` reads."""
    return settings.out / "photos" / "extra" / "pairs.csv"


def extra_pairs(settings: GainSettings) -> list[Pair]:
    """Read the pairs that may become extra: those of ``extra_data``, else those that base and test set leave over.

    Raises:
        UsageError: there is none.
    """
    if settings.extra_data:
        pairs = list(read_pairs(settings.extra_data, reading=settings.reading(layout=None)))
    elif has_composites(settings):
        raise UsageError(f"'{settings.data}' has no photos without composites: name some with extra_data=...")
    else:
        pairs = split_pairs(settings).left
    if not pairs:
        raise UsageError(
            f"'{settings.extra_data or settings.data}' has no photos for the extra arms: lower base_photos or "
            "test_photos, or name other photos with extra_data=..."
        )
    return pairs


def write_extra_table(settings: GainSettings) -> Path:
    """Write the table of the extra photos, unless it is there; the base set has to be.

    Photos of ``extra_data`` that look like one of the base set or the test set are left out.

    Raises:
        UsageError: none is left.
    """
    path = table_path(settings)
    if path.is_file():
        return path
    pairs = extra_pairs(settings)
    if settings.extra_data:
        pairs = _unlike(pairs, read_originals(base_folder(settings)))
    names = sorted({pair.real_id for pair in pairs})
    drawn = seeds.numpy_rng("extra photos", settings.seed).permutation(len(names))[: settings.extra_photos or None]
    wanted = {names[place] for place in drawn}
    kept = [replace(pair, subset=_of(pair.subset)) for pair in pairs if pair.real_id in wanted]
    return write_table(kept, path.parent)


def _of(subset: str) -> str:
    """Name the subset of extra photos: its own, so that no file of theirs is one of the base set's."""
    return f"{_SUBSET}-{subset}" if subset else _SUBSET


def _unlike(pairs: Sequence[Pair], dataset: Originals) -> list[Pair]:
    """Leave out photos that look like one of the dataset's, whatever they are called."""
    photos = {f"{_SUBSET} {pair.real_id}": pair.real for pair in pairs}
    known = {pair.real_id: pair.real for pair in (*dataset.train, *dataset.test)}
    alike = {leak.photo for leak in same_photos(photos, known)[0]}
    left = [pair for pair in pairs if f"{_SUBSET} {pair.real_id}" not in alike]
    if not left:
        raise UsageError("all photos of extra_data look like photos of the base set or the test set: give others")
    return left


def per_extra_pair(settings: GainSettings, count: int) -> int:
    """Return how many composites of a pair make ``count`` in all, with some to spare for pairs that pass no gate."""
    return math.ceil(count / len(read_pairs(write_extra_table(settings)))) + _SPARE


def mix(settings: GainSettings, run: Path, pick: Literal["random", "selected"], count: int, out: Path) -> None:
    """Write the base set with ``count`` of the run's candidates, as evenly over its pairs as the gates let them be.

    There are fewer if fewer passed.

    Raises:
        UsageError: none passed, or photos of one name.
    """
    made = Run.open(run)
    refuse_names(made)
    rows = _even(made, pick, count, settings.seed)
    if not rows:
        raise UsageError(f"no candidate of the extra photos passed the gates ('{run}'): loosen them")
    dataset = read_originals(base_folder(settings))
    written = write_pairs_and_composites(out, "sym", made, rows)
    listed = [name for pair in dataset.train for name in pair.originals]
    link_tree(dataset, out, [*listed, *(row["composite"] for row in written)])
    photos = len({row["real"] for row in written})
    shards.write_json(out / SUMMARY, {"extra_photos": photos, "composites": len(listed) + len(written)})


def _even(run: Run, pick: Literal["random", "selected"], count: int, seed: int) -> list[dict[str, Any]]:
    """Pick ``count`` rows: one of every pair, then a second, and so on while there are any; the last round by lot."""
    pairs = list(rows_by_pair(run.rows()))
    taken: dict[tuple[str, int], dict[str, Any]] = {}
    for each in range(1, run.rows().num_rows + 1):
        picked = picks.pick_all(run, dict.fromkeys(pairs, each), 1.0, pick, seed, allow_fewer=True)
        new = {(row["pair_id"], row["k"]): row for rows in picked.by_pair.values() for row in rows}
        fresh = [key for key in new if key not in taken]
        lots = seeds.numpy_rng("extra", seed, each).permutation(len(fresh))[: count - len(taken)]
        taken |= {fresh[lot]: new[fresh[lot]] for lot in sorted(lots.tolist())}
        if not fresh or len(taken) == count:
            break
    return list(taken.values())
