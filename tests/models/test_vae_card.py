"""The cards of Harmony-VAE folders: their snippet runs, and what they say of plain diffusers is so."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

import harmonygen
from harmonygen.data import read_pairs
from harmonygen.models.checkpoints import weights_digest
from harmonygen.models.harmony_vae import HarmonyVAE, load_autoencoder
from harmonygen.models.vae_card import CARD, save_autoencoder
from harmonygen.pictures.images import read_image
from harmonygen.pictures.masks import read_mask
from harmonygen.training.harmony_vae import foreground_psnr

STARTER = Path(harmonygen.__file__).parent / "assets" / "starter"


@pytest.fixture
def tiny_vae() -> AutoencoderKL:
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    return AutoencoderKL(**blocks, block_out_channels=(8, 16), norm_num_groups=4).eval()


def run_snippet(folder: Path, monkeypatch, caplog) -> HarmonyVAE:
    """Run the two lines of the card of a folder, there; nothing may be warned of."""
    (snippet,) = re.findall(r"```python\n(from harmonygen\.models.*?)```", (folder / CARD).read_text(), re.DOTALL)
    assert len([line for line in snippet.splitlines() if line]) == 2
    monkeypatch.chdir(folder)
    names: dict = {}
    with caplog.at_level(logging.WARNING):
        exec(snippet, names)
    assert caplog.records == []
    return names["vae"]


def plain(folder: Path) -> tuple[AutoencoderKL, list[str]]:
    """Load a folder as plain diffusers does: the autoencoder, and the keys that it leaves unused."""
    vae, report = AutoencoderKL.from_pretrained(folder, output_loading_info=True)
    assert report["missing_keys"] == []
    return vae, report["unexpected_keys"]


def said(folder: Path) -> int:
    return int(re.search(r"warns? of (\d+) unused\s+keys", (folder / CARD).read_text())[1])


def decoded(pair) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A pair's photo, the photo with a darkened foreground, and its mask, at 256 px."""
    read = read_image(pair.real)
    mask = read_mask(pair.mask, read).astype(np.uint8) * 255
    photo = torch.from_numpy(np.asarray(Image.fromarray(read.image_u8).resize((256, 256))).copy())
    photo = photo.permute(2, 0, 1)[None].float() / 127.5 - 1
    inside = torch.from_numpy(np.asarray(Image.fromarray(mask).resize((256, 256), 0)) > 127)[None, None].float()
    return photo, (0.7 * photo - 0.1) * inside + photo * (1 - inside), inside


@torch.no_grad()
def test_what_the_starters_card_says_of_other_tools(monkeypatch, caplog):
    vae = run_snippet(STARTER, monkeypatch, caplog)
    other, unused = plain(STARTER / "inverse" / "vae")
    assert (len(unused), said(STARTER)) == (88, 88)
    assert {name.split(".")[0] for name in unused} == {"conditional_encoder", "latent_skip_conv"}
    gains = []
    for pair in read_pairs("sample")[::4]:
        photo, target, mask = decoded(pair)
        latents = vae.encode(target).latent_dist.mode()
        assert torch.equal(latents, other.encode(target).latent_dist.mode())
        ours, theirs = vae(latents, photo, mask), other.decode(latents).sample
        gains.append(float(foreground_psnr(ours, target, mask) - foreground_psnr(theirs, target, mask)))
    assert len(gains) == 4
    assert 6 < min(gains) < max(gains) < 13


@pytest.mark.parametrize("direction", ["inverse", "forward", None])
def test_a_harmony_vae_is_written_with_a_card_that_is_so(direction, tiny_vae, tmp_path, monkeypatch, caplog):
    vae = HarmonyVAE.from_autoencoder(tiny_vae, direction)
    save_autoencoder(vae, tmp_path / "vae")
    again = run_snippet(tmp_path / "vae", monkeypatch, caplog)
    assert again.config.direction == direction
    assert all(torch.equal(value, vae.state_dict()[name]) for name, value in again.state_dict().items())
    assert isinstance(load_autoencoder(tmp_path / "vae"), HarmonyVAE)
    _, unused = plain(tmp_path / "vae")
    assert len(unused) == said(tmp_path / "vae") > 0
    assert all(f"`{name.split('.')[0]}.*`" in (tmp_path / "vae" / CARD).read_text() for name in unused)
    digest = weights_digest(tmp_path / "vae")
    (tmp_path / "vae" / CARD).unlink()
    assert weights_digest(tmp_path / "vae") == digest


def test_plain_diffusers_refuses_a_light_decoder_and_its_card_says_so(tiny_vae, tmp_path, monkeypatch, caplog):
    save_autoencoder(HarmonyVAE.from_autoencoder(tiny_vae).lightened((16, 8), 1), tmp_path)
    assert run_snippet(tmp_path, monkeypatch, caplog).config.light_widths == [16, 8]
    assert "weights of other sizes than an `AutoencoderKL`" in (tmp_path / CARD).read_text()
    with pytest.raises((RuntimeError, ValueError), match=r"size mismatch|shape"):
        AutoencoderKL.from_pretrained(tmp_path)


def test_a_plain_autoencoder_has_no_card(tiny_vae, tmp_path):
    save_autoencoder(tiny_vae, tmp_path)
    assert not (tmp_path / CARD).exists()
