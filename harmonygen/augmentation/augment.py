"""Mix a run's candidates into a harmonization dataset at blending ratio gamma (DiffHarmony++, REFERENCE section 6).

Plan first: the arithmetic, the picks, every refusal. Only then is anything written, under a lock: ``plan.json``, the
files one by one under their final names, the lists and the manifest, ``summary.json`` last. The same command resumes
after a kill, and writes nothing once the summary is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmonygen.augmentation import dataset as originals
from harmonygen.augmentation import leak_guard
from harmonygen.augmentation import pick as picks
from harmonygen.augmentation.gamma import GammaPlan, count_pairs, plan_gamma
from harmonygen.augmentation.settings import AugmentSettings
from harmonygen.augmentation.write import Mix, write_mix, writes
from harmonygen.inspection.inspect import Say, glance
from harmonygen.records import PairSet
from harmonygen.runs.identity import of_pairs, refuse_changed
from harmonygen.runs.job_folder import SUMMARY, JobPlan, is_resumed, job_folder, look
from harmonygen.runs.read import Run
from harmonygen.settings import asked

Progress = Callable[[int, int], None]

_SAMPLE = "sample"


@dataclass(frozen=True)
class AugmentResult:
    """What an augmentation did.

    ``new`` composites were added to ``originals``; ``test`` composites came along untouched. ``gated`` candidates
    had failed a gate and were not eligible; ``skipped_pairs`` were quarantined by the run and got none; ``unused``
    candidates belong to pairs that the list leaves out; ``short_pairs`` got fewer than gamma asks for.
    ``test_candidates`` are of test photos, or of photos that look like them, and were skipped
    (``skip_test_photos``); they are part of ``unused``. ``look_alikes`` names such photos of the training list, which
    were left out with their composites.
    ``compared`` photos were hashed by the leak guard; ``leak_guard`` says in words what it compared.
    ``finished_before`` is true when the folder was whole already and nothing was written.
    """

    folder: Path
    gamma: GammaPlan
    originals: int
    new: int
    test: int
    gated: int
    skipped_pairs: tuple[str, ...]
    unused: int
    short_pairs: tuple[str, ...]
    test_candidates: int
    look_alikes: tuple[str, ...]
    compared: int
    leak_guard: str
    seconds: float
    finished_before: bool

    def as_json(self) -> dict[str, Any]:
        """Return the result for ``summary.json`` and ``--json``."""
        return {
            "folder": str(self.folder),
            **gamma_json(self.gamma),
            "originals": self.originals,
            "new": self.new,
            "test": self.test,
            "gated": self.gated,
            "skipped_pairs": list(self.skipped_pairs),
            "unused": self.unused,
            "short_pairs": list(self.short_pairs),
            "test_candidates": self.test_candidates,
            "look_alikes": list(self.look_alikes),
            "compared": self.compared,
            "leak_guard": self.leak_guard,
            "seconds": round(self.seconds, 3),
            "finished_before": self.finished_before,
        }


def gamma_json(plan: GammaPlan) -> dict[str, Any]:
    """Return the arithmetic as JSON: per subset N1, N2, gamma N2/N1, the count a pair and the total."""
    rows = [
        {
            "subset": row.subset,
            "pairs": row.pairs,
            "composites": row.composites,
            "ratio": float(row.ratio),
            "per_pair": row.per_pair,
            "added": row.added,
        }
        for row in plan.rows
    ]
    return {"gamma": plan.gamma, "per_subset": plan.per_subset, "subsets": rows, "needed_k": plan.needed_k}


def dry_run(settings: AugmentSettings, say: Say | None = None) -> GammaPlan:
    """Work out the arithmetic from names alone: no run, nothing written; images are looked at if they are there.

    Raises:
        UsageError: no such data, list or subset, or a gamma that is not a number.
        StorageError: some images are there and others are missing, which ends the job itself.
    """
    data = data_folder(settings.data)
    dataset = originals.read_originals(data, settings.list_file, settings.subset, settings.test_list)
    if any(originals.photo_path(pair).is_file() for pair in dataset.train):
        originals.refuse_missing(dataset)
        _glance(settings, dataset, say)
    elif say:
        say(f"iharmony4: {len(dataset.train):,} pairs by their names alone, none of whose images is there")
    return _arithmetic(settings, dataset)


def _glance(settings: AugmentSettings, dataset: originals.Originals, say: Say | None) -> None:
    glance(PairSet(dataset.train, "iharmony4", dataset.root), settings, say)


def augment(settings: AugmentSettings, progress: Progress | None = None, say: Say | None = None) -> AugmentResult:
    """Write the augmented dataset to ``settings.out``; ``progress`` gets (files done, files in all), ``say`` a line.

    Raises:
        UsageError: K smaller than gamma needs; pairs without candidates; candidates of other photos, of the test split
            (unless they are skipped), or of photos and masks that changed; composites of another size than their
            photo; a folder of other options; another run at work.
        StorageError: files missing, hard links across disks, disk full: rerun the same command to resume.
    """
    began = time.monotonic()
    mix = plan_mix(settings, data_folder(settings.data))
    _glance(settings, mix.dataset, say)
    plan, whole = _plan(settings, mix), (settings.out / SUMMARY).is_file
    compared = 0 if is_resumed(settings.out, plan) and whole() else _guard_hashes(settings, mix)
    with job_folder(settings.out, plan, writes(mix), finished=whole) as job:
        if not job.finished:
            write_mix(mix, progress)
        result = _result(settings, mix, compared, time.monotonic() - began, job.finished)
        if not job.finished:
            job.finish(result.as_json())
    return result


def _result(settings: AugmentSettings, mix: Mix, compared: int, seconds: float, finished_before: bool) -> AugmentResult:
    return AugmentResult(
        folder=settings.out,
        gamma=mix.gamma,
        originals=sum(len(pair.originals) for pair in mix.dataset.train),
        new=mix.picks.total,
        test=sum(len(pair.originals) for pair in mix.test),
        gated=mix.picks.gated,
        skipped_pairs=mix.picks.skipped_pairs,
        unused=mix.picks.unused,
        short_pairs=mix.picks.short_pairs,
        test_candidates=_of_test_photos(mix.run, mix.dataset.guarded.photos | mix.look_alikes.photos),
        look_alikes=mix.look_alikes.named,
        compared=compared,
        leak_guard=leak_guard.told(mix.dataset.guarded, compared),
        seconds=seconds,
        finished_before=finished_before,
    )


def data_folder(data: str) -> Path:
    """Return the dataset's path; the built-in sample lies in the cache."""
    if data != _SAMPLE:
        return Path(data)
    from harmonygen.data.sample import cached_sample
    from harmonygen.storage.remote import cache_folder

    return cached_sample(cache_folder())


def _arithmetic(settings: AugmentSettings, dataset: originals.Originals) -> GammaPlan:
    counts = count_pairs((pair.subset, len(pair.originals)) for pair in dataset.train)
    return plan_gamma(settings.gamma, counts, settings.per_subset)


def plan_mix(settings: AugmentSettings, data: Path) -> Mix:
    """Plan the whole augmentation and make every refusal that needs no photo decoded; writes nothing."""
    dataset = originals.read_originals(data, settings.list_file, settings.subset, settings.test_list)
    run = Run.open(settings.candidates)
    _guard_ids(run, dataset, settings.skip_test_photos)
    alike = _look_alikes(settings, dataset, run)
    dataset = dataset.without(alike.photos)
    gamma = _arithmetic(settings, dataset)
    needed = {pair.pair_id: gamma.count(pair.subset) for pair in dataset.train}
    chosen = picks.pick_all(run, needed, settings.gamma, settings.pick, settings.seed, settings.allow_fewer)
    originals.refuse_missing(dataset)
    test = originals.heldout_on_disk(dataset)
    _refuse_changed(run, dataset, chosen)
    converted: frozenset[str] = frozenset()
    if settings.format == "iharmony4":
        converted = originals.refuse_other_sizes(dataset.train, chosen.by_pair)
    link = "copy" if settings.data == _SAMPLE else settings.link  # nobody's edits may reach the cache
    photos = settings.photos if settings.format == "iharmony4" else "own"
    options = {name: value for name, value in asked(settings).items() if (name, value) != ("skip_test_photos", False)}
    return Mix(
        settings.out, settings.format, link, dataset, test, gamma, run, chosen, converted, options, photos, alike
    )


def _refuse_changed(run: Run, dataset: originals.Originals, chosen: picks.Picks) -> None:
    """Refuse candidates that were made from other photos or masks than the dataset has under their names."""
    noted = run.noted({pair_id for pair_id, rows in chosen.by_pair.items() if rows})
    refuse_changed(noted, of_pairs(dataset.train), f"'{run.folder}'")


def _guard_ids(run: Run, dataset: originals.Originals, skip_test_photos: bool) -> None:
    made_of = run.real_ids() - (dataset.guarded.photos if skip_test_photos else frozenset())
    leak_guard.refuse_test_ids(made_of | {pair.real_id for pair in dataset.train}, dataset.guarded)
    leak_guard.refuse_other_photos(made_of, dataset.real_ids, str(run.folder))


def _of_test_photos(run: Run, photos: Container[str]) -> int:
    """Return how many candidates are of test photos and their look-alikes, which no pair takes."""
    return sum(real_id in photos for real_id in run.rows()["real_id"].to_pylist())


def _look_alikes(settings: AugmentSettings, dataset: originals.Originals, run: Run) -> leak_guard.LookAlikes:
    """Return the photos with candidates that look like test photos; a job that was begun has noted them."""
    if not settings.skip_test_photos or settings.leak_guard == "ids":
        return leak_guard.LookAlikes()
    if noted := _noted_look_alikes(settings, run):
        return leak_guard.LookAlikes(frozenset(noted["photos"]), tuple(noted["named"]), noted["compared"])
    with_candidates = run.real_ids()
    used = {pair.real_id: pair.real for pair in dataset.train if pair.real_id in with_candidates}
    return leak_guard.look_alikes(used, dataset.guarded_photos())


def _noted_look_alikes(settings: AugmentSettings, run: Run) -> Any:
    old = look(settings.out, "augment") or {}
    before, now = old.get("settings", {}), settings.model_dump(mode="json")
    same = all(before.get(name) == now[name] for name in (*asked(settings), "data", "leak_guard"))
    return old.get("look_alikes") if same and old.get("run") == run.plan_digest else None


def _guard_hashes(settings: AugmentSettings, mix: Mix) -> int:
    if settings.skip_test_photos:
        return mix.look_alikes.compared
    test = mix.dataset.guarded_photos() if settings.leak_guard == "hash" else {}
    used = {pair.real_id: pair.real for pair in mix.dataset.train if mix.picks.by_pair.get(pair.pair_id)}
    return leak_guard.refuse_near_duplicates(used, test) if test else 0


def _plan(settings: AugmentSettings, mix: Mix) -> JobPlan:
    noted = {"look_alikes": mix.look_alikes.as_json()} if settings.skip_test_photos else {}
    facts = {**gamma_json(mix.gamma), **noted}
    return JobPlan("augment", settings, {"run": mix.run.plan_digest}, facts, digest_now=mix.digest)
