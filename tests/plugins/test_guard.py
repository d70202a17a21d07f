"""What a plug-in returns is held to the guarantees, and named where it breaks them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from harmonygen.errors import InputError, PluginError, UsageError
from harmonygen.plugins.guard import GuardedGenerator, GuardedHarmonizer, GuardedJudge
from harmonygen.records import Candidate

CANDIDATES = [Candidate("p", k, k) for k in range(3)]


def guarded(made, kind=GuardedGenerator, **more):
    return kind(made, "mine", f"{kind.__name__.removeprefix('Guarded').lower()} 'mine'", "d", **more)


def each(picture_of):
    return guarded(lambda photo, candidates: [picture_of(photo, candidate) for candidate in candidates])


@pytest.mark.parametrize(
    "picture_of",
    [
        lambda photo, c: np.full_like(photo.image_u8, 9),
        lambda photo, c: np.full(photo.image_u8.shape, 9 / 255),
        lambda photo, c: Image.fromarray(np.full_like(photo.image_u8, 9)),
    ],
    ids=["uint8", "floats", "PIL"],
)
def test_the_background_is_the_photos_whatever_comes(make_photo, picture_of):
    photo = make_photo()
    pictures = list(each(picture_of)(photo, CANDIDATES))
    assert len(pictures) == 3
    for picture in pictures:
        assert picture.dtype == np.uint8
        assert (picture[~photo.mask] == photo.image_u8[~photo.mask]).all()
        assert (picture[photo.mask] == 9).all()


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_picture_of_the_models_size_is_brought_to_the_photos(make_photo, kind):
    photo = make_photo()
    darker = (photo.low_u8 * 0.5).astype(np.uint8)
    low = darker if kind is np.uint8 else darker / np.float32(255)
    (picture,) = (guarded(lambda *_: low, GuardedHarmonizer)(photo, 0, None),)
    assert picture.shape == photo.image_u8.shape
    assert (picture[~photo.mask] == photo.image_u8[~photo.mask]).all()
    assert abs(picture[photo.mask].mean() / photo.image_u8[photo.mask].mean() - 0.5) < 0.05


def test_what_a_plug_in_gets_cannot_be_written_to(make_photo):
    photo = make_photo()
    before = photo.image_u8.copy()

    def writes(shown, candidates):
        shown.image_u8[:] = 0
        yield shown.image_u8

    with pytest.raises(InputError, match=r"generator 'mine' failed on 'astronaut/0' \(ValueError: .*read-only"):
        list(guarded(writes)(photo, CANDIDATES))
    assert (photo.image_u8 == before).all()
    assert photo.mask.flags.writeable


@pytest.mark.parametrize(
    ("value", "kind", "told"),
    [
        (lambda photo: None, PluginError, "returned a NoneType for 'astronaut/0': an array .* is needed"),
        (lambda photo: photo.image_u8[:-1], PluginError, r"an array \(95, 128, 3\) of uint8"),
        (lambda photo: photo.image_u8.astype(int), PluginError, "of int64"),
        (lambda photo: photo.image_u8[..., 0], PluginError, r"\(96, 128\)"),
        (lambda photo: photo.image_u8 * 1.0, PluginError, r"floats from 0 to 255: \[0, 1\] is needed"),
        (lambda photo: np.full(photo.image_u8.shape, np.nan), InputError, "made NaN or infinite values"),
        (lambda photo: np.full(photo.low_u8.shape, np.inf), InputError, "made NaN or infinite values"),
        (lambda photo: 1 / 0, InputError, "ZeroDivisionError: division by zero"),
    ],
)
def test_a_wrong_picture_names_the_plug_in(make_photo, value, kind, told):
    photo = make_photo()
    with pytest.raises(kind, match=rf"generator 'mine' .*{told}"):
        list(each(lambda photo, _: value(photo))(photo, CANDIDATES))
    with pytest.raises(kind, match=rf"harmonizer 'mine' .*{told}"):
        guarded(lambda photo, *_: value(photo), GuardedHarmonizer)(photo, 0)


@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_picture_too_few_or_too_many_is_refused(make_photo, count):
    photo = make_photo()
    generate = guarded(lambda *_: [photo.image_u8] * count)
    with pytest.raises(PluginError, match=rf"made {count} pictures for 3 candidates: yield one for each"):
        list(generate(photo, CANDIDATES))


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError("disk"), InputError("mine"), UsageError("mine"), KeyboardInterrupt()]
)
def test_trouble_that_is_no_fault_of_the_photo_stays_what_it_is(make_photo, error):
    def fails(*_):
        raise error

    with pytest.raises(type(error)) as caught:
        list(guarded(fails)(make_photo(), CANDIDATES))
    assert caught.value is error


PICTURES = [np.zeros((4, 5, 3), np.uint8)] * 2
MASK = np.ones((4, 5), bool)


@pytest.mark.parametrize("scores", [[0.25, 1], (0.25, 1.0), np.array([0.25, 1], np.float32)])
def test_scores_become_floats(scores):
    found = guarded(lambda *_: scores, GuardedJudge)(PICTURES, MASK)
    assert found == [0.25, 1.0]
    assert all(type(score) is float for score in found)


def test_a_tensor_is_a_list_of_scores_and_nan_stays():
    import torch

    assert guarded(lambda *_: torch.tensor([0.5, 0.75], dtype=torch.bfloat16), GuardedJudge)(PICTURES, MASK) == [
        0.5,
        0.75,
    ]
    assert np.isnan(guarded(lambda *_: [float("nan"), 0.5], GuardedJudge)(PICTURES, MASK)[0])


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        ([0.5], r"an array \(1,\) of float64 for 2 composites: a list of one float for each"),
        (0.5, r"an array \(\)"),
        (["a", "b"], "a list of one float"),
        ([0.5, 1.5], r"gave the score 1.5: a probability from 0 to 1"),
        ([-3, 0.5], r"gave the score -3: a probability"),
        ([0.5, float("inf")], "gave the score inf"),
    ],
)
def test_wrong_scores_name_the_judge(scores, told):
    with pytest.raises(PluginError, match=rf"judge 'mine' .*{told}"):
        guarded(lambda *_: scores, GuardedJudge)(PICTURES, MASK)


def test_sizes_are_the_plug_ins_or_plain():
    class Sized:
        resolution, multiple = 512, 8

        def __call__(self, *_):
            return []

    assert (guarded(Sized()).resolution, guarded(Sized()).multiple) == (512, 8)
    assert (guarded(lambda *_: []).resolution, guarded(lambda *_: []).multiple) == (256, 1)
