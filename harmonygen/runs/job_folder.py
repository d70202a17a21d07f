"""The folder of a job: looked at first, then begun, resumed or refused; its plan comes first, its summary last.

Every verb that works into a folder goes through :func:`job_folder`. A folder is free (it is missing, or holds hidden
files alone), holds a job of ours (``plan.json``), or is somebody else's. Nothing is written until that is known, so a
folder that is refused is left as it is.
"""

from __future__ import annotations

import json
import platform
import posixpath
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import harmonygen
from harmonygen.errors import UsageError
from harmonygen.seeds import digest_of_bytes
from harmonygen.settings import LATER, Settings, asked, marked
from harmonygen.storage.shards import (
    has_lock,
    locked,
    make_folder,
    refuse_files,
    refuse_others,
    remove_strays,
    storage_errors,
    strays,
    write_json,
    write_json_once,
)

PLAN, SUMMARY, QUARANTINE, REPORT = "plan.json", "summary.json", "quarantine.parquet", "report.html"


def digest_of(value: Any) -> str:
    """Return 16 hex digits of a JSON value."""
    return digest_of_bytes([json.dumps(value, sort_keys=True, default=str).encode()])


@dataclass(frozen=True)
class JobPlan:
    """What a job is to do: its settings, and digests of the ``inputs`` that decide the result.

    ``facts`` are recorded in ``plan.json`` and decide nothing. ``unused`` settings do not matter to this job.
    ``digest_now`` is the plan's digest where it is not that of settings and inputs; ``digests_before`` are those that
    an older version gave to the same plan.
    """

    verb: str
    settings: Settings
    inputs: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    digest_now: str = ""
    digests_before: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """16 or 32 hex digits that are equal if the same work is to be done."""
        return self.digest_now or digest_of({"what": self.asked(), **self.inputs})

    def asked(self) -> dict[str, Any]:
        """Return the settings that decide the result."""
        return {name: value for name, value in asked(self.settings).items() if name not in self.unused}

    def to_json(self) -> dict[str, Any]:
        """Return what is written to ``plan.json``."""
        return {
            "harmonygen": harmonygen.__version__,
            "verb": self.verb,
            "settings": self.settings.model_dump(mode="json"),
            "plan_digest": self.digest,
            **self.inputs,
            **self.facts,
        }

    def refuse_another(self, old: Mapping[str, Any], where: object, remedy: str) -> None:
        """Raise UsageError if ``old``, the ``plan.json`` at ``where``, is of another plan: it names what changed."""
        if old.get("plan_digest") in (self.digest, *self.digests_before):
            return
        changed = self._changes(old)
        if not changed:
            raise UsageError(f"'{where}' was made by another version of harmonygen, which cannot be resumed: {remedy}")
        named = shown_changes(changed)
        raise UsageError(f"'{where}' holds a run with other options ({named}): repeat them, or {remedy}")

    def _changes(self, old: Mapping[str, Any]) -> list[str]:
        """Name the settings and inputs that differ; what the older version did not know is not one of them."""
        later = self.settings.model_dump(mode="json", include=set(marked(type(self.settings), LATER)))
        then, now = _leaves(old.get("settings", {})), _leaves(later | self.asked())
        changed = [f"{key}: {then[key]!r} then, {now[key]!r} now" for key in now if then.get(key, now[key]) != now[key]]
        return changed + [f"{key} changed" for key, value in self.inputs.items() if old.get(key, value) != value]


def shown_changes(changed: list[str], limit: int = 5) -> str:
    """Return the first changes for a message, and how many more there are."""
    more = len(changed) - limit
    return "; ".join(changed[:limit]) + (f"; and {more} more" if more > 0 else "")


def _leaves(value: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return the values of nested settings by their dotted names."""
    found: dict[str, Any] = {}
    for name, inner in value.items():
        found |= _leaves(inner, f"{before}{name}.") if isinstance(inner, Mapping) else {f"{before}{name}": inner}
    return found


@dataclass(frozen=True, slots=True)
class Job:
    """A job at work in its folder. ``resumed``: it was begun before; ``finished``: nothing is left to do."""

    out: Path
    plan: JobPlan
    resumed: bool
    finished: bool

    def sweep(self, writes: Iterable[str]) -> None:
        """Remove what a killed run left half written in the folders of files, relative to the job's folder."""
        sweep(self.out, writes, self.resumed)

    def finish(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        """Write ``summary.json``, which says that everything else is there, and return it."""
        head = {"harmonygen": harmonygen.__version__, "verb": self.plan.verb, "plan_digest": self.plan.digest}
        whole = {**head, **summary}
        write_json(self.out / SUMMARY, whole)
        return whole


@contextmanager
def job_folder(
    out: Path,
    plan: JobPlan,
    writes: Iterable[str] = (),
    *,
    part: tuple[int, int] | None = None,
    finished: Callable[[], bool] = lambda: False,
    anew: Callable[[Path], None] | None = None,
    remedy: str = "choose another --out",
) -> Iterator[Job]:
    """Hold a job's folder while the block works in it.

    Args:
        out: the folder; it is made if it is missing.
        plan: what is to be done; it is written to a new folder, and compared with the plan of an old one.
        writes: the files that the job writes, relative to ``out``. What a killed run left half written in their folders
            is removed.
        part: (index, count) of a job array, whose other parts may be at work beside.
        finished: tells whether an old job of this plan is whole. Then nothing is written.
        anew: removes what an old job has made; with it, another plan is not refused but replaced.
        remedy: what a refusal advises.

    Raises:
        UsageError: the folder is not ours, is another verb's, holds another plan (what changed is named), or is held.
        StorageError: it is a file, or it cannot be written.
    """
    names, alone = _by_folder(writes), part is None or part[1] == 1
    resumed = is_resumed(out, plan, anew, remedy)
    own, kin = (f"part-{part[0]}-of-{part[1]}", f"part-*-of-{part[1]}") if part else (plan.verb, plan.verb)
    swept = not (alone and _left_behind(out, names, resumed)) and not has_lock(out, own)
    if resumed and not anew and swept and finished():
        yield Job(out, plan, resumed, finished=True)
        return
    with locked(make_folder(out), own):
        refuse_others(out, kin)
        resumed = is_resumed(out, plan, anew, remedy)  # another command may have been quicker
        if resumed and anew:
            anew(out)
        if anew or (not resumed and alone):
            write_json(out / PLAN, plan.to_json())
        elif not resumed and not write_json_once(out / PLAN, plan.to_json()):
            resumed = is_resumed(out, plan, anew, remedy)  # another part of the job array began it at this moment
        job = Job(out, plan, resumed, finished=resumed and not anew and finished())
        if alone:
            remove_strays(_left_behind(out, names, resumed))
        yield job


def is_resumed(out: Path, plan: JobPlan, anew: object = None, remedy: str = "choose another --out") -> bool:
    """Return whether a folder holds a job that this plan resumes, or replaces (``anew``); nothing is written.

    Raises:
        UsageError: as for :func:`job_folder`.
        StorageError: it is a file.
    """
    old = look(out, plan.verb)
    if old is not None and not anew:
        plan.refuse_another(old, out, remedy)
    return old is not None


def look(out: Path, verb: str, beside: Container[str] = (), option: str = "--out") -> dict[str, Any] | None:
    """Return the plan of the job that a folder holds, None if the folder is free; nothing is written.

    A free folder may hold hidden files, and those named in ``beside``.

    Raises:
        UsageError: it holds somebody else's files, or a job of another verb.
        StorageError: it is a file.
    """
    refuse_files(out)
    if (out / PLAN).is_file():
        return _own_plan(out, verb, option)
    found = sorted(entry.name for entry in out.iterdir()) if out.is_dir() else []
    strangers = [name for name in found if not name.startswith(".") and name not in beside]
    if strangers and not (out / PLAN).is_file():  # a part of a job array may have begun the run since
        some = ", ".join(strangers[:3])
        raise UsageError(f"'{out}' is not empty and not a run (found {some}): choose another {option}")
    return _own_plan(out, verb, option) if strangers else None


def _own_plan(out: Path, verb: str, option: str) -> dict[str, Any]:
    with storage_errors(f"'{out}'"):
        content = (out / PLAN).read_bytes()
    return parse_plan(content, out, verb, option)


def parse_plan(content: bytes, where: object, verb: str, option: str = "--out") -> dict[str, Any]:
    """Read the content of a ``plan.json`` that lies at ``where``.

    Raises:
        UsageError: it is another tool's, or another verb's.
    """
    try:
        plan = json.loads(content)
    except (ValueError, RecursionError):
        plan = None
    if not isinstance(plan, dict) or "harmonygen" not in plan or "verb" not in plan:
        raise UsageError(f"'{where}' is not a run (its {PLAN} is not one of harmonygen): choose another {option}")
    if plan["verb"] != verb:
        raise UsageError(f"'{where}' holds a {plan['verb']!r} run, not one of {verb}: choose another {option}")
    return plan


def sweep(out: Path, writes: Iterable[str], resumed: bool) -> None:
    """Remove what killed runs left half written in the folders of ``writes``; hold the lock of ``out`` while you do."""
    remove_strays(_left_behind(out, _by_folder(writes), resumed))


def _by_folder(writes: Iterable[str]) -> dict[PurePosixPath, set[str]]:
    """Return the names of files by their folder, with those that every job has in its own."""
    names: dict[str, set[str]] = {}
    for path in writes:
        folder, name = posixpath.split(path)
        names.setdefault(folder, set()).add(name)
    names.setdefault("", set()).update((PLAN, SUMMARY, QUARANTINE, REPORT))
    return {PurePosixPath(folder): finals for folder, finals in names.items()}


def _left_behind(out: Path, names: Mapping[PurePosixPath, Container[str]], resumed: bool) -> list[Path]:
    """Return what killed runs left half written in the folders of ``names``; links to folders are not followed.

    The names that an older version gave are looked for in a folder that it may have begun only.
    """
    found: list[Path] = []
    for folder, finals in names.items():
        if not any((out / above).is_symlink() for above in (folder, *folder.parents) if above.name):
            found += strays(out / folder, None, finals if resumed else ())
    return found


def read_plan(out: Path, verb: str = "synthesize") -> dict[str, Any]:
    """Read a run's ``plan.json``.

    Raises:
        UsageError: there is none, or it is not a plan of ``verb``.
    """
    try:
        plan: Any = json.loads((out / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"'{out}' is not a run folder ({error}): give the --out of a {verb} run") from error
    if not isinstance(plan, dict) or "verb" not in plan:
        raise UsageError(f"'{out}' is not a run folder ({PLAN} is another tool's): give the --out of a {verb} run")
    if plan["verb"] != verb:
        raise UsageError(f"'{out}' holds a {plan.get('verb')!r} plan, a {verb} run is needed: give another folder")
    return dict(plan)


def versions() -> dict[str, str]:
    """Return the versions that decide the result."""
    names = ("torch", "torchvision", "diffusers", "numpy", "Pillow", "pyarrow")
    return {
        "harmonygen": harmonygen.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }
