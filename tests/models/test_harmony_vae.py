"""The Harmony-VAE: what it starts as, where its skips go, its names and sizes, its folder, its use by a denoiser."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from harmonygen.errors import CheckpointError, UsageError
from harmonygen.models.assemble import with_harmony_vae
from harmonygen.models.denoiser import Denoiser
from harmonygen.models.draw import PictureSampler
from harmonygen.models.harmony_vae import DOWN_BLOCK, UP_BLOCK, HarmonyVAE, load_autoencoder, skip_channels

STARTER = {"block_out_channels": (16, 32, 64, 96), "norm_num_groups": 2, "mid_block_add_attention": False}
SD_LIKE = {"block_out_channels": (16, 32, 64, 64), "norm_num_groups": 8, "layers_per_block": 2}
SHALLOW = {"block_out_channels": (8, 24), "norm_num_groups": 4, "layers_per_block": 3}
NO_QUANT = {**SHALLOW, "use_quant_conv": False, "use_post_quant_conv": False}
SD15 = {
    "down_block_types": (DOWN_BLOCK,) * 4,
    "up_block_types": (UP_BLOCK,) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "sample_size": 512,
}
"""The published vae/config.json of Stable Diffusion 1.5, in diffusers' names."""
SD15_AUTOENCODER, SD15_ENCODER = 83_653_863, 34_163_592


def autoencoder(config: dict, seed: int = 0) -> AutoencoderKL:
    torch.manual_seed(seed)
    depth = len(config["block_out_channels"])
    types = {"down_block_types": (DOWN_BLOCK,) * depth, "up_block_types": (UP_BLOCK,) * depth}
    return AutoencoderKL(**{**types, **config}).eval().requires_grad_(False)


def trained(vae: AutoencoderKL, direction: str | None = None) -> HarmonyVAE:
    """A Harmony-VAE of ``vae`` with everything that trains moved away from where it started."""
    model = HarmonyVAE.from_autoencoder(vae, direction).eval()
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn_like(parameter)
    return model.requires_grad_(False)


def photos(height: int = 32, width: int = 48) -> torch.Tensor:
    """Two real photos (2, 3, H, W) in [-1, 1]."""
    resized = [Image.fromarray(source).resize((width, height)) for source in (data.astronaut(), data.coffee())]
    return torch.stack([torch.from_numpy(np.asarray(p).copy()).permute(2, 0, 1) / 127.5 - 1 for p in resized])


def half_mask(height: int = 32, width: int = 48) -> torch.Tensor:
    mask = torch.zeros(1, 1, height, width)
    mask[..., : width // 2] = 1
    return mask


@pytest.mark.parametrize("grad", [False, True], ids=["no grad", "grad"])
@pytest.mark.parametrize("config", [STARTER, SD_LIKE, SHALLOW, NO_QUANT], ids=["starter", "sd", "shallow", "no quant"])
def test_at_step_0_it_is_the_plain_autoencoder_bit_for_bit(config, grad):
    vae = autoencoder(config)
    model = HarmonyVAE.from_autoencoder(vae)
    vae.decoder.requires_grad_(grad)
    image, condition = photos(), photos().flip(0)
    with torch.set_grad_enabled(grad):
        posterior = vae.encode(image).latent_dist
        assert torch.equal(model.encode(image).latent_dist.parameters, posterior.parameters)
        decoded = model.decode(posterior.mode(), model.features(condition, half_mask().expand(2, -1, -1, -1)))
        assert torch.equal(decoded, vae.decode(posterior.mode()).sample)
        assert torch.equal(model(posterior.mode(), condition, half_mask()), decoded)


def test_the_autoencoder_it_starts_from_is_left_alone():
    vae = autoencoder(SHALLOW)
    model = HarmonyVAE.from_autoencoder(vae)
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    for parameter in model.parameters():
        parameter.data += 1
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())


@given(
    widths=st.lists(st.sampled_from((4, 8, 12)), min_size=1, max_size=4),
    layers=st.integers(1, 3),
    cells=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
@settings(max_examples=15, deadline=None)
def test_every_decoder_resnet_has_its_skip_at_its_resolution_and_width(widths, layers, cells):
    """For any depth: the shapes that the decoder's resnets give are those of the skips, in order."""
    depth, factor, made = len(widths), 2 ** (len(widths) - 1), []
    with torch.device("meta"):
        model = HarmonyVAE(
            down_block_types=(DOWN_BLOCK,) * depth,
            up_block_types=(UP_BLOCK,) * depth,
            block_out_channels=tuple(widths),
            layers_per_block=layers,
            norm_num_groups=4,
            mid_block_add_attention=False,
        )
        image = torch.empty(2, 3, cells[0] * factor, cells[1] * factor)
        for block in model.decoder.up_blocks:
            for resnet in block.resnets:
                resnet.register_forward_hook(lambda _, __, value: made.append(value.shape))
        features = model.features(image, image[:, :1])
        decoded = model.decode(torch.empty(2, 4, *cells), features)
    assert decoded.shape == image.shape
    assert [skip.shape for skip in features.skips] == made
    assert len(made) == depth * (layers + 1) == len(skip_channels(widths, layers))


def test_the_order_of_the_fusion():
    """Mid after the mid block; then one skip after every resnet, deepest first, before the block's upsampler."""
    model = trained(autoencoder(SD_LIKE))
    decoder, seen = model.decoder, []
    layers = {"conv_in": decoder.conv_in, "mid": decoder.mid_block}
    for index, block in enumerate(decoder.up_blocks):
        layers |= {f"{index} resnet {i}": resnet for i, resnet in enumerate(block.resnets)}
        layers |= {f"{index} upsampler": upsampler for upsampler in block.upsamplers or ()}
    layers["out"] = decoder.conv_norm_out
    for name, layer in layers.items():
        layer.register_forward_hook(lambda _, taken, value, name=name: seen.append((name, taken[0], value)))
    latents = torch.randn(1, 4, 4, 6)
    features = model.features(photos()[:1], half_mask())
    model.decode(latents, features)
    assert [name for name, _, _ in seen] == list(layers)
    assert list(layers)[1:6] == ["mid", "0 resnet 0", "0 resnet 1", "0 resnet 2", "0 upsampler"]
    assert torch.equal(seen[0][1], model.post_quant_conv(latents) + features.latent)
    skips = iter((features.mid, *features.skips))
    for (name, _, value), (_, taken, _) in pairwise(seen):
        expected = value + next(skips) if name == "mid" or "resnet" in name else value
        assert torch.equal(taken, expected), name
    assert next(skips, None) is None


def test_where_the_skips_are_taken():
    """After conv_in (image and mask), after each resnet, after each downsampler; the mid one after the mid block."""
    model, taken = trained(autoencoder(STARTER)), []
    encoder = model.conditional_encoder
    for block in encoder.down_blocks:
        for layer in (*block.resnets, *(block.downsamplers or ())):
            layer.register_forward_hook(lambda _, __, value: taken.append(value))
    encoder.mid_block.register_forward_hook(lambda _, __, value: taken.append(value))
    image, mask = photos()[:1], half_mask()
    features = model.features(image, mask)
    *found, middle = [encoder.conv_in(image) + encoder.add_conv_in(mask), *taken]
    for conv, value, skip in zip(encoder.down_block_skip_convs, found, reversed(features.skips), strict=True):
        assert torch.equal(conv(value), skip)
    assert torch.equal(encoder.mid_block_skip_conv(middle), features.mid)
    moments = encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(middle)))
    mean = model.quant_conv(moments)[:, :4]
    assert torch.equal(model.latent_skip_conv(model.post_quant_conv(mean)), features.latent)


def test_names_and_sizes_of_stable_diffusion_1_5():
    """REFERENCE section 4: 12 + 1 + 1 zero convolutions, and the names of the released weights."""
    with torch.device("meta"):
        model = HarmonyVAE(**SD15)
        plain = AutoencoderKL(**SD15)
    sizes = {name: value.numel() for name, value in model.named_parameters()}
    assert sum(value.numel() for value in plain.parameters()) == SD15_AUTOENCODER
    assert {name for name in sizes if not name.startswith(("conditional_encoder.", "latent_skip_conv."))} == {
        name for name, _ in plain.named_parameters()
    }
    assert {name.split(".")[1] for name in sizes if name.startswith("conditional_encoder.")} == {
        "conv_in", "add_conv_in", "down_blocks", "mid_block", "conv_norm_out", "conv_out",
        "down_block_skip_convs", "mid_block_skip_conv",
    }  # fmt: skip
    shapes = [tuple(conv.weight.shape) for conv in model.conditional_encoder.down_block_skip_convs]
    assert shapes == [
        (128, 128, 1, 1), (128, 128, 1, 1), (128, 128, 1, 1), (256, 128, 1, 1), (256, 256, 1, 1), (256, 256, 1, 1),
        (512, 256, 1, 1), (512, 512, 1, 1), (512, 512, 1, 1), (512, 512, 1, 1), (512, 512, 1, 1), (512, 512, 1, 1),
    ]  # fmt: skip
    assert model.conditional_encoder.mid_block_skip_conv.weight.shape == (512, 512, 1, 1)
    assert model.latent_skip_conv.weight.shape == (4, 4, 1, 1)
    assert model.conditional_encoder.add_conv_in.weight.shape == (128, 1, 3, 3)
    zero = sum(size for name, size in sizes.items() if "skip_conv" in name)
    mask = 9 * 128 + 128
    assert sum(sizes.values()) == SD15_AUTOENCODER + SD15_ENCODER + mask + zero == 119_740_419


def test_skips_of_stable_diffusion_1_5_at_512_pixels():
    with torch.device("meta"):
        model = HarmonyVAE(**SD15)
        features = model.features(torch.empty(1, 3, 512, 512), torch.empty(1, 1, 512, 512))
        decoded = model.decode(torch.empty(10, 4, 64, 64), features)
    sides = [512, 512, 512, 256, 256, 256, 128, 128, 128, 64, 64, 64][::-1]
    assert [skip.shape[-1] for skip in features.skips] == sides
    assert [skip.shape[1] for skip in features.skips] == [512] * 6 + [256] * 3 + [128] * 3
    assert decoded.shape == (10, 3, 512, 512)


def test_what_trains_is_selectable():
    model = HarmonyVAE.from_autoencoder(autoencoder(SHALLOW))

    def training() -> set[str]:
        return {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}

    assert training() == {"conditional_encoder", "latent_skip_conv", "decoder"}
    model.freeze(train_decoder=False)
    assert training() == {"conditional_encoder", "latent_skip_conv"}


def test_all_that_trains_gets_a_gradient_and_checkpointing_changes_none():
    model = trained(autoencoder(SD_LIKE)).freeze()
    latents = torch.randn(2, 4, 4, 6)

    def gradients() -> dict[str, torch.Tensor]:
        model.zero_grad()
        model(latents, photos(), half_mask().expand(2, -1, -1, -1)).square().mean().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}

    kept = gradients()
    assert all(float(gradient.abs().sum()) > 0 for gradient in kept.values())
    model.enable_gradient_checkpointing()
    again = gradients()
    assert all(torch.allclose(kept[name], again[name], atol=1e-7) for name in kept)


def test_one_photos_features_serve_k_latents():
    model = trained(autoencoder(STARTER))
    latents = torch.randn(3, 4, 4, 6)
    one = model.decode(latents, model.features(photos()[:1], half_mask()))
    thrice = model.decode(
        latents, model.features(photos()[:1].expand(3, -1, -1, -1), half_mask().expand(3, -1, -1, -1))
    )
    assert torch.allclose(one, thrice, atol=1e-5)
    assert not torch.allclose(one[0], one[1])


def test_the_mask_and_the_photo_both_count_once_trained():
    model = trained(autoencoder(STARTER))
    latents, (first, second) = torch.randn(1, 4, 4, 6), photos().split(1)
    base = model(latents, first, half_mask())
    assert not torch.allclose(base, model(latents, first, 1 - half_mask()), atol=1e-3)
    assert not torch.allclose(base, model(latents, second, half_mask()), atol=1e-3)


@pytest.mark.parametrize(("height", "width", "mask_width"), [(32, 47, 47), (32, 48, 24)])
def test_an_image_that_does_not_fit_is_refused(height, width, mask_width):
    model = HarmonyVAE.from_autoencoder(autoencoder(STARTER))
    with pytest.raises(ValueError, match=f"condition image {height}x{width} and mask {height}x{mask_width}.* 8"):
        model.features(torch.zeros(1, 3, height, width), torch.zeros(1, 1, height, mask_width))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"down_block_types": ("AttnDownEncoderBlock2D", DOWN_BLOCK)}, "blocks of type AttnDownEncoderBlock2D"),
        ({"up_block_types": (UP_BLOCK, "AttnUpDecoderBlock2D")}, "blocks of type AttnUpDecoderBlock2D"),
        ({"up_block_types": (UP_BLOCK,)}, "2 down blocks, 1 up blocks and 2 widths"),
    ],
)
def test_blocks_that_skips_cannot_be_taken_from_are_refused(change, message):
    config = {"down_block_types": (DOWN_BLOCK,) * 2, "up_block_types": (UP_BLOCK,) * 2, **SHALLOW, **change}
    with pytest.raises(CheckpointError, match=message):
        HarmonyVAE(**config)


def test_a_saved_folder_loads_as_what_it_is(tmp_path):
    vae = autoencoder(STARTER)
    model = trained(vae, "forward")
    model.save_pretrained(tmp_path / "harmony")
    vae.save_pretrained(tmp_path / "plain")
    again = load_autoencoder(tmp_path / "harmony")
    assert isinstance(again, HarmonyVAE)
    assert again.config.direction == "forward"
    assert {path.name for path in (tmp_path / "harmony").iterdir()} == {
        "config.json",
        "diffusion_pytorch_model.safetensors",
    }
    state = again.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert type(load_autoencoder(tmp_path / "plain")) is AutoencoderKL


def rename_class(folder: Path, name: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "_class_name": name}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: rename_class(folder, "VQModel"), "is a VQModel: an AutoencoderKL or a HarmonyVAE is needed"),
        (lambda folder: rename_class(folder, "AutoencoderKL"), "are not those of a AutoencoderKL"),
        (lambda folder: (folder / "config.json").unlink(), "cannot read"),
        (
            lambda folder: (folder / "diffusion_pytorch_model.safetensors").unlink(),
            r"no .*safetensors \(found: no weights",
        ),
        (
            lambda folder: (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"xxxxxxxxxxx"),
            "cannot be loaded",
        ),
    ],
)
def test_a_folder_that_is_not_what_it_says_is_refused(tmp_path, damage, message):
    HarmonyVAE.from_autoencoder(autoencoder(SHALLOW)).save_pretrained(tmp_path / "vae")
    damage(tmp_path / "vae")
    with pytest.raises(CheckpointError, match=message):
        load_autoencoder(tmp_path / "vae")


def test_a_plain_folder_that_says_it_is_a_harmony_vae_is_refused(tmp_path):
    autoencoder(SHALLOW).save_pretrained(tmp_path / "vae")
    rename_class(tmp_path / "vae", "HarmonyVAE")
    with pytest.raises(CheckpointError, match="are not those of a HarmonyVAE"):
        load_autoencoder(tmp_path / "vae")


@pytest.fixture(params=["latent", "residual"])
def with_skips(request: pytest.FixtureRequest, tiny_inverse: Path, tmp_path: Path) -> Path:
    """The tiny inverse checkpoint with a moved Harmony-VAE of its own autoencoder, of either target."""
    model = Denoiser.from_pretrained(tiny_inverse)
    model.spec = model.spec.model_copy(update={"target": request.param, "residual_scale": 0.5})
    model.save_pretrained(tmp_path / "plain", torch.float32)
    trained(model.vae.float(), "inverse").save_pretrained(tmp_path / "vae")
    return with_harmony_vae(tmp_path / "plain", tmp_path / "vae", tmp_path / "inverse")


def test_a_denoiser_with_a_harmony_vae_makes_a_round_trip(with_skips, tmp_path):
    model = Denoiser.from_pretrained(with_skips)
    assert isinstance(model.vae, HarmonyVAE)
    model.save_pretrained(tmp_path / "again", torch.float32)
    again = Denoiser.from_pretrained(tmp_path / "again")
    image, mask = np.asarray(Image.fromarray(data.coffee()).resize((32, 32))), half_mask(32, 32)[0, 0].numpy() > 0
    drawn = [list(PictureSampler(one)(image, mask, [3, 4])) for one in (model, again)]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0][0], drawn[0][1])


def test_features_are_computed_once_for_k_candidates_and_change_none(with_skips, monkeypatch):
    model, calls = Denoiser.from_pretrained(with_skips), Counter()
    compute = model.vae.features
    monkeypatch.setattr(model.vae, "features", lambda *given: calls.update(["features"]) or compute(*given))
    image, mask = np.asarray(Image.fromarray(data.coffee()).resize((32, 32))), half_mask(32, 32)[0, 0].numpy() > 0
    seeds = list(range(10))
    together = list(PictureSampler(model, batch=4)(image, mask, seeds))
    assert calls["features"] == 1
    alone = [next(iter(PictureSampler(model, batch=4)(image, mask, [seed]))) for seed in seeds]
    assert calls["features"] == 11
    assert np.abs(np.stack(together) - np.stack(alone)).max() < 1e-5
    plain = [np.asarray(picture) for picture in PictureSampler(without_condition(model))(image, mask, seeds)]
    assert np.abs(np.stack(together) - np.stack(plain)).max() > 1e-3


def without_condition(model: Denoiser) -> Denoiser:
    """The same denoiser with the Harmony-VAE's encoder and decoder alone, as a plain autoencoder."""
    plain = AutoencoderKL.from_config({k: v for k, v in model.vae.config.items() if k != "direction"})
    plain.load_state_dict({name: value for name, value in model.vae.state_dict().items() if name in plain.state_dict()})
    return Denoiser(model.unet, plain.eval(), model.scheduler, model.null_embedding, model.spec)


def test_decoding_without_the_photos_features_is_refused(with_skips, tiny_inverse):
    with pytest.raises(ValueError, match="with its photo's features"):
        Denoiser.from_pretrained(with_skips).decode(torch.zeros(1, 4, 4, 4))
    assert Denoiser.from_pretrained(tiny_inverse).features(photos(), half_mask()) is None


def test_a_harmony_vae_of_the_other_direction_is_refused(tiny_inverse, tmp_path):
    trained(load_autoencoder(tiny_inverse / "vae"), "forward").save_pretrained(tmp_path / "vae")
    with pytest.raises(CheckpointError, match="trained for direction 'forward', 'inverse' is needed"):
        with_harmony_vae(tiny_inverse, tmp_path / "vae", tmp_path / "out")
    shutil.copytree(tiny_inverse, tmp_path / "forced")
    shutil.rmtree(tmp_path / "forced" / "vae")
    shutil.copytree(tmp_path / "vae", tmp_path / "forced" / "vae")
    with pytest.raises(CheckpointError, match="trained for direction 'forward'"):
        Denoiser.from_pretrained(tmp_path / "forced")
    assert not (tmp_path / "out").exists()


def test_a_harmony_vae_put_into_a_checkpoint_leaves_the_rest_and_the_source(tiny_inverse, tmp_path):
    """The denoiser's folder is in half precision, the Harmony-VAE's in single: the frozen parts are still equal."""
    before = {path: path.read_bytes() for path in tiny_inverse.rglob("*") if path.is_file()}
    trained(load_autoencoder(tiny_inverse / "vae"), "inverse").save_pretrained(tmp_path / "vae")
    out = with_harmony_vae(tiny_inverse, tmp_path / "vae", tmp_path / "out")
    assert before == {path: path.read_bytes() for path in tiny_inverse.rglob("*") if path.is_file()}
    kept = {path.relative_to(tiny_inverse): raw for path, raw in before.items() if path.parent.name != "vae"}
    assert all((out / path).read_bytes() == raw for path, raw in kept.items())
    assert load_autoencoder(out / "vae").config.direction == "inverse"
    with pytest.raises(UsageError, match="exists already"):
        with_harmony_vae(tiny_inverse, tmp_path / "vae", out)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("encoder.conv_in.bias", "'encoder.conv_in.bias' of .* is not that of"),
        ("quant_conv.weight", "'quant_conv.weight' of .* is not that of"),
        ("post_quant_conv.bias", "'post_quant_conv.bias' of .* is not that of"),
    ],
)
def test_a_harmony_vae_of_another_encoder_is_refused(tiny_inverse, tmp_path, part, message):
    model = trained(load_autoencoder(tiny_inverse / "vae"))
    model.get_parameter(part).data += 0.01
    model.save_pretrained(tmp_path / "vae")
    with pytest.raises(CheckpointError, match=message):
        with_harmony_vae(tiny_inverse, tmp_path / "vae", tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


def test_another_scaling_factor_or_a_plain_autoencoder_is_refused(tiny_inverse, tmp_path):
    vae = load_autoencoder(tiny_inverse / "vae")
    with pytest.raises(CheckpointError, match="is a plain autoencoder"):
        with_harmony_vae(tiny_inverse, tiny_inverse / "vae", tmp_path / "out")
    vae.register_to_config(scaling_factor=0.5)
    trained(vae).save_pretrained(tmp_path / "vae")
    with pytest.raises(CheckpointError, match=r"scaling_factor is 0\.5 in .* and 0\.18215 in"):
        with_harmony_vae(tiny_inverse, tmp_path / "vae", tmp_path / "out")
