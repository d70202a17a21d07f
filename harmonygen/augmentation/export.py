"""Write a finished synthesize run as a harmonization dataset of its own, in iHarmony4 layout.

Photos and masks without composites (a folder, a COCO file) become a dataset that any trainer reads, and that
`augment` can mix further candidates into. A pair keeps its id; one of no subset gets the subset ``photos``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from harmonygen.augmentation.settings import ExportSettings
from harmonygen.data import write_tree as tree
from harmonygen.errors import StorageError, UsageError
from harmonygen.runs.job_folder import SUMMARY, JobPlan, job_folder
from harmonygen.runs.read import PairImages, Run
from harmonygen.settings import asked
from harmonygen.storage import shards

Progress = Callable[[int, int], None]
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_PROVENANCE = ("k", "seed", "p_composite", "model_digest", "clipped", "fmse", "structure", "drift")


@dataclass(frozen=True)
class ExportResult:
    """What was written: pairs and composites; ``gated`` candidates may not be used and were left out."""

    folder: Path
    pairs: int
    composites: int
    gated: int
    finished_before: bool


def export(settings: ExportSettings, progress: Progress | None = None) -> ExportResult:
    """Write the run's candidates that may be used (or only the selected ones) as an iHarmony4 tree.

    Raises:
        UsageError: not a finished run, nothing to write, photos or masks that changed since the run, or a folder that
            holds something else.
        StorageError: a photo is gone, or the disk is full: rerun the same command to resume.
    """
    run = Run.open(settings.run)
    chosen, gated = wanted(run, settings.which)
    refuse_names(run)
    run.refuse_changed({row["pair_id"] for row in chosen})
    plan = _plan(settings, run)
    with job_folder(settings.out, plan, writes(run, chosen), finished=(settings.out / SUMMARY).is_file) as job:
        result = ExportResult(settings.out, len({row["pair_id"] for row in chosen}), len(chosen), gated, job.finished)
        if not job.finished:
            with shards.storage_errors(f"'{settings.out}'"):
                _write(settings, run, chosen, progress)
            counts = {"pairs": result.pairs, "composites": result.composites, "gated": gated}
            job.finish({**plan.inputs, **asked(settings), **counts})
    return result


def wanted(run: Run, which: str) -> tuple[list[dict[str, Any]], int]:
    """Return the rows that an export takes (``all`` that may be used, or ``selected``), and how many may not be used.

    Raises:
        UsageError: there is none.
    """
    usable = run.usable()
    rows: list[dict[str, Any]] = [row for row in usable.to_pylist() if which == "all" or row["selected"]]
    if not rows:
        raise UsageError(f"no candidate of '{run.folder}' passed the gates: loosen them with harmonygen select")
    return rows, run.rows().num_rows - usable.num_rows


def refuse_names(run: Run) -> None:
    """Refuse pairs whose files could not be told apart in the layout, or not be found again by their names.

    Raises:
        UsageError: naming the first mask or photos.
    """
    owner: dict[str, str] = {}
    for part in range(len(run.parts)):
        for row in run.pairs(part):
            if "_" in row["mask_id"]:
                raise UsageError(
                    f"mask '{row['mask_id']}' of {row['real_id']} has an underscore, where the layout cuts names: "
                    "rename it"
                )
            name = f"{row['subset']}/{row['real_id'].rpartition('/')[2]}"
            if owner.setdefault(name, row["real_id"]) != row["real_id"]:
                raise UsageError(
                    f"photos {owner[name]} and {row['real_id']} would both be '{name}': give them names of their own"
                )


def _plan(settings: ExportSettings, run: Run) -> JobPlan:
    return JobPlan("export", settings, {"run": run.plan_digest, "selection": run.reselected or None})


def writes(run: Run, rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names, relative to a tree's root, that candidate rows come to; a photo has one of some suffixes."""
    masks: dict[str, str] = {}
    names: list[str] = []
    for pair in (pair for part in range(len(run.parts)) for pair in run.pairs(part)):
        real, masks[pair["pair_id"]] = _names(pair)
        names += [f"{real}{suffix}" for suffix in _SUFFIXES]
    for row in rows:
        suffix = Path(row["composite"]["path"] or "").suffix.lower()
        names.append(_composite_name(masks[row["pair_id"]], row["k"], suffix.replace(".jpeg", ".jpg")))
    subsets = {PurePosixPath(name).parts[0] for name in names}
    return [*tree.summed_up(subsets), *names, *masks.values()]


def _write(settings: ExportSettings, run: Run, rows: list[dict[str, Any]], progress: Progress | None) -> None:
    made = write_pairs_and_composites(settings.out, settings.link, run, rows, progress)
    tree.write_lists(settings.out, [row["composite"] for row in made], "train")
    tree.write_manifest(settings.out, made, run.plan_digest)


def write_pairs_and_composites(
    out: Path, link: tree.Link, run: Run, rows: list[dict[str, Any]], progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Write the photos, masks and composites of candidate rows; return a manifest row for each composite.

    Raises:
        StorageError: a photo is gone, or the disk is full.
    """
    by_part: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        by_part.setdefault(row["part"], []).append(row)
    manifest: list[dict[str, Any]] = []
    for part, own in sorted(by_part.items()):
        names = _write_pairs(out, link, run, part, {row["pair_id"] for row in own})
        for picked, encoded in run.composites(own):
            pair = names[picked["pair_id"]]
            composite = _composite_name(pair["mask"], picked["k"], tree.image_suffix(encoded, picked["pair_id"]))
            shards.write_bytes(shards.make_folder((out / composite).parent) / Path(composite).name, encoded)
            provenance = {name: picked[name] for name in _PROVENANCE}
            manifest.append(
                {**pair, "composite": composite, "source": "harmonygen", "run": run.plan_digest, **provenance}
            )
        if progress is not None:
            progress(len(manifest), len(rows))
    for folder in {(out / row["real"]).parent for row in manifest}:
        shards.sync(folder)  # links are durable before the lists and the summary tell of them
    return manifest


def _composite_name(mask: str, k: int, suffix: str) -> str:
    path = PurePosixPath(mask)
    return str(path.parent.parent / tree.COMPOSITES / f"{path.stem}_{k}{suffix}")


def _write_pairs(out: Path, link: tree.Link, run: Run, part: int, wanted: Collection[str]) -> dict[str, dict[str, Any]]:
    """Write the photos and masks of a shard; return each pair's names for the manifest."""
    pairs = {row["pair_id"]: row for row in run.pairs(part)}
    names = {}
    for pair_id, images in run.images(part, wanted):
        stem, mask = _names(pairs[pair_id])
        real, subset = f"{stem}{images.path.suffix.lower()}", PurePosixPath(mask).parts[0]
        for name in (real, mask):
            shards.make_folder((out / name).parent)
        _write_photo(out / real, link, images, pair_id)
        shards.write_bytes(out / mask, images.mask)
        names[pair_id] = {"real": real, "mask": mask, "subset": subset, "pair_id": pair_id}
    for folder in {(out / name["real"]).parent for name in names.values()}:
        shards.sync(folder)  # of links, which are not synced one by one
    return names


def _names(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return where a pair's photo (without its suffix) and mask lie, relative to a tree's root."""
    subset, photo = row["subset"] or "photos", row["real_id"].rpartition("/")[2]
    return f"{subset}/{tree.REALS}/{photo}", f"{subset}/{tree.MASKS}/{photo}_{row['mask_id']}.png"


def _write_photo(path: Path, link: tree.Link, images: PairImages, pair_id: str) -> None:
    """Write a pair's photo: its bytes if the run holds them, else the file that it is on disk."""
    if images.real is not None:
        shards.write_bytes(path, images.real)
    elif images.path.is_file():
        tree.place(images.path, path, link)
    else:
        raise StorageError(f"photo '{images.path}' of {pair_id} is gone: bring it back, then repeat the command")
