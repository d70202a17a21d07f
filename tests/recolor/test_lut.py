"""3D LUTs: laws of interpolation, the .cube format, and what random regrades look like in numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.data import astronaut, chelsea, coffee

from harmonygen.errors import InputError, StorageError, UsageError
from harmonygen.recolor import apply_lut, identity_lut, lut_foreground, random_lut, read_cube, write_cube

INTERPOLATIONS = ["tetrahedral", "trilinear"]
COLOURS01 = np.random.default_rng(0).random((2000, 3))


@pytest.fixture(scope="module")
def photos():
    return [np.array(Image.fromarray(image).resize((128, 128))) for image in (astronaut(), chelsea(), coffee())]


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("size", [2, 5, 33])
def test_identity_changes_nothing(interpolation, size):
    assert np.allclose(apply_lut(COLOURS01, identity_lut(size), interpolation), COLOURS01, atol=1e-6)


def test_identity_keeps_every_8_bit_code(photos):
    everywhere = np.ones((128, 128), bool)
    assert np.array_equal(lut_foreground(photos[0], everywhere, identity_lut()), photos[0])


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_grid_points_and_affine_maps_are_exact(interpolation):
    matrix = np.array([[0.5, 0.3, 0.1], [0.1, 0.6, 0.2], [0.0, 0.2, 0.7]])
    affine = (identity_lut(7) @ matrix + 0.05).astype(np.float32)
    assert np.allclose(apply_lut(COLOURS01, affine, interpolation), COLOURS01 @ matrix + 0.05, atol=1e-6)
    lut = random_lut(np.random.default_rng(4), size=7)
    assert np.allclose(apply_lut(identity_lut(7), lut, interpolation), lut, atol=1e-6)


def test_tetrahedral_and_trilinear_agree_on_smooth_luts():
    for seed in range(5):
        lut = random_lut(np.random.default_rng(seed))
        both = [apply_lut(COLOURS01, lut, interpolation) for interpolation in INTERPOLATIONS]
        assert np.abs(both[0] - both[1]).max() < 0.03
        assert np.abs(both[0] - both[1]).mean() < 0.001


def test_lut_is_indexed_red_green_blue():
    lut = np.zeros((2, 2, 2, 3), np.float32)
    lut[1, 0, 0] = [0.1, 0.2, 0.3]
    assert apply_lut(np.array([1.0, 0.0, 0.0]), lut).tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_colours_out_of_range_take_the_nearest_end():
    assert apply_lut(np.array([[-1.0, 0.5, 2.0]]), identity_lut()).tolist() == [[0.0, 0.5, 1.0]]


@pytest.mark.parametrize(
    ("pixels", "lut", "interpolation"),
    [
        (np.zeros((4, 4)), identity_lut(3), "trilinear"),
        (COLOURS01, np.zeros((3, 3, 3)), "trilinear"),
        (COLOURS01, identity_lut(3), "cubic"),
    ],
)
def test_wrong_shapes_and_names_are_refused(pixels, lut, interpolation):
    with pytest.raises(UsageError):
        apply_lut(pixels, lut, interpolation)


def test_random_lut_follows_its_seed():
    first, again, other = (random_lut(np.random.default_rng(seed), size=9) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.dtype == np.float32


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), strength=st.floats(0, 3))
def test_random_lut_is_a_sane_regrade(seed, strength):
    lut = random_lut(np.random.default_rng(seed), size=9, strength=strength)
    assert lut.min() >= 0
    assert lut.max() <= 1
    if strength <= 1:
        # Monotone enough: along the greys no step down by more than a trace.
        greys = lut[range(9), range(9), range(9)].mean(axis=-1)
        assert np.diff(greys).min() > -0.05


def test_strength_zero_is_the_identity_and_negative_is_refused():
    assert np.allclose(random_lut(np.random.default_rng(0), strength=0.0), identity_lut())
    with pytest.raises(UsageError, match="strength"):
        random_lut(np.random.default_rng(0), strength=-1.0)
    with pytest.raises(UsageError, match="grid points"):
        identity_lut(1)


def test_random_luts_change_photos_visibly_but_not_wildly(photos):
    everywhere = np.ones((128, 128), bool)
    fmse = []
    for seed in range(90):
        real = photos[seed % 3]
        composite = lut_foreground(real, everywhere, random_lut(np.random.default_rng(seed), size=17))
        fmse.append(np.mean((composite.astype(float) - real) ** 2))
    assert 900 < np.median(fmse) < 1700
    assert np.percentile(fmse, 5) > 150
    assert np.percentile(fmse, 95) < 5500


def test_background_is_bit_equal(photos):
    mask = np.zeros((128, 128), bool)
    mask[30:90, 20:100] = True
    composite = lut_foreground(photos[0], mask, random_lut(np.random.default_rng(0)))
    assert np.array_equal(composite[~mask], photos[0][~mask])
    assert not np.array_equal(composite[mask], photos[0][mask])
    with pytest.raises(InputError, match="empty"):
        lut_foreground(photos[0], np.zeros_like(mask), identity_lut())


@pytest.mark.parametrize("title", ["", 'a "quoted"\nname # 1'])
def test_cube_round_trip_is_exact(tmp_path, title):
    lut = random_lut(np.random.default_rng(3), size=8)
    write_cube(tmp_path / "a.cube", lut, title)
    assert np.array_equal(read_cube(tmp_path / "a.cube"), lut)
    assert [path.name for path in tmp_path.iterdir()] == ["a.cube"]


def rows_of(size):
    """Identity rows, red fastest."""
    steps = [step / (size - 1) for step in range(size)]
    return [f"{red} {green} {blue}" for blue in steps for green in steps for red in steps]


def read_lines(tmp_path, *lines):
    (tmp_path / "made.cube").write_text("\n".join(lines))
    return read_cube(tmp_path / "made.cube")


def test_cube_dialects(tmp_path):
    adobe = ["# a comment", 'TITLE "x # y"', "", "DOMAIN_MIN 0.0 0.0 0.0", "DOMAIN_MAX 1.0 1.0 1.0", "LUT_3D_SIZE 3"]
    resolve = ["LUT_3D_SIZE 3", "LUT_3D_INPUT_RANGE 0.0 1.0", ""]
    for header in (adobe, resolve):
        assert np.allclose(read_lines(tmp_path, *header, *rows_of(3)), identity_lut(3))


def test_cube_domain_is_resampled(tmp_path):
    # Codes 0..2 give 0..1, so half of the input; then 0..0.5, so clipped above a half.
    wide = read_lines(tmp_path, "LUT_3D_SIZE 3", "DOMAIN_MAX 2 2 2", *rows_of(3))
    assert np.allclose(apply_lut(COLOURS01, wide), COLOURS01 / 2, atol=1e-6)
    narrow = read_lines(tmp_path, "LUT_3D_SIZE 3", "DOMAIN_MAX 0.5 0.5 0.5", *rows_of(3))
    assert np.allclose(narrow, np.minimum(identity_lut(3) * 2, 1))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["LUT_1D_SIZE 16"], "line 1: LUT_1D_SIZE found, a 1D LUT"),
        (["# x", "LUT_3D_SIZE two"], "line 2: LUT_3D_SIZE 'two'"),
        (["LUT_3D_SIZE 1"], "line 1"),
        (["LUT_3D_SIZE 4000"], "line 1"),
        (["LUT_3D_SIZE 2", "LUT_3D_SIZE 2"], "line 2: LUT_3D_SIZE again, first on line 1"),
        (["LUT_3D_SIZE 2", "0 0"], "line 2: '0 0' is not 3 finite numbers"),
        (["LUT_3D_SIZE 2", "0 0 nan"], "line 2"),
        (["LUT_3D_SIZE 2", "0 0 0,5"], "line 2"),
        (["0 0 0"], "line 1: colours come before LUT_3D_SIZE"),
        (["LUT_3D_SIZE 2", "LUT_SHAPER 3"], "line 2: unknown keyword 'LUT_SHAPER'"),
        (["LUT_3D_SIZE 2", *rows_of(2)[:-1]], "line 8: the file ends after 7 rows, LUT_3D_SIZE 2 needs 8"),
        (["LUT_3D_SIZE 2", *rows_of(2), "0 0 0"], "9 rows"),
        (["LUT_3D_SIZE 2", "DOMAIN_MIN 0 0 1", *rows_of(2)], "DOMAIN_MAX"),
        (["TITLE nothing"], "without LUT_3D_SIZE"),
    ],
)
def test_malformed_cubes_are_refused_by_line(tmp_path, lines, message):
    with pytest.raises(InputError, match=message):
        read_lines(tmp_path, *lines)


def test_unreadable_and_unwritable_cubes(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_cube(tmp_path / "none.cube")
    (tmp_path / "binary.cube").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="cannot be read"):
        read_cube(tmp_path / "binary.cube")
    with pytest.raises(StorageError, match="cannot be written"):
        write_cube(tmp_path / "no" / "folder.cube", identity_lut(2))
