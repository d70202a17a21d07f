"""Released weights brought in: files of the exact names and shapes, filled with random numbers."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, UNet2DModel
from safetensors.torch import load_file, save_file
from torchvision import models

from harmonygen.errors import CheckpointError
from harmonygen.models.checkpoints import save_module
from harmonygen.models.classifier import HarmonyResNet
from harmonygen.models.denoiser import Denoiser
from harmonygen.models.foreign import Foreign, bare_names, check_names, read_foreign, read_tensors
from harmonygen.models.harmony_vae import HarmonyVAE, load_autoencoder
from harmonygen.models.importing import (
    SD15_UNET,
    SD_VAE,
    import_classifier,
    import_denoiser,
    import_harmony_vae,
    import_refiner,
    renamed_attention,
    resnet_depth,
)
from harmonygen.models.refiner import RefinementUNet, RefinerSpec
from harmonygen.models.refiner_config import spec_of

LABELS = ("real", "composite")
SMALL_VAE = {**SD_VAE, "block_out_channels": (8, 8, 16, 16), "norm_num_groups": 4}


def randomly(state: dict[str, torch.Tensor], seed: int = 0) -> dict[str, torch.Tensor]:
    """The same names and shapes, filled with random numbers."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(value.shape, generator=generator) * 0.05 if value.is_floating_point() else value
        for name, value in state.items()
    }


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture
def unet_folder(tiny_sd, tmp_path) -> Path:
    """A UNet folder as DiffHarmony's trainer leaves it: weights and config alone, other numbers than the base's."""
    folder = tmp_path / "weights-102800"
    folder.mkdir()
    state = load_file(tiny_sd / "unet" / "diffusion_pytorch_model.safetensors")
    save_file(randomly(state), folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text((tiny_sd / "unet" / "config.json").read_text())
    return folder


@pytest.fixture
def vae_folder(tmp_path) -> Path:
    """A ConditionVAE folder: REFERENCE section 4's names, config of an AutoencoderKL."""
    folder = tmp_path / "condition-vae"
    folder.mkdir()
    config = {name: value for name, value in SMALL_VAE.items() if name != "direction"}
    (folder / "config.json").write_text(json.dumps({"_class_name": "ConditionVAE", **config}))
    save_file(randomly(condition_vae(SMALL_VAE)), folder / "diffusion_pytorch_model.safetensors")
    return folder


def condition_vae(config: dict) -> dict[str, torch.Tensor]:
    """The released Harmony-VAE's state, put together from a plain autoencoder's and REFERENCE section 4's list."""
    plain = AutoencoderKL(**config).state_dict()
    widths, latent = config["block_out_channels"], config["latent_channels"]
    copy = {f"conditional_{name}": value for name, value in plain.items() if name.startswith("encoder.")}
    skips = [(widths[0], widths[0])]
    for block, width in enumerate(widths):
        skips += [(width, width)] * 2 + ([(width, widths[block + 1])] if block + 1 < len(widths) else [])
    assert len(skips) == 12
    convs = {f"conditional_encoder.down_block_skip_convs.{index}": pair for index, pair in enumerate(skips)}
    convs["conditional_encoder.mid_block_skip_conv"] = (widths[-1], widths[-1])
    convs["latent_skip_conv"] = (latent, latent)
    new = {f"{name}.weight": torch.zeros(given, taken, 1, 1) for name, (taken, given) in convs.items()}
    new |= {f"{name}.bias": torch.zeros(given) for name, (_, given) in convs.items()}
    new["conditional_encoder.add_conv_in.weight"] = torch.zeros(widths[0], 1, 3, 3)
    new["conditional_encoder.add_conv_in.bias"] = torch.zeros(widths[0])
    return {**plain, **copy, **new}


def resnet(depth: str = "resnet18", channels: int = 3, classes: int = 2) -> dict[str, torch.Tensor]:
    network = models.get_model(depth, weights=None, num_classes=classes)
    if channels != 3:
        network.conv1 = torch.nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    return dict(network.state_dict())


def save(state: dict[str, torch.Tensor], path: Path) -> Path:
    (save_file if path.suffix == ".safetensors" else torch.save)(state, path)
    return path


# Denoiser


def test_a_released_unet_becomes_a_checkpoint_that_loads(unet_folder, tiny_sd, tmp_path):
    weights = read_foreign(unet_folder, "denoiser", "unet")
    parameters = import_denoiser(weights, "inverse", tiny_sd, tiny_sd, "", tmp_path / "out")
    model = Denoiser.from_pretrained(tmp_path / "out", "inverse")
    assert same(model.unet.state_dict(), load_file(unet_folder / "diffusion_pytorch_model.safetensors"))
    assert same(model.vae.state_dict(), load_file(tiny_sd / "vae" / "diffusion_pytorch_model.safetensors"))
    assert model.null_embedding.shape == (1, 77, 8)
    assert model.scheduler.config.timestep_spacing == "linspace"
    assert parameters == sum(parameter.numel() for parameter in model.unet.parameters())
    assert model.spec.target == "latent"
    assert f"sha256 {weights.digest}" in model.spec.training_data
    assert "direction inverse as stated" in model.spec.training_data
    latents = model.sample(torch.randn(1, 4, 8, 8), torch.ones(1, 1, 8, 8), [1, 2])
    assert torch.isfinite(latents).all()
    with pytest.raises(CheckpointError, match=r"is an? inverse model, a forward one is needed"):
        Denoiser.from_pretrained(tmp_path / "out", "forward")


def test_names_and_shapes_at_full_size_are_stable_diffusion_inpaintings(monkeypatch, tiny_sd, tmp_path):
    """On meta: the whole network, no memory. Its names are those that diffusers gives the published config."""
    with torch.device("meta"):
        released = UNet2DConditionModel(sample_size=64, in_channels=9, cross_attention_dim=768).state_dict()
        ours = UNet2DConditionModel.from_config(SD15_UNET)
    check_names(released, ours.state_dict(), "Stable Diffusion inpainting")
    assert sum(value.numel() for value in released.values()) == 859_535_364


@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pth"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_single_files_and_data_parallel_names_are_read(unet_folder, tiny_sd, tmp_path, suffix, prefix):
    state = load_file(unet_folder / "diffusion_pytorch_model.safetensors")
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "config.json").write_text((unet_folder / "config.json").read_text())
    path = save({prefix + name: value for name, value in state.items()}, alone / f"unet{suffix}")
    assert same(read_foreign(path, "denoiser").state, state)
    assert same(read_foreign(alone, "denoiser", "unet").state, state)


def test_half_precision_stays_half_precision(unet_folder, tiny_sd, tmp_path):
    weights = unet_folder / "diffusion_pytorch_model.safetensors"
    save_file({name: value.half() for name, value in load_file(weights).items()}, weights)
    import_denoiser(read_foreign(unet_folder, "denoiser"), "forward", tiny_sd, tiny_sd, "", tmp_path / "out")
    written = load_file(tmp_path / "out" / "unet" / "diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in written.values()} == {torch.float16}


def test_a_denoiser_takes_the_harmony_vae_of_its_direction_only(unet_folder, vae_folder, tiny_sd, tmp_path):
    weights = read_foreign(unet_folder, "denoiser")
    import_harmony_vae(read_foreign(vae_folder, "harmony-vae", "vae"), "inverse", tmp_path / "vae")
    import_denoiser(weights, "inverse", tiny_sd, tmp_path / "vae", "", tmp_path / "out")
    model = Denoiser.from_pretrained(tmp_path / "out", "inverse")
    assert isinstance(model.vae, HarmonyVAE)
    image, mask = torch.rand(1, 3, 64, 64) * 2 - 1, torch.ones(1, 1, 64, 64)
    assert model.decode(model.encode(image), model.features(image, mask)).shape == image.shape
    with pytest.raises(CheckpointError, match="trained for direction 'inverse', 'forward' is needed"):
        import_denoiser(weights, "forward", tiny_sd, tmp_path / "vae", "", tmp_path / "other")


def test_a_plain_unet_is_refused_as_a_denoiser(tiny_sd_plain, tmp_path):
    weights = read_foreign(tiny_sd_plain, "denoiser", "unet")
    with pytest.raises(CheckpointError, match=r"takes 4 channels, 9 are needed .*init=FOLDER"):
        import_denoiser(weights, "forward", tiny_sd_plain, tiny_sd_plain, "", tmp_path / "out")


def test_missing_unexpected_and_misshapen_names_are_listed(unet_folder, tiny_sd, tmp_path):
    path = unet_folder / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    dropped = [name for name in state if name.startswith("up_blocks.3.attentions")]
    kept = {name: value for name, value in state.items() if name not in dropped}
    kept |= {"surprise.weight": torch.zeros(1), "conv_out.bias": torch.zeros(5)}
    save_file(kept, path)
    with pytest.raises(CheckpointError) as refused:
        import_denoiser(read_foreign(unet_folder, "denoiser"), "forward", tiny_sd, tiny_sd, "", tmp_path / "out")
    said = str(refused.value)
    assert f"{len(dropped)} missing: up_blocks.3.attentions" in said
    assert f"and {len(dropped) - 5} more" in said
    assert "1 unexpected: surprise.weight" in said
    assert "1 of another shape: conv_out.bias (5,) instead of (4,)" in said
    assert str(unet_folder / "config.json") in said


def test_other_widths_without_a_config_say_that_it_is_missing(unet_folder, tiny_sd, tmp_path):
    (unet_folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"at its published size \(no config.json beside the file\)"):
        import_denoiser(read_foreign(unet_folder, "denoiser"), "forward", tiny_sd, tiny_sd, "", tmp_path / "out")


# Harmony-VAE


def test_a_released_condition_vae_becomes_a_harmony_vae(vae_folder, tmp_path):
    weights = read_foreign(vae_folder, "harmony-vae", "vae")
    import_harmony_vae(weights, "forward", tmp_path / "out")
    model = load_autoencoder(tmp_path / "out")
    assert isinstance(model, HarmonyVAE)
    assert model.config.direction == "forward"
    assert same(model.state_dict(), weights.state)
    spec = json.loads((tmp_path / "out" / "harmonygen.json").read_text())
    assert (spec["kind"], spec["direction"]) == ("harmony-vae", "forward")


def test_the_full_size_condition_vae_has_the_names_of_ours():
    with torch.device("meta"):
        plain, ours = AutoencoderKL(**SD_VAE).state_dict(), HarmonyVAE.from_config(SD_VAE).state_dict()
        released = condition_vae(SD_VAE)
    check_names(released, ours, "Harmony-VAE")
    assert released.keys() == ours.keys()
    assert ours["conditional_encoder.down_block_skip_convs.11.weight"].shape == (512, 512, 1, 1)
    assert sum(value.numel() for value in plain.values()) == 83_653_863  # Stable Diffusion's autoencoder


def test_old_names_of_attention_layers_are_understood(vae_folder, tmp_path):
    weights = vae_folder / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    aged = {}
    for name, value in state.items():
        for new, former in old.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{former}.")
        aged[name] = value
    assert aged.keys() != state.keys()
    assert same(renamed_attention(aged), state)
    save_file(aged, weights)
    import_harmony_vae(read_foreign(vae_folder, "harmony-vae"), "forward", tmp_path / "out")
    assert same(load_autoencoder(tmp_path / "out").state_dict(), state)


# Refiner


def test_a_refinement_net_becomes_a_refiner(tmp_path):
    config = {"_class_name": "UNet2DModel", "block_out_channels": [8, 16], "norm_num_groups": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    spec = RefinerSpec(widths=(8, 16), norm_num_groups=4)
    state = randomly(RefinementUNet(spec).state_dict())
    path = save({f"module.{name}": value for name, value in state.items()}, tmp_path / "refine.pth")
    import_refiner(read_foreign(path, "refiner"), tmp_path / "out")
    model = RefinementUNet.from_pretrained(tmp_path / "out", "refiner")
    assert (model.spec.widths, model.spec.norm_num_groups) == (spec.widths, spec.norm_num_groups)
    assert same(model.state_dict(), state)


def test_a_refinement_net_without_a_config_has_the_papers_widths(tmp_path):
    small = save(RefinementUNet(RefinerSpec(widths=(32, 32))).state_dict(), tmp_path / "refine.pth")
    with pytest.raises(CheckpointError, match=r"conv_in.weight \(32, 7, 3, 3\) instead of \(128, 7, 3, 3\)"):
        import_refiner(read_foreign(small, "refiner"), tmp_path / "out")


STAGE2 = {
    **{"_class_name": "UNet2DCustom", "_diffusers_version": "0.26.3", "sample_size": 64, "in_channels": 7},
    **{"out_channels": 3, "down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2},
    **{"block_out_channels": [8, 16], "layers_per_block": 2, "mid_block_scale_factor": 1, "downsample_padding": 0},
    **{"downsample_type": "conv", "upsample_type": "conv", "act_fn": "silu", "attention_head_dim": None},
    **{"norm_num_groups": 4, "norm_eps": 1e-06, "resnet_time_scale_shift": "default", "add_attention": True},
    "input_residual": True,
}
"""A released stage 2's config.json, in small (REFERENCE section 11)."""


def test_a_refiners_config_is_read_entry_by_entry():
    spec = spec_of({**STAGE2, "mid_block_scale_factor": 2, "act_fn": "relu", "add_attention": False}, "c", "x")
    assert (spec.downsample_padding, spec.attention_head_dim, spec.head_dim, spec.norm_eps) == (0, 0, 16, 1e-6)
    assert (spec.act_fn, spec.mid_block_scale_factor, spec.add_attention, spec.resolution) == ("relu", 2, False, 64)
    assert spec_of({**STAGE2, "attention_head_dim": 4, "input_residual": False}, "c", "x").head_dim == 4
    assert not spec_of({**STAGE2, "input_residual": False}, "c", "x").input_residual
    assert spec_of({**STAGE2, "sample_size": None}, "c", "x").resolution == 256
    assert spec_of({**STAGE2, "sample_size": [96, 96]}, "c", "x").resolution == 96


def test_without_a_config_a_refiner_is_the_released_base_and_without_entries_our_own_stays():
    released, own = spec_of({}, "", "x"), RefinerSpec.model_validate({"kind": "refiner", "widths": (8, 16)})
    assert (released.widths, released.layers_per_block) == ((128, 256, 512, 512), 2)
    assert (released.downsample_padding, released.head_dim, released.norm_eps) == (0, 512, 1e-6)
    assert (own.downsample_padding, own.head_dim, own.norm_eps, own.input_residual) == (1, 8, 1e-5, True)


@pytest.mark.parametrize(
    "entry",
    [
        {"resnet_time_scale_shift": "scale_shift"},
        {"down_block_types": ["DownBlock2D", "AttnDownBlock2D"]},
        {"upsample_type": "resnet"},
        {"out_channels": 6},
        {"in_channels": 3},
        {"downsample_padding": 2},
        {"act_fn": "tanh"},
        {"norm_num_groups": None},
        {"sample_size": [64, 32]},
        {"class_embed_type": "timestep"},
        {"new_entry": 1},
    ],
)
def test_what_a_refiners_config_asks_for_and_we_do_not_have_is_refused_by_name(entry):
    with pytest.raises(CheckpointError, match=rf"states what is not modelled here: {next(iter(entry))}"):
        spec_of({**STAGE2, **entry}, "'config.json'", "x")


def test_sharded_weights_are_read_through_their_index(unet_folder):
    whole = read_foreign(unet_folder, "denoiser", "unet")
    names = sorted(whole.state)
    parts = {"a-00001.safetensors": names[::2], "b-00002.safetensors": names[1::2]}
    for file, own in parts.items():
        save_file({name: whole.state[name] for name in own}, unet_folder / file)
    (unet_folder / "diffusion_pytorch_model.safetensors").unlink()
    index = unet_folder / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, own in parts.items() for name in own}}))
    for source in (unet_folder, index):
        found = read_foreign(source, "denoiser", "unet")
        assert same(found.state, whole.state)
        assert found.config == whole.config
    (unet_folder / "b-00002.safetensors").rename(unet_folder / "elsewhere.safetensors")
    with pytest.raises(CheckpointError, match=r"names shards that are not beside it \(b-00002.safetensors\)"):
        read_foreign(unet_folder, "denoiser", "unet")
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names, "../secret.safetensors")}))
    with pytest.raises(CheckpointError, match="not beside it"):
        read_foreign(unet_folder, "denoiser", "unet")


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_shards_that_diffusers_wrote_are_read(tiny_sd, tmp_path, variant):
    """Two megabytes: their index states a total_size past what a network's sizes may be."""
    dtype = torch.float16 if variant else torch.float32
    unet = UNet2DConditionModel.from_pretrained(tiny_sd / "unet", torch_dtype=dtype)
    unet.save_pretrained(tmp_path, max_shard_size="500KB", variant=variant)
    (index,) = tmp_path.glob("*.index*.json")
    assert json.loads(index.read_text())["metadata"]["total_size"] > 2**20
    for source in (tmp_path, index):
        assert same(read_foreign(source, "denoiser").state, unet.state_dict())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    state = RefinementUNet(RefinerSpec(widths=(8, 16), norm_num_groups=4)).state_dict()
    state["conv_in.bias"][3] = value
    with pytest.raises(CheckpointError, match=r"hold NaN or infinite values in .*conv_in.bias"):
        read_foreign(save(state, tmp_path / "refine.safetensors"), "refiner")


def test_an_imported_harmony_vae_loads_silently_and_says_nothing_of_its_place(vae_folder, tmp_path, caplog):
    stated = json.loads((vae_folder / "config.json").read_text())
    text = json.dumps({**stated, "additional_in_channels": 1, "_name_or_path": "/home/somebody/vae"})
    (vae_folder / "config.json").write_text(text)
    import_harmony_vae(read_foreign(vae_folder, "harmony-vae", "vae"), "forward", tmp_path / "out")
    logger = logging.getLogger("diffusers")
    logger.addHandler(caplog.handler)
    vae = load_autoencoder(tmp_path / "out")
    save_module(vae, tmp_path / "again")
    logger.removeHandler(caplog.handler)
    assert not caplog.records
    assert vae.config.posterior == "sample"
    for folder in ("out", "again"):
        text = (tmp_path / folder / "config.json").read_text()
        assert "_name_or_path" not in text
        assert "additional_in_channels" not in text


@pytest.mark.parametrize("entry", [{"additional_in_channels": 2}, {"new_entry": True}])
def test_a_harmony_vae_with_what_is_not_modelled_is_refused_by_name(vae_folder, tmp_path, entry):
    stated = json.loads((vae_folder / "config.json").read_text())
    (vae_folder / "config.json").write_text(json.dumps({**stated, **entry}))
    with pytest.raises(CheckpointError, match=rf"not modelled here: {next(iter(entry))}"):
        import_harmony_vae(read_foreign(vae_folder, "harmony-vae", "vae"), "forward", tmp_path / "out")


def test_a_raw_harmony_vae_beside_a_denoiser_names_the_command_that_brings_it_in(vae_folder):
    with pytest.raises(CheckpointError, match="ConditionVAE: bring it in with 'harmonygen import-weights --kind harm"):
        load_autoencoder(vae_folder)


def test_the_full_size_refinement_net_has_the_names_of_a_unet_without_timestep():
    """REFERENCE section 3: diffusers' UNet2DModel of these widths, less its time embedding."""
    with torch.device("meta"):
        released = UNet2DModel(
            in_channels=7,
            out_channels=3,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            down_block_types=("DownBlock2D",) * 4,
            up_block_types=("UpBlock2D",) * 4,
        ).state_dict()
        ours = RefinementUNet(RefinerSpec()).state_dict()
    timeless = {name: value for name, value in released.items() if "time_emb" not in name}
    check_names(timeless, ours, "refinement net")


def test_a_direct_harmonizer_is_no_refiner(tmp_path):
    spec = RefinerSpec(kind="direct", widths=(8, 16), norm_num_groups=4)
    path = save(RefinementUNet(spec).state_dict(), tmp_path / "direct.pth")
    with pytest.raises(CheckpointError, match="takes 4 channels, a refiner takes 7"):
        import_refiner(read_foreign(path, "refiner"), tmp_path / "out")


# Classifier


@pytest.mark.parametrize(("depth", "channels"), [("resnet18", 3), ("resnet50", 4)])
def test_a_resnets_state_becomes_a_classifier(tmp_path, depth, channels):
    state = resnet(depth, channels)
    assert state["fc.weight"].shape == (2, 2048 if depth == "resnet50" else 512)
    path = save({f"module.{name}": value for name, value in state.items()}, tmp_path / "resnet.pth")
    import_classifier(read_foreign(path, "classifier"), LABELS, 64, 0.0, tmp_path / "out")
    model = HarmonyResNet.from_pretrained(tmp_path / "out")
    assert (model.spec.depth, model.spec.in_channels, model.spec.input_size) == (depth, channels, 64)
    network = models.get_model(depth, weights=None, num_classes=2)
    if channels == 4:
        network.conv1 = torch.nn.Conv2d(4, 64, 7, 2, 3, bias=False)
    network.load_state_dict(state)
    image, mask = torch.rand(2, 3, 64, 64), (torch.rand(2, 1, 64, 64) > 0.5).float()
    mean, std = torch.tensor(model.spec.mean), torch.tensor(model.spec.std)
    stacked = (image - mean[:, None, None]) / std[:, None, None]
    if channels == 4:
        stacked = torch.cat([stacked, mask], dim=1)  # the mask as it is: 0 and 1
    with torch.no_grad():
        expected = network.eval()(stacked).softmax(dim=1)[:, 1]
    assert torch.allclose(model.p_composite(image, mask), expected, atol=1e-5)


def test_the_labels_are_what_the_user_says(tmp_path):
    path = save(resnet(), tmp_path / "resnet.pth")
    for labels, name in ((LABELS, "last"), (LABELS[::-1], "first")):
        import_classifier(read_foreign(path, "classifier"), labels, 64, 0.0, tmp_path / name)
    last, first = (HarmonyResNet.from_pretrained(tmp_path / name) for name in ("last", "first"))
    image, mask = torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64)
    assert torch.allclose(last.p_composite(image, mask) + first.p_composite(image, mask), torch.ones(1))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"classes": 1000}, r"is \(1000, 512\), with an output for each of 1000 classes"),
        ({"channels": 6}, "takes 6 channels, 3 .image. or 4"),
    ],
)
def test_another_head_or_stem_is_refused(tmp_path, state, message):
    path = save(resnet(**state), tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match=message):
        import_classifier(read_foreign(path, "classifier"), LABELS, 64, 0.0, tmp_path / "out")


def test_a_trunk_without_its_head_is_refused(tmp_path):
    state = {name: value for name, value in resnet().items() if not name.startswith("fc.")}
    path = save(state, tmp_path / "trunk.safetensors")
    with pytest.raises(CheckpointError, match=r"do not fit a resnet18: 2 missing: fc.weight, fc.bias"):
        import_classifier(read_foreign(path, "classifier"), LABELS, 64, 0.0, tmp_path / "out")


def test_files_without_batch_counters_are_read(tmp_path):
    state = {name: value for name, value in resnet().items() if "num_batches_tracked" not in name}
    path = save(state, tmp_path / "old.pth")
    import_classifier(read_foreign(path, "classifier"), LABELS, 64, 0.0, tmp_path / "out")
    HarmonyResNet.from_pretrained(tmp_path / "out")


@pytest.mark.parametrize("depth", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_the_depth_is_told_by_the_blocks(depth):
    with torch.device("meta"):
        assert resnet_depth(resnet(depth)) == depth


def test_blocks_of_no_known_resnet_are_refused():
    state = {name: value for name, value in resnet().items() if not name.startswith("layer3.1.")}
    with pytest.raises(CheckpointError, match=r"a ResNet of \[2, 2, 1, 2\] basic blocks is not known"):
        resnet_depth(state)


# Wrong kinds


@pytest.mark.parametrize(
    ("state", "kind", "message"),
    [
        (resnet, "denoiser", r"holds a ResNet's weights \(conv1, layer1 ...\), a denoiser is asked for"),
        (lambda: AutoencoderKL(**SMALL_VAE).state_dict(), "harmony-vae", "holds a plain autoencoder's weights"),
        (lambda: randomly(condition_vae(SMALL_VAE)), "denoiser", "holds a Harmony-VAE's weights"),
        (lambda: {"a.b": torch.zeros(1), "c": torch.zeros(1)}, "refiner", r"an unknown network \(a.b, c\)"),
        (
            lambda: {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(1), "b": torch.zeros(1)},
            "denoiser",
            "original names",
        ),
    ],
)
def test_another_kind_is_refused_with_what_was_found(tmp_path, state, kind, message):
    path = save(state(), tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match=message):
        read_foreign(path, kind)


def test_a_denoiser_is_no_refiner(unet_folder):
    with pytest.raises(CheckpointError, match=r"holds a diffusion UNet's weights .*, a refiner is asked for"):
        read_foreign(unet_folder, "refiner")


def test_a_checkpoint_of_harmonygen_is_not_imported_again(tiny_classifier):
    with pytest.raises(CheckpointError, match="is a checkpoint of harmonygen already"):
        read_foreign(tiny_classifier, "classifier")


# Files


class Malicious:
    """Unpickled, it would make a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("where", ["alone", "in the state", "legacy"])
def test_pickled_code_is_refused_and_not_run(tmp_path, where):
    trace, path = tmp_path / "trace", tmp_path / "weights.pth"
    payload = Malicious(trace) if where != "in the state" else {**resnet(), "extra": Malicious(trace)}
    torch.save(payload, path, _use_new_zipfile_serialization=where != "legacy")
    with pytest.raises(CheckpointError, match=r"more than tensors.*was not run"):
        read_tensors(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)  # the trap works: torch's other reader falls into it
    assert trace.is_dir()


def test_the_one_set_of_weights_in_a_training_checkpoint_is_found(tmp_path):
    state = resnet()
    path = save({"state_dict": state, "epoch": 3}, tmp_path / "last.ckpt")
    assert same(read_tensors(path), state)
    save({"model": state, "ema": state}, path)
    with pytest.raises(CheckpointError, match=r"several sets of weights \(model, ema\)"):
        read_tensors(path)


def test_tensors_that_share_memory_in_a_pickle_are_parted(vae_folder, tmp_path):
    """safetensors refuses shared memory: the frozen encoder and its copy may share it in a released file."""
    (vae_folder / "diffusion_pytorch_model.safetensors").unlink()
    save(condition_vae(SMALL_VAE), vae_folder / "diffusion_pytorch_model.bin")
    import_harmony_vae(read_foreign(vae_folder, "harmony-vae"), "forward", tmp_path / "out")
    whole = torch.arange(6.0)
    save({"a": whole[:2], "b": whole}, tmp_path / "views.pth")
    parts = read_tensors(tmp_path / "views.pth")
    assert parts["a"].tolist() == [0, 1]
    assert parts["a"].untyped_storage().nbytes() == 8


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {}])
def test_a_file_without_named_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="a dict of named tensors is needed"):
        read_tensors(tmp_path / "x.pt")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 cut"])
def test_a_damaged_file_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"cannot read|damaged"):
        read_tensors(path)


def test_which_file_of_a_folder_is_read(tmp_path):
    with pytest.raises(CheckpointError, match="neither a file nor a folder"):
        read_foreign(tmp_path / "nowhere", "classifier")
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_foreign(tmp_path, "classifier")
    save({"a": torch.zeros(1)}, tmp_path / "one.pth")
    save(resnet(), tmp_path / "two.pth")
    with pytest.raises(CheckpointError, match=r"holds one.pth, two.pth: give the file"):
        read_foreign(tmp_path, "classifier")
    save(resnet(), tmp_path / "model.safetensors")
    assert read_foreign(tmp_path, "classifier").path.name == "model.safetensors"
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(CheckpointError, match="is not a weights file"):
        read_foreign(tmp_path / "notes.txt", "classifier")


def test_shared_prefixes_are_taken_off_and_others_are_left():
    state = {"a.x.weight": torch.zeros(1), "b.x.weight": torch.zeros(1)}
    assert bare_names(state).keys() == state.keys()
    assert bare_names({f"module._orig_mod.{name}": value for name, value in resnet().items()}).keys() == resnet().keys()


def test_the_type_is_what_most_values_are_of():
    state = {"a": torch.zeros(9).bfloat16(), "b": torch.zeros(4), "c": torch.zeros(100, dtype=torch.int64)}
    assert Foreign(state, Path("x"), "", {}, "").dtype == torch.bfloat16
