"""`harmonygen harmonize`: one composite, or all composites of a dataset, brought into harmony with their background.

A run folder holds ``plan.json``, one picture a composite under the composite's own name (``<Subset>/<stem>.png``),
``quarantine.parquet`` and, last, ``summary.json``. A picture under its final name is whole and is kept on a resume.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image

import harmonygen
from harmonygen.config import HarmonizeSettings
from harmonygen.data import SAMPLE, PairSet
from harmonygen.data.composites import read_composite_folders, read_composites
from harmonygen.errors import InputError, UsageError
from harmonygen.harmonizers import Harmonizer, load_harmonizer
from harmonygen.images import ImageU8, encode
from harmonygen.photo import Photo, Sizing, load_photo
from harmonygen.records import FileSource, Pair, Quarantined
from harmonygen.seeds import candidate_seed
from harmonygen.shards import locked, make_folder, quarantine_table, sweep, write_bytes, write_json, write_parquet
from harmonygen.workflows.context import pick_batch, pick_device, pick_dtype
from harmonygen.workflows.plan import PLAN, adopt_json, digest_of, inputs_digest
from harmonygen.workflows.shard import load_ahead
from harmonygen.workflows.summary import QUARANTINE, SUMMARY, versions
from harmonygen.workflows.synthesize import allowance, check_bad

Progress = Callable[[int, int], None]

HOW_ONLY = ("out", "batch_size", "device", "max_bad_fraction")
"""Settings that say how a run is carried out, not what comes out: they may change between resumes."""
SUFFIXES = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}
_FORMATS = {**{suffix: name for name, suffix in SUFFIXES.items()}, ".jpeg": "jpeg"}
_REFUSED_SUFFIXES = (".bmp", ".gif", ".tif", ".tiff", ".avif", ".jp2")
_THREADS = 2


@dataclass(frozen=True)
class HarmonizeResult:
    """What a run came to: ``made`` pictures now, ``kept`` that were there; ``out`` is the file of a single picture."""

    out: Path
    made: int
    kept: int
    quarantined: int
    summary: dict[str, Any]


def harmonize(settings: HarmonizeSettings, progress: Progress | None = None) -> HarmonizeResult:
    """Harmonize one composite (``settings.image``), or a dataset's composites into the folder ``settings.out``.

    A run that was stopped goes on with what is missing; a finished one is left as it is.

    Raises:
        UsageError: options that do not fit, a folder with another run, or a run that holds the folder.
        InputError: the one composite or its mask cannot be used.
        TooManyBadInputsError: more inputs quarantined than ``max_bad_fraction`` allows.
        StorageError: the folder cannot be written.
    """
    _refuse_contradictions(settings)
    if settings.image is not None:
        return _harmonize_one(settings, settings.image)
    inputs = _read_inputs(settings)
    harmonizer = load(settings)
    plan = _plan(settings, inputs, harmonizer)
    out = make_folder(settings.out)
    with locked(out, "harmonize"):
        adopt_json(plan, out, HOW_ONLY, "or choose another --out")
        if _finished(out, inputs, settings):
            summary = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
            return HarmonizeResult(out, 0, summary["harmonized"], summary["quarantined"], summary)
        return _run(settings, inputs, harmonizer, plan, progress)


def _refuse_contradictions(settings: HarmonizeSettings) -> None:
    """Raise UsageError for options that exclude or need one another."""
    folders = settings.composites, settings.masks
    faults = {
        "IMAGE and --mask go together: give both": (settings.image is None) != (settings.mask is None),
        "--composites and --masks go together: give both": (folders[0] is None) != (folders[1] is None),
        "IMAGE, --data and --composites are three ways to name the input: give one": sum(
            (settings.image is not None, settings.data != SAMPLE, folders[0] is not None)
        )
        > 1,
        "--draws averages random draws and --method direct has none: drop it": (
            settings.method == "direct" and (settings.draws or 1) > 1
        ),
    }
    for message, wrong in faults.items():
        if wrong:
            raise UsageError(message)


def _read_inputs(settings: HarmonizeSettings) -> PairSet:
    if settings.composites is not None and settings.masks is not None:
        return read_composite_folders(settings.composites, settings.masks, settings.limit)
    return read_composites(settings.data, list_file=settings.list_file, subset=settings.subset, limit=settings.limit)


def load(settings: HarmonizeSettings) -> Harmonizer:
    """Load the harmonizer that the settings name."""
    device = pick_device(settings.device)
    return load_harmonizer(
        settings.method,
        settings.model,
        settings.refine,
        device,
        pick_dtype(settings.dtype, device),
        settings.steps,
        pick_batch(settings.batch_size, device),
        settings.sampler,
        settings.detail,
    )


def sizing_of(settings: HarmonizeSettings, harmonizer: Harmonizer) -> Sizing:
    """Return how composites are sized; the result is always of the composite's own size (or ``max_side``)."""
    return Sizing(
        resolution=settings.resolution or harmonizer.resolution,
        multiple=harmonizer.multiple,
        fit=settings.fit,
        detail="transfer",
        max_side=settings.max_side,
        mask_resize=settings.mask_resize,
        max_pixels=settings.max_pixels,
    )


def _harmonize_one(settings: HarmonizeSettings, image: Path) -> HarmonizeResult:
    """Write one picture, anew each time."""
    target = _target(settings, image)
    if target.resolve() in (image.resolve(), Path(settings.mask or "").resolve()):
        raise UsageError(f"--out '{target}' would overwrite its own input: choose another name")
    composite = Pair(image.stem, image.stem, "0", FileSource(image), FileSource(Path(settings.mask or "")))
    harmonizer = load(settings)
    photo = load_photo(composite, sizing_of(settings, harmonizer))
    make_folder(target.parent)
    _write(target, harmonizer(photo, candidate_seed(settings.seed, image.stem, 0), settings.draws))
    return HarmonizeResult(target, 1, 0, 0, {})


def _target(settings: HarmonizeSettings, image: Path) -> Path:
    """Return the file of a single result: ``--out`` itself if it is named like a picture, else one in that folder."""
    out = settings.out
    suffix = out.suffix.lower()
    if not out.is_dir() and suffix in _REFUSED_SUFFIXES:
        raise UsageError(f"--out '{out}' is not a format that is written: choose {', '.join(_FORMATS)}")
    if not out.is_dir() and suffix in _FORMATS:
        return out
    if (out / PLAN).is_file():
        raise UsageError(f"'{out}' holds a run: choose another folder, or a file, with --out")
    return out / f"{image.stem}{SUFFIXES[settings.image_format]}"


def _write(path: Path, image_u8: ImageU8) -> None:
    """Encode a picture in the format of its suffix and write it whole."""
    write_bytes(path, encode(image_u8, _FORMATS[path.suffix.lower()]))


def _plan(settings: HarmonizeSettings, inputs: PairSet, harmonizer: Harmonizer) -> dict[str, Any]:
    """Return ``plan.json``: what is asked, of which inputs, by which weights."""
    dumped = settings.model_dump(mode="json")
    digests = {"inputs_digest": inputs_digest(inputs), "model_digest": harmonizer.digest}
    what = {key: value for key, value in dumped.items() if key not in HOW_ONLY}
    return {
        "harmonygen": harmonygen.__version__,
        "verb": "harmonize",
        "settings": dumped,
        "plan_digest": digest_of({"what": what, **digests}),
        **digests,
        "layout": inputs.layout,
        "data_root": str(inputs.root),
        "composites": len(inputs),
    }


def output_path(out: Path, composite: Pair, settings: HarmonizeSettings) -> Path:
    """Return where a composite's result lies."""
    return out / f"{composite.pair_id}{SUFFIXES[settings.image_format]}"


def is_whole_picture(path: Path) -> bool:
    """Tell whether a picture is there and can be read to its end (of a PNG, by its checksums)."""
    try:
        with Image.open(path) as opened:
            opened.verify() if opened.format == "PNG" else opened.load()
    except Exception:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error ...
        return False
    return True


def _finished(out: Path, inputs: PairSet, settings: HarmonizeSettings) -> bool:
    """Tell whether the run is summed up and every composite has its result or its reason."""
    if not all((out / name).is_file() for name in (SUMMARY, QUARANTINE)):
        return False
    bad = set(pq.read_table(out / QUARANTINE, columns=["id"]).column("id").to_pylist())
    return all(pair.pair_id in bad or is_whole_picture(output_path(out, pair, settings)) for pair in inputs)


def _run(
    settings: HarmonizeSettings,
    inputs: PairSet,
    harmonizer: Harmonizer,
    plan: dict[str, Any],
    progress: Progress | None,
) -> HarmonizeResult:
    """Harmonize what has no result yet, then sum up."""
    began, out = time.monotonic(), settings.out
    sweep(out)
    waiting = [pair for pair in inputs if not is_whole_picture(output_path(out, pair, settings))]
    bad = _harmonize_all(settings, waiting, harmonizer, list(inputs.bad), len(inputs), progress)
    write_parquet(out / QUARANTINE, quarantine_table(bad))
    failed = len(bad) - len(inputs.bad)
    seconds = time.monotonic() - began
    summary = {
        "harmonygen": harmonygen.__version__,
        "verb": "harmonize",
        "plan_digest": plan["plan_digest"],
        "method": settings.method,
        "composites": len(inputs),
        "harmonized": len(inputs) - failed,
        "quarantined": len(bad),
        "seconds": round(seconds, 3),
        "seconds_per_picture": round(seconds / len(waiting), 4) if waiting else None,
        "model": {"name": settings.model, "refine": settings.refine, "digest": harmonizer.digest},
        "versions": versions(),
    }
    write_json(out / SUMMARY, summary)
    return HarmonizeResult(out, len(waiting) - failed, len(inputs) - len(waiting), len(bad), summary)


def _harmonize_all(
    settings: HarmonizeSettings,
    waiting: Sequence[Pair],
    harmonizer: Harmonizer,
    bad: list[Quarantined],
    total: int,
    progress: Progress | None,
) -> list[Quarantined]:
    """Write the results of ``waiting``, decoding ahead and encoding behind the model; return all that was bad."""
    allowed, out = allowance(settings.max_bad_fraction, total), settings.out
    check_bad(bad, allowed, total, out)
    writing: deque[Future[None]] = deque()
    with ThreadPoolExecutor(_THREADS) as threads:
        for done, (pair, loaded) in enumerate(load_ahead(waiting, sizing_of(settings, harmonizer), threads), 1):
            try:
                picture = _result(loaded, harmonizer, settings)
            except InputError as error:
                bad.append(Quarantined(pair.pair_id, "harmonize", type(error).__name__, str(error)))
                check_bad(bad, allowed, total, out)
            else:
                path = output_path(out, pair, settings)
                make_folder(path.parent)
                writing.append(threads.submit(_write, path, picture))
            while len(writing) > (_THREADS if done < len(waiting) else 0):
                writing.popleft().result()
            if progress:
                progress(done, len(waiting))
    return bad


def _result(loaded: Future[Photo], harmonizer: Harmonizer, settings: HarmonizeSettings) -> ImageU8:
    photo = loaded.result()
    return harmonizer(photo, candidate_seed(settings.seed, photo.pair.pair_id, 0), settings.draws)
