"""A candidate belongs to the pixels of its photo and mask: inputs that changed under their names are refused."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from faults import samples
from PIL import Image
from small import ALL_CASES, JITTER, LOOSE, command, copied, differences, done, photos, snapshot, tree

BUILD = "build-human-harmony --imaterialist {data} --generator color-jitter --k 2 --product-filter none shard_size=2"
TRAIN = "train direct --recipe train/smoke-direct --data {run} source=stored --resolution 32 --max-train-steps 8"
JOINS = {
    "synthesize": f"synthesize --data {{data}} {' '.join(map(str, JITTER))} --shard-size 2 --out {{run}}",
    "augment": "augment --data {data} --candidates {run} --link copy --out {out}",
    "augment-parquet": "augment --data {data} --candidates {run} --format parquet --out {out}",
    "export": "export {run} --link copy --out {out}",
    "export-selected": "export {run} --which selected --link copy --out {out}",
    "evaluate": "evaluate --data {run} --no-ssim resamples=100 --out {out}",
    "train": f"{TRAIN} validation_samples=1 --output-dir {{out}}",
    "report": "report {run} --out {out}/page.html",
    "review": "report {run} --review --out {out}/page.html",
    "contact-sheet": "report {run} --contact-sheet {out}/sheet.png",
    "build-human-harmony": f"{BUILD} --out {{out}}",
    "build-human-harmony-tree": f"{BUILD} --format iharmony4 --out {{out}}",
}
"""Every verb that joins a run (or what it prepared itself) to photos by their names."""
KEPT = [verb for verb in JOINS if verb not in ("train", "report", "review", "contact-sheet")]
"""Verbs that know a finished folder of theirs, and write nothing into it again."""
LENIENT = ("train", "report", "review", "contact-sheet", "evaluate")
"""Verbs that may leave out the pairs that differ, if they name them; the others refuse."""


READ_MASKS = ("synthesize", "augment", "build")
"""How the verbs begin that read the masks' files; the others have the masks that the run stores."""


@dataclass(frozen=True)
class Place:
    """Photos with masks (the pairs are ``p0`` .. ``p3``), their run, and a folder for what a verb makes of it."""

    data: Path
    run: Path
    out: Path
    folder: Path

    def photo(self, index: int) -> Path:
        home = self.data / "HSmall"
        return home / "real_images" / f"p{index}.png" if home.is_dir() else self.data / "images" / f"p{index}.png"

    def mask(self, index: int) -> Path:
        home = self.data / "HSmall"
        return home / "masks" / f"p{index}_1.png" if home.is_dir() else self.data / "masks" / f"p{index}.png"

    def words(self, verb: str) -> list[str]:
        words = JOINS[verb].format(data=self.data, run=self.run, out=self.out).split()
        return [*words, *(LOOSE if "--generator" in words else ()), *(() if verb in LENIENT else ("--quiet",))]


def exchange(place: Place) -> None:
    """Give p0 and p1 one another's photo, files and all."""
    one, other = place.photo(0), place.photo(1)
    first, second = one.read_bytes(), other.read_bytes()
    for path, content in ((one, second), (other, first)):
        renewed(path, content)


def redraw(place: Place) -> None:
    """Draw the masks of p0 and p1 anew."""
    for index in (0, 1):
        place.mask(index).unlink()
        samples.save(np.roll(samples.ellipse(), 7, axis=1), place.mask(index))


def cut(place: Place) -> None:
    """Cut the photo files of p0 and p1 in two."""
    for index in (0, 1):
        renewed(place.photo(index), place.photo(index).read_bytes()[:-600])


def retouch(place: Place) -> None:
    """Change one pixel of p0's and p1's photo."""
    for index in (0, 1):
        picture = np.array(Image.open(place.photo(index)))
        picture[0, 0] ^= 1
        place.photo(index).unlink()
        samples.save(picture, place.photo(index))


def renewed(path: Path, content: bytes) -> None:
    """Put a new file in a file's place: what is linked to the old one stays as it was."""
    path.unlink()
    path.write_bytes(content)


CHANGES: dict[str, Callable[[Place], None]] = {
    "photos exchanged": exchange,
    "masks redrawn": redraw,
    "files cut": cut,
    "a pixel retouched": retouch,
}


def cases(verbs: Iterable[str]) -> pytest.MarkDecorator:
    """Try the changes that a verb can meet: every second one, in turn, unless all cases are asked for."""
    met = [(v, change) for v in verbs for change in CHANGES if "mask" not in change or v.startswith(READ_MASKS)]
    return pytest.mark.parametrize(("verb", "change"), met if ALL_CASES else met[::2])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder that every test works in, since a run knows where its photos lie, and one of what it was before."""
    return tmp_path_factory.mktemp("work") / "place", tmp_path_factory.mktemp("kept")


def opened(shop: tuple[Path, Path], verb: str, finished: bool) -> Place:
    """Put photos and their run in their place, and with ``finished`` what the verb makes of them."""
    work, kept = shop
    place = Place(work / "data", work / "run", work / "out", work)
    layout = "tree" if verb.startswith("augment") else "folders"
    for name, order in ((layout, "synthesize"), (f"{layout}-{verb}", verb)):
        if not (kept / name).is_dir():
            put_back(kept / layout, work)
            if not (kept / layout).is_dir():
                {"tree": tree, "folders": photos}[layout](work / "data")
            done(*place.words(order))
            copied(work, kept / name)
        if not finished:
            break
    put_back(kept / (f"{layout}-{verb}" if finished else layout), work)
    return place


def put_back(kept: Path, work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    if kept.is_dir():
        copied(kept, work)


def named(place: Place, text: str) -> set[str]:
    return {name for name in ("p0", "p1", "p2", "p3") if name in text.replace(str(place.folder), "")}


def refused(place: Place, verb: str) -> None:
    """Run a verb on inputs of which p0 and p1 changed: it has to name these, and write nothing."""
    before = snapshot(place.folder)
    end = command(*place.words(verb))
    assert named(place, end.err) == {"p0", "p1"}, f"exit {end.code}: {end.err[-500:]}"
    if verb in LENIENT:
        assert end.code in (0, 2, 3), end.err[-500:]
    else:
        assert end.code == 2, end.err[-500:]
        assert differences(before, snapshot(place.folder)) == {}


@cases([verb for verb in JOINS if not verb.startswith(("synthesize", "build"))])
def test_a_run_is_not_joined_to_inputs_that_changed(verb, change, shop):
    place = opened(shop, verb, finished=False)
    CHANGES[change](place)
    refused(place, verb)


@cases(KEPT)
def test_a_finished_folder_is_not_taken_for_that_of_changed_inputs(verb, change, shop):
    place = opened(shop, verb, finished=True)
    CHANGES[change](place)
    refused(place, verb)


@cases([verb for verb in KEPT if not verb.startswith(("export", "evaluate"))])
def test_a_stopped_job_does_not_go_on_with_changed_inputs(verb, change, shop):
    place = opened(shop, verb, finished=True)
    stop(place, verb)
    CHANGES[change](place)
    refused(place, verb)


def stop(place: Place, verb: str) -> None:
    """Take away what the second half of a job has written, as if it had been killed: p0 and p1 are done."""
    out = place.run if verb == "synthesize" else place.out
    run = out / "work" / "synthesize" if verb.startswith("build") else out
    for folder in ("pairs", "candidates"):
        (run / folder / "part-00001-of-00002.parquet").unlink(missing_ok=True)
    for folder in {run, out}:
        for name in ("summary.json", "report.html", "quarantine.parquet", "manifest.json"):
            (folder / name).unlink(missing_ok=True)
    if verb.startswith("build"):
        shutil.rmtree(out / "data", ignore_errors=True)


def files_that_differ(before, after) -> list[str]:
    """Return the files that changed; a folder's own time changes when its lock comes and goes."""
    return [
        name
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name) and not is_folder(name, before, after)
    ]


def is_folder(name, before, after) -> bool:
    return all(stat.S_ISDIR(seen[name][0]) for seen in (before, after) if name in seen)


@pytest.mark.parametrize("verb", KEPT)
def test_the_same_bytes_under_new_times_are_accepted(verb, shop):
    place = opened(shop, verb, finished=True)
    before = snapshot(place.out if verb != "synthesize" else place.run)
    for path in place.data.rglob("*.png"):
        renewed(path, path.read_bytes())
        os.utime(path, (1_600_000_000, 1_600_000_000))
    done(*place.words(verb))
    assert files_that_differ(before, snapshot(place.out if verb != "synthesize" else place.run)) == []


@pytest.mark.parametrize("verb", [verb for verb in JOINS if not verb.startswith(("synthesize", "build"))])
def test_a_run_is_joined_to_the_same_bytes_under_new_times(verb, shop):
    place = opened(shop, verb, finished=False)
    for path in place.data.rglob("*.png"):
        renewed(path, path.read_bytes())
        os.utime(path, (1_600_000_000, 1_600_000_000))
    done(*place.words(verb))
