"""`export --for NAME`: each trainer's rules of finding files, written from facts, find every row and none else."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from skimage import data

from harmonygen.augmentation.settings import ExportSettings
from harmonygen.errors import UsageError
from harmonygen.runs.read import Run
from harmonygen.synthesis.settings import SynthesizeSettings
from harmonygen.synthesis.synthesize import synthesize
from harmonygen.trainers import write as writing
from harmonygen.trainers.export import export_for
from harmonygen.trainers.formats import FORMATS

OPEN = {"max_clipped": 1, "min_fmse": 0, "max_fmse": 100_000, "min_structure": -1}
NAMES = ("my_photo_1.jpg", "p0.rf.x.png", "plain.jpg")


@pytest.fixture(scope="module")
def run(tiny_classifier, tmp_path_factory) -> Path:
    """Six candidates of three photos (JPEG and PNG, ids with underscores and dots) in two shards."""
    home = tmp_path_factory.mktemp("trainers")
    for folder in ("images", "masks"):
        (home / "own" / folder).mkdir(parents=True)
    for index, name in enumerate(NAMES):
        photo = Image.fromarray((data.astronaut, data.coffee, data.chelsea)[index]()).resize((64, 48))
        photo.save(home / "own" / "images" / name, quality=95)
        mask = Image.new("L", (64, 48))
        mask.paste(255, (10 + index, 8, 40, 40))
        mask.save(home / "own" / "masks" / f"{Path(name).stem}.png")
    small = {"generator": "color-jitter", "classifier": str(tiny_classifier), "device": "cpu", "gates": OPEN}
    synthesize(SynthesizeSettings(**small, data=str(home / "own"), k=2, shard_size=2, out=home / "run"))
    return home / "run"


@pytest.fixture(scope="module")
def wanted(run) -> dict[tuple[str, int], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Photo, composite and mask of each candidate, as arrays."""
    opened = Run.open(run)
    images = {pair_id: each for part in range(len(opened.parts)) for pair_id, each in opened.images(part)}
    found = {}
    for row, encoded in opened.composites(opened.usable().to_pylist()):
        pair = images[row["pair_id"]]
        real = pair.path if pair.real is None else io.BytesIO(pair.real)
        three = (real, io.BytesIO(encoded), io.BytesIO(pair.mask))
        found[row["pair_id"], row["k"]] = tuple(map(pixels, three))
    return found


def pixels(source) -> np.ndarray:
    return np.asarray((source if isinstance(source, Image.Image) else Image.open(source)).convert("RGB"))


def stems(folder: Path) -> dict[str, Path]:
    """Return the pictures of a folder by stem, as trainers list them."""
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix in (".jpg", ".png", ".webp")}


def ai_toolkit(root: Path):
    (process,) = yaml.safe_load((root / "config.yaml").read_text())["config"]["process"]
    (dataset,) = process["datasets"]
    folders = {name: Path(dataset[f"{name}_path"]) for name in ("folder", "control", "mask")}
    assert dataset["invert_mask"] is False  # white is the foreground, where the loss weighs more
    for stem, target in stems(folders["folder"]).items():
        text = target.with_suffix(f".{dataset['caption_ext']}").read_text()
        yield stem, stems(folders["control"])[stem], target, stems(folders["mask"])[stem], text


def musubi_tuner(root: Path):
    config = tomllib.loads((root / "dataset.toml").read_text())
    (dataset,) = config["datasets"]
    control = Path(dataset["control_directory"])
    assert dataset["cache_directory"] not in (dataset["image_directory"], dataset["control_directory"])
    for stem, target in stems(Path(dataset["image_directory"])).items():
        numbered = [path for name, path in stems(control).items() if re.fullmatch(rf"{re.escape(stem)}_\d+", name)]
        assert len(numbered) == 2
        text = target.with_suffix(config["general"]["caption_extension"]).read_text()
        yield stem, numbered[0], target, numbered[1], text


def simpletuner(root: Path):
    config = json.loads((root / "config.json").read_text())
    yield from simpletuner_backends(Path(config["data_backend_config"]), "textfile")


def simpletuner_backends(path: Path, captions: str):
    backends = {each["id"]: each for each in json.loads(path.read_text())}
    (main,) = [each for each in backends.values() if each["dataset_type"] == "image"]
    assert main["caption_strategy"] == captions
    (text,) = [each for each in backends.values() if each["dataset_type"] == "text_embeds"]
    assert text["default"]
    tied = {backends[name]["conditioning_type"]: backends[name] for name in main["conditioning_data"]}
    assert all(each["source_dataset_id"] == main["id"] for each in tied.values())
    assert all(each["caption_strategy"] is None for each in tied.values())
    for stem, target in stems(Path(main["instance_data_dir"])).items():
        reference, mask = (Path(tied[kind]["instance_data_dir"]) for kind in ("reference_strict", "mask"))
        same = (folder / target.name for folder in (reference, mask))  # the same name with its suffix
        yield stem, next(same), target, next(same), target.with_suffix(".txt").read_text()


def diffsynth(root: Path):
    with (root / "metadata.csv").open(newline="") as opened:
        for row in csv.DictReader(opened):
            files = [root / row[name] for name in ("edit_image", "image", "inpaint_mask")]
            yield Path(row["image"]).stem, *files, row["prompt"]


def image_folder(source: str, target: str, text: str):
    def read(root: Path):
        import datasets

        loaded = datasets.load_dataset(str(root), split="train", cache_dir=str(root.parent / "cache"))
        assert {type(loaded.features[name]) for name in (source, target, "mask")} == {datasets.Image}
        lines = [json.loads(line) for line in (root / "train" / "metadata.jsonl").read_text().splitlines()]
        for row, line in zip(loaded, lines, strict=True):
            yield Path(line["mask_file_name"]).stem, row[source], row[target], row["mask"], row[text]

    return read


def webdataset(root: Path):
    samples: dict[str, dict[str, bytes]] = {}
    for path in sorted(root.glob("train-*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                key, _, part = member.name.partition(".")
                samples.setdefault(key, {})[part] = archive.extractfile(member).read()
    for key, parts in samples.items():
        real = next(parts[name] for name in ("real.jpg", "real.png") if name in parts)
        pictures = (io.BytesIO(each) for each in (parts["composite.png"], real, parts["mask.png"]))
        yield key, *pictures, json.loads(parts["json"])["text"]


def zip_pairs(root: Path):
    with zipfile.ZipFile(root / "pairs.zip") as pairs, zipfile.ZipFile(root / "masks.zip") as masks:
        names = {name.rpartition(".")[0]: name for name in pairs.namelist() if not name.endswith(".txt")}
        assert len(pairs.namelist()) == 3 * len(masks.namelist())
        for start in (name for name in names if name.endswith("_start")):
            key = start.removesuffix("_start")
            read = (pairs.read(names[start]), pairs.read(names[f"{key}_end"]), masks.read(f"{key}.png"))
            yield key, *map(io.BytesIO, read), pairs.read(f"{key}.txt").decode()


LOADERS = {
    "ai-toolkit": ai_toolkit,
    "musubi-tuner": musubi_tuner,
    "simpletuner": simpletuner,
    "diffsynth": diffsynth,
    "diffusers-instruct-pix2pix": image_folder("original_image", "edited_image", "edit_prompt"),
    "diffusers-kontext": image_folder("cond_image", "image", "caption"),
    "diffusers-controlnet": image_folder("conditioning_image", "image", "text"),
    "imagefolder": image_folder("composite", "real", "instruction"),
    "webdataset": webdataset,
    "zip-pairs": zip_pairs,
}


def test_every_trainer_has_a_format_and_a_loader_here():
    assert set(LOADERS) == set(FORMATS)


@pytest.mark.parametrize("trainer", LOADERS)
def test_the_loaders_rules_find_every_row_with_its_pixels_mask_and_words(trainer, run, wanted, tmp_path):
    result = export_for(ExportSettings(run=run, trainer=trainer, out=tmp_path / "out"))
    back = {row["key"]: row for row in pq.read_table(result.folder / "manifest.parquet").to_pylist()}
    found = {key: rest for key, *rest in LOADERS[trainer](result.folder)}
    assert found.keys() == back.keys()
    assert {(row["pair_id"], row["k"]) for row in back.values()} == wanted.keys()
    assert not any("_" in key or "." in key for key in back)
    for key, (source, target, mask, text) in found.items():
        real, composite, foreground = wanted[back[key]["pair_id"], back[key]["k"]]
        assert (pixels(source) == composite).all()
        assert (pixels(target) == real).all()
        assert (pixels(mask) == foreground).all()
        assert text == back[key]["text"] == back[key]["instruction"] != ""
    assert (result.rows, result.pairs) == (6, 3)
    assert all((result.folder / name).is_file() for name in result.config)
    assert not (result.folder / ".rows").exists()


@pytest.mark.parametrize("trainer", ["simpletuner", "webdataset"])
def test_the_inverse_direction_swaps_source_and_target(trainer, run, wanted, tmp_path):
    settings = ExportSettings(run=run, trainer=trainer, direction="inverse", out=tmp_path / "out")
    back = {row["key"]: row for row in pq.read_table(export_for(settings).folder / "manifest.parquet").to_pylist()}
    for key, source, target, _, text in LOADERS[trainer](settings.out):
        real, composite, _ = wanted[back[key]["pair_id"], back[key]["k"]]
        if trainer == "webdataset":  # its members are named by what they are
            source, target = target, source
        assert (pixels(source) == real).all()
        assert (pixels(target) == composite).all()
        assert text == back[key]["instruction"]
    assert not list(settings.out.glob("*dpo*"))


def test_masked_flow_dpo_prefers_the_photo(run, wanted, tmp_path):
    result = export_for(ExportSettings(run=run, trainer="simpletuner", out=tmp_path / "out"))
    config = json.loads((result.folder / "config-dpo.json").read_text())
    assert (config["distillation_method"], config["model_type"]) == ("flow_dpo", "lora")
    back = {row["key"]: row for row in pq.read_table(result.folder / "manifest.parquet").to_pylist()}
    rows = list(simpletuner_backends(Path(config["data_backend_config"]), "instanceprompt"))
    assert len(rows) == 6
    for key, rejected, preferred, _, _ in rows:
        real, composite, _ = wanted[back[key]["pair_id"], back[key]["k"]]
        assert (pixels(preferred) == real).all()
        assert (pixels(rejected) == composite).all()


def test_photos_and_repeated_masks_are_links_and_nothing_is_written_twice(run, tmp_path, tree):
    settings = ExportSettings(run=run, trainer="ai-toolkit", out=tmp_path / "out")
    export_for(settings)
    photos = stems(settings.out / "target")
    own = run.parent / "own" / "images" / "plain.jpg"
    assert all(photos[f"plain-0-k00{k}"].samefile(own) for k in (0, 1)) or own.stat().st_nlink == 3
    masks = stems(settings.out / "mask")
    assert len({path.stat().st_ino for path in masks.values()}) == 3
    before = tree(settings.out)
    assert export_for(settings).finished_before
    assert tree(settings.out) == before
    with pytest.raises(UsageError, match="direction: 'harmonize' then, 'inverse' now"):
        export_for(settings.model_copy(update={"direction": "inverse"}))


@pytest.mark.parametrize("trainer", ["musubi-tuner", "webdataset", "zip-pairs"])
def test_an_export_killed_half_way_is_finished_by_the_same_command(trainer, run, tmp_path, tree, monkeypatch):
    whole, settings = tmp_path / "whole", ExportSettings(run=run, trainer=trainer, out=tmp_path / "out")
    export_for(settings.model_copy(update={"out": whole}))
    calls, real = [], writing.files_of

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(writing, "files_of", killed)
        with pytest.raises(KeyboardInterrupt):
            export_for(settings)
    assert not export_for(settings).finished_before
    contents = [{name: content for name, (_, content) in tree(folder).items()} for folder in (whole, settings.out)]
    assert contents[0].keys() == contents[1].keys()
    same = [name for name in contents[0] if Path(name).suffix in (".jpg", ".png", ".txt", ".tar", ".zip")]
    assert len(same) >= 2
    assert all(contents[0][name] == contents[1][name] for name in same)


def test_words_come_from_the_pictures_a_file_or_not_at_all(run, tmp_path):
    settings = ExportSettings(run=run, trainer="diffsynth", out=tmp_path / "none", caption="none")
    export_for(settings)
    assert {text for *_, text in diffsynth(settings.out)} == {""}
    ids = sorted({row["pair_id"] for row in Run.open(run).rows().to_pylist()})
    words = tmp_path / "words.jsonl"
    words.write_text("".join(json.dumps({"pair_id": name, "text": f"a {name}"}) + "\n" for name in ids[1:]))
    settings = ExportSettings(run=run, trainer="diffsynth", out=tmp_path / "file", caption=str(words))
    with pytest.raises(UsageError, match=f"no words for 1 pairs: {ids[0]}"):
        export_for(settings)
    assert not settings.out.exists()
    words.write_text(words.read_text() + json.dumps({"pair_id": ids[0], "text": "first"}) + "\n")
    export_for(settings)
    assert {text for *_, text in diffsynth(settings.out)} == {"first", *(f"a {name}" for name in ids[1:])}


def test_the_command_says_where_it_is_run(run, tmp_path):
    """Trainers' commands in the trainer's folder; those of plain data name all archives, and run anywhere."""
    where = {}
    for trainer in FORMATS:
        result = export_for(ExportSettings(run=run, trainer=trainer, out=tmp_path / trainer))
        start = (result.folder / "train.sh").read_text()
        where[trainer] = result.runs_in
        assert (f"# Run it in {result.runs_in}.\n" in start) is bool(result.runs_in)
        assert result.command in start or result.command == f"sh {result.folder / 'train.sh'}"
    assert {trainer for trainer, place in where.items() if not place} == {"imagefolder", "webdataset", "zip-pairs"}
    tars = sorted(path.name for path in (tmp_path / "webdataset").glob("*.tar"))
    first, last = (name.removesuffix(".tar")[-5:] for name in (tars[0], tars[-1]))
    assert len(tars) == 2
    assert f"train-{{{first}..{last}}}.tar" in (tmp_path / "webdataset" / "train.sh").read_text()


def test_the_command_of_an_image_folder_shows_its_rows(run, tmp_path):
    pytest.importorskip("datasets")
    out = export_for(ExportSettings(run=run, trainer="imagefolder", out=tmp_path / "it's out")).folder
    place = {"PATH": f"{Path(sys.executable).parent}:/bin:/usr/bin", "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(["sh", str(out / "train.sh")], env=place, capture_output=True, text=True, check=True)
    assert "num_rows: 6" in done.stdout


def test_what_a_tree_does_not_use_is_refused():
    with pytest.raises(ValueError, match="--direction without --for NAME"):
        ExportSettings(direction="inverse")


def test_the_library_of_web_datasets_reads_the_shards(run, wanted, tmp_path):
    datasets = pytest.importorskip("datasets")
    out = export_for(ExportSettings(run=run, trainer="webdataset", out=tmp_path / "out")).folder
    files = [str(path) for path in sorted(out.glob("train-*.tar"))]
    loaded = datasets.load_dataset(
        "webdataset", data_files={"train": files}, split="train", streaming=True, cache_dir=str(tmp_path / "cache")
    )
    rows = list(loaded)
    assert len(rows) == 6
    for row in rows:
        assert (pixels(row["composite.png"]) == wanted[row["json"]["pair_id"], row["json"]["k"]][1]).all()
