"""What a denoiser starts from: Stable Diffusion folders of 9 and 4 channels, checkpoints, small configs."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from harmonygen.errors import CheckpointError, UsageError
from harmonygen.models.checkpoints import SPEC_NAME, STARTER
from harmonygen.models.denoiser import Denoiser, small_unet
from harmonygen.models.harmony_vae import load_autoencoder
from harmonygen.models.initialise import (
    empty_prompt,
    load_unet,
    read_embedding,
    start_denoiser,
    stated_choices,
    widen,
)
from harmonygen.training.denoiser import DenoiserTask, settled
from harmonygen.training.settings import ForwardTraining, InverseTraining

SD15 = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
"""What Stable Diffusion 1.5's unet/config.json sets besides channels; the rest are diffusers' defaults."""
TOKENS = 77


@pytest.fixture
def inpainting(tiny_sd, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(tiny_sd, tmp_path / "inpainting"))


def change_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def batch(count: int = 2, side: int = 64) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    real, composite = (torch.rand(count, 3, side, side, generator=generator) * 2 - 1 for _ in range(2))
    mask = torch.zeros(count, 1, side, side)
    mask[..., 16:48, 16:48] = 1
    return {"real": real, "composite": composite, "mask": mask}


# The UNet


def test_an_inpainting_unet_is_taken_as_it_is(tiny_sd):
    start = start_denoiser(str(tiny_sd), {}, "epsilon")
    saved = load_file(tiny_sd / "unet" / "diffusion_pytorch_model.safetensors")
    state = start.unet.state_dict()
    assert saved.keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in saved.items())


def test_a_plain_unet_is_widened_and_at_first_gives_the_same_bit_for_bit(tiny_sd_plain):
    plain = UNet2DConditionModel.from_pretrained(tiny_sd_plain / "unet").eval()
    wide = start_denoiser(str(tiny_sd_plain), {}, "epsilon").unet.eval()
    assert wide.config.in_channels == 9
    latents, rest = torch.randn(2, 4, 16, 16), torch.randn(2, 5, 16, 16)
    steps, prompt = torch.tensor([10, 900]), torch.randn(2, TOKENS, 8)
    with torch.no_grad():
        before = plain(latents, steps, prompt).sample
        after = wide(torch.cat([latents, rest], dim=1), steps, prompt).sample
        assert torch.equal(before, after)
        wide.conv_in.weight[:, 4:] += 0.1  # the new channels do reach the output
        assert not torch.equal(wide(torch.cat([latents, rest], dim=1), steps, prompt).sample, before)


@pytest.mark.parametrize("side", [8, 16, 64])
def test_a_widened_convolution_adds_exactly_nothing(side):
    """At 64 x 64 the CPU's library changes its algorithm with the channels: there the plain one is asked for."""
    unet = small_unet({"in_channels": 4, "block_out_channels": (32,), "down_block_types": ["DownBlock2D"]} | ONE_BLOCK)
    old = unet.conv_in
    widen(unet)
    image = torch.randn(1, 9, side, side)
    with torch.no_grad(), torch.backends.mkldnn.flags(enabled=side < 64):
        assert torch.equal(old(image[:, :4]), unet.conv_in(image))
    with torch.no_grad():
        assert torch.allclose(old(image[:, :4]), unet.conv_in(image), atol=1e-5)


ONE_BLOCK = {"up_block_types": ["UpBlock2D"], "cross_attention_dim": 8, "attention_head_dim": 2}


def test_a_widened_unet_is_saved_and_loaded_with_nine_channels(tiny_sd_plain, tmp_path):
    start = start_denoiser(str(tiny_sd_plain), {}, "epsilon")
    start.unet.save_pretrained(tmp_path / "unet")
    again = load_unet(tmp_path / "unet")
    assert again.config.in_channels == 9
    assert torch.equal(again.conv_in.weight, start.unet.conv_in.weight)


def test_stable_diffusion_at_full_size_has_its_published_parameter_counts():
    with torch.device("meta"):
        plain = UNet2DConditionModel(in_channels=4, **SD15)
        inpainting = small_unet(SD15)
    count = sum(parameter.numel() for parameter in plain.parameters())
    assert count == 859_520_964
    widen(plain)
    shapes = {name: value.shape for name, value in plain.state_dict().items()}
    assert shapes == {name: value.shape for name, value in inpainting.state_dict().items()}
    assert sum(parameter.numel() for parameter in plain.parameters()) == count + 5 * 9 * 320 == 859_535_364


def test_other_channels_are_refused():
    with torch.device("meta"):
        unet = small_unet({**SD15, "in_channels": 8})
    with pytest.raises(CheckpointError, match="takes 8 channels and gives 4: take an inpainting UNet"):
        widen(unet)


def test_a_folder_of_half_precision_files_is_read_in_full_precision(inpainting, in_half_precision):
    whole = load_file(inpainting / "unet" / "diffusion_pytorch_model.safetensors")
    in_half_precision(inpainting)
    start, vae = start_denoiser(str(inpainting), {}, "epsilon"), load_autoencoder(inpainting / "vae")
    for module in (start.unet, vae):
        assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
    assert torch.equal(start.unet.conv_in.weight, whole["conv_in.weight"].half().float())
    assert start.null_embedding.dtype == torch.float32


def test_an_autoencoder_without_safetensors_is_refused_with_what_is_there(inpainting):
    weights = inpainting / "vae" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(
        CheckpointError, match=r"\(found: diffusion_pytorch_model.bin\): .* pickled weights are not read"
    ):
        load_autoencoder(inpainting / "vae")


def test_a_text_encoder_with_nan_is_refused(inpainting):
    weights = inpainting / "text_encoder" / "model.safetensors"
    state = load_file(weights)
    name = next(name for name in state if name.endswith("final_layer_norm.weight"))
    save_file({**state, name: state[name] * float("nan")}, weights, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"text_encoder' hold NaN or infinite values in .*final_layer_norm"):
        empty_prompt(inpainting)


def drop_a_weight(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    del state["conv_norm_out.weight"]
    save_file(state, weights, {"format": "pt"})


def only_pickled(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({}, folder / "unet" / "diffusion_pytorch_model.bin")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_a_weight, r"do not fit its config.json \(1 names differ, first: conv_norm_out.weight\)"),
        (only_pickled, "no diffusion_pytorch_model.safetensors .found: diffusion_pytorch_model.bin.*pickled"),
        (lambda folder: shutil.rmtree(folder / "unet"), "cannot read .*config.json"),
        (lambda folder: shutil.rmtree(folder / "scheduler"), "cannot read .*scheduler_config.json"),
        (lambda folder: shutil.rmtree(folder / "text_encoder"), "has no text_encoder/.*null_embedding=FILE"),
        (lambda folder: shutil.rmtree(folder / "tokenizer"), "has no tokenizer/.*null_embedding=FILE"),
        (lambda folder: (folder / "text_encoder" / "model.safetensors").write_bytes(b"x"), "text encoder .* cannot be"),
    ],
)
def test_an_incomplete_folder_is_refused_with_what_is_missing(inpainting, damage, message):
    damage(inpainting)
    with pytest.raises(CheckpointError, match=message):
        start_denoiser(str(inpainting), {}, "epsilon")


# The empty prompt


def test_the_empty_prompt_is_what_the_folders_text_encoder_says(tiny_sd):
    from transformers import CLIPTextModel

    encoder = CLIPTextModel.from_pretrained(tiny_sd / "text_encoder").eval()
    ids = torch.tensor([[0] + [1] * (TOKENS - 1)])  # start, end, padded with ends
    with torch.no_grad():
        expected = encoder(ids)[0]
    found = empty_prompt(tiny_sd)
    assert found.shape == (1, TOKENS, 8)
    assert torch.equal(found, expected)


def test_names_of_older_text_encoders_are_understood(inpainting):
    expected = empty_prompt(inpainting)
    weights = inpainting / "text_encoder" / "model.safetensors"
    state = {f"text_model.{name}": value for name, value in load_file(weights).items()}
    state["text_model.embeddings.position_ids"] = torch.arange(TOKENS)[None]
    save_file(state, weights, {"format": "pt"})
    assert torch.equal(empty_prompt(inpainting), expected)


def test_a_text_encoder_that_lacks_a_weight_is_refused_and_not_filled_with_noise(inpainting):
    weights = inpainting / "text_encoder" / "model.safetensors"
    state = load_file(weights)
    state.pop(next(name for name in state if "final_layer_norm.weight" in name))
    save_file(state, weights, {"format": "pt"})
    with pytest.raises(CheckpointError, match="1 names differ"):
        empty_prompt(inpainting)


def test_a_stored_embedding_is_taken_before_the_text_encoder(inpainting, tmp_path):
    stored = torch.randn(TOKENS, 8)
    save_file({"null_embedding": stored}, inpainting / "null_embedding.safetensors")
    assert torch.equal(empty_prompt(inpainting), stored[None])
    save_file({"e": stored[None] + 1}, tmp_path / "mine.safetensors")
    start = start_denoiser(str(inpainting), {}, "epsilon", str(tmp_path / "mine.safetensors"))
    assert torch.equal(start.null_embedding, stored[None] + 1)


@pytest.mark.parametrize(
    "tensors", [{"e": torch.zeros(2, 7, 8)}, {"e": torch.zeros(8)}, {"a": torch.zeros(1, 7, 8)} | {"b": torch.zeros(1)}]
)
def test_a_file_that_is_no_embedding_is_refused(tensors, tmp_path):
    save_file(tensors, tmp_path / "e.safetensors")
    with pytest.raises(CheckpointError, match=r"one tensor \(1, tokens, width\) is needed"):
        read_embedding(tmp_path / "e.safetensors")


def test_without_transformers_the_message_says_what_to_install(tiny_sd, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r"pip install 'harmonygen\[sd\]'"):
        empty_prompt(tiny_sd)


# What the folder states


def test_the_prediction_type_is_the_schedulers(make_stable_diffusion, tmp_path):
    folder = make_stable_diffusion(tmp_path / "v", prediction_type="v_prediction")
    assert stated_choices(str(folder)) == {"prediction_type": "v_prediction"}
    change_json(folder / "scheduler" / "scheduler_config.json", prediction_type="sample")
    with pytest.raises(CheckpointError, match="predicts 'sample'"):
        stated_choices(str(folder))


def test_the_noise_schedule_is_the_folders_with_the_papers_spacing(inpainting):
    change_json(inpainting / "scheduler" / "scheduler_config.json", beta_end=0.02, timestep_spacing="leading")
    scheduler = start_denoiser(str(inpainting), {}, "epsilon").scheduler
    assert scheduler.config.beta_end == 0.02
    assert scheduler.config.timestep_spacing == "linspace"


def test_a_checkpoint_states_its_target_and_noise_too():
    spec = json.loads((STARTER / "inverse" / SPEC_NAME).read_text())
    scheduler = json.loads((STARTER / "inverse" / "scheduler" / "scheduler_config.json").read_text())
    unstated = {"steps": 5, "draws": 1, "detail_map": "affine", "detail_cell": 1, "posterior": "mode"}
    names = ("target", "noise", "noise_share", "mask_pooling", "detail_radius", "sampler")
    expected = {name: spec[name] for name in names} | {name: spec.get(name, unstated[name]) for name in unstated}
    assert stated_choices("starter") == {**expected, "prediction_type": scheduler["prediction_type"]}
    assert stated_choices("") == {}


# Training from it


def test_training_from_a_folder_takes_its_parts_and_exports_a_checkpoint(tiny_sd, tmp_path):
    task = DenoiserTask(InverseTraining(init=str(tiny_sd), resolution=64), [])
    assert task.settings.prediction_type == "epsilon"
    assert task.model.null_embedding.shape == (1, TOKENS, 8)
    loss, _ = task.loss(task.module, batch(), torch.Generator().manual_seed(0))
    loss.backward()
    assert all(parameter.grad is not None for parameter in task.module.parameters())
    task.export(tmp_path / "model")
    again = Denoiser.from_pretrained(tmp_path / "model", "inverse")
    assert torch.allclose(again.null_embedding, task.model.null_embedding, atol=1e-2)
    assert again.spec.target == "latent"


def test_training_from_a_v_prediction_folder_goes_on_so_unless_the_recipe_says_otherwise(
    make_stable_diffusion, tmp_path
):
    folder = str(make_stable_diffusion(tmp_path / "v", in_channels=4, prediction_type="v_prediction"))
    goes_on = DenoiserTask(ForwardTraining(init=folder, resolution=64), [])
    told = DenoiserTask(ForwardTraining(init=folder, resolution=64, prediction_type="epsilon"), [])
    assert goes_on.model.scheduler.config.prediction_type == goes_on.settings.prediction_type == "v_prediction"
    assert told.model.scheduler.config.prediction_type == told.settings.prediction_type == "epsilon"
    first, second = (task.loss(task.module, batch(), torch.Generator().manual_seed(0))[0] for task in (goes_on, told))
    assert not torch.equal(first, second)


def test_training_from_the_starter_keeps_its_choices_and_its_embedding():
    task = DenoiserTask(InverseTraining(init="starter", resolution=64, mask_pooling="nearest"), [batch(4)])
    spec, stated = task.model.spec, stated_choices("starter")
    assert (spec.target, spec.noise, spec.noise_share) == (stated["target"], stated["noise"], stated["noise_share"])
    assert spec.target != InverseTraining().target
    assert task.model.spec.mask_pooling == "nearest"
    assert {parameter.dtype for parameter in task.module.parameters()} == {torch.float32}


def test_a_recipe_that_names_the_noise_does_not_get_the_starters_share_of_it():
    settings = settled(InverseTraining(init="starter", noise="white"))
    assert (settings.noise, settings.noise_share) == ("white", 0)
    assert settings.target == stated_choices("starter")["target"]


def test_an_embedding_of_another_width_is_refused(tiny_sd, tmp_path):
    save_file({"e": torch.zeros(1, TOKENS, 768)}, tmp_path / "e.safetensors")
    with pytest.raises(CheckpointError, match="is 768 wide, the UNet takes 8"):
        DenoiserTask(InverseTraining(init=str(tiny_sd), null_embedding=str(tmp_path / "e.safetensors")), [])
