"""Candidates by colour transfer from other photos of the data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from harmonygen.data import read_pairs
from harmonygen.errors import InputError, UsageError
from harmonygen.pictures.photo import Photo, Sizing, load_photo
from harmonygen.records import FileSource, Pair
from harmonygen.synthesis.generators.color_transfer import ColorTransferGenerator

FAST = ("reinhard", "xiao")


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(left, right) for left, right in zip(one, other, strict=True))


@pytest.fixture
def pairs(photo_folder: Path) -> list[Pair]:
    """Three photos that can be read, of three sizes of foreground."""
    return list(read_pairs(photo_folder))


@pytest.fixture
def photo(pairs: list[Pair]) -> Photo:
    return load_photo(pairs[0], Sizing(32, 1))


def spoil(pair: Pair) -> None:
    assert isinstance(pair.real, FileSource)
    pair.real.path.write_bytes(b"not a picture")


def test_candidate_k_depends_on_neither_k_in_all_nor_order(pairs, photo, draw):
    five = list(ColorTransferGenerator(pairs, FAST)(photo, draw(photo, 5)))
    generator = ColorTransferGenerator(pairs, FAST)
    assert same(five[:3], list(generator(photo, draw(photo, 3))))
    assert same(five, list(generator(photo, draw(photo, 5)[::-1]))[::-1])
    assert np.array_equal(five[4], next(iter(generator(photo, draw(photo, 5)[4:]))))


def test_the_order_of_the_data_changes_nothing(pairs, photo, draw):
    one = list(ColorTransferGenerator(pairs, FAST)(photo, draw(photo, 4)))
    other = list(ColorTransferGenerator(pairs[::-1], FAST)(photo, draw(photo, 4)))
    assert same(one, other)


def test_another_run_seed_draws_other_references(pairs, photo, draw):
    drawn = {
        seed: [c.tobytes() for c in ColorTransferGenerator(pairs, FAST, seed)(photo, draw(photo, 2, seed))]
        for seed in range(6)
    }
    assert len({tuple(composites) for composites in drawn.values()}) > 1


def test_candidates_are_distinct_and_so_are_those_past_the_last_combination(pairs, photo, draw):
    made = list(ColorTransferGenerator(pairs, FAST)(photo, draw(photo, 9)))  # 2 photos x 2 methods = 4 combinations
    assert len({composite.tobytes() for composite in made}) == 9


def test_every_combination_is_used_before_any_is_blended(pairs, photo, draw):
    generator = ColorTransferGenerator(pairs, FAST)
    drawn = [generator._draw(photo.pair, k, np.random.default_rng(k)) for k in range(6)]
    combinations = {(method, reference.tobytes()) for method, (reference, _), _ in drawn[:4]}
    assert len(combinations) == 4
    assert [strength == 1 for *_, strength in drawn] == [True] * 4 + [False] * 2


def test_a_photo_never_takes_colours_from_itself_nor_from_another_mask_of_it(pairs, photo, draw):
    twin = Pair("astronaut/2", pairs[0].real_id, "2", pairs[0].real, pairs[0].mask)
    generator = ColorTransferGenerator([*pairs, twin], FAST)
    own = photo.image_u8.tobytes()
    for k in range(8):
        _, (reference, _), _ = generator._draw(photo.pair, k, np.random.default_rng(k))
        assert reference.tobytes() != own


def test_the_background_is_the_photos_own(pairs, photo, draw):
    for composite in ColorTransferGenerator(pairs, FAST)(photo, draw(photo, 6)):
        assert np.array_equal(composite[~photo.mask], photo.image_u8[~photo.mask])


def test_unreadable_references_are_skipped_and_candidates_stay_distinct(pairs, photo, draw, tmp_path):
    more = []
    for index, name in enumerate(("rocket", "astronaut", "coffee")):
        image = np.asarray(Image.fromarray(getattr(data, name)()).resize((60, 50)))[:, ::-1]
        Image.fromarray(image).save(tmp_path / f"{name}.png")
        more.append(
            Pair(f"{name}{index}/0", f"{name}{index}", "0", FileSource(tmp_path / f"{name}.png"), more_mask(tmp_path))
        )
    everything = [*pairs, *more]
    spoil(pairs[1])
    spoil(more[0])
    generator = ColorTransferGenerator(everything, FAST)
    made = list(generator(photo, draw(photo, 6)))  # 3 readable others x 2 methods
    assert len({composite.tobytes() for composite in made}) == 6
    drawn = [generator._draw(photo.pair, k, np.random.default_rng(k)) for k in range(6)]
    assert len({(method, reference.tobytes()) for method, (reference, _), _ in drawn}) == 6


def more_mask(folder: Path) -> FileSource:
    mask = np.zeros((50, 60), dtype=np.uint8)
    mask[10:40, 10:50] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    return FileSource(folder / "mask.png")


def test_no_readable_reference_at_all_is_an_input_error(pairs, photo, draw):
    spoil(pairs[1])
    spoil(pairs[2])
    with pytest.raises(InputError, match="no readable reference photo"):
        list(ColorTransferGenerator(pairs, FAST)(photo, draw(photo, 1)))


def test_one_photo_is_refused(pairs):
    with pytest.raises(UsageError, match="at least 2 photos"):
        ColorTransferGenerator(pairs[:1])


def test_an_unknown_method_is_refused_with_the_nearest(pairs):
    with pytest.raises(UsageError, match="did you mean 'reinhard'"):
        ColorTransferGenerator(pairs, ["reinhart"])
