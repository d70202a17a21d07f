"""Candidates by look-up tables."""

from __future__ import annotations

import numpy as np
import pytest

from harmonygen.errors import HarmonygenError
from harmonygen.recolor import apply_lut, identity_lut, write_cube
from harmonygen.synthesis.generators.lut import LutGenerator


def test_candidate_k_depends_on_its_seed_alone(make_photo, draw):
    photo, generator = make_photo(), LutGenerator()
    ten = list(generator(photo, draw(photo, 10)))
    backwards = list(generator(photo, draw(photo, 10)[::-1]))[::-1]
    alone = next(iter(generator(photo, draw(photo, 8)[7:])))
    assert all(np.array_equal(one, other) for one, other in zip(ten, backwards, strict=True))
    assert np.array_equal(ten[7], alone)
    assert len({composite.tobytes() for composite in ten}) == 10
    assert not np.array_equal(ten[0], next(iter(generator(photo, draw(photo, 1, seed=1)))))


def test_the_background_is_the_photos_own(make_photo, draw):
    photo = make_photo("coffee")
    for composite in LutGenerator()(photo, draw(photo, 4)):
        assert np.array_equal(composite[~photo.mask], photo.image_u8[~photo.mask])
        assert not np.array_equal(composite[photo.mask], photo.image_u8[photo.mask])


def test_cube_files_are_taken_in_turn_then_at_other_strengths(make_photo, draw, tmp_path):
    photo = make_photo()
    grids = [identity_lut(5) ** 2, 1 - identity_lut(5)]
    for index, grid in enumerate(grids):
        write_cube(tmp_path / f"{index}.cube", grid.astype(np.float32))
    generator = LutGenerator([tmp_path / "0.cube", tmp_path / "1.cube"])
    made = list(generator(photo, draw(photo, 6)))
    for index in range(2):
        whole = apply_lut(photo.image_u8[photo.mask] / 255, grids[index].astype(np.float32))
        assert np.abs(made[index][photo.mask] - whole * 255).max() <= 1
    change = [np.abs(composite[photo.mask].astype(int) - photo.image_u8[photo.mask]).mean() for composite in made]
    assert change[2] < change[0]
    assert change[3] < change[1]
    assert len({composite.tobytes() for composite in made}) == 6


def test_a_cube_changes_the_digest_only_if_it_is_another_one(tmp_path):
    for name, power in (("one/a.cube", 1.5), ("two/a.cube", 1.5), ("three/a.cube", 3)):
        (tmp_path / name).parent.mkdir()
        write_cube(tmp_path / name, (identity_lut(5) ** power).astype(np.float32))
    one, two, three = (LutGenerator([tmp_path / name / "a.cube"]).digest for name in ("one", "two", "three"))
    assert one == two
    assert one != three  # same name, other table: a run must not be resumed with it


def test_a_damaged_cube_is_refused(tmp_path):
    (tmp_path / "bad.cube").write_text("LUT_3D_SIZE 3\n0 0 0\n")
    with pytest.raises(HarmonygenError, match=r"bad\.cube"):
        LutGenerator([tmp_path / "bad.cube"])
