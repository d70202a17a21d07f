"""A foreground's pixels take a field's change, enlarged, over their cubic map; nothing else is touched."""

from __future__ import annotations

import numpy as np
import pytest

from harmonygen.pictures import foreground_pixels
from harmonygen.pictures.foreground_pixels import ForegroundPixels
from harmonygen.recolor.cubic import apply_cubic, identity_cubic

SIZE, LOW = (45, 70), (6, 9)
WHOLE = (slice(0, 6), slice(0, 9))


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture
def mask() -> np.ndarray:
    """Two parts with empty rows between them, one of them at a corner."""
    found = np.zeros(SIZE, bool)
    found[30:, 50:] = found[5:12, 8:40] = True
    found[7:9, 10:15] = False
    return found


def bilinear(planes: np.ndarray) -> np.ndarray:
    """Planes (C, h, w) at full size: weights of the nearest four, from their centres' distances."""
    weights = []
    for full, low in zip(SIZE, LOW, strict=True):
        centres = np.clip((np.arange(full) + 0.5) * low / full - 0.5, 0, low - 1)
        weights.append(np.clip(1 - np.abs(centres[:, None] - np.arange(low)), 0, None))
    return np.einsum("yh,chw,xw->cyx", weights[0], planes, weights[1])


@pytest.mark.parametrize("cubic", [False, True])
def test_pixels_are_what_the_definition_says(photo, mask, cubic):
    rng = np.random.default_rng(1)
    field = rng.normal(0, 0.2, (12, *LOW)).astype(np.float32)
    bend = identity_cubic() + rng.normal(0, 0.05, (20, 3)) if cubic else None
    real = photo / 255
    base = real if bend is None else np.clip(apply_cubic(bend, real), 0, 1)
    enlarged = bilinear(field).reshape(3, 4, *SIZE)
    changed = base + np.einsum("csyx,yxs->yxc", enlarged[:, :3], real) + np.moveaxis(enlarged[:, 3], 0, 2)
    goal = np.clip(changed * 255, 0, 255)
    found = ForegroundPixels(photo, mask, LOW, WHOLE, cubic).recoloured(field, bend)
    assert np.abs(found - goal)[mask].max() < 0.51
    assert np.array_equal(found[~mask], photo[~mask])
    assert (found[mask] != photo[mask]).mean() > 0.1


@pytest.mark.parametrize(("strip", "kept"), [(1, 1 << 18), (100, 0), (1 << 19, 0)])
def test_strips_and_what_is_kept_do_not_matter(photo, mask, monkeypatch, strip, kept):
    rng = np.random.default_rng(2)
    field, bend = rng.normal(0, 0.2, (12, *LOW)).astype(np.float32), identity_cubic() * 0.9
    usual = ForegroundPixels(photo, mask, LOW, WHOLE, True).recoloured(field, bend)
    monkeypatch.setattr(foreground_pixels, "_STRIP_PIXELS", strip)
    monkeypatch.setattr(foreground_pixels, "_KEPT_PIXELS", kept)
    pixels = ForegroundPixels(photo, mask, LOW, WHOLE, True)
    for _ in range(2):
        assert np.array_equal(pixels.recoloured(field, bend), usual)


def test_a_field_of_nothing_changes_no_value():
    every_value = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    pixels = ForegroundPixels(every_value, np.ones((16, 16), bool), (4, 4), (slice(0, 4), slice(0, 4)), False)
    assert np.array_equal(pixels.recoloured(np.zeros((12, 4, 4), np.float32), None), every_value)


def test_without_a_foreground_there_is_nothing_to_change(photo):
    pixels = ForegroundPixels(photo, np.zeros(SIZE, bool), LOW, WHOLE, True)
    assert np.array_equal(pixels.recoloured(np.ones((12, *LOW), np.float32), identity_cubic()), photo)


def test_a_window_of_the_field_is_enough_that_reaches_a_pixel_beyond_the_foreground(photo):
    mask = np.zeros(SIZE, bool)
    mask[16:29, 20:44] = True  # rows 2 to 3 and columns 2 to 5 of the field
    field = np.random.default_rng(3).normal(0, 0.2, (12, *LOW)).astype(np.float32)
    whole = ForegroundPixels(photo, mask, LOW, WHOLE, False).recoloured(field, None)
    window = (slice(1, 5), slice(1, 7))
    part = ForegroundPixels(photo, mask, LOW, window, False).recoloured(field[:, 1:5, 1:7], None)
    assert np.array_equal(part, whole)
