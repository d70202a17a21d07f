"""The authentic bench: harmonizers, judges and candidates on composites that nobody here made, beside what is trivial.

    python benchmarks/authentic.py harmonizers DATA [--harmonizer direct direct:FOLDER] [--mean-shift-from DATA]
    python benchmarks/authentic.py judges DATA [--judge starter FOLDER] [--photos DATA]
    python benchmarks/authentic.py harmonizers|judges PHOTOS --recipe starter/parametric --split-file CSV --split study
    python benchmarks/authentic.py changes DATA [--run RUN ...]

DATA is an iHarmony4 tree (its test lists) or a tar file of one; pictures are shrunk to a longest side of 512 px. With
--recipe, composites are made of PHOTOS as that training recipe makes them, under its chain of formats, at 256 px.
harmonizers: error inside the mask before and after, beside no change, the half-strength Lab transfer and a mean shift;
the same for the composites re-encoded. judges: composites against their own photos through one JPEG for both, with
shuffled labels as control, and P(composite) of untouched photos by file format. changes: what kind of change the
composites are, and the usable candidates of runs of `synthesize`. Intervals are of 95 %, over photos; a line above a
table says how often such intervals hold.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from authentic_data import FORMATS, LONGEST, Case, cases, dataset, made_cases, reencoded, sized

from harmonygen.evaluation import measured
from harmonygen.evaluation.bootstrap import Interval, interval, intervals_of, relative_changes, shares
from harmonygen.evaluation.changes import Change, ChangeSummary, measure_change, summarise_changes
from harmonygen.evaluation.metrics import decibels, fmse
from harmonygen.pictures.images import ImageU8, Mask, decode, read_bytes
from harmonygen.pictures.masks import to_mask
from harmonygen.pictures.structure import StructureMeter
from harmonygen.recolor.foreground import paste_pixels
from harmonygen.recolor.statistics_transfer import lab_transfer

Floats = npt.NDArray[np.float64]
Harmonize = Callable[[ImageU8, Mask], ImageU8]
Judge = Callable[[Sequence[ImageU8], Mask], list[float]]
WORSE = 1.2  # an error over this many times the composite's counts as made worse
CONTROLS = ("identity", "lab-transfer")
RIVAL = "lab-transfer"


def told(found: Interval, digits: int = 2, percent: bool = False) -> str:
    """Return a value with its interval, as text.

    >>> told(Interval(0.5, 0.25, 0.75, 4), percent=True, digits=0)
    '50 % [25, 75]'
    """
    factor, unit = (100, " %") if percent else (1, "")
    value, low, high = (f"{factor * number:.{digits}f}" for number in (found.mean, found.low, found.high))
    return f"{value}{unit} [{low}, {high}]"


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table, a row as soon as it is there."""
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
    print()


# Harmonizers


def mean_shift(data: Path, limit: int = 500) -> Harmonize:
    """Return the constant colour shift that a dataset's composites need on average; it is added to every foreground."""
    with dataset(data) as folder:
        shifts = [
            (case.real[case.mask].astype(np.float64) - case.composite[case.mask]).mean(axis=0)
            for case in cases(folder, LONGEST, limit)
        ]
    shift = np.mean(shifts, axis=0) / 255
    return lambda composite, mask: paste_pixels(composite, mask, composite[mask] / 255 + shift)


def harmonizer(name: str, draws: int | None = None) -> Harmonize:
    """Return a harmonizer by name: a control, or ``method`` or ``method:model`` of `harmonygen harmonize`."""
    if name == "identity":
        return lambda composite, mask: composite
    if name == "lab-transfer":
        return lab_transfer
    from harmonygen.api import Harmonizer

    method, _, model = name.partition(":")
    loaded = Harmonizer.from_pretrained(model or "starter", method=method, device="cpu")  # type: ignore[arg-type]
    return lambda composite, mask: np.asarray(loaded(composite, mask, 0, draws))


def lead(rows: Floats) -> Floats:
    """Return a harmonizer's mean error less its rival's, over that before, of rows (N, 3) of before, after, rival's."""
    before, after, rival = rows.mean(axis=0)
    return np.array([(after - rival) / before])


def harmonizer_row(rows: Floats, rival: Floats, photos: Sequence[str]) -> list[str]:
    """Return a harmonizer's figures: rows (N, 3) of errors before and after and seconds; a rival's errors (N)."""
    before, after, seconds = rows.T
    gain = [decibels(max(a, 1e-3)) - decibels(max(b, 1e-3)) for b, a, _ in rows]
    improved, worse = shares(np.stack([after < before, after > WORSE * before], axis=1), groups=photos)
    return [
        f"{before.mean():.0f}",
        f"{after.mean():.0f}",
        told(relative_changes(after[:, None], before[:, None], groups=photos)[0], 0, percent=True),
        told(interval(gain, groups=photos), 1),
        told(improved),
        told(worse),
        told(intervals_of(np.stack([before, after, rival], axis=1), lead, groups=photos)[0], 0, percent=True),
        f"{np.median(seconds):.3f}",
    ]


def compare_harmonizers(
    harmonizers: dict[str, Harmonize], data: Iterable[Case], formats: Sequence[str] = FORMATS[:1]
) -> tuple[list[list[str]], int]:
    """Return a row for each harmonizer and format of the composite, and the number of photos; one case at a time."""
    photos: list[str] = []
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for case in data:
        photos.append(case.photo)
        for kind in formats:
            seen = replace(case, composite=reencoded(case.composite, kind))
            for name, harmonize in harmonizers.items():
                began = time.perf_counter()
                harmonized = harmonize(seen.composite, seen.mask)
                seconds = time.perf_counter() - began
                before, after = (fmse(image, case.real, case.mask) for image in (seen.composite, harmonized))
                found.setdefault((name, kind), []).append((before, after, seconds))
    ordered = sorted(found.items(), key=lambda item: list(harmonizers).index(item[0][0]))
    rivals = {kind: np.array(found.get((RIVAL, kind), found[ordered[0][0]]))[:, 1] for kind in formats}
    rows = [[*key, str(len(each)), *harmonizer_row(np.array(each), rivals[key[1]], photos)] for key, each in ordered]
    return rows, len(set(photos))


def harmonizers(options: argparse.Namespace) -> None:
    """Print the table of harmonizers."""
    chosen = {name: harmonizer(name, options.draws) for name in [*CONTROLS, *options.harmonizer]}
    if options.mean_shift_from:
        chosen["mean shift"] = mean_shift(options.mean_shift_from)
    columns = ("harmonizer", "composite's format", "n", "fMSE before", "after", "change", "dPSNR, dB", "improved")
    with asked_cases(options) as data:
        rows, photos = compare_harmonizers(chosen, data, options.formats[:1] if options.recipe else options.formats)
        print(f"Intervals: {measured.told(photos)}\n")
        print_table((*columns, "made > 20 % worse", f"against {RIVAL}", "s a picture"), rows)


@contextmanager
def asked_cases(options: argparse.Namespace) -> Iterator[Iterator[Case]]:
    """Yield the cases that the options ask for: a dataset's own, or composites made of its photos."""
    if options.recipe:
        yield made_cases(options.recipe, options.data, options.split_file, options.split, options.limit or 400)
        return
    with dataset(options.data) as folder:
        yield cases(folder, options.longest, options.limit)


# Judges


def auc(real: Floats, composite: Floats) -> float:
    """Return the chance that a composite scores above a photo; ties count half.

    >>> auc(np.array([0.1, 0.4]), np.array([0.3, 0.8]))
    0.75
    """
    difference = composite[:, None] - real[None]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def pair_figures(scores: Floats) -> Floats:
    """Return AUC and the share of pairs ranked right of scores (N, 2) of photo and composite."""
    real, composite = scores.T
    return np.array([auc(real, composite), ((composite > real) + 0.5 * (composite == real)).mean()])


def shuffled(scores: Floats, seed: int = 0, n: int = 200) -> Floats:
    """Return the 2.5th, 50th and 97.5th percentile (3, 2) of :func:`pair_figures` with labels exchanged at random."""
    rng = np.random.default_rng(seed)
    exchanged = rng.random((n, len(scores), 1)) < 0.5
    found = [pair_figures(np.where(exchange, scores[:, ::-1], scores)) for exchange in exchanged]
    return np.percentile(found, [2.5, 50, 97.5], axis=0)


def compare_judges(
    judges: dict[str, Judge], data: Sequence[Case], photos: Sequence[Case], kind: str = "JPEG 4:2:0"
) -> Iterator[list[str]]:
    """Yield a row for each judge: pairs through one format, the control, and untouched photos by format."""
    for name, judge in judges.items():
        coded = [[reencoded(image, kind) for image in (case.real, case.composite)] for case in data]
        scores = np.array([judge(pair, case.mask) for pair, case in zip(coded, data, strict=True)])
        of_photo = [case.photo for case in data]
        area = intervals_of(scores, pair_figures, groups=of_photo)[0]
        right = shares(scores[:, 1:] > scores[:, :1], groups=of_photo)[0]
        low, middle, high = shuffled(scores)
        control = " and ".join(f"{middle[i]:.2f} ({low[i]:.2f}-{high[i]:.2f})" for i in range(2))
        yield [name, str(len(data)), told(area), told(right), control, *untouched(judge, photos)]


def untouched(judge: Judge, photos: Sequence[Case]) -> list[str]:
    """Return the median P(composite) of untouched photos and the share of them over 0.5, for each format."""
    found = []
    for kind in FORMATS:
        scores = np.array([judge([reencoded(case.real, kind)], case.mask)[0] for case in photos])
        found.append(f"{np.median(scores):.2f}, {(scores > 0.5).mean():.0%}")
    return found


def judges(options: argparse.Namespace) -> None:
    """Print the table of judges."""
    from harmonygen.models.scorer import ClassifierScorer

    chosen: dict[str, Judge] = {name: ClassifierScorer.from_pretrained(name, "cpu") for name in options.judge}
    with asked_cases(options) as found:
        data = photos = list(found)
    if options.photos:
        photos = list(photo_cases(str(options.photos), options.longest, options.limit or 200))
    columns = ("judge", "pairs", "AUC", "pairs ranked right", "the two with shuffled labels (95 % range)")
    print(f"Intervals: {measured.told(len({case.photo for case in data}))}")
    print(f"P(composite) of {len(photos)} untouched photos: median, share over 0.5\n")
    kind = "as stored" if options.recipe else "JPEG 4:2:0"  # made composites went through a chain of their own
    print_table((*columns, *FORMATS), compare_judges(chosen, data, photos, kind))


def photo_cases(data: str, longest: int, limit: int) -> Iterator[Case]:
    """Yield photos with a mask each, evenly spaced over a dataset; the composite is the photo itself."""
    from harmonygen.data import read_pairs
    from harmonygen.pictures.images import read_image
    from harmonygen.pictures.masks import read_mask
    from harmonygen.records import ReadOptions

    pairs = list(read_pairs(data, reading=ReadOptions(allow_outside=True)))
    for pair in pairs[:: max(1, len(pairs) // limit)][:limit]:
        decoded = read_image(pair.real)
        mask = read_mask(pair.mask, decoded, "nearest")
        yield sized(Case(pair.pair_id, pair.real_id, decoded.image_u8, decoded.image_u8, mask), longest)


# Changes


def run_changes(folder: Path, limit: int | None = None) -> tuple[list[Change], list[str]]:
    """Return the changes of a run's usable candidates, and the photo of each; ``limit`` is of photos."""
    from harmonygen.runs.read import Run

    run = Run.open(folder)
    rows = run.usable().select(["pair_id", "real_id", "k", "part", "row"]).to_pylist()
    wanted = set(sorted({row["pair_id"] for row in rows})[:limit])
    changes, photos = [], []
    for part in range(len(run.parts)):
        of_pair = dict(pair_pictures(run, part, wanted))
        picked = [row for row in rows if row["part"] == part and row["pair_id"] in wanted]
        for row, encoded in run.composites(picked):
            real, mask, meter = of_pair[row["pair_id"]]
            changes.append(measure_change(decode(encoded, row["pair_id"]).image_u8, real, mask, meter))
            photos.append(row["real_id"])
    return changes, photos


def pair_pictures(run: Any, part: int, wanted: set[str]) -> Iterator[tuple[str, tuple[ImageU8, Mask, StructureMeter]]]:
    """Yield the photo, mask and structure meter of each wanted pair of a shard."""
    import io

    from PIL import Image

    from harmonygen.records import FileSource

    for pair_id, images in run.images(part, wanted):
        real = decode(images.real or read_bytes(FileSource(images.path)), pair_id).image_u8
        mask = to_mask(Image.open(io.BytesIO(images.mask)))
        yield pair_id, (real, mask, StructureMeter(real, mask))


def authentic_changes(folder: Path, longest: int, limit: int | None) -> tuple[list[Change], list[str]]:
    """Return the changes of a dataset's composites, and the photo of each."""
    changes, photos = [], []
    for case in cases(folder, longest, limit):
        changes.append(measure_change(case.composite, case.real, case.mask))
        photos.append(case.photo)
    return changes, photos


def summary_column(found: ChangeSummary) -> dict[str, str]:
    """Return the text of each figure of a summary by name."""
    digits = {"fmse": 0, "lightness": 1, "chroma": 1}
    figures = {name: told(value, digits.get(name, 3)) for name, value in found.medians.items()}
    return figures | {name: told(value, 0, percent=True) for name, value in found.shares.items()}


def changes(options: argparse.Namespace) -> None:
    """Print the medians of the changes, a column for the data and for each run."""
    with dataset(options.data) as folder:
        made = {"authentic": authentic_changes(folder, options.longest, options.limit)}
    made |= {run.name: run_changes(run, options.limit) for run in options.run}
    columns = {
        f"{name} ({len(set(photos))} photos, {len(found)} composites)": summary_column(summarise_changes(found, photos))
        for name, (found, photos) in made.items()
    }
    print("".join(f"Intervals of {name}: {measured.told(len(set(photos)))}\n" for name, (_, photos) in made.items()))
    rows = ([figure, *(column[figure] for column in columns.values())] for figure in next(iter(columns.values())))
    print_table(("median", *columns), rows)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    for action in (harmonizers, judges, changes):
        kind = kinds.add_parser(action.__name__, help=action.__doc__)
        kind.set_defaults(action=action)
        kind.add_argument("data", type=Path)
        kind.add_argument("--longest", type=int, default=LONGEST, help="longest side of the pictures, in pixels")
        kind.add_argument("--limit", type=int, help="number of composites (photos of a run), evenly spaced")
        if action is not changes:
            kind.add_argument("--recipe", help="training recipe by which composites are made of the photos of DATA")
            kind.add_argument("--split-file", type=Path, help="CSV of the photos' splits (kind, name, split)")
            kind.add_argument("--split", default="study", help="split of it whose photos are taken")
        if action is harmonizers:
            kind.add_argument(
                "--harmonizer", nargs="*", default=["direct", "diffharmony"], help="method or method:model"
            )
            kind.add_argument("--draws", type=int, help="draws that a harmonized picture is the mean of")
            kind.add_argument("--mean-shift-from", type=Path, help="composites that the mean shift is fitted on")
            kind.add_argument("--formats", nargs="*", default=list(FORMATS), choices=FORMATS)
        elif action is judges:
            kind.add_argument("--judge", nargs="*", default=["starter"], help="classifier folders, or starter")
            kind.add_argument("--photos", help="dataset of untouched photos; the composites' own if not given")
        else:
            kind.add_argument("--run", nargs="*", type=Path, default=[], help="finished runs of synthesize")
    options = parser.parse_args()
    options.action(options)


if __name__ == "__main__":
    main()
