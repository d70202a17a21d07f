"""`harmonygen build-human-harmony`: segmentations -> pairs -> K candidates -> best -> split -> dataset with its card.

Each step is done, or continues, from what is on disk: ``work/prepared`` and ``work/dropped``, ``work/split.parquet``,
``work/synthesize`` (an ordinary run), then the dataset under a digest of the plan and the selection, its card and
report, and ``manifest.json`` last. The same command resumes; it writes nothing if the build is finished.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from harmonygen.data.manifest import NAME as MANIFEST
from harmonygen.data.manifest import read_manifest, sha256
from harmonygen.data.split import target_count
from harmonygen.data.write_parquet import config_folder
from harmonygen.errors import UsageError
from harmonygen.human_harmony import photo_split, prepare
from harmonygen.human_harmony.card import PREFERENCES
from harmonygen.human_harmony.dataset import FILES, KINDS, SUMMED_UP, Taken, write_dataset, written_names
from harmonygen.human_harmony.figures import ASSETS, REFERENCE
from harmonygen.human_harmony.products import ListFilter, load_product_filter
from harmonygen.human_harmony.reproduce import VERB
from harmonygen.human_harmony.rows import CONFIGS, Triplets
from harmonygen.human_harmony.settings import BEFORE, HumanHarmonySettings, InnerSettings
from harmonygen.human_harmony.subject import kind_of
from harmonygen.human_harmony.unmasked import is_unmasked, read_inputs, with_masks
from harmonygen.human_harmony.verdict import ProductFilter
from harmonygen.inspection.inspect import Say, foresee, glance
from harmonygen.inspection.told import as_json
from harmonygen.records import Pair, PairSet, Quarantined, SegmentSource
from harmonygen.runs.inputs import allowance, check_bad, refuse_bad
from harmonygen.runs.job_folder import PLAN, JobPlan, digest_of, job_folder
from harmonygen.runs.read import Run
from harmonygen.runs.review_log import decisions_at
from harmonygen.settings import MIN_MARGIN, ReadSettings, asked
from harmonygen.storage import shards
from harmonygen.synthesis.reselect import reselect
from harmonygen.synthesis.settings import CandidateSettings, SynthesizeSettings
from harmonygen.synthesis.stated import with_stated_steps
from harmonygen.synthesis.synthesize import synthesize

WORK, RUN, MARK = "work", "synthesize", "dataset.json"
_GIVEN = ("product_list", "product_weights", "person_weights", "train_list", "test_list", "leak_check")
_SEGMENT = re.compile(r"(^| )(row|annotation) \S+$")
"""How the readers name a segment, not a whole photo, among what could not be used."""
_WRITTEN = re.compile(r".+\.(png|jpe?g|webp)|.+_(train|test)\.txt|\.?(train|test)-\d{5}(-of-\d{5})?\.parquet")
_REASONS = {"NotChosen": "not-chosen", "NoSegment": "no-segment"}

Progress = Callable[[int, int], None]
Stages = Callable[[str, str], AbstractContextManager[Progress]]
"""``(what is being done, unit) -> a context that yields progress(done, total)``."""


@dataclass(frozen=True)
class BuildResult:
    """The result of a build. ``summary`` is ``summary.json``, empty for a dry run.

    ``pairs`` are those read, ``left_out`` photos that the reader left out, by reason. ``train`` and ``test`` count the
    photos that were written; of a dry run those of the split if the photos are prepared, else (``exact`` false) as if
    all of them were kept.
    """

    out: Path
    pairs: int
    left_out: dict[str, int]
    quarantined: int
    train: int
    test: int
    exact: bool
    summary: dict[str, Any] = field(default_factory=dict)
    finished_before: bool = False
    dry_run: bool = False
    inputs: dict[str, Any] = field(default_factory=dict)


def build_human_harmony(
    settings: HumanHarmonySettings, *, dry_run: bool = False, stages: Stages | None = None, say: Say | None = None
) -> BuildResult:
    """Build the dataset in ``settings.out``; finished work is left as it is.

    ``say`` gets a line about what is read.

    Raises:
        UsageError: options that do not fit, an old folder with other options, another build at work in it, or photos
            and masks that are not those that it was built from.
        TooManyBadInputsError: more inputs quarantined than ``max_bad_fraction`` allows.
        StorageError: the folder cannot be written; rerun the same command to resume.
    """
    stages = stages or (lambda _what, _unit: nullcontext(_no_progress))
    pairs = read_inputs(settings)
    if isinstance(chosen := _product_list(settings), ListFilter) and settings.limit is None:
        chosen.refuse_unknown(pair.real_id for pair in pairs)
    settings = with_stated_steps(settings)
    plan = make_plan(settings, pairs)
    if dry_run:
        return _foresee(settings, pairs, plan.digest, say)
    if not (unmasked := is_unmasked(pairs)):
        glance(pairs, settings, say)
    out, work = settings.out, settings.out / WORK
    kind = kind_of(pairs, pairs.classes, settings.person != "none")
    pairs = prepare.in_subset(pairs, work, kind)
    if not unmasked:
        prepare.refuse_changed_photos(pairs, work, plan.digest)
    with job_folder(out, plan, _writes(pairs)) as job:
        if unmasked:
            with stages("masks", "photos") as progress:
                pairs = with_masks(settings, pairs, work, progress)
            prepare.refuse_changed_photos(pairs, work, plan.digest)
        shards.make_folder(work)
        shards.refuse_others(work / RUN, "-")  # a run or review at work inside would be disturbed
        bad, split = _photos(settings, pairs, work, plan.digest, stages)
        with stages("candidates", "photos") as progress:
            synthesize(synthesis_settings(settings, work), progress=progress)
        _review(settings, work / RUN, stages)
        triplets = _triplets(settings, work, plan.digest, split)
        before = _finished(out, triplets.digest, settings.title)
        if not before:
            _begin(out, work, triplets, settings.title)
            job.sweep(written_names(settings, triplets))
            read, left_out = len(pairs) + len(pairs.left_out), _left_out(pairs, work, split)
            taken = Taken(read, left_out, bad, kind, pairs.classes, unmasked)
            write_dataset(settings, out, triplets, split, taken, stages)
    return _result(settings, pairs, before)


def _writes(pairs: Sequence[Pair]) -> list[str]:
    """Return the names of what a build writes before its dataset, relative to its folder."""
    parts = [shard.filename for shard in shards.cut(len(pairs), prepare.SHARD)]
    inside = [f"{WORK}/{folder}/{part}" for folder in (prepare.PREPARED, prepare.DROPPED) for part in parts]
    return [*FILES, *SUMMED_UP, MANIFEST, *(f"{WORK}/{name}" for name in (photo_split.NAME, MARK, REFERENCE)), *inside]


def _no_progress(_done: int, _total: int) -> None:
    """Say nothing."""


def make_plan(settings: HumanHarmonySettings, pairs: PairSet) -> JobPlan:
    """Return the settings, and digests of all that decides the result."""
    given = {name: getattr(settings, name) for name in _GIVEN}
    digests = {name: sha256(path) for name, path in given.items() if path is not None and path.is_file()}
    inputs, files = _inputs_digest(pairs), digest_of(digests)
    what = {BEFORE.get(name, name): value for name, value in asked(settings).items()}
    return JobPlan(
        VERB,
        settings,
        {"inputs_digest": inputs, "files_digest": files},
        {"layout": pairs.layout, "data_root": str(pairs.root), "pairs": len(pairs)},
        digest_now=digest_of({"what": what, "inputs": inputs, "files": files}),
    )


def _inputs_digest(pairs: Sequence[Pair]) -> str:
    """Return a digest of every pair: files by name, segments by their runs."""
    return digest_of([[pair.pair_id, Path(str(pair.real)).name, _mask_key(pair), dict(pair.extra)] for pair in pairs])


def _mask_key(pair: Pair) -> str:
    mask = pair.mask
    return mask.segmentation if isinstance(mask, SegmentSource) else Path(str(mask)).name


def _product_list(settings: HumanHarmonySettings) -> ProductFilter | None:
    return load_product_filter("list", settings.product_list) if settings.product_filter == "list" else None


def _foresee(settings: HumanHarmonySettings, pairs: PairSet, digest: str, say: Say | None) -> BuildResult:
    """Count what a build would have, from names alone, or from the split if it is there; nothing is written.

    Raises:
        TooManyBadInputsError: a build would end with it.
    """
    segments, lost = _segments(pairs)
    refuse_bad(pairs.bad, allowance(settings.max_bad_fraction, segments), segments)
    bad, inputs = len(pairs.bad), {}
    if not is_unmasked(pairs):
        seen = foresee(replace(pairs, bad=tuple(lost)), settings, say)
        bad, inputs = bad + len(seen.bad) - len(lost), as_json(seen)
    path = settings.out / WORK / photo_split.NAME
    photos = len({pair.real_id for pair in pairs})
    if exact := shards.is_whole(path, digest):
        counts = photo_split.count(pq.read_table(path).to_pylist())
        train, test = counts.train, counts.test
    else:
        test = target_count(photos, settings.test_fraction)
        train = photos - test
    left_out = dict(_read_left_out(pairs))
    return BuildResult(settings.out, len(pairs), left_out, bad, train, test, exact, dry_run=True, inputs=inputs)


def _photos(
    settings: HumanHarmonySettings, pairs: PairSet, work: Path, digest: str, stages: Stages
) -> tuple[list[Quarantined], list[dict[str, Any]]]:
    """Prepare and split the photos; return what could not be used and the rows of the split."""
    fraction, out = settings.max_bad_fraction, work.parent
    segments, lost = _segments(pairs)
    photos = len(pairs) + len(lost)
    check_bad(pairs.bad, allowance(fraction, segments), segments, out)
    check_bad(lost, allowance(fraction, photos), photos, out)
    with stages("photos", "photos") as progress:
        bad = prepare.prepare_photos(
            pairs, lambda: prepare.load_rules(settings, is_unmasked(pairs)), work, digest, progress
        )
    check_bad([*lost, *bad], allowance(fraction, photos), photos, out)
    if not sum(pq.read_metadata(path).num_rows for path in prepare.files(work)):
        counts = ", ".join(f"{reason} {count}" for reason, count in _dropped(work).items())
        raise UsageError(f"no photo was kept of {len(pairs)} ({counts}): loosen --product-filter, --min-fg or --max-fg")
    return [*pairs.bad, *bad], photo_split.split_photos(settings, work, digest)


def _segments(pairs: PairSet) -> tuple[int, list[Quarantined]]:
    """Return how many segments there are, and which photos are lost as a whole."""
    segments = sum(int(pair.extra.get("segments", "1")) for pair in pairs) + len(pairs.bad)
    return segments, [row for row in pairs.bad if not _SEGMENT.search(row.id)]


def synthesis_settings(settings: HumanHarmonySettings, work: Path) -> SynthesizeSettings:
    """Return the settings of the run inside: the build's own, on the prepared photos."""
    own = ReadSettings.model_fields.keys() | {"limit"}
    shared = {name: getattr(settings, name) for name in CandidateSettings.model_fields if name not in own}
    inside = work.resolve()
    begun = shards.read_json(inside / RUN / PLAN).get("settings", {"inside": VERB})
    kind = InnerSettings if "inside" in begun else SynthesizeSettings  # one of an older version goes on as it began
    return kind(**shared, **settings.reading_of_copies(), data=str(inside / prepare.PREPARED), out=inside / RUN)


def _review(settings: HumanHarmonySettings, run: Path, stages: Stages) -> None:
    """Apply the decisions of a review, those in the run's folder by default, if they are not applied yet."""
    found = Run.look(run)
    decisions = decisions_at(settings.decisions) if settings.decisions else found.reviewed()
    if decisions is not None and decisions.of != found.decisions:
        with stages("review", "shards") as progress:
            reselect(run, decisions=decisions, progress=progress)


def _triplets(settings: HumanHarmonySettings, work: Path, digest: str, split: Sequence[dict[str, Any]]) -> Triplets:
    run = Run.open(work / RUN)
    constants = {
        "classifier_digest": run.selection["classifier_digest"],
        "run": run.plan_digest,
        "license": settings.license,
    }
    margin = {} if settings.min_margin == MIN_MARGIN else {"min_margin": settings.min_margin}
    whole = digest_of({"build": digest, "run": run.plan_digest, "selection": run.reselected, **margin})
    return Triplets(run, work, {row["pair_id"]: row["split"] for row in split}, constants, whole)


def _finished(out: Path, digest: str, title: str) -> bool:
    """Return whether the folder holds this very dataset, whole, under this title."""
    entries, mark = read_manifest(out), out / WORK / MARK
    if entries is None or not mark.is_file() or not all((out / name).is_file() for name in SUMMED_UP):
        return False
    held = json.loads(mark.read_text(encoding="utf-8"))
    if (held["digest"], held.get("title", "")) != (digest, title):
        return False
    paths = [(out / entry.path, entry.bytes) for entry in entries]
    return all(path.is_file() and path.stat().st_size == size for path, size in paths)


def _begin(out: Path, work: Path, triplets: Triplets, title: str) -> None:
    """Note which dataset is being written into which folders; remove what exists of one of another selection."""
    path, digest = work / MARK, triplets.digest
    held = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"digest": digest, "folders": []}
    with shards.storage_errors(f"'{out}'"):
        (out / MANIFEST).unlink(missing_ok=True)
        if held["digest"] != digest:
            for name in (*FILES, *SUMMED_UP):
                (out / name).unlink(missing_ok=True)
            for folder in held["folders"]:
                _clear(out / folder)
    folders = [ASSETS, *sorted({config_folder(config) for config in (*CONFIGS, PREFERENCES)} | set(triplets.subsets()))]
    mark = {"digest": digest, "folders": folders, **({"title": title} if title else {})}
    if held != mark:
        shards.write_json(path, mark)


def _clear(folder: Path) -> None:
    """Remove what a build has written into one of its folders, and the folder if nothing else is in it."""
    for inside in (*(folder / kind for kind in KINDS), folder):
        if inside.is_dir() and not inside.is_symlink():
            for path in list(inside.iterdir()):
                if _WRITTEN.fullmatch(path.name):
                    path.unlink()
            with suppress(OSError):  # somebody else's files are in it
                inside.rmdir()


def _dropped(work: Path) -> Counter[str]:
    tables = (pq.read_table(path, columns=["reason"]) for path in prepare.files(work, prepare.DROPPED))
    return Counter(reason for table in tables for reason in table.column("reason").to_pylist())


def _read_left_out(pairs: PairSet) -> Counter[str]:
    return Counter(_REASONS.get(row.error, row.error) for row in pairs.left_out)


def _left_out(pairs: PairSet, work: Path, split: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Return the photos left out by reason, the most frequent first."""
    leaked = Counter({"leak": photo_split.count(split).leaked})
    return dict((_read_left_out(pairs) + _dropped(work) + leaked).most_common())


def _result(settings: HumanHarmonySettings, pairs: PairSet, before: bool) -> BuildResult:
    summary = json.loads((settings.out / "summary.json").read_text(encoding="utf-8"))
    split = summary["split"]
    return BuildResult(
        settings.out,
        len(pairs),
        summary["left_out"],
        summary["quarantined"],
        split["train"],
        split["test"],
        True,
        summary,
        before,
    )
