"""The denoiser: its checkpoint folder, its UNet's input, its sampler."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0

from harmonygen.errors import CheckpointError
from harmonygen.models.checkpoints import SPEC_NAME, locate, weights_digest
from harmonygen.models.denoiser import (
    Denoiser,
    DenoiserSpec,
    ancestral_step,
    load_parts,
    new_scheduler,
    pool_mask,
    small_unet,
)
from harmonygen.models.device import Sampling
from harmonygen.pictures.detail import Transfer

SD15_INPAINTING = {
    "sample_size": 64,
    "in_channels": 9,
    "out_channels": 4,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
}
"""The published unet/config.json of Stable Diffusion 1.5 inpainting, in diffusers' names."""
SD15_PARAMETERS = 859_520_964 + 5 * 9 * 320
"""Stable Diffusion 1.5's 4-channel UNet has 859,520,964; 5 more input channels are 3 x 3 x 320 weights each."""


@pytest.fixture
def folder(tiny_inverse: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(tiny_inverse, tmp_path / "inverse"))


def change_spec(folder: Path, **changes: object) -> None:
    raw = json.loads((folder / SPEC_NAME).read_text())
    (folder / SPEC_NAME).write_text(json.dumps({**raw, **changes}))


def test_a_checkpoint_saved_and_loaded_is_the_same_model(tiny_inverse, tmp_path):
    model = Denoiser.from_pretrained(tiny_inverse)
    model.spec = DenoiserSpec(target="residual", residual_scale=0.37, noise="shared", noise_share=0.5, resolution=48)
    model.save_pretrained(tmp_path / "again", torch.float32)
    again = Denoiser.from_pretrained(tmp_path / "again")
    assert again.spec == model.spec
    for one, other in ((model.unet, again.unet), (model.vae, again.vae)):
        state = other.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in one.state_dict().items())
    assert torch.equal(model.null_embedding, again.null_embedding)
    assert again.scheduler.config.prediction_type == model.scheduler.config.prediction_type
    condition, mask = torch.randn(1, 4, 4, 4), torch.ones(1, 1, 4, 4)
    assert torch.equal(model.sample(condition, mask, [1, 2]), again.sample(condition, mask, [1, 2]))
    files = {path.suffix for path in (tmp_path / "again").rglob("*") if path.is_file()}
    assert files == {".json", ".safetensors"}


def test_the_digest_is_of_the_content(tiny_inverse, folder):
    assert weights_digest(folder) == weights_digest(tiny_inverse)
    change_spec(folder, resolution=40)
    assert weights_digest(folder) != weights_digest(tiny_inverse)


def test_the_unet_is_given_latent_then_mask_then_condition(tiny_inverse, monkeypatch):
    model = Denoiser.from_pretrained(tiny_inverse)
    inputs, forward = [], UNet2DConditionModel.forward

    def spy(self, sample, timestep, prompt, *arguments, **keywords):
        inputs.append((sample.clone(), prompt.clone()))
        return forward(self, sample, timestep, prompt, *arguments, **keywords)

    monkeypatch.setattr(UNet2DConditionModel, "forward", spy)
    condition = torch.randn(1, 4, 4, 6)
    mask = (torch.rand(1, 1, 4, 6) > 0.5).float()
    model.sample(condition, mask, [7, 8, 9], Sampling(5))
    assert len(inputs) == 5  # guidance 1: one forward a step
    for sample, prompt in inputs:
        assert sample.shape == (3, 9, 4, 6)
        assert torch.equal(sample[:, 4:5], mask.expand(3, -1, -1, -1))
        assert torch.equal(sample[:, 5:9], condition.expand(3, -1, -1, -1))
        assert torch.equal(prompt, model.null_embedding.expand(3, -1, -1))
    first = inputs[0][0][:, :4]
    assert float(first.std()) == pytest.approx(1, abs=0.2)  # scaled by 1 / sqrt(sigma^2 + 1)
    assert not torch.equal(first[0], first[1])


def test_five_steps_are_spaced_as_the_papers(tiny_inverse):
    """REFERENCE section 2; with "leading" spacing the first sigma is 5.1."""
    for scheduler in (new_scheduler("epsilon"), Denoiser.from_pretrained(tiny_inverse).scheduler):
        scheduler.set_timesteps(5)
        assert scheduler.timesteps.tolist() == pytest.approx([999, 749.25, 499.5, 249.75, 0])
        assert scheduler.sigmas.tolist() == pytest.approx([14.61, 4.09, 1.62, 0.70, 0.03, 0], abs=0.006)


def test_a_single_step_predicts_from_noise_alone(tiny_inverse, monkeypatch):
    model = Denoiser.from_pretrained(tiny_inverse)
    asked, plain = [], model.unet.forward

    def forward(sample, timestep, *args, **kwargs):
        asked.append(float(timestep))
        return plain(sample, timestep, *args, **kwargs)

    monkeypatch.setattr(model.unet, "forward", forward)
    condition, mask = torch.zeros(1, 4, 8, 8), torch.ones(1, 1, 8, 8)
    model.sample(condition, mask, [0], Sampling(1))
    assert asked == [999.0]
    model.spec = model.spec.model_copy(update={"steps": 3})
    model.sample(condition, mask, [0])
    assert asked[1:] == [999.0, 499.5, 0.0]


def test_a_checkpoint_with_leading_spacing_is_sampled_with_linspace(folder):
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    config |= {"timestep_spacing": "leading", "_class_name": "PNDMScheduler", "steps_offset": 1}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    scheduler = load_parts(folder)[2]
    scheduler.set_timesteps(5)
    assert isinstance(scheduler, EulerAncestralDiscreteScheduler)
    assert scheduler.sigmas[0] == pytest.approx(14.61, abs=0.01)


def test_stable_diffusion_inpainting_fits_the_same_code():
    with torch.device("meta"):
        unet = small_unet(SD15_INPAINTING)
    assert sum(parameter.numel() for parameter in unet.parameters()) == SD15_PARAMETERS == 859_535_364
    Denoiser(unet, None, None, torch.zeros(1, 77, 768), DenoiserSpec())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: change_spec(folder, kind="classifier"), "is of kind 'classifier', 'denoiser' is needed"),
        (lambda folder: change_spec(folder, direction="forward"), "is a forward model, an inverse one is needed"),
        (lambda folder: change_spec(folder, target="pixels"), "target"),
        (lambda folder: change_spec(folder, surprise=1), "surprise"),
        (lambda folder: (folder / SPEC_NAME).unlink(), "has no harmonygen.json"),
        (lambda folder: (folder / SPEC_NAME).write_text("{"), "cannot read"),
        (lambda folder: (folder / SPEC_NAME).write_text("[]"), "holds a list, a JSON object is needed"),
        (lambda folder: (folder / "null_embedding.safetensors").write_bytes(b"x"), "cannot read weights"),
        (lambda folder: (folder / "null_embedding.safetensors").unlink(), "cannot read weights"),
        (lambda folder: shutil.rmtree(folder / "vae"), "cannot read .*vae/config.json.*incomplete"),
        (lambda folder: (folder / "unet" / "config.json").unlink(), "config.json"),
        (lambda folder: shutil.rmtree(folder / "scheduler"), "cannot be loaded"),
        (
            lambda folder: (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(
                (folder / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()[:-100]
            ),
            "cannot be loaded",
        ),
    ],
)
def test_a_wrong_or_damaged_checkpoint_is_refused_with_what_was_found(folder, damage, message):
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        Denoiser.from_pretrained(folder, "inverse")


def test_weights_of_another_name_are_never_taken_from_a_pickle(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({}, folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        Denoiser.from_pretrained(folder)


def test_a_unet_of_four_channels_is_refused():
    with torch.device("meta"):
        unet = small_unet({**SD15_INPAINTING, "in_channels": 4})
    with pytest.raises(CheckpointError, match="takes 4 channels, 9 are needed"):
        Denoiser(unet, None, None, torch.zeros(1, 1, 8), DenoiserSpec())


def test_a_prompt_embedding_of_another_width_is_refused(folder):
    from safetensors.torch import save_file

    save_file({"null_embedding": torch.zeros(1, 1, 5)}, folder / "null_embedding.safetensors")
    with pytest.raises(CheckpointError, match="is 5 wide, the UNet takes 8"):
        Denoiser.from_pretrained(folder)


def test_a_checkpoint_that_is_not_there_is_named():
    with pytest.raises(CheckpointError, match="'no/where' is not a folder"):
        locate("no/where", "inverse")


def test_nearest_pooling_takes_the_corner_and_max_takes_any_pixel():
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8, :8] = 1
    mask[..., 12, 12] = 1  # not the corner of its cell
    assert pool_mask(mask, 8, "nearest").flatten().tolist() == [1, 0, 0, 0]
    assert pool_mask(mask, 8, "max").flatten().tolist() == [1, 0, 0, 1]


def test_a_small_foreground_is_kept_by_either_pooling_and_only_for_its_own_photo():
    masks = torch.zeros(2, 1, 16, 16)
    masks[0, 0, 13, 5] = 1
    masks[1, 0, :9, :9] = 1
    pooled = pool_mask(masks, 8, "nearest")
    assert pooled[0].flatten().tolist() == [0, 0, 1, 0]
    assert pooled[1].flatten().tolist() == [1, 1, 1, 1]
    assert pool_mask(torch.full((1, 1, 8, 8), 0.49), 8, "max").sum() == 0
    assert pool_mask(torch.full((1, 1, 8, 8), 0.5), 8, "nearest").sum() == 1


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_ancestral_step_with_white_noise_is_the_schedulers_own(prediction_type):
    scheduler = new_scheduler(prediction_type)
    scheduler.set_timesteps(5)
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1)) * scheduler.init_noise_sigma
    for index, timestep in enumerate(scheduler.timesteps):
        scheduler.scale_model_input(latents, timestep)
        predicted = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(10 + index))
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(index))
        ours = ancestral_step(scheduler, predicted, timestep, latents, noise)
        latents = scheduler.step(
            predicted, timestep, latents, generator=torch.Generator().manual_seed(index)
        ).prev_sample
        torch.testing.assert_close(ours, latents)


def test_a_compiled_model_samples_the_same(tiny_inverse, monkeypatch):
    model = Denoiser.from_pretrained(tiny_inverse)
    condition, mask = torch.zeros(1, 4, 8, 8), torch.ones(1, 1, 8, 8)
    usual = model.sample(condition, mask, [1, 2])
    how = []
    monkeypatch.setattr(model.unet, "compile", lambda **_: how.append("compiled"))  # a compiler takes a minute
    assert model.compile() is model
    processors = []
    forward = model.unet.forward

    def seen(*inputs, **more):
        processors.append({type(found) for found in model.unet.attn_processors.values()})
        return forward(*inputs, **more)

    monkeypatch.setattr(model.unet, "forward", seen)
    assert torch.allclose(model.sample(condition, mask, [1, 2]), usual, atol=1e-5)
    assert how == ["compiled"]
    assert all(kinds == {AttnProcessor2_0} for kinds in processors)  # one that changed would be compiled anew


def test_a_compiled_model_is_compiled_once_for_each_size_and_for_no_smaller_batch(tiny_inverse):
    model, usual = Denoiser.from_pretrained(tiny_inverse), Denoiser.from_pretrained(tiny_inverse)
    compiled = []

    def backend(graph, inputs):  # torch's own takes a minute
        compiled.append(inputs)
        return graph.forward

    model.compile(backend)
    draws = [((4, 4), [1, 2, 3]), ((4, 4), [4]), ((4, 6), [5, 6]), ((4, 4), [7, 8]), ((4, 6), [9])]
    counts = []
    for size, seeds in draws:
        condition, mask = torch.zeros(1, 4, *size), torch.ones(1, 1, *size)
        made, goal = (each.sample(condition, mask, seeds, Sampling(2)) for each in (model, usual))
        torch.testing.assert_close(made, goal, atol=1e-4, rtol=1e-4)
        counts.append(len(compiled))
    once = counts[0]
    assert counts == [once, once, 2 * once, 2 * once, 2 * once]


def test_a_checkpoint_that_states_no_map_carries_its_change_by_the_affine_field_alone():
    assert DenoiserSpec.model_validate({"detail_radius": 128}).transfer == Transfer.affine(128)
    assert DenoiserSpec(detail_radius=32, detail_map="cubic").transfer == Transfer(32)
    assert Transfer(32).cubic_ridge
    assert Transfer.affine(32).cubic_ridge is None
