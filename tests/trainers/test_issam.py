"""`augment --for issam`: iDIH's rules find each arm's composites and none else; docs/retrain.md leads to its table."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from skimage import data

from harmonygen.augmentation.augment import augment
from harmonygen.augmentation.settings import AugmentSettings, ExportSettings
from harmonygen.data.lists import read_lines
from harmonygen.errors import UsageError
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.synthesis.synthesize import synthesize
from harmonygen.trainers import arms
from harmonygen.trainers.issam import FOLDERS, folders_of, refuse_unfit
from harmonygen_cli.main import run as harmonygen

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fakes"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fakes" / "idih"))

from command_line import words_of
from idih_rules import TRAINED_ON, VALIDATED_ON, config_of, samples

ROOT = Path(__file__).resolve().parents[2]
FAKES = ROOT / "tests" / "fakes"
OPEN = {"max_clipped": 1, "min_fmse": 0, "max_fmse": 100_000, "min_structure": -1}
SIDE = (80, 64)


def write_iharmony4(root: Path, subsets: tuple[str, ...] = ("HFlickr", "HAdobe5k"), test: int = 4) -> Path:
    """Write a small dataset: tiles of real photos, two composites each; of each subset, two photos train."""
    tiles = [tile for load in (data.astronaut, data.coffee, data.chelsea, data.rocket) for tile in _tiles(load())]
    listed: dict[str, list[str]] = {"train": [], "test": []}
    rng = np.random.default_rng(5)
    for index, tile in enumerate(tiles[: (2 + test) * len(subsets)]):
        subset, name = subsets[index % len(subsets)], f"p{index:02d}"
        for kind in ("real_images", "masks", "composite_images"):
            (root / subset / kind).mkdir(parents=True, exist_ok=True)
        mask = Image.new("L", SIDE)
        mask.paste(255, (15, 10, 60, 50))
        tile.save(root / subset / "real_images" / f"{name}.jpg", quality=95)
        mask.save(root / subset / "masks" / f"{name}_1.png")
        for variant in (1, 2):
            shifted = Image.fromarray(
                np.clip(np.asarray(tile) * rng.uniform(0.6, 1.3, 3) + rng.uniform(-20, 20), 0, 255).astype(np.uint8)
            )
            composite = f"{subset}/composite_images/{name}_1_{variant}.jpg"
            Image.composite(shifted, tile, mask).save(root / composite, quality=95)
            listed["train" if index < 2 * len(subsets) else "test"].append(composite)
    for split, names in listed.items():
        (root / f"IHD_{split}.txt").write_text("".join(f"{name}\n" for name in names))
    return root


def _tiles(photo: np.ndarray) -> list[Image.Image]:
    height, width = (length // 2 for length in photo.shape[:2])
    corners = [(top, left) for top in (0, height) for left in (0, width)]
    return [Image.fromarray(photo[top : top + height, left : left + width]).resize(SIDE) for top, left in corners]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_iharmony4(tmp_path_factory.mktemp("issam") / "iHarmony4")


@pytest.fixture(scope="module")
def run(dataset, tiny_classifier) -> Path:
    return candidates(dataset, tiny_classifier)


def candidates(dataset: Path, classifier: Path) -> Path:
    small = {"generator": "color-jitter", "classifier": str(classifier), "device": "cpu", "gates": OPEN, "k": 3}
    synthesize(SynthesizeSettings(**small, data=str(dataset), list_file="IHD_train.txt", out=dataset.parent / "run"))
    return dataset.parent / "run"


@pytest.fixture
def settings(dataset, run, tmp_path) -> AugmentSettings:
    return AugmentSettings(data=str(dataset), candidates=run, trainer="issam", out=tmp_path / "augmented")


def both(settings: AugmentSettings) -> arms.Arms:
    refuse_unfit(settings)
    augment(settings)
    return arms.write_arms(settings)


def arm_config(settings: AugmentSettings, arm: str) -> dict:
    return config_of(settings.out / "issam" / arm / "models" / "fixed256" / "improved_ssam.py")


def found_by(config: dict, keys: tuple[str, ...], split: str) -> Counter[Path]:
    """Return the composites that the trainer reads, resolved, with how often; each with its photo and mask."""
    found: Counter[Path] = Counter()
    for key in keys:
        for composite, real, mask in samples(Path(config[key]), split):
            pictures = [Image.open(path) for path in (composite, real, mask)]
            assert len({each.size for each in pictures}) == 1
            assert pictures[1].format == "JPEG"
            assert set(np.unique(np.asarray(pictures[2]))) == {0, 255}
            found[composite.resolve()] += 1
    return found


def test_the_trainers_rules_find_each_arm_and_nothing_else(settings):
    made = both(settings)
    rows = pq.read_table(settings.out / "manifest.parquet").to_pylist()
    paths = {(settings.out / row["composite"]).resolve(): row["source"] for row in rows}
    own = {path for path, source in paths.items() if source == "original"}
    config = {arm: arm_config(settings, arm) for arm in ("base", "augmented")}
    read = {arm: found_by(config[arm], TRAINED_ON, "train") for arm in config}
    assert (len(own), len(paths)) == (8, 16)
    assert read["augmented"] == Counter(dict.fromkeys(paths, 1))
    assert set(read["base"]) == own
    assert {sum(each.values()) for each in read.values()} == {made.epoch} == {16}
    assert max(read["base"].values()) - min(read["base"].values()) <= 1
    test = {(settings.out / line).resolve() for line in read_lines(settings.out / "IHD_test.txt")}
    assert len(test) == made.test == 16
    for each in config.values():
        assert set(found_by(each, TRAINED_ON, "test")) == test
        assert len(found_by(each, VALIDATED_ON, "test")) == 8


def test_the_config_has_the_trainers_keys_and_paths_that_are_there(settings):
    both(settings)
    for arm in ("base", "augmented"):
        config = yaml.safe_load((settings.out / "issam" / arm / "config.yml").read_text())
        assert set(config) == {"MODELS_PATH", "EXPS_PATH", *FOLDERS, "IMAGENET_PRETRAINED_MODELS"}
        assert set(FOLDERS) == set(TRAINED_ON)
        assert all(Path(config[key]).is_dir() and Path(config[key]).is_absolute() for key in FOLDERS)
        assert Path(config["HFLICKR_PATH"]).name == "HFlickr"
        assert config["EXPS_PATH"] == str(settings.out / "issam" / arm / "experiments")
        assert set(config["IMAGENET_PRETRAINED_MODELS"]) == {
            f"HRNETV2_W{size}" for size in ("18_SMALL", "18", "32", "40", "48")
        }


def test_test_pictures_are_what_evaluate_scores(settings):
    from harmonygen.evaluation.cases import load_case, read_cases
    from harmonygen.evaluation.protocols import ProtocolRules

    both(settings)
    cases = read_cases(settings.out)
    home = settings.out / "issam" / "test"
    assert len(list(home.glob("*/composite_images/*.png"))) == len(cases) == 16
    for case in cases:
        loaded = load_case(case)
        target = ProtocolRules().target(loaded.composite.image_u8, loaded.real_u8, loaded.mask)
        stem = Path(case.name).name
        picture = home / case.subset / "composite_images" / f"{stem}.png"
        mask = home / case.subset / "masks" / f"{stem.rpartition('_')[0]}.png"
        assert (np.asarray(Image.open(picture)) == target.composite_u8).all()
        assert ((np.asarray(Image.open(mask)) > 0) == target.mask).all()


def test_repeated_or_killed_or_moved_it_is_finished_by_the_same_command(settings, tree, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(arms, "encode", _killed_at(5, arms.encode))
        with pytest.raises(KeyboardInterrupt):
            both(settings)
    assert not both(settings).finished_before
    before = tree(settings.out)
    assert both(settings).finished_before
    assert tree(settings.out) == before
    moved = settings.model_copy(update={"out": settings.out.rename(settings.out.parent / "moved")})
    assert not both(moved).finished_before
    assert sum(found_by(arm_config(moved, "base"), TRAINED_ON, "train").values()) == 16


def _killed_at(call: int, real):
    calls = []

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*arguments)

    return killed


def test_lists_that_do_not_divide_are_drawn_by_the_seed(settings):
    few = settings.model_copy(update={"gamma": 0.5, "pick": "top", "subset": "HFlickr", "seed": 3})
    made = both(few)
    read = found_by(arm_config(few, "base"), TRAINED_ON, "train")
    assert (made.epoch, sorted(read.values())) == (6, [1, 1, 2, 2])
    assert arm_config(few, "base")["HADOBE5K_PATH"].endswith("HAdobe5k")  # no such subset: lists without a line
    none = settings.model_copy(update={"gamma": 0.0, "out": settings.out.parent / "none"})
    assert both(none).arms == ("base",)


def test_ones_own_subsets_take_the_folders_that_are_free(tmp_path, tiny_classifier):
    own = write_iharmony4(tmp_path / "own", ("My_photos", "HFlickr"))
    settings = AugmentSettings(data=str(own), candidates=candidates(own, tiny_classifier), out=tmp_path / "out")
    both(settings)
    config = arm_config(settings, "augmented")
    assert Path(config["HCOCO_PATH"]).name == "My-photos"
    assert sum(found_by(config, TRAINED_ON, "train").values()) == 16
    assert folders_of(["a", "b", "hcoco"]) == {"HCOCO_PATH": "hcoco", "HFLICKR_PATH": "a", "HDAY2NIGHT_PATH": "b"}
    with pytest.raises(UsageError, match="5 subsets: choose one with --subset"):
        folders_of(["a", "b", "c", "HCOCO", "e"])


def test_what_the_trainer_cannot_read_is_refused_before_anything_is_written(settings, dataset, tmp_path):
    with pytest.raises(UsageError, match="validate on test composites of HFlickr, HCOCO, Hday2night"):
        refuse_unfit(settings.model_copy(update={"subset": "HAdobe5k"}))
    bare = shutil.copytree(dataset, tmp_path / "bare")
    (bare / "IHD_test.txt").unlink()
    with pytest.raises(UsageError, match="--test-list"):
        refuse_unfit(settings.model_copy(update={"data": str(bare)}))
    for wrong in ({"format": "parquet"}, {"photos": "png"}):
        with pytest.raises(ValueError, match="reads a tree with JPEG photos"):
            AugmentSettings(trainer="issam", **wrong)
    with pytest.raises(ValueError, match="harmonygen augment --for issam"):
        ExportSettings(trainer="issam")
    assert not settings.out.exists()


def test_the_pages_five_commands_lead_to_a_paired_table_with_intervals(tmp_path, monkeypatch, capsys):
    """As typed, but for the trainer: a stand-in with its rules, options and file names."""
    write_iharmony4(tmp_path / "iHarmony4", ("HFlickr",), test=5)
    shutil.copytree(FAKES / "idih", tmp_path / "image_harmonization")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHON", sys.executable)
    page = (ROOT / "docs" / "retrain.md").read_text()
    typed = re.search(r"```\n(harmonygen synthesize.*?)```", page, re.DOTALL)[1].splitlines()
    assert len(typed) == 5
    for line in typed:
        if line.startswith("harmonygen"):
            (words,) = words_of(line)
            assert harmonygen(words) == 0, line
        else:
            done = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    trained = [json.loads(path.read_text()) for path in sorted(Path("augmented/issam").rglob("last_checkpoint.pth"))]
    assert len(trained) == 2
    assert trained[0]["steps"] == trained[1]["steps"] > 0
    assert (trained[0]["batch"], trained[0]["lines"], trained[1]["lines"]) == (8, 8, 8)  # fewer than a usual batch
    assert trained[0]["strength"] != trained[1]["strength"]
    summary = json.loads(Path("compared/summary.json").read_text())
    rows = [row for row in summary["paired"] if (row["a"], row["b"]) == ("augmented", "base")]
    assert {row["figure"] for row in rows} == {"psnr", "mse", "fmse", "ssim"}
    assert all(row["n"] == 10 and row["low"] < row["mean"] < row["high"] for row in rows)
    last = [line for line in Path("compared/table.md").read_text().splitlines() if "augmented − base" in line]
    assert len(last) == 4
    assert all("[" in line for line in last)
    assert "sh " in capsys.readouterr().err
