"""A one-step student and a light decoder against the teacher: what they draw, and how fast.

    python benchmarks/one_step.py figures --data study.csv --out DIR [--student FOLDER --light FOLDER] [--sheet PNG]
    python benchmarks/one_step.py speed --data study.csv [--runtimes torch]

study.csv is a table of paths (real,mask,subset) of photos that trained neither. Six variants: the teacher in its own
steps, the student in one, and the teacher cut to one step (the trivial baseline), each with the full and with the light
decoder. All candidates count, whether they pass the gates or not; every variant draws from the same noise.

figures: medians over candidates of foreground MSE (8-bit squared), of structure and of contrast change (abs log2 ratio
of L's deviation); spread, the median over photos of the mean foreground MSE between two of a photo's candidates; the
judge's AUC of candidates against their photos, and its mean P(composite). 95 % intervals over photos by bootstrap; a
star marks a value outside the teacher's interval.

speed: seconds of `synthesize` per variant against the plain procedure of plain_procedure.py with the teacher, each in a
process of its own, weights loaded from disk. Another runtime than torch has made one photo's candidates before, so that
its networks lie in the cache. A ratio means something only where nothing else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import plain_procedure

Floats = npt.NDArray[np.float64]
FIGURES = ("median fMSE", "spread", "structure", "contrast change", "judge's AUC", "judge's mean P")


@dataclass(frozen=True)
class Variant:
    """A checkpoint folder and in how many steps it is sampled; None is as it states."""

    model: str
    steps: int | None = None


def variants(teacher: str, student: str, light: str, folder: Path) -> dict[str, Variant]:
    """Put teacher, student and both decoders together in ``folder``; ``light`` may be a checkpoint that has vae/."""
    from harmonygen.models.assemble import with_harmony_vae
    from harmonygen.models.checkpoints import locate
    from harmonygen.training.denoiser import vae_folder

    taught, drawn = locate(teacher, "inverse"), locate(student, "inverse")
    decoders = {"": vae_folder(teacher), ", light decoder": vae_folder(light)}
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for number, (label, decoder) in enumerate(decoders.items()):
        for name, source in (("teacher", taught), ("student", drawn)):
            if not (out := folder / f"{name}-{number}").exists():
                with_harmony_vae(source, decoder, out)
            found[f"{name}{label}"] = Variant(str(out))
        found[f"teacher cut to 1 step{label}"] = Variant(str(folder / f"teacher-{number}"), 1)
    return dict(sorted(found.items(), key=lambda item: ("light" in item[0], "cut" in item[0], "student" in item[0])))


# Figures


@dataclass
class Drawn:
    """What was measured of a photo's K candidates."""

    fmse: list[float]
    structure: list[float]
    contrast: list[float]
    p: list[float]
    p_photo: float
    spread: float


def measured(run: Path, judge: Any) -> list[Drawn]:
    """Measure every candidate of a finished run, photo by photo in the order of their ids."""
    from authentic import pair_pictures

    from harmonygen.evaluation.changes import measure_change
    from harmonygen.pictures.images import decode
    from harmonygen.runs.read import Run

    opened, found = Run.open(run), {}
    rows = opened.rows().select(["pair_id", "k", "part", "row", "p_composite"]).to_pylist()
    for part in range(len(opened.parts)):
        by_pair: dict[str, list[tuple[Any, float]]] = {}
        for row, encoded in opened.composites([row for row in rows if row["part"] == part]):
            picture = decode(encoded, row["pair_id"]).image_u8
            by_pair.setdefault(row["pair_id"], []).append((picture, float(row["p_composite"])))
        for pair_id, (real, mask, meter) in pair_pictures(opened, part, set(by_pair)):
            changes = [measure_change(picture, real, mask, meter) for picture, _ in by_pair[pair_id]]
            inside = [picture[mask].astype(np.float64) for picture, _ in by_pair[pair_id]]
            found[pair_id] = Drawn(
                [change.fmse for change in changes],
                [change.structure for change in changes],
                [change.contrast for change in changes],
                [p for _, p in by_pair[pair_id]],
                judge([real], mask)[0],
                float(np.mean([((one - other) ** 2).mean() for one, other in combinations(inside, 2)])),
            )
    return [found[pair_id] for pair_id in sorted(found)]


def table_rows(photos: Sequence[Drawn]) -> tuple[Floats, list[int]]:
    """Return a row per candidate, and one per photo for the judge, with the number of the photo of each."""
    rows, groups = [], []
    for number, photo in enumerate(photos):
        of_each = zip(photo.fmse, photo.structure, photo.contrast, photo.p, strict=True)
        rows += [[*each, photo.spread, 1.0] for each in of_each]
        rows.append([np.nan, np.nan, np.nan, photo.p_photo, np.nan, 0.0])
        groups += [number] * (len(photo.fmse) + 1)
    return np.array(rows), groups


def figures_of(rows: Floats) -> Floats:
    """Return the values of FIGURES; a photo that a bootstrap drew twice counts twice."""
    from harmonygen.training.classifier import auc

    made = rows[:, 5] > 0.5
    fmse, structure, contrast = np.median(rows[made, :3], axis=0)
    spread = np.median(rows[made, 4])  # every candidate has its photo's, and photos have as many
    return np.array([fmse, spread, structure, contrast, auc(rows[:, 3], made), rows[made, 3].mean()])


def print_figures(drawn: dict[str, list[Drawn]]) -> None:
    """Print a column per variant; the first is the teacher, whose intervals the others are held against."""
    from harmonygen.evaluation import measured as coverage
    from harmonygen.evaluation.bootstrap import intervals_of

    found = {}
    for name, photos in drawn.items():
        rows, groups = table_rows(photos)
        found[name] = intervals_of(rows, figures_of, groups=groups)
    teacher = next(iter(found.values()))
    photos, count = len(next(iter(drawn.values()))), sum(len(photo.fmse) for photo in next(iter(drawn.values())))
    print(f"{photos} photos, {count} candidates each; value [95 % interval over photos]")
    print(f"Intervals: {coverage.told(photos)}\n")
    print(f"| | {' | '.join(FIGURES)} |\n|{'---|' * (len(FIGURES) + 1)}")
    for name, values in found.items():
        cells = []
        for value, bounds in zip(values, teacher, strict=True):
            star = "" if bounds.low <= value.mean <= bounds.high else " *"
            cells.append(f"{value.mean:.4g} [{value.low:.4g}, {value.high:.4g}]{star}")
        print(f"| {name} | {' | '.join(cells)} |")


def figures(options: argparse.Namespace) -> None:
    """Draw what is not drawn yet, measure and print."""
    from harmonygen.models.scorer import ClassifierScorer
    from harmonygen.synthesis.settings import SynthesizeSettings
    from harmonygen.synthesis.synthesize import synthesize

    judge, drawn, runs = ClassifierScorer.from_pretrained("starter", "cpu"), {}, {}
    made = variants(options.teacher, options.student, options.light or options.student, options.out / "models")
    for number, (name, variant) in enumerate(made.items()):
        runs[name] = options.out / f"run-{number}"
        settings = SynthesizeSettings(
            **common(options), model=variant.model, steps=variant.steps, out=runs[name], allow_outside=True
        )
        synthesize(settings)
        drawn[name] = measured(runs[name], judge)
        print(f"{name}: drawn and measured", file=sys.stderr, flush=True)
    print_figures(drawn)
    if options.sheet:
        write_sheet(runs, options.sheet)


def write_sheet(runs: dict[str, Path], path: Path, photos: int = 6, draws: int = 5) -> None:
    """Save photos, and beside each the first candidates of every variant of the same noise, a row per variant."""
    from harmonygen.pictures.images import decode, encode, resize
    from harmonygen.runs.read import Run

    rows: list[Any] = []
    draws = min(draws, max(Run.open(next(iter(runs.values()))).rows()["k"].to_pylist()) + 1)
    for name, run in runs.items():
        opened = Run.open(run)
        kept = opened.rows().select(["pair_id", "k", "part", "row"]).to_pylist()
        chosen = sorted({row["pair_id"] for row in kept})[:: max(1, len({row["pair_id"] for row in kept}) // photos)]
        cells = {}
        wanted = [row for row in kept if row["pair_id"] in chosen[:photos] and row["k"] < draws]
        for row, encoded in opened.composites(wanted):
            cells[row["pair_id"], row["k"]] = resize(decode(encoded, name).image_u8, 160, 160)
        rows.append([cells[pair, k] for pair in chosen[:photos] for k in range(draws)])
    strips = [np.concatenate([row[i * draws + k] for k in range(draws)], axis=1) for i in range(photos) for row in rows]
    path.write_bytes(encode(np.ascontiguousarray(np.concatenate(strips, axis=0)), "png"))


def common(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that all variants share."""
    shared = {"data": options.data, "limit": options.limit, "k": options.k, "resolution": options.resolution}
    runtime = {"runtime": options.runtime} if options.runtime != "torch" else {}
    return {**shared, **runtime, "fit": options.fit, "device": "cpu", "dtype": "float32"}


# Speed


def run_variant(options: argparse.Namespace) -> dict[str, Any]:
    """Run `synthesize` on one variant; return its seconds and candidates."""
    import time

    from harmonygen.synthesis.settings import SynthesizeSettings
    from harmonygen.synthesis.synthesize import synthesize

    began = time.perf_counter()
    shard = max(1, options.limit // 2)
    own = {"model": options.model, "steps": options.own_steps, "out": options.out, "shard_size": shard}
    result = synthesize(SynthesizeSettings(**common(options), **own, allow_outside=True))
    return {"seconds": time.perf_counter() - began, "made": result.summary["candidates"]}


def timed(options: argparse.Namespace, arguments: Sequence[str], script: str = __file__) -> dict[str, Any]:
    """Run a script in a process with the threads that are asked for; it ends with a line of JSON."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run([sys.executable, script, *arguments], stdout=subprocess.PIPE, env=environment, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.decode().splitlines()[-1])
    return answer


def speed(options: argparse.Namespace) -> None:
    """Print the plain procedure and every variant, a row each."""
    shared = ["--data", options.data, "--limit", str(options.limit), "--k", str(options.k)]
    shared += ["--resolution", str(options.resolution), "--threads", str(options.threads)]
    with tempfile.TemporaryDirectory() as folder:
        made = variants(options.teacher, options.student, options.light or options.student, Path(folder) / "models")
        weights = json.dumps({"model": options.teacher, "classifier": "starter"})
        plain = timed(
            options,
            [*shared, "--side", "plain", "--weights", weights, "--out", f"{folder}/plain"],
            plain_procedure.__file__,
        )
        print(
            f"{options.limit} pairs, K = {options.k}, {options.resolution} px square, {options.threads} threads, CPU\n"
        )
        print("| what | seconds | candidates/s | times |\n|---|---:|---:|---:|")
        print_speed("plain procedure, teacher", plain, plain)
        for runtime in options.runtimes:
            for number, (name, variant) in enumerate(made.items()):
                if "cut" in name:
                    continue
                own = ["--model", variant.model, "--runtime", runtime, "--fit", "square"]
                if runtime != "torch":  # its networks are written and compared with torch's once, before
                    timed(
                        options, ["one", *shared, "--limit", "1", *own, "--out", f"{folder}/first-{runtime}-{number}"]
                    )
                row = timed(options, ["one", *shared, *own, "--out", f"{folder}/{runtime}-{number}"])
                print_speed(f"{name}, {runtime}", row, plain)


def print_speed(name: str, row: dict[str, Any], plain: dict[str, Any]) -> None:
    """Print one row."""
    rate, times = row["made"] / row["seconds"], plain["seconds"] / row["seconds"]
    print(f"| {name} | {row['seconds']:.1f} | {rate:.2f} | {times:.2f} |", flush=True)


def one(options: argparse.Namespace) -> None:
    """Run one variant in this process, and print its seconds as JSON."""
    print(json.dumps(run_variant(options)))


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    for action in (figures, speed, one):
        kind = kinds.add_parser(action.__name__, help=action.__doc__)
        kind.set_defaults(action=action)
        kind.add_argument("--data", default="sample")
        kind.add_argument("--limit", type=int, default=40)
        kind.add_argument("--k", type=int, default=10)
        kind.add_argument("--resolution", type=int, default=256)
        kind.add_argument("--fit", choices=["square", "native"], default="square")
        kind.add_argument("--threads", type=int, default=os.cpu_count())
        kind.add_argument("--teacher", default="starter")
        kind.add_argument("--student", default="starter-fast")
        kind.add_argument("--light", help="checkpoint or Harmony-VAE folder with the light decoder; the student's")
        if action is speed:
            kind.add_argument("--runtimes", nargs="+", default=["torch"])
        else:
            kind.add_argument("--runtime", default="torch")
            kind.add_argument("--out", type=Path, required=True)
        if action is figures:
            kind.add_argument("--sheet", type=Path, help="PNG of the first candidates of some photos")
        if action is one:
            kind.add_argument("--model", required=True)
            kind.add_argument("--own-steps", type=int)
    options = parser.parse_args()
    options.action(options)


if __name__ == "__main__":
    main()
