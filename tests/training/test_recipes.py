"""Every shipped recipe: valid for what it says, and its model takes a step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from skimage import data

from harmonygen import recipes
from harmonygen.errors import UsageError
from harmonygen.settings import resolve
from harmonygen.training.composites import OnTheFlyComposites, TrainingPhoto
from harmonygen.training.loop import collate
from harmonygen.training.run import build
from harmonygen.training.settings import TASKS
from harmonygen_cli.recipes import validate_recipe

NAMES = recipes.names()
TRAINING = [name for name in recipes.names("starter") if set(validate_recipe(name)) & set(TASKS)]


def task_of(name: str) -> str:
    """The task that a recipe's first line launches."""
    first = recipes.find(name).read_text().splitlines()[0].split()
    return first[first.index("train") + 1]


@pytest.fixture(scope="module")
def small_autoencoder(tmp_path_factory):
    """The starter's autoencoder with new weights."""
    folder = tmp_path_factory.mktemp("vae")
    AutoencoderKL(**recipes.load("starter/autoencoder")["model"]).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_valid_and_opens_with_the_command_that_launches_it(name):
    kinds = validate_recipe(name)
    first = recipes.find(name).read_text().splitlines()[0]
    assert first.startswith("# harmonygen ")
    assert f"--recipe {name}" in first
    verb = first.split()[2]
    assert (task_of(name) if verb == "train" else verb) in kinds


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name == "starter/forward")) for name in TRAINING]
)
def test_a_recipes_model_takes_one_step_at_its_true_architecture(name, tiny_inverse, small_autoencoder):
    small = ["resolution=64", "train_batch_size=1"]
    kind = TASKS[task_of(name)]
    if "also_at" in kind.model_fields:
        small.append("also_at=[32]")
    if "vae" in kind.model_fields and kind.task != "light-decoder":  # which reads the starter's
        small.append(f"vae={tiny_inverse if kind.task != 'harmony-vae' else small_autoencoder}")
    if "init" in recipes.load(name):  # what another recipe leaves: new weights stand in for it
        small.append("init=")
    if "prior_samples" in kind.model_fields:
        small.append("prior_samples=20")
    settings = resolve(kind, name, overrides=small)
    photo = np.asarray(Image.fromarray(data.astronaut()).resize((80, 80)))
    mask = np.zeros((80, 80), dtype=bool)
    mask[20:60, 25:60] = True
    samples = OnTheFlyComposites([TrainingPhoto("astronaut", photo, mask)], settings, "train")
    task = build(settings, samples)
    parameters = [parameter for parameter in task.module.parameters() if parameter.requires_grad]
    before = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate)
    loss, _ = task.loss(task.module, collate([samples[0]]), torch.Generator().manual_seed(0))
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    assert any(not torch.equal(old, new) for old, new in zip(before, parameters, strict=True))
    assert sum(parameter.numel() for parameter in parameters) > (50_000 if kind.task == "light-decoder" else 200_000)


def test_there_are_recipes_to_check():
    assert {"starter/autoencoder", "starter/inverse", "starter/classifier"} <= set(TRAINING)


def test_a_recipe_with_unknown_keys_is_refused_with_the_nearest(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('depth = "resnet10"\nlerning_rate = 1e-3\ntrain_batch_sise = 4\n')
    with pytest.raises(UsageError, match="learning_rate") as refused:
        validate_recipe(str(path))
    assert "train_batch_size" in str(refused.value)
