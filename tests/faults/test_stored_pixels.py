"""What is stored beside a composite is what it was made from: the backgrounds are equal, bit for bit."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faults import samples
from PIL import Image, ImageOps
from small import HERE, LOOSE, command, copied, done, picture

JITTER = ("--generator", "color-jitter", "--k", 2, "--max-bad-fraction", 0)
KINDS = ("rgba", "grey-alpha", "palette-alpha", "grey-16", "grey", "palette", "cmyk", "turned", "rgb")
"""Kinds of photos that are converted before a composite is made, and one that is not."""


def write_photo(kind: str, index: int, path: Path) -> Path:
    """Save a small real photo in a mode of its own; return where it lies."""
    whole = Image.fromarray(picture(index))
    alpha = Image.fromarray(np.tile(np.linspace(0, 255, whole.width).astype(np.uint8), (whole.height, 1)))
    path = path.with_suffix(".jpg" if kind in ("cmyk", "turned") else ".png")
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "rgba":
        whole.putalpha(alpha)
        whole.save(path)
    elif kind == "grey-alpha":
        grey = whole.convert("L")
        grey.putalpha(alpha)
        grey.save(path)
    elif kind == "palette-alpha":
        whole.quantize(32).save(path, transparency=3)
    elif kind == "grey-16":
        Image.fromarray(np.asarray(whole.convert("L")).astype(np.uint16) * 257 - 31).save(path)
    elif kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 3  # upside down: the size stays
        whole.rotate(180).save(path, exif=exif, quality=95)
    else:
        modes = {"grey": whole.convert("L"), "palette": whole.quantize(32), "cmyk": whole.convert("CMYK"), "rgb": whole}
        modes[kind].save(path)
    return path


def folders(root: Path) -> Path:
    for index, kind in enumerate(KINDS[:8]):
        write_photo(kind, index, root / "images" / f"{kind}.png")
        samples.save(samples.ellipse(), root / "masks" / f"{kind}.png")
    return root


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of many modes (``photos``), those of case 05 (``case``), and the runs ``photos-run`` and ``case-run``."""
    place = tmp_path_factory.mktemp("converted")
    folders(place / "photos")
    copied(HERE / "cases" / "05-real-photo-kept-raw", place / "case")
    for name in ("photos", "case"):
        done("synthesize", "--data", place / name, *JITTER, "--out", place / f"{name}-run", "--quiet", *LOOSE)
    return place


Triplet = tuple[str, np.ndarray, np.ndarray, np.ndarray]
"""A name, the photo and the composite (H, W, 3), and the mask (H, W) bool, as a trainer's loader decodes them."""


def decoded(source: Path | bytes) -> np.ndarray:
    opened = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    return np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))


def triplet(name: str, real: Path | bytes, mask: Path | bytes, composite: Path | bytes) -> Triplet:
    return name, decoded(real), decoded(composite), decoded(mask)[..., 0] >= 128


def ours(row: dict[str, Any]) -> bool:
    """Tell whether a row is of a composite that harmonygen made: an original's background is its maker's."""
    return row.get("source", "harmonygen") == "harmonygen"


def of_tree(root: Path) -> Iterator[Triplet]:
    for row in filter(ours, pq.read_table(root / "manifest.parquet").to_pylist()):
        yield triplet(row["composite"], *(root / row[name] for name in ("real", "mask", "composite")))


def of_parquet(folder: Path) -> Iterator[Triplet]:
    for path in sorted(folder.glob("*.parquet")):
        for row in filter(ours, pq.read_table(path).to_pylist()):
            yield triplet(row["pair_id"], *(row[name]["bytes"] for name in ("real", "mask", "composite")))


def of_run(run: Path) -> Iterator[Triplet]:
    """Yield a run's triplets by what its own files say."""
    for path in sorted((run / "candidates").glob("*.parquet")):
        pairs = {row["pair_id"]: row for row in pq.read_table(run / "pairs" / path.name).to_pylist()}
        for row in pq.read_table(path).to_pylist():
            real, mask = pairs[row["pair_id"]]["real"], pairs[row["pair_id"]]["mask"]["bytes"]
            photo = real["bytes"] if real["bytes"] is not None else Path(real["path"])
            yield triplet(row["pair_id"], photo, mask, row["composite"]["bytes"])


def differing(triplets: Iterator[Triplet]) -> dict[str, int]:
    """Return the largest difference outside the mask of each triplet that has one; -1 stands for another size."""
    found = {}
    for name, real, composite, mask in triplets:
        if not real.shape == composite.shape == (*mask.shape, 3):
            found[name] = -1
        elif (worst := int(np.abs(real.astype(int) - composite)[~mask].max())) > 0:
            found[name] = worst
    return found


@pytest.mark.parametrize("name", ["case", "photos"])
def test_a_run_stores_what_its_composites_were_made_from(name, converted):
    assert differing(of_run(converted / f"{name}-run")) == {}


@pytest.mark.parametrize(
    ("name", "link", "image_format"),
    [
        *((name, link, "png") for name in ("case", "photos") for link in ("hard", "sym", "copy")),
        ("case", "hard", "webp"),
    ],
)
def test_an_export_has_what_its_composites_were_made_from(name, link, image_format, converted, tmp_path):
    run = converted / f"{name}-run"
    if image_format == "webp":
        run = tmp_path / "run"
        words = ("--data", converted / name, *JITTER, "--image-format", "webp", "--out", run, "--quiet")
        done("synthesize", *words, *LOOSE)
    words = ("--which", "all", "--link", link, "--photos", "png", "--quiet")  # JPEG, the default, is not lossless
    done("export", run, *words, "--out", tmp_path / "out")
    triplets = list(of_tree(tmp_path / "out"))
    assert len(triplets) == 2 * len(list((converted / name / "images").iterdir()))
    assert differing(iter(triplets)) == {}


@pytest.mark.parametrize("kind", ["parquet", "iharmony4"])
@pytest.mark.parametrize("name", ["case", "photos"])
def test_a_build_has_what_its_composites_were_made_from(name, kind, converted, tmp_path):
    words = ("--imaterialist", converted / name, "--product-filter", "none", "--test-fraction", 0, "--format", kind)
    done("build-human-harmony", *words, *JITTER, *LOOSE, "--out", tmp_path / "out", "--quiet")
    folders = (tmp_path / "out" / "data", tmp_path / "out" / "candidates")
    made = [of_tree(tmp_path / "out")] if kind == "iharmony4" else list(map(of_parquet, folders))
    for triplets in map(list, made):
        assert triplets
        assert differing(iter(triplets)) == {}


def tree(root: Path) -> Path:
    """Write a harmonization dataset whose photos are of many modes: one composite each, a background as a loader's."""
    for index, kind in enumerate(KINDS):
        real = write_photo(kind, index % 8, root / "HX" / "real_images" / f"p{index}.png")
        samples.save(samples.ellipse(), root / "HX" / "masks" / f"p{index}_1.png")
        composite = np.where(samples.ellipse()[..., None], 255 - decoded(real) // 2, decoded(real)).astype(np.uint8)
        samples.save(composite, root / "HX" / "composite_images" / f"p{index}_1_1.png")
    return root


@pytest.mark.parametrize("kind", ["parquet", "iharmony4"])
def test_augment_has_what_its_composites_were_made_from_or_names_the_pairs(kind, tmp_path):
    """Originals are linked and never re-encoded, so that a photo that has to be converted may be refused."""
    done("synthesize", "--data", tree(tmp_path / "data"), *JITTER, "--out", tmp_path / "run", "--quiet", *LOOSE)
    words = ("--data", tmp_path / "data", "--candidates", tmp_path / "run", "--format", kind)
    end = command("augment", *words, "--out", tmp_path / "out", "--quiet")
    if end.code == 2:
        plain = {f"HX/p{KINDS.index(name)}" for name in ("rgb", "grey", "palette", "cmyk")}
        assert "HX/p" in end.err
        assert not [name for name in plain if f"{name}_1" in end.err]
        return
    assert end.code == 0, end.err
    triplets = of_tree(tmp_path / "out") if kind == "iharmony4" else of_parquet(tmp_path / "out" / "data")
    assert differing(triplets) == {}


@pytest.fixture(scope="module")
def built(made_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Parquet dataset of eight triplets, without the digests of its files: what differs is for the pixels to tell."""
    out = tmp_path_factory.mktemp("built") / "out"
    words = ("--data", made_tree / "tree", "--candidates", made_tree / "run", "--format", "parquet")
    done("augment", *words, "--out", out, "--quiet")
    (out / "manifest.json").unlink()
    return out


PUBLISH = ("--repo", "user/name", "--dry-run", "--quiet")


def replaced(built: Path, out: Path, column: str, pictures: dict[int, np.ndarray]) -> Path:
    """Copy a dataset, and put other pictures into rows of a column."""
    (path,) = (copied(built, out) / "data").glob("train-*.parquet")
    table = pq.read_table(path)
    cells = table.column(column).to_pylist()
    for row, array in pictures.items():
        content = io.BytesIO()
        Image.fromarray(array).save(content, "PNG")
        cells[row] = {**cells[row], "bytes": content.getvalue()}
    index = table.schema.get_field_index(column)
    field = table.schema.field(index)
    pq.write_table(table.set_column(index, field, pa.array(cells, field.type)), path, compression="none")
    return out


def test_publish_passes_a_dataset_as_it_was_built(built):
    done("publish", built, *PUBLISH)


@pytest.mark.parametrize("column", ["real", "composite"])
@pytest.mark.parametrize("row", [4, 7])
def test_publish_finds_one_background_value_that_differs(row, column, built, tmp_path):
    (path,) = (built / "data").glob("train-*.parquet")
    changed = decoded(pq.read_table(path).column(column)[row].as_py()["bytes"]).copy()
    changed[0, 0, 1] ^= 1
    end = command("publish", replaced(built, tmp_path / "planted", column, {row: changed}), *PUBLISH)
    assert end.code == 2, end.err
    assert "train-00000-of-00001.parquet" in end.err
    assert str(row) in end.err.replace("00000-of-00001", "").replace(str(tmp_path), "")


def test_publish_finds_masks_that_are_not_the_composites(built, tmp_path):
    """A composite's foreground reaches out of a mask that was drawn smaller."""
    small = samples.ellipse(scale=0.1).astype(np.uint8) * 255
    end = command("publish", replaced(built, tmp_path / "planted", "mask", dict.fromkeys(range(4, 8), small)), *PUBLISH)
    assert end.code == 2, end.err
    assert "train-00000-of-00001.parquet" in end.err


def test_publish_passes_a_lossy_dataset(made_tree, tmp_path):
    """JPEG composites cannot have the background of the photo, bit for bit: nothing is to be found there."""
    data, run, out = made_tree / "tree", tmp_path / "run", tmp_path / "out"
    done("synthesize", "--data", data, *JITTER, "--image-format", "jpeg", "--out", run, "--quiet", *LOOSE)
    done("augment", "--data", data, "--candidates", run, "--format", "parquet", "--out", out, "--quiet")
    done("publish", out, *PUBLISH)
