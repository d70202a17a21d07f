"""ONNX files of image and mask as generator, judge and harmonizer."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import helper

from harmonygen.adapters.onnx_file import make_onnx_generator, make_onnx_harmonizer, make_onnx_judge
from harmonygen.errors import CheckpointError, UsageError
from harmonygen.models.device import Device
from harmonygen.records import Candidate
from harmonygen.synthesis.synthesize import synthesize
from tests.fakes.small_adapters import onnx_file, onnx_mean, onnx_noisy

CPU = Device.pick("cpu")


def darker(path, size=("h", "w")):
    half = helper.make_node("Mul", ["image", "mask"], ["in"])
    return onnx_file(
        path, [half, helper.make_node("Sub", ["image", "in"], ["out"])], ["image", "mask"], [1, 3, *size], size
    )


def test_a_harmonizer_sees_image_and_mask(tmp_path, make_photo):
    photo = make_photo(resolution=32, multiple=8)
    made = make_onnx_harmonizer(darker(tmp_path / "a.onnx"), resolution=32, device=CPU)(photo, 0)
    assert np.allclose(made[photo.low_mask], 0, atol=1e-6)
    assert np.allclose(made[~photo.low_mask], photo.low_u8[~photo.low_mask] / 255, atol=1e-6)


@pytest.mark.parametrize("values", ["01", "pm1", "255"])
def test_values_are_scaled_and_scaled_back(tmp_path, make_photo, values):
    same = onnx_file(
        tmp_path / "s.onnx", [helper.make_node("Identity", ["image"], ["out"])], ["image"], [1, 3, "h", "w"]
    )
    photo = make_photo(resolution=32, multiple=8)
    made = make_onnx_harmonizer(same, values, 32, device=CPU)(photo, 0)
    assert np.allclose(made, photo.low_u8 / 255, atol=1e-5)


def test_a_fixed_size_is_kept_to(tmp_path, make_photo):
    photo = make_photo(resolution=32, multiple=8)
    made = make_onnx_harmonizer(darker(tmp_path / "a.onnx", (16, 24)), resolution=32, device=CPU)(photo, 0)
    assert made.shape == photo.low_u8.shape


def test_a_judge_gives_a_number(tmp_path, make_photo):
    photo = make_photo(resolution=32, multiple=8)
    scores = make_onnx_judge(onnx_mean(tmp_path / "j.onnx"), device=CPU)(
        [photo.image_u8, photo.image_u8 // 2], photo.mask
    )
    assert scores[0] == pytest.approx(2 * scores[1], rel=0.05)


def test_a_generator_draws_by_the_seed_and_one_that_cannot_is_refused(tmp_path, make_photo):
    photo = make_photo(resolution=32, multiple=8)
    generator = make_onnx_generator(onnx_noisy(tmp_path / "n.onnx"), resolution=32, device=CPU)
    made = list(generator(photo, [Candidate("p", 0, 1), Candidate("p", 1, 2)]))
    assert np.array_equal(made[1], next(generator(photo, [Candidate("p", 1, 2)])))
    assert not np.allclose(made[0], made[1])
    with pytest.raises(UsageError, match="would be equal"):
        make_onnx_generator(darker(tmp_path / "a.onnx"), device=CPU)


def test_a_run_with_generator_and_judge_of_onnx(tmp_path, settings_of, rows_of):
    how = {"file": str(onnx_noisy(tmp_path / "n.onnx")), "resolution": 32}
    settings = settings_of(
        generator="onnx", generator_settings=how, classifier=f"onnx:{onnx_mean(tmp_path / 'j.onnx')}", k=2, limit=2
    )
    assert synthesize(settings).summary["kept"] == 4
    whole = rows_of(settings.out)
    assert all(0 <= row["p_composite"] <= 1 for row in whole)
    onnx_noisy(tmp_path / "n.onnx")
    assert synthesize(settings).shards_run == 0


def test_what_is_no_file_of_ours_is_refused(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="cannot be opened"):
        make_onnx_judge(tmp_path / "x.onnx", device=CPU)
    same = onnx_file(tmp_path / "m.onnx", [helper.make_node("Identity", ["mask"], ["out"])], ["mask"], [1, 1, "h", "w"])
    with pytest.raises(CheckpointError, match="an image is needed"):
        make_onnx_judge(same, device=CPU)
