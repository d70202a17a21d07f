"""The chain of formats: the same for both pictures of a pair, a function of the seed, and blind to neither step."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation

from harmonygen.data import read_pairs
from harmonygen.errors import UsageError
from harmonygen.settings import resolve
from harmonygen.training.chain import draw_chain
from harmonygen.training.composites import OnTheFlyComposites, load_photos
from harmonygen.training.settings import ChainSettings, ClassifierTraining, DirectTraining

STEPS = ("resample", "sharpen", "blur", "noise", "halve_chroma", "encode")
ALWAYS = ChainSettings(probability=1)


@pytest.fixture(scope="module")
def photo(small_photos):
    return small_photos(1)[0]


@pytest.fixture
def composites(photo_folder):
    photos, _ = load_photos(list(read_pairs(photo_folder)), 72)

    def make(**changes) -> OnTheFlyComposites:
        return OnTheFlyComposites(photos, ClassifierTraining(resolution=64, **changes), "train")

    return make


def chain_of(seed, settings=ALWAYS, size=(64, 64)):
    return draw_chain(np.random.default_rng(seed), settings, *size)


def u8(tensor):
    return np.rint((tensor.numpy().transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8)


def test_equal_pictures_are_equal_after_the_chain_in_whatever_order_they_come(photo):
    for seed in range(60):
        chain, again = (chain_of(seed, size=photo.shape[:2]) for _ in range(2))
        first, darker = chain(photo), chain(photo // 2)
        assert first.shape == photo.shape
        assert first.dtype == np.uint8
        assert np.array_equal(again(photo // 2), darker)
        assert np.array_equal(again(photo), first)


@pytest.mark.parametrize("step", STEPS)
def test_every_step_changes_a_picture_by_itself_and_not_much(photo, step):
    only = ChainSettings(probability=1, **{name: float(name == step) for name in STEPS})
    errors = [
        float(np.abs(chain_of(seed, only, photo.shape[:2])(photo).astype(float) - photo).mean()) for seed in range(12)
    ]
    assert 0.05 < np.mean(errors) < 20


def test_no_step_moves_the_picture(photo):
    """A shift by one pixel would fit a moved picture better."""
    for seed in range(40):
        after = chain_of(seed, size=photo.shape[:2])(photo).astype(float)
        still = ((after - photo) ** 2)[2:-2, 2:-2].mean()
        moved = min(((np.roll(after, by, axis) - photo) ** 2)[2:-2, 2:-2].mean() for by in (-1, 1) for axis in (0, 1))
        assert still < moved


def test_it_is_off_unless_asked_for_and_then_draws_nothing(photo):
    rng = np.random.default_rng(0)
    assert draw_chain(rng, ChainSettings(), 64, 64)(photo) is photo
    assert rng.random() == np.random.default_rng(0).random()
    shares = [bool(chain_of(seed, ChainSettings(probability=0.75)).steps) for seed in range(400)]
    assert 0.65 < np.mean(shares) < 0.8


def test_both_sides_of_a_sample_go_through_one_chain(composites):
    """Where the composite equals the photo before the chain, it nearly does so after it."""
    plain, chained = composites(), composites(chain={"probability": 1})
    changed = 0
    for index in range(16):
        before, after = plain[index], chained[index]
        mask = before["mask"].numpy()[0] > 0
        gap = np.abs(u8(after["real"]).astype(int) - u8(after["composite"]))
        assert gap[~mask].mean() < 0.35 * gap[mask].mean() + 0.5
        changed += not np.array_equal(u8(before["real"]), u8(after["real"]))
        assert np.array_equal(after["mask"].numpy(), before["mask"].numpy())
    assert changed > 12


def test_an_unchanged_composite_stays_equal_to_its_photo(composites, monkeypatch):
    monkeypatch.setattr("harmonygen.training.composites.make_composite", lambda real, *_: real)
    data = composites(chain={"probability": 1})
    assert all(np.array_equal(data[i]["real"].numpy(), data[i]["composite"].numpy()) for i in range(20))
    judged = composites(chain={"probability": 1}, composites={"grade_real": 1})
    assert not np.array_equal(judged[0]["real"].numpy(), judged[0]["composite"].numpy())


def chroma_detail(image_u8, mask) -> float:
    """Return how much colour varies from pixel to pixel in the background, over how much light does.

    Nearer to the foreground than a block, its edge bleeds, which is a matter of the change and not of the format.
    """
    mask = binary_dilation(mask, iterations=12)
    ycbcr = np.asarray(Image.fromarray(image_u8).convert("YCbCr")).astype(float)
    steps = np.abs(np.diff(ycbcr, axis=1))[~(mask[:, 1:] | mask[:, :-1])].mean(axis=0)
    return float(steps[1:].sum() / max(steps[0], 1e-6))


def as_jpeg(image_u8):
    stored = io.BytesIO()
    Image.fromarray(image_u8).save(stored, "JPEG", quality=85, subsampling=2)
    return np.asarray(Image.open(stored))


def ranked_right(pairs) -> float:
    """Return the share of pairs whose composite has less colour detail than its photo; ties count half."""
    gaps = np.array([chroma_detail(real, mask) - chroma_detail(composite, mask) for real, composite, mask in pairs])
    return float((np.sign(gaps) / 2 + 0.5).mean())


def pictures(sample):
    return u8(sample["real"]), u8(sample["composite"]), sample["mask"].numpy()[0] > 0


def test_a_pair_cannot_be_told_by_its_format(composites):
    """The control shows that the measure sees a format: there only the composites are stored as JPEG."""
    data, control = composites(chain={"probability": 1}), composites()
    told = ranked_right(pictures(data[index]) for index in range(60))
    plain = (pictures(control[index]) for index in range(60))
    seen = ranked_right((real, as_jpeg(composite), mask) for real, composite, mask in plain)
    print(f"pairs told by colour detail: {told:.2f} under one chain, {seen:.2f} if composites alone are JPEG")
    assert abs(told - 0.5) < 0.15
    assert seen > 0.9


def test_samples_under_a_chain_are_functions_of_seed_and_index(composites):
    data, fresh = composites(chain={"probability": 1}), composites(chain={"probability": 1})
    backwards = {index: data[index] for index in (5, 1, 3)}
    assert all(np.array_equal(fresh[i]["composite"].numpy(), backwards[i]["composite"].numpy()) for i in (1, 3, 5))


def test_ranges_the_wrong_way_round_and_judges_settings_elsewhere_are_refused():
    with pytest.raises(UsageError, match=r"qualities 90 to 40: .*swap"):
        resolve(ClassifierTraining, overrides=["chain.min_quality=90", "chain.max_quality=40"])
    with pytest.raises(UsageError, match="are for judges"):
        resolve(DirectTraining, overrides=["composites.grade_real=0.5"])
    off = [f"composites.{name}=0" for name in ("reinhard", "xiao", "fecker", "pitie", "lut")]
    with pytest.raises(UsageError, match="all methods of composites have weight 0"):
        resolve(DirectTraining, overrides=off)


@pytest.mark.parametrize("recipe", ["starter/classifier", "starter/direct", "starter/forward", "train/resnet50-probe"])
def test_the_recipes_turn_the_chain_on(recipe):
    from harmonygen import recipes

    assert recipes.load(recipe)["chain"]["probability"] == 0.75
