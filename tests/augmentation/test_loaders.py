"""Trees that every public harmonization trainer reads: their rules, written from the facts, tried on each composite."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps
from skimage import data

from harmonygen.augmentation.augment import augment
from harmonygen.augmentation.export import export
from harmonygen.augmentation.settings import AugmentSettings, ExportSettings
from harmonygen.data.plain_names import PairName, plain_pairs
from harmonygen.errors import UsageError
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.synthesis.synthesize import synthesize

OPEN = {"max_clipped": 1, "min_fmse": 0, "max_fmse": 100_000, "min_structure": -1}
NAMES = {"IMG 0001.jpg": "1", "my_photo_1.jpg": "1", "p0_jpg.rf.0a1b.jpg": "1", "plain.png": "1", "webp1.webp": "1"}


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def from_the_left(root: Path, name: str) -> tuple[Path, Path]:
    """iDIH, iS2AM, PCT-Net, CDTNet and HDNet: the part before the first `_`, the first two parts."""
    folder, file = (root / name).parent.parent, Path(name).name
    first, second, *_ = file.split("_")
    return folder / "real_images" / f"{first}.jpg", folder / "masks" / f"{first}_{second}.png"


def from_the_right(root: Path, name: str) -> tuple[Path, Path]:
    """DoveNet, RainNet and BargainNet replace the last one and two parts in the whole path."""
    path, parts = str(root / name), name.split("_")
    mask = path.replace("composite_images", "masks").replace(f"_{parts[-1]}", ".png")
    real = path.replace("composite_images", "real_images").replace(f"_{parts[-2]}_{parts[-1]}", ".jpg")
    return Path(real), Path(mask)


def at_the_first_dot(root: Path, name: str) -> tuple[Path, Path]:
    """DiffHarmony cuts at the first dot, then at each `_`."""
    folder = (root / name).parent.parent
    first, second, *_ = Path(name).name.split(".")[0].split("_")
    return folder / "real_images" / f"{first}.jpg", folder / "masks" / f"{first}_{second}.png"


def by_subset(root: Path, split: str) -> list[str]:
    found = root.glob(f"*/*_{split}.txt")
    return [f"{path.parent.name}/composite_images/{line}" for path in sorted(found) for line in lines(path)]


def by_jsonl(root: Path, split: str) -> list[str]:
    rows = [json.loads(line) for line in lines(root / f"{split}.jsonl")]
    assert all(row["text"] == "" for row in rows)
    return [row["file_name"] for row in rows]


LOADERS = {
    "iDIH": (from_the_left, lambda root, split: lines(root / f"IHD_{split}.txt")),
    "DoveNet": (from_the_right, by_subset),
    "RainNet": (from_the_right, lambda root, split: lines(root / f"IHD_{split}.txt")),
    "HDNet": (from_the_left, lambda root, split: lines(root / f"{split}.txt")),
    "DiffHarmony": (at_the_first_dot, by_jsonl),
}


def read_by(loader: str, root: Path, split: str = "train") -> set[tuple[str, Path, Path]]:
    """Return what a loader reads: composite, photo and mask, all of one size, the mask two-valued, the photo JPEG."""
    rule, listed = LOADERS[loader]
    found = set()
    for name in listed(root, split):
        real, mask = rule(root, name)
        opened = [Image.open(path) for path in (root / name, real, mask)]
        assert len({each.size for each in opened}) == 1
        assert opened[1].format == "JPEG"
        assert set(np.unique(np.asarray(opened[2]))) == {0, 255}
        found.add((name, real, mask))
    return found


@pytest.fixture(scope="module")
def odd_photos(tmp_path_factory) -> Path:
    """One's own photos: ids with spaces, underscores and dots, as JPEG, PNG and WebP (input case 34)."""
    home = tmp_path_factory.mktemp("odd") / "own"
    for folder in ("images", "masks"):
        (home / folder).mkdir(parents=True)
    for index, (name, mask_id) in enumerate(NAMES.items()):
        photo = Image.fromarray((data.astronaut, data.coffee, data.chelsea, data.rocket)[index % 4]()).resize((64, 48))
        photo.save(home / "images" / name, quality=95)
        mask = Image.new("L", (64, 48))
        mask.paste(255, (10 + index, 8, 40, 40))
        mask.save(home / "masks" / f"{Path(name).stem}_{mask_id}.png")
    return home


@pytest.fixture(scope="module")
def odd_run(odd_photos, tiny_classifier) -> Path:
    small = {"generator": "color-jitter", "classifier": str(tiny_classifier), "device": "cpu", "gates": OPEN}
    settings = SynthesizeSettings(**small, data=str(odd_photos), k=2, out=odd_photos.parent / "run")
    synthesize(settings)
    return settings.out


@pytest.fixture
def odd_tree(odd_run, tmp_path) -> Path:
    export(ExportSettings(run=odd_run, out=tmp_path / "tree"))
    return tmp_path / "tree"


def test_every_loader_reads_every_composite_of_ones_own_photos(odd_tree, odd_photos):
    made = pq.read_table(odd_tree / "manifest.parquet").to_pylist()
    wanted = {(row["composite"], odd_tree / row["real"], odd_tree / row["mask"]) for row in made}
    assert len(wanted) == 10
    for loader in LOADERS:
        assert read_by(loader, odd_tree) == wanted, loader
    assert not {Path(row["real"]).stem for row in made} & {"my_photo_1", "p0_jpg.rf.0a1b"}
    one = next(row for row in made if row["real_id"].endswith("my_photo_1"))
    assert (odd_tree / one["real"]).samefile(odd_photos / "images" / "my_photo_1.jpg")  # the original bytes


def test_what_jpeg_costs_is_told(odd_tree):
    told = json.loads((odd_tree / "summary.json").read_text())
    assert (told["converted"], told["renamed"]) == (2, 2)  # PNG and WebP; a space became a dash in the run itself
    assert 0 < told["mean_levels"] < 1 < told["most_levels"] <= 6


def test_lossless_trees_keep_the_background(odd_run, tmp_path):
    export(ExportSettings(run=odd_run, out=tmp_path / "tree", photos="png"))
    rows = pq.read_table(tmp_path / "tree" / "manifest.parquet").to_pylist()
    assert {Path(row["real"]).suffix for row in rows} == {".jpg", ".png"}
    for row in rows:
        real, mask, composite = (
            np.asarray(Image.open(tmp_path / "tree" / row[name]).convert("RGB"))
            for name in ("real", "mask", "composite")
        )
        assert (real == composite)[mask[..., 0] == 0].all()


def test_an_augmented_dataset_of_odd_names_is_read_too_and_its_names_lead_back(odd_tree, settings_of, tmp_path):
    odd = tmp_path / "odd"
    for index, path in enumerate(sorted((odd_tree / "photos" / "real_images").iterdir())):
        pairs = sorted((odd_tree / "photos" / "composite_images").glob(f"{path.stem}_*"))
        for kind in ("real_images", "masks", "composite_images"):
            (odd / "Own.set" / kind).mkdir(parents=True, exist_ok=True)
        name = f"ph_{index}.x"
        Image.open(path).save(odd / "Own.set" / "real_images" / f"{name}.png")
        mask = next((odd_tree / "photos" / "masks").glob(f"{path.stem}_*"))
        Image.open(mask).save(odd / "Own.set" / "masks" / f"{name}_1.{'bmp' if index == 0 else 'png'}")
        Image.open(pairs[0]).save(odd / "Own.set" / "composite_images" / f"{name}_1_1.png")
    names = sorted(path.name for path in (odd / "Own.set" / "composite_images").iterdir())
    (odd / "IHD_train.txt").write_text("".join(f"Own.set/composite_images/{name}\n" for name in names[:3]))
    (odd / "IHD_test.txt").write_text("".join(f"Own.set/composite_images/{name}\n" for name in names[3:]))
    run = settings_of(data=str(odd), list_file="IHD_train.txt", gates=OPEN, k=2, out=tmp_path / "more")
    synthesize(run)
    result = augment(
        AugmentSettings(data=str(odd), candidates=run.out, out=tmp_path / "mixed", gamma=1.0, leak_guard="ids")
    )
    assert (result.originals, result.new, result.test) == (3, 3, 2)
    for loader in LOADERS:
        assert len(read_by(loader, tmp_path / "mixed")) == 6, loader
        assert len(read_by(loader, tmp_path / "mixed", "test")) == 2, loader
    rows = pq.read_table(tmp_path / "mixed" / "manifest.parquet").to_pylist()
    before = {row["named_before"] for row in rows if row["source"] == "original"}
    assert before == {f"Own.set/composite_images/{name}" for name in names[:3]}
    assert {row["real_id"] for row in rows} == {f"Own.set/ph_{index}.x" for index in range(3)}


def test_candidates_of_test_photos_are_refused_or_passed_over_and_counted(odd_tree, settings_of, tmp_path):
    listed = lines(odd_tree / "IHD_train.txt")
    run = settings_of(data=str(odd_tree), gates=OPEN, k=2, out=tmp_path / "more")
    synthesize(run)
    for path in (*odd_tree.glob("*train.*"), *odd_tree.glob("photos/*train.txt")):
        path.unlink()
    (odd_tree / "IHD_test.txt").write_text("".join(f"{line}\n" for line in listed[:2]))
    (odd_tree / "IHD_train.txt").write_text("".join(f"{line}\n" for line in listed[2:]))
    settings = AugmentSettings(
        data=str(odd_tree), candidates=run.out, out=tmp_path / "mixed", gamma=0.5, leak_guard="ids"
    )
    with pytest.raises(Exception, match="--skip-test-photos"):
        augment(settings)
    result = augment(settings.model_copy(update={"skip_test_photos": True}))
    assert (result.test_candidates, result.new) == (2, 4)


def test_look_alikes_of_test_photos_are_refused_or_left_out_and_counted(odd_tree, settings_of, tmp_path, tree):
    """A mirrored copy of a test photo, and the same photo re-encoded, stand in the training list under other names."""
    folder, listed = odd_tree / "photos", lines(odd_tree / "IHD_train.txt")
    test = Path(listed[0]).name
    photo, mask, last = test.rpartition(".")[0].split("_")
    for kind, name, copy in (
        ("real_images", f"{photo}.jpg", "copy.jpg"),
        ("masks", f"{photo}_{mask}.png", f"copy_{mask}.png"),
        ("composite_images", test, f"copy_{mask}_{last}.png"),
    ):
        ImageOps.mirror(Image.open(folder / kind / name)).save(folder / kind / copy, quality=95)
    run = settings_of(data=str(odd_tree), list_file="mine.txt", gates=OPEN, k=2, out=tmp_path / "more")
    train = [line for line in listed if photo not in line] + [f"photos/composite_images/copy_{mask}_{last}.png"]
    (odd_tree / "mine.txt").write_text("".join(f"{line}\n" for line in [*train, listed[0]]))
    synthesize(run)
    for path in (*odd_tree.glob("*train.*"), *odd_tree.glob("photos/*train.txt")):
        path.unlink()
    (odd_tree / "IHD_test.txt").write_text(f"{listed[0]}\n")
    (odd_tree / "IHD_train.txt").write_text("".join(f"{line}\n" for line in train))
    settings = AugmentSettings(data=str(odd_tree), candidates=run.out, out=tmp_path / "mixed", gamma=0.5)
    with pytest.raises(UsageError, match="skip-test-photos"):
        augment(settings)
    settings = settings.model_copy(update={"skip_test_photos": True})
    result = augment(settings)
    alike = (f"copy = photos/{photo} (mirrored)", f"webp1 = photos/{photo} (0 bits)")
    assert set(result.look_alikes) == {f"photos/{name}" for name in alike}
    assert (result.test_candidates, result.originals, result.new) == (6, 6, 3)
    assert not any("copy" in line or "webp1" in line for line in lines(settings.out / "IHD_train.txt"))
    before = tree(settings.out)
    again = augment(settings)
    assert (again.finished_before, again.look_alikes) == (True, result.look_alikes)
    assert tree(settings.out) == before


def test_names_are_plain_and_stay_apart():
    given = {
        "a": PairName("My_set.1", "x/p_1", "0"),
        "b": PairName("My_set.1", "y/p-1", "a_b"),
        "c": PairName("HCOCO", "c1", "2"),
    }
    named = plain_pairs(given.items())
    assert named["c"] == given["c"]
    assert named["a"].subset == named["b"].subset == "My-set-1"
    assert (named["a"].photo, named["b"].photo, named["b"].mask) == ("p-1-2", "p-1", "a-b")
