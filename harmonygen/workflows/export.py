"""Write a finished synthesize run as a harmonization dataset of its own, in iHarmony4 layout.

Photos and masks without composites (a folder, a COCO file) become a dataset that any trainer reads, and that
`augment` can mix further candidates into. A pair keeps its id; one of no subset gets the subset ``photos``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.parquet as pq

import harmonygen
from harmonygen import shards
from harmonygen.config import ExportSettings
from harmonygen.data import write_iharmony4 as tree
from harmonygen.errors import StorageError, UsageError
from harmonygen.workflows import picks

Progress = Callable[[int, int], None]
_PROVENANCE = ("k", "seed", "p_composite", "model_digest", "clipped", "fmse", "structure", "drift")


@dataclass(frozen=True)
class ExportResult:
    """What was written: pairs and composites; ``gated`` candidates had failed a gate and were left out."""

    folder: Path
    pairs: int
    composites: int
    gated: int
    finished_before: bool


def export(settings: ExportSettings, progress: Progress | None = None) -> ExportResult:
    """Write the run's candidates that passed the gates (or only the selected ones) as an iHarmony4 tree.

    Raises:
        UsageError: not a finished run, nothing to write, or a folder that holds something else.
        StorageError: a photo is gone, or the disk is full: the same command goes on afterwards.
    """
    run = picks.read_run(settings.run)
    chosen, gated = wanted(run, settings.which)
    refuse_names(run)
    plan = {"harmonygen": harmonygen.__version__, "verb": "export", **_identity(settings, run)}
    finished = _check_folder(settings.out, plan)
    result = ExportResult(settings.out, len({row["pair_id"] for row in chosen}), len(chosen), gated, finished)
    if finished:
        return result
    with shards.locked(shards.make_folder(settings.out), "export"), shards.storage_errors(f"'{settings.out}'"):
        shards.sweep(settings.out)
        shards.write_json(settings.out / "plan.json", plan)
        _write(settings, run, chosen, progress)
        counts = {"pairs": result.pairs, "composites": result.composites, "gated": gated}
        shards.write_json(settings.out / "summary.json", {**plan, **counts})
    return result


def wanted(run: picks.Run, which: str) -> tuple[list[dict[str, Any]], int]:
    """Return the rows that an export takes (``all`` that passed, or ``selected``), and how many did not pass.

    Raises:
        UsageError: there is none.
    """
    table = run.candidates
    passed = table.filter(picks.usable(table))
    rows: list[dict[str, Any]] = [row for row in passed.to_pylist() if which == "all" or row["selected"]]
    if not rows:
        raise UsageError(f"no candidate of '{run.folder}' passed the gates: loosen them with harmonygen select")
    return rows, table.num_rows - passed.num_rows


def refuse_names(run: picks.Run) -> None:
    """Refuse pairs whose files could not be told apart in the layout, or not be found again by their names.

    Raises:
        UsageError: naming the first mask or photos.
    """
    owner: dict[str, str] = {}
    for part in run.parts:
        columns = ["real_id", "mask_id", "subset"]
        for row in pq.read_table(run.folder / "pairs" / part.name, columns=columns).to_pylist():
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


def _identity(settings: ExportSettings, run: picks.Run) -> dict[str, Any]:
    selection = run.folder / "selection.json"
    chosen = json.loads(selection.read_text()) if selection.is_file() else None
    return {"run": run.plan_digest, "which": settings.which, "link": settings.link, "selection": chosen}


def _check_folder(out: Path, plan: Mapping[str, Any]) -> bool:
    """Tell whether ``out`` holds this very export, finished."""
    written = out / "plan.json"
    if not written.is_file():
        found = sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) if out.is_dir() else []
        if found:
            raise UsageError(f"--out '{out}' is not empty (it has {picks.shown(found)}): choose a new folder")
        return False
    before: dict[str, Any] = json.loads(written.read_text())
    if {**before, "harmonygen": ""} != {**plan, "harmonygen": ""}:
        raise UsageError(f"--out '{out}' holds another export or run: choose a new folder")
    return (out / "summary.json").is_file()


def _write(settings: ExportSettings, run: picks.Run, rows: list[dict[str, Any]], progress: Progress | None) -> None:
    made = write_pairs_and_composites(settings.out, settings.link, run, rows, progress)
    tree.write_lists(settings.out, [row["composite"] for row in made], "train")
    tree.write_manifest(settings.out, made, run.plan_digest)


def write_pairs_and_composites(
    out: Path, link: tree.Link, run: picks.Run, rows: list[dict[str, Any]], progress: Progress | None = None
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
        path = run.folder / "pairs" / run.parts[part].name
        names = _write_pairs(out, link, path, {row["pair_id"] for row in own})
        for picked, encoded in picks.read_composites(run, own):
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
        shards.sync_folder(folder)  # links are durable before the lists and the summary tell of them
    return manifest


def _composite_name(mask: str, k: int, suffix: str) -> str:
    path = PurePosixPath(mask)
    return str(path.parent.parent / tree.COMPOSITES / f"{path.stem}_{k}{suffix}")


def _write_pairs(out: Path, link: tree.Link, path: Path, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """Write the photos and masks of a shard; return each pair's names for the manifest."""
    names = {}
    for batch in pq.ParquetFile(path).iter_batches(batch_size=1, columns=_PAIR_COLUMNS):
        row = batch.to_pylist()[0]
        if row["pair_id"] not in wanted:
            continue
        subset, photo = row["subset"] or "photos", row["real_id"].rpartition("/")[2]
        cell = row["real"]
        suffix = Path(cell["path"]).suffix.lower() if cell["bytes"] is None else ".png"
        real = f"{subset}/{tree.REALS}/{photo}{suffix}"
        mask = f"{subset}/{tree.MASKS}/{photo}_{row['mask_id']}.png"
        for name in (real, mask):
            shards.make_folder((out / name).parent)
        if cell["bytes"] is None:
            if not Path(cell["path"]).is_file():
                raise StorageError(f"photo '{cell['path']}' of {row['pair_id']} is gone: bring it back, then repeat")
            tree.place(Path(cell["path"]), out / real, link)
        else:
            shards.write_bytes(out / real, cell["bytes"])
        shards.write_bytes(out / mask, row["mask"]["bytes"])
        names[row["pair_id"]] = {"real": real, "mask": mask, "subset": subset, "pair_id": row["pair_id"]}
    return names


_PAIR_COLUMNS = ["pair_id", "real_id", "mask_id", "subset", "real", "mask"]
