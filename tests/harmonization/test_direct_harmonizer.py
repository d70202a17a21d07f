"""The direct harmonizer with a small random network of the real class."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harmonygen.errors import CheckpointError, UsageError
from harmonygen.harmonization.direct import DirectHarmonizer
from harmonygen.harmonization.load import Chosen, load_harmonizer
from harmonygen.models import checkpoints
from harmonygen.models.device import Device

CPU = Device("cpu", torch.float32, 16)


@pytest.mark.parametrize("detail", ["transfer", "decode"])
def test_the_result_has_the_composites_size_and_background(tiny_direct, make_photo, detail):
    photo = make_photo()
    made = DirectHarmonizer.from_pretrained(tiny_direct, CPU, detail)(photo)
    assert made.shape == photo.image_u8.shape
    assert np.array_equal(made[~photo.mask], photo.image_u8[~photo.mask])
    assert not np.array_equal(made, photo.image_u8)


def test_there_is_no_randomness(tiny_direct, make_photo):
    photo = make_photo()
    harmonizer = load_harmonizer("direct", Chosen(tiny_direct), CPU)
    assert np.array_equal(harmonizer(photo, 0), harmonizer(photo, 1, 3))


def test_the_networks_change_is_what_is_carried_over(tiny_direct, make_photo, monkeypatch):
    """A network that brightens by a tenth of the range brightens the full-size foreground by it."""
    photo = make_photo()
    harmonizer = DirectHarmonizer.from_pretrained(tiny_direct, CPU, "transfer")
    monkeypatch.setattr(harmonizer.model, "forward", lambda image_pm1, mask: image_pm1 * 0.5)
    made = harmonizer(photo).astype(float)
    expected = (photo.image_u8.astype(float) - 127.5) * 0.5 + 127.5
    assert np.abs(made - expected)[photo.mask].mean() < 6


@pytest.mark.parametrize("other", ["tiny_forward", "tiny_classifier"])
def test_a_checkpoint_of_another_kind_is_refused(request, other):
    with pytest.raises(CheckpointError, match="'direct' is needed"):
        load_harmonizer("direct", Chosen(request.getfixturevalue(other)), CPU)


def test_what_is_not_there_is_refused_with_what_to_do(tiny_direct, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"zero-shot .*harmonize first"):
        load_harmonizer("zero-shot", Chosen("starter"), CPU)
    with pytest.raises(UsageError, match="--refine x goes with diffharmony"):
        load_harmonizer("direct", Chosen(tiny_direct, "x"), CPU)
    (tmp_path / "inverse").mkdir()
    monkeypatch.setattr(checkpoints, "STARTER", tmp_path)
    with pytest.raises(CheckpointError, match=r"no 'direct' \(they have inverse\).*'harmonygen train direct'"):
        load_harmonizer("direct", Chosen("starter"), CPU)
