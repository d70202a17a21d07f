"""The recipes of the papers and the smoke recipes: their settings, their architectures, a step of each, whole runs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from harmonygen import recipes
from harmonygen.models.classifier import ClassifierSpec, HarmonyResNet
from harmonygen.models.denoiser import Denoiser
from harmonygen.models.harmony_vae import HarmonyVAE
from harmonygen.models.importing import SD15_UNET, SD_VAE
from harmonygen.models.refiner import RefinementUNet, RefinerSpec
from harmonygen.settings import resolve
from harmonygen.training.composites import OnTheFlyComposites
from harmonygen.training.loop import collate
from harmonygen.training.photos import TrainingPhoto
from harmonygen.training.run import build, train
from harmonygen.training.settings import TASKS, TrainSettings
from harmonygen_cli.recipes import validate_recipe

NAMES = recipes.names("train")
SMOKE = [name for name in NAMES if "/smoke-" in name]
PAPERS = [name for name in NAMES if name not in SMOKE]
COMPOSITES = 65_742
"""iHarmony4's training composites (REFERENCE section 1)."""


def task_of(name: str) -> str:
    """The task that a recipe's first line launches."""
    first = recipes.find(name).read_text().splitlines()[0].split()
    return first[first.index("train") + 1]


def settings_of(name: str, *overrides: str) -> TrainSettings:
    return resolve(TASKS[task_of(name)], name, overrides=overrides)


def shrunk(name: str, tiny_sd: Path) -> TrainSettings:
    """The recipe on small pictures with Stable Diffusion's blocks at a fortieth of its widths, without downloads."""
    changes = ["resolution=64", "train_batch_size=2", "gradient_checkpointing=false", "mixed_precision=no"]
    stated = recipes.load(name)
    changes += [f"{key}={tiny_sd}" for key in ("init", "vae") if key in stated]
    if task_of(name) in ("distill", "light-decoder"):
        changes += [f"{key}={tiny_sd.parent / 'inverse'}" for key in ("teacher", "vae") if key in stated]
    changes += ["imagenet=false"] if "imagenet" in stated else []
    if "pipeline" in stated:
        changes += [f"pipeline={tiny_sd.parent / 'forward'}", "refiner_resolution=32", "sampling_steps=1"]
        changes += ["widths=[8,16,32,32]", "norm_num_groups=4"]
    return settings_of(name, *changes)


@pytest.fixture(scope="module")
def forward(tiny_sd) -> Path:
    """A forward checkpoint beside the tiny Stable Diffusion folder, for the refiner's recipe.

    An inverse one with a Harmony-VAE lies beside it, for those that distil.
    """
    from harmonygen.models.denoiser import DenoiserSpec
    from harmonygen.models.harmony_vae import load_autoencoder
    from harmonygen.models.initialise import start_denoiser

    start, plain = start_denoiser(str(tiny_sd), {}, "epsilon"), load_autoencoder(tiny_sd / "vae")
    for direction, vae in (("inverse", HarmonyVAE.from_autoencoder(plain, "inverse")), ("forward", plain)):
        spec = DenoiserSpec(direction=direction, resolution=64)
        model = Denoiser(start.unet, vae, start.scheduler, start.null_embedding, spec)
        model.save_pretrained(tiny_sd.parent / direction, torch.float32)
    return tiny_sd.parent / "forward"


@pytest.fixture(scope="module")
def photos(small_photos, ellipse) -> list[TrainingPhoto]:
    shrunken = small_photos(2, 80, 96)
    return [
        TrainingPhoto(str(index), np.ascontiguousarray(image), ellipse(80, 96)) for index, image in enumerate(shrunken)
    ]


def test_the_recipes_are_there():
    sd15 = {f"train/sd15-{name}" for name in ("inverse", "forward", "harmony-vae-forward", "harmony-vae-inverse")}
    distilled = {"train/sd15-inverse-distill", "train/sd15-light-decoder"}
    assert {*sd15, *distilled, "train/sd15-refiner", "train/resnet50-probe"} == set(PAPERS)
    tasks = {"autoencoder", "harmony-vae", "inverse", "forward", "refiner", "direct", "parametric", "classifier"}
    tasks |= {"parametric-inverse", "distill", "light-decoder"}
    assert {name.removeprefix("train/smoke-") for name in SMOKE} == tasks == set(TASKS)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_for_the_task_it_launches(name):
    assert task_of(name) in validate_recipe(name)


@pytest.mark.parametrize("name", PAPERS)
def test_one_optimiser_step_of_a_papers_recipe(name, tiny_sd, forward, photos):
    settings = shrunk(name, tiny_sd)
    samples = OnTheFlyComposites(photos, settings, "train")
    task = build(settings, samples)
    parameters = [parameter for parameter in task.module.parameters() if parameter.requires_grad]
    before = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.adam_weight_decay)
    loss, _ = task.loss(task.module, collate([samples[0], samples[1]]), torch.Generator().manual_seed(0))
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    moved = [not torch.equal(old, new) for old, new in zip(before, parameters, strict=True)]
    assert any(moved)
    if task_of(name) in ("inverse", "forward", "distill"):
        assert all(moved)
    if task_of(name) == "classifier":
        assert sum(parameter.numel() for parameter in parameters) == 2 * 2048 + 2


# Full size


def test_the_shrunken_unet_has_stable_diffusions_names_and_the_whole_one_its_size(tiny_sd):
    with torch.device("meta"):
        whole = UNet2DConditionModel.from_config(SD15_UNET)
        small = UNet2DConditionModel.from_config(json.loads((tiny_sd / "unet" / "config.json").read_text()))
    assert sum(parameter.numel() for parameter in whole.parameters()) == 859_535_364
    assert whole.state_dict().keys() == small.state_dict().keys()


def test_the_shrunken_harmony_vae_has_the_names_of_the_whole_one(tiny_sd):
    config = json.loads((tiny_sd / "vae" / "config.json").read_text())
    with torch.device("meta"):
        whole, small = HarmonyVAE.from_config(SD_VAE), HarmonyVAE.from_config(config)
    assert whole.state_dict().keys() == small.state_dict().keys()
    encoder = sum(parameter.numel() for parameter in whole.encoder.parameters())
    plain = 83_653_863  # Stable Diffusion's autoencoder
    skips = [(128, 128)] * 3 + [(128, 256)] + [(256, 256)] * 2 + [(256, 512)] + [(512, 512)] * 5
    middle, latent, mask = (512, 512), (4, 4), 9 * 128 + 128
    new = sum(taken * given + given for taken, given in [*skips, middle, latent])
    assert len(skips) == 12
    assert sum(parameter.numel() for parameter in whole.parameters()) == plain + encoder + new + mask


def test_the_whole_refiner_and_probe_have_their_sizes():
    settings = settings_of("train/sd15-refiner")
    fields = {key: getattr(settings, key) for key in ("widths", "layers_per_block", "norm_num_groups")}
    with torch.device("meta"):
        refiner = RefinementUNet(RefinerSpec(kind="refiner", **fields))
        probe = HarmonyResNet(ClassifierSpec(depth=settings_of("train/resnet50-probe").depth))
    assert round(sum(parameter.numel() for parameter in refiner.parameters()) / 1e6) == 91
    torchvision = 25_557_032  # ResNet50 with its 1,000-class head
    head = 2048 * 1000 + 1000
    assert sum(parameter.numel() for parameter in probe.parameters()) == torchvision - head + 2048 * 2 + 2


# The papers' settings (REFERENCE sections 2, 4 and 5)


@pytest.mark.parametrize("direction", ["inverse", "forward"])
def test_the_denoisers_settings_are_the_papers(direction):
    settings = settings_of(f"train/sd15-{direction}")
    batch = settings.train_batch_size * settings.gradient_accumulation_steps
    assert batch == 64
    assert settings.max_train_steps == 100 * math.ceil(COMPOSITES / batch) == 102_800
    assert (settings.target, settings.noise, settings.noise_share, settings.snr_gamma) == ("latent", "white", 0, 0)
    assert (settings.loss_region, settings.max_foreground_weight) == ("foreground", 5)
    assert (settings.resolution, settings.crop, settings.crop_scale, settings.random_flip) == (512, "square", 1, False)
    assert (settings.adam_beta1, settings.adam_beta2, settings.adam_weight_decay) == (0.9, 0.999, 1e-2)
    assert (settings.learning_rate, settings.max_grad_norm, settings.ema_decay) == (1e-4, 1, 0.9999)
    assert "prediction_type" not in settings.model_fields_set  # the folder's scheduler says it


@pytest.mark.parametrize("name", PAPERS)
def test_photos_are_resized_bilinearly_also_where_they_grow(name):
    assert settings_of(name).enlarge == "bilinear"


@pytest.mark.parametrize("direction", ["inverse", "forward"])
def test_the_harmony_vaes_settings_are_the_papers(direction):
    settings = settings_of(f"train/sd15-harmony-vae-{direction}")
    assert settings.direction == direction
    assert settings.max_train_steps == 10 * math.ceil(COMPOSITES / settings.train_batch_size)
    assert (settings.learning_rate, settings.lr_scheduler, settings.lr_warmup_ratio) == (
        1e-4,
        "constant_with_warmup",
        0.02,
    )
    assert (settings.loss, settings.adam_weight_decay, settings.ema_decay) == ("l1", 0, 0.999)
    assert (settings.resolution, settings.crop, settings.crop_scale) == (256, "center", 1)


def test_the_probes_settings_are_the_papers():
    settings = settings_of("train/resnet50-probe")
    assert (settings.depth, settings.in_channels, settings.imagenet, settings.linear_probe) == (
        "resnet50",
        3,
        True,
        True,
    )
    assert (settings.resolution, settings.crop) == (256, "square")
    assert settings.max_train_steps == 10 * math.ceil(COMPOSITES / settings.train_batch_size)


def test_the_probe_reads_pictures_as_it_was_trained(tmp_path):
    task = build(settings_of("train/resnet50-probe", "imagenet=false", "depth=resnet18", "resolution=64"), [])
    task.export(tmp_path)
    assert HarmonyResNet.from_pretrained(tmp_path).spec.enlarge == "bilinear"


# Smoke


@pytest.mark.parametrize("name", SMOKE)
def test_a_smoke_recipe_runs_from_the_sample_to_a_finished_model(name, tmp_path, forward):
    changes = [f"output_dir={tmp_path}", "max_train_steps=2", "checkpointing_steps=2", "validation_steps=2"]
    changes += [f"pipeline={forward}"] if task_of(name) == "refiner" else []
    changes += [f"vae={forward}"] if task_of(name) == "forward" else []
    said: list[str] = []
    result = train(settings_of(name, *changes), said.append)
    assert result.steps == 2
    assert all(map(math.isfinite, [*result.losses.values(), *result.validation.values()]))
    kinds = {path.suffix for path in result.folder.rglob("*") if path.is_file()}
    assert kinds - {".md"} == {".json", ".safetensors"}  # a Harmony-VAE has a card
    assert (tmp_path / "sheet.png").is_file()
