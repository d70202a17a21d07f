"""Bridges in latent space, on tiny random UNets of the real classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harmonygen.adapters.bridge import make_bridge
from harmonygen.errors import CheckpointError
from harmonygen.harmonization.harmonize import harmonize
from harmonygen.harmonization.settings import HarmonizeSettings
from harmonygen.models.device import Device
from tests.fakes.small_adapters import write_bridge

CPU = Device.pick("cpu")


@pytest.mark.parametrize(("channels", "text"), [(4, None), (5, None), (9, 16), (4, 16)])
def test_one_step_is_the_same_each_time_and_several_draw(tmp_path, make_photo, channels, text):
    folder = write_bridge(tmp_path, channels, text)
    one = make_bridge(folder, 1, 32, device=CPU)
    photo = make_photo(resolution=32, multiple=one.multiple)
    assert one(photo, 1).shape == photo.low_u8.shape
    assert np.array_equal(one(photo, 1), one(photo, 2))
    several = make_bridge(folder, 3, 32, device=CPU)
    assert np.array_equal(several(photo, 1), several(photo, 1))
    assert not np.array_equal(several(photo, 1), several(photo, 2))
    assert several(photo, 1, draws=2).shape == photo.low_u8.shape


def test_a_step_subtracts_what_the_unet_predicts(tmp_path, make_photo):
    """Source minus target: with a UNet that predicts nothing, the composite's own latent is decoded."""
    folder = write_bridge(tmp_path, 4)
    bridge = make_bridge(folder, 1, 32, device=CPU)
    photo = make_photo(resolution=32, multiple=bridge.multiple)
    seen = []

    class Constant(torch.nn.Module):
        config = bridge._unet.config

        def forward(self, latent, step, **_):
            seen.append((latent, float(step)))
            return type("Out", (), {"sample": torch.full_like(latent[:, :4], 0.25)})

    bridge._unet = Constant()
    made = bridge(photo, 0)
    latent, step = seen[0]
    decoded = bridge._vae.decode((latent - 0.25) / bridge._vae.config.scaling_factor).sample[0]
    assert step == 1000
    assert np.allclose(made, ((decoded.detach().permute(1, 2, 0).numpy() + 1) / 2).clip(0, 1), atol=1e-6)


def test_a_bridge_harmonizes_a_data_set(tmp_path, finished_run):
    how = {"model": str(write_bridge(tmp_path / "bridge", 5)), "resolution": 32}
    settings = HarmonizeSettings(
        data=str(finished_run), method="bridge", method_settings=how, out=tmp_path / "h", limit=2, device="cpu"
    )
    assert (harmonize(settings).made, harmonize(settings).made) == (2, 0)


def test_other_channels_and_missing_parts_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="channels in"):
        make_bridge(write_bridge(tmp_path / "seven", 7), device=CPU)
    (tmp_path / "none").mkdir()
    with pytest.raises(CheckpointError, match="unet/ and vae/"):
        make_bridge(tmp_path / "none", device=CPU)
