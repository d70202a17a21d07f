"""Figures against independent code: scikit-image, ten lines of NumPy, and a published per-image file."""

from __future__ import annotations

import csv
import math
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import rgb2lab
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from harmonygen import metrics
from harmonygen.errors import InputError, UsageError
from harmonygen.evaluation.cases import pictures_of, read_cases
from harmonygen.evaluation.protocols import ProtocolRules
from harmonygen.evaluation.scores import score


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image, a photo (H, W, 3) uint8 and a mask that holds a pixel, of random sizes, errors and areas."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 48, 2)
    real = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    noise = rng.normal(0, rng.uniform(0.5, 80), real.shape)
    image = np.clip(real + noise, 0, 255).round().astype(np.uint8)
    image[0, 0, 0] = real[0, 0, 0] ^ 1  # never equal
    mask = rng.random((height, width)) < rng.uniform(0.01, 1)
    mask[rng.integers(height), rng.integers(width)] = True
    return image, real, mask


def plain_fmse(image, real, mask):
    """Ten lines that share nothing with the package."""
    total, pixels = 0, 0
    for row, column in zip(*mask.nonzero(), strict=True):
        pixels += 1
        for channel in range(3):
            difference = int(image[row, column, channel]) - int(real[row, column, channel])
            total += difference * difference
    return total / (3 * pixels)


def test_a_thousand_random_cases_agree_with_scikit_image_and_plain_numpy():
    worst = 0.0
    for seed in range(1000):
        image, real, mask = random_case(seed)
        for ours, theirs in (
            (metrics.mse(image, real), mean_squared_error(image, real)),
            (metrics.psnr(image, real), peak_signal_noise_ratio(real, image, data_range=255)),
            (metrics.fmse(image, real, mask), plain_fmse(image, real, mask)),
        ):
            worst = max(worst, abs(ours - theirs) / max(1.0, abs(theirs)))
    assert worst < 1e-9


@pytest.fixture(scope="module")
def pictures(small_photos, ellipse):
    real = small_photos(1, 96, 128)[0]
    image = np.clip(real.astype(float) * 0.8 + 12, 0, 255).astype(np.uint8)
    return image, real.copy(), ellipse(96, 128)


@pytest.mark.parametrize("shape", [(96, 128), (600, 40), (11, 11), (515, 30)])
def test_ssim_is_scikit_images_with_gaussian_weights_in_strips_too(shape):
    rng = np.random.default_rng(0)
    real = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    image = np.clip(real + rng.normal(0, 20, real.shape), 0, 255).astype(np.uint8)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    mean, similar = structural_similarity(image, real, channel_axis=2, data_range=255, full=True, **options)
    mask = np.zeros(shape, dtype=bool)
    mask[: shape[0] // 2, 3:9] = True
    assert metrics.ssim(image, real) == pytest.approx(mean, abs=1e-12)
    assert metrics.fssim(image, real, mask) == pytest.approx(similar[mask].mean(), abs=1e-12)


def test_lab_bias_is_the_mean_difference_in_the_foreground(pictures):
    image, real, mask = pictures
    expected = (rgb2lab(image)[mask] - rgb2lab(real)[mask]).mean(axis=0)
    assert metrics.lab_bias(image, real, mask) == pytest.approx(tuple(expected), abs=1e-9)


@pytest.mark.parametrize("figure", ["mse", "psnr", "fmse", "fpsnr", "ssim", "fssim"])
def test_arrays_tensors_and_batches_give_one_value(pictures, figure):
    image, real, mask = pictures
    foreground = (mask,) if figure in ("fmse", "fpsnr", "fssim") else ()
    value = getattr(metrics, figure)(image, real, *foreground)
    tensors = [torch.from_numpy(picture).permute(2, 0, 1) for picture in (image, real)]
    masks = (torch.from_numpy(mask)[None].float(),) if foreground else ()
    assert getattr(metrics, figure)(*tensors, *masks) == pytest.approx(value, rel=1e-12)
    stream, batch = metrics.Metric(figure), metrics.Metric(figure)
    for half in (image, real // 2):
        stream.update(half, real, mask)
    batch.update(np.stack([image, real // 2]), np.stack([real, real]), np.stack([mask, mask]))
    assert stream.compute() == batch.compute()
    other = metrics.Metric(figure)
    other.update(image, real, mask)
    stream.merge(other)
    assert (stream.n, stream.left_out) == (3, 0)


def test_what_has_no_figure_is_counted_and_never_a_silent_nan(pictures):
    image, real, mask = pictures
    nothing = np.zeros_like(mask)
    with pytest.raises(InputError, match="0 pixels"):
        metrics.fmse(image, real, nothing)
    fmse, psnr = metrics.Metric("fmse"), metrics.Metric("psnr")
    fmse.update(image, real, nothing)
    psnr.update(real, real)
    assert (fmse.n, fmse.left_out, psnr.n, psnr.left_out) == (0, 1, 0, 1)
    with pytest.raises(InputError, match="none with a finite value"):
        fmse.compute()
    fmse.update(image, real, mask)
    assert math.isfinite(fmse.compute())


def test_what_does_not_fit_is_refused(pictures):
    image, real, mask = pictures
    with pytest.raises(InputError, match="differ in size"):
        metrics.mse(image, real[:50])
    with pytest.raises(InputError, match="mask has shape"):
        metrics.fmse(image, real, mask[:50])
    with pytest.raises(InputError, match="11 pixels"):
        metrics.ssim(image[:8], real[:8])
    with pytest.raises(UsageError, match="choose mse"):
        metrics.Metric("mae")
    with pytest.raises(UsageError, match="give the masks"):
        metrics.Metric("fmse").update(image, real)


def published(shared, tmp_path, largest):
    """The published rows of composites of at most so many pixels, and their cases."""
    with tarfile.open(shared / "iharmony4_triplets.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    root = next(tmp_path.rglob("published_fullres_metrics.csv")).parent
    with open(root / "published_fullres_metrics.csv", newline="") as file:
        rows = {row["Name"]: row for row in csv.DictReader(file)}
    for case in read_cases(root).composites:
        row = rows[case.name.rpartition("/")[2]]
        if int(row["height"]) * int(row["width"]) <= largest:
            yield case, row


def test_all_ten_published_composites_agree_to_a_relative_1e_5(shared, tmp_path):
    seen = []
    for case, row in published(shared, tmp_path, math.inf):
        target, pictures = pictures_of(case, {}, ProtocolRules("fullres-fg"))
        figures = score(pictures["composite"], target, with_ssim=False)
        for ours, theirs in (("mse", "MSE"), ("psnr", "PSNR"), ("fmse", "fMSE")):
            assert figures[ours] == pytest.approx(float(row[theirs]), rel=1e-5), (case.name, ours)
        assert int(target.mask.sum()) == float(row["mask_area"])
        seen.append(case.name)
    assert len(seen) == 10


def test_published_ssim_agrees_too(shared, tmp_path):
    """Their code works in float32, so SSIM agrees to 1e-6 only; the five smaller composites."""
    seen = 0
    for case, row in published(shared, tmp_path, 500_000):
        target, pictures = pictures_of(case, {}, ProtocolRules("fullres-fg"))
        assert metrics.ssim(pictures["composite"], target.real_u8) == pytest.approx(float(row["SSIM"]), abs=1e-6)
        seen += 1
    assert seen == 2


def test_a_picture_as_pillow_reads_it(tmp_path, pictures):
    image, real, mask = pictures
    Image.fromarray(image).save(tmp_path / "a.png")
    again = np.asarray(Image.open(tmp_path / "a.png"))
    assert metrics.fmse(again, real, mask) == metrics.fmse(image, real, mask)
