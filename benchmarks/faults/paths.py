"""Ids that lead out of their folder, in every reader: refused, or the file stays where it belongs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from faults import samples
from faults.alone import alone
from faults.table import Row

IDS = ("..", "../x", "../../x", "a/../../x", "/tmp/x", "\\x", "..\\x", "C:\\x", "a\0b", "a\nb", ".", "", "x" * 300)


def rows(place: Path, quick: bool = False) -> Iterator[Row]:
    """Give every reader every id, and look where files come to lie."""
    found = alone(look, place)
    fault = f"{len(IDS)} ids that lead out ('..', '/', '\\\\', NUL ...) x {len(READERS)} readers"
    if isinstance(found, str):
        yield Row(fault, 1, 0, note=found)
        return
    refused, harmless, wrong = found
    note = f"refused by name {refused}, harmless (another id, or the bad row left out) {harmless}"
    wrong_told = f"; WRONG: {'; '.join(wrong[:4])}" if wrong else ""
    yield Row(fault, refused + harmless + len(wrong), refused + harmless, note=note + wrong_told, breaches=len(wrong))


def look(place: Path) -> tuple[int, int, list[str]]:
    """Return how many ids were refused, how many came to nothing, and what led out or fell over."""
    from harmonygen.data.ids import fault
    from harmonygen.errors import HarmonygenError

    refused, harmless, wrong = 0, 0, []
    for name, reader in READERS.items():
        wrong += _control(name, reader, place / f"{name.replace(' ', '-')}-control")
        for number, text in enumerate(IDS):
            home = place / name.replace(" ", "-") / str(number)
            home.mkdir(parents=True)
            try:
                ids = reader(home, text)
            except HarmonygenError as error:
                refused += error.exit_code == 2
                wrong += [] if error.exit_code == 2 else [f"{name} {text!r}: exit {error.exit_code}"]
                continue
            except Exception as error:
                wrong.append(f"{name} {text[:12]!r}: {type(error).__name__} {str(error)[:60]}")
                continue
            outside = [each for each in ids if any(fault(piece) for piece in each.split("/")) or each.count("/") > 1]
            harmless += not outside
            wrong += [f"{name} {text[:12]!r} gave {outside[:2]}"] if outside else []
    return refused, harmless, wrong


def _control(name: str, reader: Callable[[Path, str], list[str]], home: Path) -> list[str]:
    """Give a reader a good id: one that refuses this too has shown nothing by refusing the others."""
    home.mkdir(parents=True)
    try:
        ids = reader(home, "7")
    except Exception as error:
        return [f"{name} refuses a good id: {str(error)[:80]}"]
    return [] if any("7" in each for each in ids) else [f"{name} lost a good id, gave {ids}"]


def _ids(path: Path) -> list[str]:
    """Read pairs; return all ids that later become names of files."""
    from harmonygen.data import read_pairs

    pairs = read_pairs(str(path))
    return [each for pair in pairs for each in (pair.pair_id, pair.real_id, pair.mask_id, pair.subset) if each]


def _good(home: Path) -> None:
    samples.save(samples.picture(), home / "p.png")
    samples.save(samples.ellipse(), home / "m.png")


def _table(home: Path, text: str) -> list[str]:
    _good(home)
    rows = [{"real": "p.png", "mask": "m.png", "pair_id": text, "real_id": "p", "mask_id": "1", "subset": ""}]
    pq.write_table(pa.Table.from_pylist(rows), home / "t.parquet")
    return _ids(home / "t.parquet")


def _table_subset(home: Path, text: str) -> list[str]:
    _good(home)
    pq.write_table(pa.Table.from_pylist([{"real": "p.png", "mask": "m.png", "subset": text}]), home / "t.parquet")
    return _ids(home / "t.parquet")


def _parquet(column: str) -> Callable[[Path, str], list[str]]:
    def read(home: Path, text: str) -> list[str]:
        _good(home)
        ids = {"pair_id": "a", "real_id": "a", "mask_id": "1", "subset": "S", column: text}
        cells = {name: {"bytes": (home / f"{name[0]}.png").read_bytes(), "path": None} for name in ("photo", "mask")}
        images = {"real": cells["photo"], "mask": cells["mask"]}
        pq.write_table(pa.Table.from_pylist([{**ids, **images}]), home / "t.parquet")
        return _ids(home / "t.parquet")

    return read


def _coco(home: Path, text: str) -> list[str]:
    _photos(home / "images", ".png", text)
    size = {"height": samples.HEIGHT, "width": samples.WIDTH}
    images = [{"id": n, "file_name": f"{name}.png", **size} for n, name in enumerate(("good", text))]
    shapes = [{"id": n, "image_id": n, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]} for n in (0, 1)]
    whole = {"images": images, "annotations": shapes, "categories": [{"id": 1, "name": "a"}]}
    (home / "instances.json").write_text(json.dumps(whole))
    return _ids(home / "instances.json")


def _photos(folder: Path, suffix: str, text: str) -> None:
    """Save a good photo, and one of the id if it is a plain name."""
    for name in ("good", *((text,) if text.isalnum() and len(text) < 9 else ())):
        samples.save(samples.picture(), folder / f"{name}{suffix}")


def _coco_label(home: Path, text: str) -> list[str]:
    _photos(home / "images", ".png", "p")
    image = {"id": 1, "file_name": "p.png", "height": samples.HEIGHT, "width": samples.WIDTH}
    shape = {"id": text, "name": text, "image_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]}
    (home / "instances.json").write_text(json.dumps({"images": [image], "annotations": [shape], "categories": []}))
    return _ids(home / "instances.json")


def _contest(home: Path, text: str) -> list[str]:
    _photos(home / "train", ".jpg", text)
    rows = "\n".join(f'"{name}","1 9",{samples.HEIGHT},{samples.WIDTH},1' for name in ("good", text))
    (home / "train.csv").write_text(f"ImageId,EncodedPixels,Height,Width,ClassId\n{rows}\n")
    return _ids(home)


def _listed(suffix: str) -> Callable[[Path, str], list[str]]:
    def read(home: Path, text: str) -> list[str]:
        tree = samples.iharmony4(home / "tree", 1)
        line = f"HSmall/composite_images/{text}_1_1.jpg"
        whole = json.dumps({"file_name": line}) if suffix == "jsonl" else line
        (tree / f"IHD_train.{suffix}").write_text(whole + "\n")
        return _ids(tree / f"IHD_train.{suffix}")

    return read


def _listed_subset(home: Path, text: str) -> list[str]:
    tree = samples.iharmony4(home / "tree", 1)
    (tree / "IHD_train.txt").write_text(f"{text}/composite_images/p0_1_1.jpg\n")
    return _ids(tree)


def _folders(home: Path, text: str) -> list[str]:
    """A folder's listing: file names that a file system holds; what it cannot hold is not an input."""
    root = samples.folders(home / "photos", 1)
    try:
        for part in ("images", "masks"):
            (root / part / "p0.png").rename(root / part / f"{text}.png")
    except (OSError, ValueError):
        return []
    return _ids(root)


def _manifest(home: Path, text: str) -> list[str]:
    from harmonygen.data.manifest import read_manifest
    from harmonygen.errors import UsageError
    from harmonygen.publishing.verify import verify

    row = {"path": text, "config": "", "split": "", "bytes": 1, "rows": 0, "sha256": "0" * 64}
    (home / "manifest.json").write_text(json.dumps({"files": [row]}))
    (home / "README.md").write_text("# A dataset\n")
    checked = verify(home, read_manifest(home) or ())
    told = [str(each) for each in checked.faults if each.path == text and "plain path" in each.found]
    if told:
        raise UsageError(told[0])
    return [text]


READERS: dict[str, Callable[[Path, str], list[str]]] = {
    "table pair_id": _table,
    "table subset": _table_subset,
    **{f"Parquet {column}": _parquet(column) for column in ("pair_id", "real_id", "mask_id", "subset")},
    "COCO file_name": _coco,
    "COCO annotation": _coco_label,
    "iMaterialist ImageId": _contest,
    "iHarmony4 txt": _listed("txt"),
    "iHarmony4 jsonl": _listed("jsonl"),
    "iHarmony4 subset": _listed_subset,
    "folders": _folders,
    "manifest of a dataset": _manifest,
}
