"""Change statistics: each figure is what it says for changes whose nature is known."""

import math

import numpy as np
import pytest

from harmonygen.errors import InputError
from harmonygen.evaluation.changes import measure_change, newly_clipped, summarise_changes
from harmonygen.evaluation.metrics import fmse, lab_bias
from harmonygen.pictures.structure import StructureMeter
from harmonygen.recolor.foreground import paste_pixels


@pytest.fixture(scope="module")
def real(small_photos):
    return (60 + 0.5 * small_photos(1)[0]).astype(np.uint8)


@pytest.fixture(scope="module")
def mask(ellipse):
    return ellipse(96, 128)


def changed(real, mask, change):
    return paste_pixels(real, mask, change(real[mask] / 255))


CHANGES = {
    "offset": lambda rgb: rgb + np.array([0.1, -0.1, 0.05]),
    "affine": lambda rgb: rgb @ np.array([[0.8, 0.1, 0], [0.1, 1.1, 0], [0, 0.1, 0.7]]) + 0.03,
    "curve": lambda rgb: 0.6 * rgb**3 + 0.2,
    "noise": lambda rgb: rgb + np.random.default_rng(0).normal(0, 0.1, rgb.shape),
}
LEFT = {"offset": (0, 0, 0), "affine": (1, 0, 0), "curve": (1, 1, 0), "noise": (1, 1, 1)}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_map_leaves_nothing_of_what_it_can_express(real, mask, kind):
    found = measure_change(changed(real, mask, CHANGES[kind]), real, mask)
    for left, expressed in zip((found.left_offset, found.left_affine, found.left_cubic), LEFT[kind], strict=True):
        assert left > 0.04 if expressed else left < 0.025  # rounding to 8 bits is left
    assert found.left_offset >= found.left_affine >= found.left_cubic


def test_what_an_offset_leaves_is_the_spread_of_the_change_over_its_size(real, mask):
    composite = changed(real, mask, CHANGES["curve"])
    change = (composite.astype(float) - real)[mask]
    spread, size = ((change - change.mean(axis=0)) ** 2).sum(), (change**2).sum()
    assert measure_change(composite, real, mask).left_offset == pytest.approx(math.sqrt(spread / size))


def test_size_colour_and_structure_are_the_metrics(real, mask):
    composite = changed(real, mask, CHANGES["affine"])
    found, (lightness, red, yellow) = measure_change(composite, real, mask), lab_bias(composite, real, mask)
    assert found.fmse == pytest.approx(fmse(composite, real, mask))
    assert found.lightness == pytest.approx(abs(lightness))
    assert found.chroma == pytest.approx(math.hypot(red, yellow))
    assert found.structure == StructureMeter(real, mask)(composite)


def test_contrast_is_the_logarithm_of_the_ratio_and_has_no_sign(real, mask):
    def contrast(factor):
        grey = np.repeat(real.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
        middle = grey[mask].mean() / 255
        return measure_change(changed(grey, mask, lambda rgb: middle + factor * (rgb - middle)), grey, mask).contrast

    assert contrast(0.5) == pytest.approx(1, abs=0.1)
    assert contrast(1.4) == pytest.approx(math.log2(1.4), abs=0.1)


def test_clipping_is_new_and_tolerant():
    real = np.array([[5, 100, 250], [100, 20, 240]], np.uint8)
    composite = np.array([[0, 2, 255], [100, 4, 255]], np.uint8)
    assert newly_clipped(real, composite) == pytest.approx(2 / 6)  # 100 -> 2 and 240 -> 255


def test_no_change_is_all_nothing(real, mask):
    found = measure_change(real, real, mask)
    assert (found.fmse, found.left_offset, found.left_affine, found.left_cubic, found.clipped) == (0, 0, 0, 0, 0)
    assert found.structure == pytest.approx(1)


def test_a_summary_is_of_medians_over_photos(real, mask):
    made = [measure_change(changed(real, mask, lambda rgb, by=by: rgb * by), real, mask) for by in (0.5, 0.7, 0.8, 4.0)]
    found = summarise_changes(made, ["a", "a", "b", "c"])
    assert found.medians["fmse"].mean == np.median([change.fmse for change in made])
    assert found.shares["newly clipped over 5 %"].mean == 0.25
    assert [change.clips_much for change in made] == [False, False, False, True]


def test_pictures_that_do_not_fit_are_refused(real, mask):
    with pytest.raises(InputError, match="composite"):
        measure_change(real[:-1], real, mask)
    with pytest.raises(InputError, match="empty"):
        measure_change(real, real, np.zeros_like(mask))
