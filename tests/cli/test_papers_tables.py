"""docs/papers-tables.md, typed from the page: small random models of the same classes lie where the downloads would.

What is replaced: sizes (pictures of 64 px, two steps, one image), number types (float32), the gates (pictures of
random models would not pass), ImageNet's weights, iMaterialist by the built-in sample, several GPUs by one process, and
the transfer of `hf download`. All other words of the page's commands are run as they stand, in their order.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from diffusers import AutoencoderKL
from huggingface_hub.utils import filter_repo_objects
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision import models

from harmonygen import recipes
from harmonygen.models.harmony_vae import HarmonyVAE
from harmonygen.settings import PUBLISHED
from harmonygen_cli.main import run

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "papers-tables.md").read_text(encoding="utf-8")
NOT_RUN = ("pip", "hf", "accelerate")
"""First words of the commands in blocks that the page says are not run as they stand."""
SIDE = 64
LOOSE = [f"gates.{limit}" for limit in ("min_fmse=0", "max_fmse=65025", "min_structure=-1", "max_clipped=1")]
FEW_STEPS = [
    *(f"{name}=2" for name in ("max_train_steps", "checkpointing_steps", "validation_steps", "validation_samples")),
    *("train_batch_size=2", "gradient_accumulation_steps=1", "mixed_precision=no", "gradient_checkpointing=false"),
    *("dataloader_num_workers=0", f"resolution={SIDE}"),
]
SMALL: dict[str, list[str]] = {
    "doctor": [],
    "inspect": [],
    "import-weights": [],
    "synthesize": ["--resolution", str(SIDE), *LOOSE],
    "augment": [],
    "evaluate": ["--limit", "1", "--resamples", "200", "--cases", "0", "--device", "cpu"],
    "train": FEW_STEPS,
    "gain": [
        *("steps=2", f"resolution={SIDE}", "curve_points=1", "curve_images=1", "resamples=200", "cases=0"),
        *(f"candidates.{each}" for each in (*LOOSE, f"resolution={SIDE}", "k=3")),
        *(f"train.{each}" for each in FEW_STEPS if each.partition("=")[0] in ("train_batch_size", "mixed_precision")),
        *("train.gradient_accumulation_steps=1", "train.dataloader_num_workers=0"),
    ],
    "build-human-harmony": ["--data", "sample", "--resolution", str(SIDE), "--k", "2", "--limit", "3", *LOOSE],
}
"""What is added to the page's words, by verb."""
OF_TASK = {
    "refiner": ["widths=[8,16,32,32]", "norm_num_groups=4", "refiner_resolution=32", "sampling_steps=1"],
    "classifier": ["imagenet=false", "depth=resnet18"],
}


def steps(*headings: str) -> Iterator[tuple[str, str]]:
    """Yield (language, text) of each command under the headings, in the page's order: shell lines, Python blocks."""
    for section in re.split(r"^(?=##+ )", PAGE, flags=re.MULTILINE):
        if section.lstrip("# ").startswith(headings):
            for language, block in re.findall(r"^```(\w*)\n(.*?)^```", section, flags=re.DOTALL | re.MULTILINE):
                yield from [("python", block)] if language else (("shell", line) for line in block.splitlines())


def words_of(line: str) -> list[str]:
    return shlex.split(line.replace("$(which harmonygen)", "harmonygen"))


def small(words: list[str]) -> list[str]:
    """Return a command's words with what makes it small."""
    verb, more = words[0], list(SMALL[words[0]])
    more += OF_TASK.get(words[1], []) if verb == "train" else []
    recipe = recipes.load(words[words.index("--recipe") + 1]) if "--recipe" in words else {}
    if verb == "evaluate" and "methods" in recipe:
        methods = [{**method, "resolution": SIDE} for method in recipe["methods"]]
        tables = (", ".join(f"{key}={json.dumps(value)}" for key, value in method.items()) for method in methods)
        more.append(f"methods=[{', '.join(f'{{{table}}}' for table in tables)}]")
    elif verb == "evaluate" and "--resolution" in words:
        more += ["--resolution", str(SIDE)]
    return [*words, *more, "--quiet"]


# What lies where the downloads would


def written_tree(root: Path) -> None:
    """An iHarmony4 tree: two subsets of three training photos and one test photo, two composites each."""
    from skimage import data

    lists: dict[str, list[str]] = {"train": [], "test": []}
    for place, (subset, stem) in enumerate((("Hday2night", "d90000014-"), ("HFlickr", "f"))):
        whole = Image.fromarray((data.astronaut(), data.coffee())[place]).resize((192, 192))
        for index in range(4):
            left, top = index % 2 * 96, index // 2 * 96
            photo = np.asarray(whole.crop((left, top, left + 96, top + 96)))
            mask = np.zeros((96, 96), dtype=bool)
            mask[20 : 60 + 5 * index, 24:70] = True
            folders = [root / subset / name for name in ("real_images", "masks", "composite_images")]
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photo).save(folders[0] / f"{stem}{index}.jpg", quality=95)
            Image.fromarray(mask.astype(np.uint8) * 255).save(folders[1] / f"{stem}{index}_1.png")
            for variant in (1, 2):
                changed = np.where(mask[..., None], photo * (0.4 + 0.2 * variant), photo).astype(np.uint8)
                Image.fromarray(changed).save(folders[2] / f"{stem}{index}_1_{variant}.jpg", quality=95)
                name = f"{subset}/composite_images/{stem}{index}_1_{variant}.jpg"
                lists["train" if index < 3 else "test"].append(name)
    for split, names in lists.items():
        (root / f"IHD_{split}.txt").write_text("\n".join(names) + "\n")


class Hub:
    """Repositories of small random models, with the names of the files that the real ones have."""

    def __init__(self, root: Path, make_stable_diffusion: Callable[..., Path], halve: Callable[[Path], None]) -> None:
        base = make_stable_diffusion(root / "stable-diffusion-v1-5" / "stable-diffusion-inpainting")
        vae = root / "stabilityai" / "sd-vae-ft-mse"
        shutil.copytree(base / "vae", vae)
        halve(base)
        for path in [*base.glob("*/*.safetensors"), *vae.glob("*.safetensors")]:
            path.with_name(path.name.partition(".")[0] + ".bin").write_bytes(b"pickled, not for us")
        (base / "safety_checker").mkdir()
        (base / "safety_checker" / "model.fp16.safetensors").write_bytes(b"1.2 GB")
        (base / "sd-v1-5-inpainting.ckpt").write_bytes(b"4.3 GB")
        self.root = root

    def download(self, words: list[str]) -> None:
        """Run `hf` with these words; only its last step, the transfer, is ours."""
        from huggingface_hub.cli.hf import app

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("huggingface_hub.cli.download.snapshot_download", self._copied)
            app.main(words, standalone_mode=False)

    def _copied(self, repo_id: str, local_dir: str, **patterns: object) -> str:
        source = self.root / repo_id
        files = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
        wanted, left_out = patterns["allow_patterns"], patterns["ignore_patterns"]
        taken = list(filter_repo_objects(files, allow_patterns=wanted, ignore_patterns=left_out))
        assert taken
        for name in taken:
            place = Path(local_dir) / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, place)
        return local_dir


def written_weights(root: Path, inpainting: Path, vae: Path) -> None:
    """The authors' folders: other random numbers, their config.json, the names of the listing that the page cites."""
    state = load_file(inpainting / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    for seed, place in enumerate(("base/unet", "inverse/weights-102800")):
        torch.manual_seed(seed)
        drawn = {name: value.float() + 0.02 * torch.randn(value.shape) for name, value in state.items()}
        (root / place).mkdir(parents=True)
        shutil.copy(inpainting / "unet" / "config.json", root / place)
        if seed:
            save_file(drawn, root / place / "diffusion_pytorch_model.safetensors")
        else:
            torch.save(drawn, root / place / "diffusion_pytorch_model.bin")
    condition = HarmonyVAE.from_autoencoder(AutoencoderKL.from_pretrained(vae)).draw_skips()
    condition.save_pretrained(root / "condition_vae")
    config = json.loads((root / "condition_vae" / "config.json").read_text())
    released = {key: value for key, value in config.items() if key not in ("direction", "posterior")}
    released |= {"_class_name": "ConditionVAE", "additional_in_channels": 1}
    (root / "condition_vae" / "config.json").write_text(json.dumps(released))
    shutil.copytree(ROOT / "tests" / "assets" / "parity" / "stage2", root / "refinement")
    (root / "harmony_classifier").mkdir()
    torch.save(models.resnet18(num_classes=2).state_dict(), root / "harmony_classifier" / "model_state_dict.pth")


@pytest.fixture(scope="module")
def hub(tmp_path_factory, make_stable_diffusion, in_half_precision) -> Hub:
    return Hub(tmp_path_factory.mktemp("hub"), make_stable_diffusion, in_half_precision)


def walk(hub: Hub, place: Path, *headings: str, wanted: Callable[[str], bool] = bool) -> list[str]:
    """Run the commands under the headings in ``place``, those that are ``wanted``; return those that were run."""
    before, done = Path.cwd(), []
    os.chdir(place)
    try:
        for language, text in steps(*headings):
            if not wanted(text):
                continue
            if language == "python":
                exec(compile(text, "page", "exec"), {})
            elif text.startswith("hf download "):
                hub.download(words_of(text)[1:])
            elif text.startswith("harmonygen "):
                assert run(small(words_of(text)[1:])) == 0, text
            elif text.startswith("accelerate launch "):
                assert run(small(launched(text))) == 0, text
            elif not text.startswith("pip "):
                subprocess.run(text, shell=True, check=True)
            done.append(text)
    finally:
        os.chdir(before)
    return done


def launched(line: str) -> list[str]:
    """Return the words of the harmonygen command that `accelerate launch` starts, read by its own parser."""
    from accelerate.commands.launch import launch_command_parser

    given = launch_command_parser().parse_args(words_of(line)[2:])
    assert given.multi_gpu
    assert given.training_script == "harmonygen"
    return given.training_script_args


@pytest.fixture(scope="module")
def imported(hub, tmp_path_factory) -> Path:
    """A folder where steps 2 and 3 are done."""
    place = tmp_path_factory.mktemp("imported")
    written_tree(place / "data" / "iHarmony4")
    walk(hub, place, "2. ")
    written_weights(
        place / "weights", place / "models" / "stable-diffusion-inpainting", place / "models" / "sd-vae-ft-mse"
    )
    walk(hub, place, "3. ")
    return place


@pytest.fixture(scope="module")
def trained(hub, imported, tmp_path_factory) -> Path:
    """A folder where steps 2 and 4 are done."""
    place = tmp_path_factory.mktemp("trained")
    for name in ("data", "models/stable-diffusion-inpainting", "models/sd-vae-ft-mse"):
        shutil.copytree(imported / name, place / name)
    walk(hub, place, "4. ")
    return place


# The walk


def test_the_papers_batch_is_kept_for_every_number_of_gpus():
    table = re.findall(r"^\| (\d+) \| (\d+) \| (\d+)", PAGE, flags=re.MULTILINE)
    assert [int(gpus) * int(batch) * int(accumulation) for gpus, batch, accumulation in table] == [64] * 4
    lines = [line for _, line in steps("4. ") if line.startswith("accelerate")]
    for line in lines:
        words, processes = words_of(line), int(re.search(r"--num_processes (\d+)", line)[1])
        option = {name: int(words[words.index(name) + 1]) for name in words if name.endswith(("-size", "-steps"))}
        assert processes * option["--train-batch-size"] * option["--gradient-accumulation-steps"] == 64
    assert len(lines) == 2


def test_what_is_downloaded_is_what_is_needed(imported):
    base = imported / "models" / "stable-diffusion-inpainting"
    names = {path.name for path in base.rglob("*") if path.is_file()}
    assert {"diffusion_pytorch_model.fp16.safetensors", "model.fp16.safetensors", "scheduler_config.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".ckpt"))]
    assert not (base / "safety_checker").exists()


def test_every_part_of_the_authors_weights_is_imported(imported):
    kinds = {}
    for folder in (imported / "models").iterdir():
        if (folder / "harmonygen.json").is_file():
            spec = json.loads((folder / "harmonygen.json").read_text())
            kinds[folder.name] = (spec["kind"], spec.get("direction"), spec.get("posterior"))
    assert kinds == {
        "diffharmony": ("denoiser", "forward", "sample"),
        "diffharmony-plus-plus": ("denoiser", "forward", "sample"),
        "harmony-vae-forward": ("harmony-vae", "forward", None),
        "refiner": ("refiner", None, None),
        "inverse": ("denoiser", "inverse", "sample"),
        "classifier": ("classifier", None, None),
    }


def recipes_of(done: list[str]) -> list[str]:
    """Return the recipes that commands of `evaluate` named."""
    lines = [words_of(line) for line in done if line.startswith("harmonygen evaluate")]
    return [words[words.index("--recipe") + 1] for words in lines if "--recipe" in words]


def check(place: Path, name: str) -> None:
    """Check that every model of a recipe has numbers in its table, and the papers' numbers stand beside."""
    recipe = recipes.load(name)
    folder = place / recipe["out"]
    text, rows = (folder / "table.md").read_text(), pq.read_table(folder / "per_image.parquet").to_pylist()
    assert all(np.isfinite(row["fmse"]) for row in rows)
    for method in recipe.get("methods", ()):
        found = [row for row in rows if row["method"].startswith(method["name"])]
        assert len({row["method"] for row in found}) >= method.get("seeds", 1)
        assert method["name"] in text
    for row in recipe["published"]:
        assert "psnr" not in row or f"{row['psnr']:.2f}" in text


@pytest.mark.slow
def test_the_tables_come_from_imported_weights(hub, imported):
    found = recipes_of(walk(hub, imported, "5. "))
    assert set(found) == {f"paper/{name}" for name in ("table1", "table3", "table4", "randomness", "figures3-4")}
    for name in found:
        check(imported, name)


@pytest.mark.slow
def test_all_parts_come_from_trainings_too(trained):
    specs = [
        path / "harmonygen.json" for path in (trained / "models").iterdir() if (path / "harmonygen.json").is_file()
    ]
    assert {path.parent.name for path in specs} == {
        *("diffharmony", "diffharmony-plus-plus", "inverse", "refiner", "classifier")
    }
    for path in specs:
        spec = json.loads(path.read_text())
        assert spec.get("posterior", "sample") == "sample"
    vae = json.loads((trained / "models" / "diffharmony-plus-plus" / "vae" / "config.json").read_text())
    assert (vae["_class_name"], vae["direction"], vae["posterior"]) == ("HarmonyVAE", "forward", "sample")


@pytest.mark.slow
def test_table_2_by_hand_and_figure_2_come_from_the_inverse_model(hub, imported):
    walk(hub, imported, "6. ", "7. ", wanted=lambda text: not text.startswith("harmonygen gain"))
    out = imported / "outputs" / "paper"
    assert "gamma-1" in (out / "table2-squares" / "table.md").read_text()
    assert (out / "figure2" / "fg_ratio.png").is_file()
    run = json.loads((imported / "outputs" / "hday2night" / "plan.json").read_text())["settings"]
    stated = {**PUBLISHED, "decoded": "whole"}
    assert {name: run[name] for name in stated} == stated


@pytest.mark.long
def test_table_2_comes_from_the_study(hub, imported):
    assert len(walk(hub, imported, "6. ", wanted=lambda text: text.startswith("harmonygen gain"))) == 3
    for name in ("table2", "table2-hflickr"):
        result = json.loads((imported / "outputs" / "paper" / name / "gain.json").read_text())
        assert [row["name"] for row in result["arms"]] == ["composite", "base", "gamma-1"]


@pytest.mark.long
def test_table_5_comes_from_trained_models(hub, trained):
    assert recipes_of(walk(hub, trained, "Table 5")) == ["paper/table5"]
    check(trained, "paper/table5")


def test_every_command_of_the_page_is_run_or_is_on_its_list():
    known = {f"harmonygen {verb}" for verb in SMALL}
    shell = [line for language, line in steps("") if language == "shell"]
    assert len(shell) > 30
    for line in shell:
        first = words_of(line)[0]
        assert first in (*NOT_RUN, "mkdir", "cp") or " ".join(words_of(line)[:2]) in known, line
    listed = PAGE.partition("## What the test does not run")[2]
    assert all(re.search(rf"^\| `{name}", listed, flags=re.MULTILINE) for name in NOT_RUN)


@pytest.mark.long
def test_the_launch_of_the_page_runs_on_two_processes(hub, imported, tmp_path):
    line = next(line for _, line in steps("4. ") if line.startswith("accelerate"))
    words = small(launched(line))
    for name in ("data", "models/stable-diffusion-inpainting", "models/sd-vae-ft-mse"):
        shutil.copytree(imported / name, tmp_path / name)
    launch, found = line.partition("$(which harmonygen)")[0], Path(sys.executable).with_name("harmonygen")
    on_cpus = shlex.split(launch.replace("--multi_gpu", "--cpu").replace("--num_processes 8", "--num_processes 2"))
    command = [str(found.with_name("accelerate")), *on_cpus[1:], str(found), *words]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=300)
    assert (tmp_path / "outputs" / "train" / "sd15-forward" / "model" / "harmonygen.json").is_file()
