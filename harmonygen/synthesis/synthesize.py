"""`harmonygen synthesize`: plan, run the shards that are not done yet, sum up, report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harmonygen.data import PairSet, read_pairs
from harmonygen.errors import UsageError
from harmonygen.inspection.inspect import Say, foresee, glance
from harmonygen.inspection.told import as_json
from harmonygen.models.device import pick_device
from harmonygen.plugins.load import object_name
from harmonygen.records import Quarantined
from harmonygen.runs.identity import of_pairs, refuse_changed
from harmonygen.runs.inputs import allowance, check_bad
from harmonygen.storage.shards import Shard, part_of
from harmonygen.synthesis.engines import run_shards
from harmonygen.synthesis.engines.local import workers_here
from harmonygen.synthesis.load import load_generator, load_scorer, sizing_of
from harmonygen.synthesis.panel import JudgeCallables, Panel
from harmonygen.synthesis.plan import Plan, make_plan, run_columns
from harmonygen.synthesis.run_folder import RunFolder, open_run
from harmonygen.synthesis.select import keep_count
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.synthesis.shard import ShardContext
from harmonygen.synthesis.stated import with_stated_steps

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SynthesizeResult:
    """The result of a run. ``summary`` is ``summary.json``, or empty while other parts are still running.

    For a run at a URL, ``out`` is the folder in which it is staged. ``inputs`` is what a dry run found of them.
    """

    out: Path
    pairs: int
    shards_run: int
    shards: int
    summary: dict[str, Any]
    dry_run: bool = False
    url: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)


def synthesize(
    settings: SynthesizeSettings,
    *,
    generator: Callable[..., Any] | None = None,
    judge: JudgeCallables | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    say: Say | None = None,
) -> SynthesizeResult:
    """Make K scored and selected composites for every pair, in ``settings.out``.

    With an ``out`` that is a URL, the run is there. A stopped one resumes from its last whole shard; a
    finished one is left as it is. ``say`` gets a line about what is read.

    ``generator`` and ``judge`` (one, or several by name) are callables instead of those that the settings name
    (docs/plugins/README.md); they run in this process alone.

    Raises:
        UsageError: options that do not fit, an old folder with other options, a run that holds the folder, or photos
            and masks that are not those that its shards were made from.
        TooManyBadInputsError: more inputs quarantined than ``max_bad_fraction`` allows.
        StorageError: the folder cannot be written.
    """
    settings = with_stated_steps(settings)
    keep_count(settings.keep, settings.k)
    settings = named_after(settings, generator, judge)
    part, parts = parse_part(settings.part)
    if overwrite and parts > 1:
        raise UsageError(
            f"--overwrite with --part {settings.part} would remove what the other parts have made: "
            f"delete '{settings.remote or settings.out}' once, then start the parts without --overwrite"
        )
    pairs = read_pairs(
        settings.data,
        list_file=settings.list_file,
        subset=settings.subset,
        limit=settings.limit,
        reading=settings.reading(),
    )
    if not dry_run:
        glance(pairs, settings, say)
    context, plan = prepare(settings, pairs, generator, judge)
    wanted = part_of(plan.shards, part, parts)
    if dry_run:
        seen = as_json(foresee(pairs, settings, say))
        return SynthesizeResult(settings.out, plan.pairs, 0, len(plan.shards), {}, True, settings.remote or "", seen)
    run = open_run(settings)
    if not overwrite:
        refuse_changed(run.noted(wanted, plan.digest), of_pairs(pairs), f"'{run.out}'")
    with run.held(plan, (part, parts), overwrite):
        if run.finished(plan):
            waiting, complete = [], True
        else:
            waiting = run.make_ready(wanted, plan.digest)
            _run(context, waiting, plan, run, pairs.bad, progress)
            complete = not run.waiting(plan.shards, plan.digest)
        summary = run.finish(plan, pairs.bad) if complete else {}
    return SynthesizeResult(run.out, plan.pairs, len(waiting), len(plan.shards), summary, url=settings.remote or "")


def named_after(
    settings: SynthesizeSettings, generator: Callable[..., Any] | None, judge: JudgeCallables | None
) -> SynthesizeSettings:
    """Return settings that name the callables which were passed.

    Raises:
        UsageError: workers are asked for, which cannot be sent a callable.
    """
    changed: dict[str, Any] = {} if generator is None else {"generator": _named(generator)}
    if isinstance(judge, Mapping):
        changed["judge"] = tuple(f"{name}={_named(each)}" for name, each in judge.items())
    elif judge is not None:
        changed["classifier"] = _named(judge)
    if changed and (settings.engine == "ray" or workers_here(settings) > 1):
        raise UsageError(
            f"{' and '.join(changed)} were handed over as callables, which workers cannot be sent: use workers=1 with "
            "engine='local', or name them as module:attribute"
        )
    return settings.model_copy(update=changed)


def _named(made: Callable[..., Any]) -> str:
    return f"python:{object_name(made)}"


def prepare(
    settings: SynthesizeSettings,
    pairs: PairSet,
    generator_given: Callable[..., Any] | None = None,
    judge_given: JudgeCallables | None = None,
) -> tuple[ShardContext, Plan]:
    """Load the weights and make the plan. If workers do the work, the weights are here for their digests only."""
    settings = with_stated_steps(settings)
    elsewhere = settings.engine == "ray" or workers_here(settings) > 1
    device = "cpu" if elsewhere else pick_device(settings.device)
    generator = load_generator(settings, pairs, device, generator_given)
    scorer = load_scorer(settings, device, judge_given)
    digests = scorer.digests if isinstance(scorer, Panel) else {}
    plan = make_plan(settings, pairs, pairs.layout, pairs.root, generator.digest, scorer.digest, digests)
    columns = run_columns(settings, generator.digest, plan.params_digest)
    context = ShardContext(settings, plan.digest, columns, sizing_of(settings, generator), pairs, generator, scorer)
    return context, plan


def _run(
    context: ShardContext,
    waiting: Sequence[Shard],
    plan: Plan,
    run: RunFolder,
    read_bad: Sequence[Quarantined],
    progress: Progress | None,
) -> None:
    """Run the shards that wait, and stop when too much is bad."""
    allowed = allowance(context.settings.max_bad_fraction, plan.pairs)
    undone = run.waiting(plan.shards, plan.digest)
    before = [shard for shard in plan.shards if shard not in undone]
    bad = [*read_bad, *(row for shard in before for row in run.quarantined(shard))]
    check_bad(bad, allowed, plan.pairs, run.out)
    done = PairsDone(waiting, progress)
    with closing(run_shards(context, waiting, run.out, done)) as results:  # workers end with it, whatever ends it
        for shard, _ in results:
            done(shard, shard.stop - shard.start)
            bad += run.quarantined(shard)
            check_bad(bad, allowed, plan.pairs, run.out)


class PairsDone:
    """Counts the pairs that are done, those of unfinished shards too, and tells progress of them."""

    def __init__(self, waiting: Sequence[Shard], progress: Progress | None) -> None:
        self._total = sum(shard.stop - shard.start for shard in waiting)
        self._done, self._sum = dict.fromkeys(waiting, 0), 0
        self._progress = progress if waiting else None
        self._tell()

    def __call__(self, shard: Shard, done: int) -> None:
        """Note that ``done`` pairs of a shard are done; a shard that is run again counts from its start."""
        self._sum += done - self._done[shard]
        self._done[shard] = done
        self._tell()

    def _tell(self) -> None:
        if self._progress:
            self._progress(self._sum, self._total)


def parse_part(part: str) -> tuple[int, int]:
    """Split ``i/n`` of a job array.

    >>> parse_part("2/8")
    (2, 8)
    """
    index, slash, count = part.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise UsageError(f"--part is {part!r}: write i/n, with i from 0 to n-1")
    return int(index), int(count)
