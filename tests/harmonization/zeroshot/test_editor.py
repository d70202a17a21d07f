"""The editor on randomly initialised Stable Diffusion 1.x and 2.x folders: what must hold whatever was learnt."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
import torch

from harmonygen.errors import CheckpointError, InputError
from harmonygen.harmonization.settings import ZeroShotSettings
from harmonygen.harmonization.zeroshot.edit import EditWalk
from harmonygen.harmonization.zeroshot.editor import load_editor, module_digest
from harmonygen.harmonization.zeroshot.refine import Refinement, attention_loss
from harmonygen.harmonization.zeroshot.schedule import invert
from harmonygen.harmonization.zeroshot.text_to_image import TextToImage, to_images
from harmonygen.harmonization.zeroshot.words import Description

WORDS = Description("girl in a coat", ("rainy", "cold"), ("warm", "day", "sunny"))
FEW = ZeroShotSettings(inversion_steps=3)


VERSIONS = ["random_sd1", "random_sd2"] if os.environ.get("HARMONYGEN_ALL_CASES") else ["random_sd2"]
"""Kinds of Stable Diffusion; the first runs from end to end in test_zero_shot_command.py."""


@pytest.fixture(scope="module", params=VERSIONS)
def folder(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def model(folder):
    return TextToImage.from_pretrained(folder)


def scene(height=96, width=64):
    rng = np.random.default_rng(0)
    mask = np.zeros((height, width), dtype=bool)
    mask[20:70, 10:40] = True
    return rng.random((height, width, 3), dtype=np.float32), mask


def refinement(model, settings=FEW):
    picture, mask = scene()
    with torch.no_grad():
        latents = model.encode(to_images(picture, model.device))
    schedule = model.schedule(settings.inversion_steps)
    path = invert(model.predict, schedule, latents, model.unconditional())
    prompts = model.prompt(WORDS.subject, WORDS.foreground), model.prompt(WORDS.subject, WORDS.background)
    inside = torch.from_numpy(mask[None, None].astype(np.float32))
    return Refinement(model, schedule, path, inside, prompts, settings)


def test_an_edit_leaves_the_background_alone_and_changes_the_foreground(folder):
    picture, mask = scene()
    edited = load_editor(folder, "cpu", torch.float32, FEW)(picture, picture, mask, WORDS)
    assert edited.picture01.dtype == np.float32
    assert np.array_equal(edited.picture01[~mask], picture[~mask])
    assert np.abs(edited.picture01[mask] - picture[mask]).mean() > 0.01
    assert 0 <= edited.picture01.min() <= edited.picture01.max() <= 1
    assert all(np.isfinite(value) for value in edited.figures.values())
    expected = {"reconstruction_psnr", "latent_loss", "edge_loss"}
    expected |= {f"attention_{side}_{when}" for side in ("inside", "outside") for when in ("before", "after")}
    assert set(edited.figures) == expected


def test_what_is_edited_is_the_picture_but_background_and_edges_are_the_composites(folder):
    picture, mask = scene()
    other = np.ascontiguousarray(picture[::-1])
    editor = load_editor(folder, "cpu", torch.float32, ZeroShotSettings(inversion_steps=2, edge_weight=0))
    first, second = editor(picture, other, mask, WORDS), editor(other, other, mask, WORDS)
    assert np.array_equal(first.picture01[~mask], other[~mask])
    assert np.abs(first.picture01[mask] - second.picture01[mask]).mean() > 0.01


@pytest.mark.long
def test_low_memory_gives_the_same_edit_for_less(folder):
    picture, mask = scene()
    editors = [
        load_editor(folder, "cpu", torch.float32, ZeroShotSettings(inversion_steps=2, low_memory=low))
        for low in (False, True)
    ]
    plain, low = (editor(picture, picture, mask, WORDS).picture01 for editor in editors)
    np.testing.assert_allclose(low, plain, atol=1e-4)
    needs = [editor.needs(96, 64) for editor in editors]
    assert needs[1]["activations"] < 0.5 * needs[0]["activations"]
    assert needs[1]["total"] == sum(needs[1][part] for part in ("weights", "activations", "latents"))


def test_half_precision_edits_too(folder):
    picture, mask = scene()
    editor = load_editor(folder, "cpu", torch.bfloat16, FEW)
    assert np.isfinite(editor(picture, picture, mask, WORDS).picture01).all()


def test_needs_grow_with_the_picture_and_count_the_weights(folder):
    editor = load_editor(folder, "cpu", torch.float32, FEW)
    small, large = editor.needs(64, 64), editor.needs(128, 128)
    parts = (editor.model.unet, editor.model.vae, editor.model.text_encoder)
    assert small["weights"] == large["weights"] >= sum(p.numel() * 4 for part in parts for p in part.parameters())
    assert 3 < large["activations"] / small["activations"] < 6  # attention maps grow faster than pixels
    assert large["latents"] == 4 * small["latents"] == 4 * 4 * 4 * 4 * (64 // 8) ** 2


def test_needs_are_what_the_way_back_keeps_when_it_is_run(model):
    """The estimate comes from shapes alone; here the same pass keeps real tensors."""
    from harmonygen.harmonization.zeroshot import memory

    states = model.unconditional().expand(2, -1, -1).clone().requires_grad_()
    latents = torch.zeros(2, 4, 8, 8)

    def null_text():
        return model.decode(model.predict(latents, 1, states)[:1])

    estimated = memory.needs(model, ZeroShotSettings(refine_inner=0), 64, 64)["activations"]
    assert 0.8 < estimated / (memory._kept(null_text) * memory._WORKSPACE) < 1.3


def test_only_the_words_tokens_are_refined(model):
    refining = refinement(model, ZeroShotSettings(inversion_steps=2, refine_learning_rate=0.05, refine_keep=0))
    seen = []
    true = refining._maps
    refining._maps = lambda parts, level: (seen.append([part.detach() for part in parts]), true(parts, level))[1]
    refining.run()
    for prompt, start, last in zip(refining.prompts, refining.start, seen[-1], strict=True):
        moved = (last - start).abs().sum(-1)[0] > 0
        assert moved.nonzero().flatten().tolist() == prompt.word_tokens


def test_refinement_lowers_its_loss(model):
    refining = refinement(model, ZeroShotSettings(inversion_steps=8, refine_learning_rate=0.02, refine_keep=0))
    losses = []
    true = refining.loss
    refining.loss = lambda embeddings, level: (losses.append(value := true(embeddings, level)), value)[1]
    refining.run()
    per_level = np.array([loss.item() for loss in losses]).reshape(8, 2)
    assert (per_level[:, 1] < per_level[:, 0]).mean() > 0.7


def test_the_pull_toward_the_start_holds_the_words(model):
    def distance(keep):
        refining = refinement(model, ZeroShotSettings(inversion_steps=6, refine_learning_rate=0.02, refine_keep=keep))
        before = [model.states(prompt) for prompt in refining.prompts]
        found = refining.run()
        return float((found.foreground - before[0]).abs().mean() + (found.background - before[1]).abs().mean())

    assert distance(1e6) < 0.7 * distance(0.0)


def test_attention_loss_is_nothing_for_a_map_that_is_the_mask():
    target = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert float(attention_loss(target[None] * 0.2, target)) == 0
    assert float(attention_loss(1 - target[None], target)) == 1


def test_null_text_keeps_the_source_nearer_to_its_trajectory_than_none(model):
    """With guidance, an unconditional embedding that nobody optimises lets the source branch drift."""
    settings = {"inversion_steps": 6, "edge_weight": 0, "guidance": 7.5}

    def drift(learning_rate):
        chosen = ZeroShotSettings(**settings, null_learning_rate=learning_rate)
        refining = refinement(model, chosen)
        picture, mask = scene()
        inside = torch.from_numpy(mask[None, None].astype(np.float32))
        original = to_images(picture, model.device)
        walk = EditWalk(model, refining.schedule, refining.trajectory, original, inside, None, chosen)
        texts = refining._result(refining.start, (None, None), (None, None))
        done = walk.run(texts, torch.eye(model.tokens), model.unconditional())
        return float((done.source - refining.trajectory[0]).square().mean())

    assert drift(0.01) < drift(1e-9)


def test_the_learned_edges_reach_the_unconditional_embedding_with_a_gradient(model):
    """The published code's learned-edge term had none."""
    settings = ZeroShotSettings(inversion_steps=3, edge_gamma=1.0)
    refining = refinement(model, settings)
    picture, mask = scene()
    inside = torch.from_numpy(mask[None, None].astype(np.float32))
    original = to_images(picture, model.device)

    def edge_gradient(net):
        walk = EditWalk(model, refining.schedule, refining.trajectory, original, inside, net, settings)
        null = model.unconditional().clone().requires_grad_()
        both = refining.trajectory[2].expand(2, -1, -1, -1)
        conditional = torch.zeros_like(both)
        _, edges = walk.losses(null, both, conditional, 2)
        (gradient,) = torch.autograd.grad(edges, null)
        return gradient

    def net(images01):
        return images01.mean(1, keepdim=True).square()

    def without_gradient(images01):
        return net(images01.detach())

    sobel_alone = edge_gradient(None)
    assert torch.equal(edge_gradient(without_gradient), sobel_alone)  # what the mistake looks like
    assert (edge_gradient(net) - sobel_alone).abs().max() > 0


def test_a_description_that_is_too_long_is_refused(folder):
    picture, mask = scene()
    editor = load_editor(folder, "cpu", torch.float32, FEW)
    with pytest.raises(InputError, match="tokens of 77: use fewer words"):
        editor(picture, picture, mask, Description("zebra " * 30 + "zebra", ("dark",), ("warm",)))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_folder_without_a_part_is_refused_by_its_name(random_sd1, tmp_path, part):
    copy = shutil.copytree(random_sd1, tmp_path / "sd")
    shutil.rmtree(copy / part)
    with pytest.raises(CheckpointError, match=f"has no {part}: zero-shot needs a Stable Diffusion"):
        TextToImage.from_pretrained(copy)


def test_an_inpainting_unet_and_parts_of_two_models_are_refused(random_sd1, model):
    from diffusers import UNet2DConditionModel

    config = dict(model.unet.config)
    parts = (model.vae, model.text_encoder, model.tokenizer, model.scheduler, "epsilon")
    with pytest.raises(CheckpointError, match="takes 9 channels and gives 4: zero-shot needs"):
        TextToImage(UNet2DConditionModel.from_config({**config, "in_channels": 9}), *parts)
    with pytest.raises(CheckpointError, match="text states of width 24, the text encoder gives"):
        TextToImage(UNet2DConditionModel.from_config({**config, "cross_attention_dim": 24}), *parts)
    assert json.loads((random_sd1 / "unet" / "config.json").read_text())["in_channels"] == 4


def test_other_weights_of_an_edge_detector_are_another_digest():
    first, second = torch.nn.Conv2d(3, 1, 1), torch.nn.Conv2d(3, 1, 1)
    assert module_digest(first) != module_digest(second)
    second.load_state_dict(first.state_dict())
    assert module_digest(first) == module_digest(second)
