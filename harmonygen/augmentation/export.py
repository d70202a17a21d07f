"""Write a finished synthesize run as a harmonization dataset of its own, in iHarmony4 layout.

Photos and masks without composites (a folder, a COCO file) become a dataset that any trainer reads, and that
`augment` can mix further candidates into. Ids lose what loaders cut names at (:mod:`harmonygen.data.plain_names`), and
photos become JPEG where they are not; a pair of no subset gets the subset ``photos``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from harmonygen.augmentation.settings import ExportSettings
from harmonygen.data import write_tree as tree
from harmonygen.data.plain_names import PairName, plain_pairs
from harmonygen.errors import StorageError, UsageError
from harmonygen.pictures.images import decode
from harmonygen.pictures.stored import PhotoForm, convert, kept_suffix
from harmonygen.runs.job_folder import SUMMARY, JobPlan, job_folder
from harmonygen.runs.read import PairImages, Run
from harmonygen.settings import asked
from harmonygen.storage import shards

Progress = Callable[[int, int], None]
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_PROVENANCE = ("k", "seed", "p_composite", "model_digest", "clipped", "fmse", "structure", "drift")


@dataclass(frozen=True)
class ExportResult:
    """What was written: pairs and composites; ``gated`` candidates may not be used and were left out.

    ``renamed`` pairs have another name than in the run. ``converted`` photos became JPEG (or PNG) since their own bytes
    do not serve, which changed their values by ``mean_levels`` of 255 in the mean, and by ``most_levels`` at most.
    """

    folder: Path
    pairs: int
    composites: int
    gated: int
    renamed: int
    converted: int
    mean_levels: float
    most_levels: int
    finished_before: bool


@dataclass
class PlainForm:
    """The form that every loader reads: plain names of the pairs, and how photos are stored; counts conversions."""

    names: Mapping[str, PairName]
    photos: PhotoForm
    means: list[float] = field(default_factory=list)
    most: int = 0

    def convert(self, encoded: bytes, name: str) -> bytes:
        """Return a photo in the form's format, and note what that costs."""
        stored = convert(decode(encoded, name, as_stored=True).image_u8, self.photos, name)
        self.means.append(stored.mean)
        self.most = max(self.most, stored.most)
        return stored.encoded

    def costs(self) -> dict[str, Any]:
        """Return the number of converted photos, and their change in levels of 255."""
        mean = sum(self.means) / len(self.means) if self.means else 0.0
        return {"converted": len(self.means), "mean_levels": round(mean, 3), "most_levels": self.most}


def export(settings: ExportSettings, progress: Progress | None = None) -> ExportResult:
    """Write the run's candidates that may be used (or only the selected ones) as an iHarmony4 tree.

    Raises:
        UsageError: not a finished run, nothing to write, photos or masks that changed since the run, or a folder that
            holds something else.
        StorageError: a photo is gone, or the disk is full: rerun the same command to resume.
    """
    if settings.trainer is not None:
        raise UsageError(
            f"this function writes no folder for {settings.trainer}: call harmonygen.trainers.export.export_for"
        )
    run = Run.open(settings.run)
    chosen, gated = wanted(run, settings.which)
    form = plain_form(settings, run)
    run.refuse_changed({row["pair_id"] for row in chosen})
    plan, whole = _plan(settings, run), (settings.out / SUMMARY).is_file
    with job_folder(settings.out, plan, writes(run, chosen, form), finished=whole) as job:
        counts = {"pairs": len({row["pair_id"] for row in chosen}), "composites": len(chosen), "gated": gated}
        if not job.finished:
            with shards.storage_errors(f"'{settings.out}'"):
                _write(settings, run, chosen, form, progress)
            renamed = len({row["pair_id"] for row in chosen if form and _is_renamed(row, form)})
            counts |= {"renamed": renamed, **(form.costs() if form else {})}
            job.finish({**plan.inputs, **asked(settings), **counts})
    made = shards.read_json(settings.out / SUMMARY)
    told = {name: made.get(name, 0) for name in ("renamed", "converted", "mean_levels", "most_levels")}
    return ExportResult(settings.out, **{**told, **counts}, finished_before=job.finished)


def plain_form(settings: ExportSettings, run: Run) -> PlainForm | None:
    """Return the form of a tree; None leaves names and photos as the run has them.

    Raises:
        UsageError: names as the run has them, of which some cannot be told apart.
    """
    if settings.photos == "own":
        refuse_names(run)
        return None
    pairs = (pair for part in range(len(run.parts)) for pair in run.pairs(part))
    return PlainForm(plain_pairs((pair["pair_id"], _given(pair)) for pair in pairs), settings.photos or "jpg")


def _given(pair: Mapping[str, Any]) -> PairName:
    return PairName(pair["subset"] or "photos", pair["real_id"], pair["mask_id"])


def _is_renamed(row: Mapping[str, Any], form: PlainForm) -> bool:
    given, named = _given(row), form.names[row["pair_id"]]
    return named != (given.subset, given.photo.rpartition("/")[2], given.mask)


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
    inputs = {"run": run.plan_digest, "selection": run.reselected or None}
    return JobPlan("export", settings, inputs, unused=("trainer", "direction", "caption", "seed"))


def writes(run: Run, rows: Iterable[Mapping[str, Any]], form: PlainForm | None = None) -> list[str]:
    """Return the names, relative to a tree's root, that candidate rows come to; a photo has one of some suffixes."""
    masks: dict[str, str] = {}
    names: list[str] = []
    for pair in (pair for part in range(len(run.parts)) for pair in run.pairs(part)):
        real, masks[pair["pair_id"]] = _names(pair, form)
        names += [f"{real}{suffix}" for suffix in _SUFFIXES]
    for row in rows:
        suffix = Path(row["composite"]["path"] or "").suffix.lower()
        names.append(_composite_name(masks[row["pair_id"]], row["k"], suffix.replace(".jpeg", ".jpg")))
    subsets = {PurePosixPath(name).parts[0] for name in names}
    return [*tree.summed_up(subsets), *names, *masks.values()]


def _write(
    settings: ExportSettings, run: Run, rows: list[dict[str, Any]], form: PlainForm | None, progress: Progress | None
) -> None:
    made = write_pairs_and_composites(settings.out, settings.link, run, rows, progress, form)
    composites = [row["composite"] for row in made]
    tree.write_lists(settings.out, composites, "train")
    tree.write_plain_lists(settings.out, composites, "train")
    tree.write_manifest(settings.out, made, run.plan_digest)


def write_pairs_and_composites(
    out: Path,
    link: tree.Link,
    run: Run,
    rows: list[dict[str, Any]],
    progress: Progress | None = None,
    form: PlainForm | None = None,
) -> list[dict[str, Any]]:
    """Write the photos, masks and composites of candidate rows; return a manifest row for each composite.

    Names and photos are as the run has them, or in a ``form``.

    Raises:
        StorageError: a photo is gone, or the disk is full.
    """
    by_part: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        by_part.setdefault(row["part"], []).append(row)
    manifest: list[dict[str, Any]] = []
    for part, own in sorted(by_part.items()):
        names = _write_pairs(out, link, run, part, {row["pair_id"] for row in own}, form)
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


def _write_pairs(
    out: Path, link: tree.Link, run: Run, part: int, wanted: Collection[str], form: PlainForm | None
) -> dict[str, dict[str, Any]]:
    """Write the photos and masks of a shard; return each pair's names for the manifest."""
    pairs = {row["pair_id"]: row for row in run.pairs(part)}
    written: dict[str, str] = {}
    names = {}
    for pair_id, images in run.images(part, wanted):
        stem, mask = _names(pairs[pair_id], form)
        subset = PurePosixPath(mask).parts[0]
        for name in (stem, mask):
            shards.make_folder((out / name).parent)
        if stem not in written:  # a photo of several masks
            written[stem] = _write_photo(out, stem, link, images, pair_id, form)
        shards.write_bytes(out / mask, images.mask)
        real_id = pairs[pair_id]["real_id"]
        ids = {"subset": subset, "pair_id": pair_id, "real_id": real_id}
        names[pair_id] = {"real": written[stem], "mask": mask, **ids}
    for folder in {(out / name["real"]).parent for name in names.values()}:
        shards.sync(folder)  # of links, which are not synced one by one
    return names


def _names(row: Mapping[str, Any], form: PlainForm | None) -> tuple[str, str]:
    """Return where a pair's photo (without its suffix) and mask lie, relative to a tree's root."""
    subset, photo, mask = form.names[row["pair_id"]] if form else _given(row)
    photo = photo.rpartition("/")[2]
    return f"{subset}/{tree.REALS}/{photo}", f"{subset}/{tree.MASKS}/{photo}_{mask}.png"


def _write_photo(
    out: Path, stem: str, link: tree.Link, images: PairImages, pair_id: str, form: PlainForm | None
) -> str:
    """Write a pair's photo: its bytes if the run holds them, else the file that it is on disk; return its name."""
    if images.real is None and not images.path.is_file():
        raise StorageError(f"photo '{images.path}' of {pair_id} is gone: bring it back, then repeat the command")
    suffix = images.path.suffix.lower() if form is None else kept_suffix(head_of(images), form.photos)
    name = f"{stem}{suffix or f'.{form.photos}'}" if form else f"{stem}{suffix}"
    if form and not suffix:
        shards.write_bytes(out / name, form.convert(bytes_of(images), str(images.path)))
    elif images.real is not None:
        shards.write_bytes(out / name, images.real)
    else:
        tree.place(images.path, out / name, link)
    return name


def head_of(images: PairImages) -> bytes:
    """Return the first bytes of a pair's photo."""
    if images.real is not None:
        return images.real[:16]
    with images.path.open("rb") as opened:
        return opened.read(16)


def bytes_of(images: PairImages) -> bytes:
    """Return the encoded photo of a pair."""
    return images.path.read_bytes() if images.real is None else images.real
