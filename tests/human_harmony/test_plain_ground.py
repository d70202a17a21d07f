import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage import data

from harmonygen.human_harmony.plain_ground import SIDE, HeuristicFilter, is_ground, is_skin, judge, measure
from harmonygen.human_harmony.products import load_product_filter
from harmonygen.human_harmony.settings import ProductRule

HEIGHT, WIDTH = 320, 240


def gradient(height=HEIGHT, width=WIDTH):
    """A studio's ground: brighter below and in the middle, with noise."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 225 + 15 * y - 20 * (x * x + y * y)
    return np.clip(light[..., None] + np.random.default_rng(0).normal(0, 2, (height, width, 3)), 0, 255)


def region(top, bottom, left, right):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


JACKET = region(90, 200, 70, 170)


def product(cloth="coffee", mask=JACKET):
    """A piece of a photo, cut to the mask, on a studio ground."""
    texture = np.asarray(Image.fromarray(getattr(data, cloth)()).resize((WIDTH, HEIGHT)))
    return np.where(mask[..., None], texture, gradient()).round().astype(np.uint8)


def with_face(picture):
    """The astronaut's face above the jacket."""
    face = np.asarray(Image.fromarray(data.astronaut()[60:180, 160:280]).resize((60, 60)))
    picture = picture.copy()
    picture[27:87, 90:150] = face
    return picture


def test_cloth_on_a_studio_ground_is_a_product():
    verdict = HeuristicFilter()(product(), JACKET, "a")
    assert (verdict.keep, verdict.reason) == (False, "product:heuristic")
    assert verdict.detail.startswith("a product alone: 100% of the border is one plain ground, nothing touches")
    assert set(verdict.measures) == {"edge", "border", "skin", "touching", "other"}


def test_skin_coloured_cloth_is_a_product_too():
    brown = np.where(JACKET[..., None], np.array([190, 140, 110]), gradient()).astype(np.uint8)
    assert is_skin(brown)[JACKET].all()
    assert not HeuristicFilter()(brown, JACKET, "a").keep


def test_a_face_beside_the_clothing_keeps_the_photo():
    verdict = HeuristicFilter()(with_face(product()), JACKET, "a")
    assert verdict.keep
    assert "skin-coloured regions beside the clothing are" in verdict.detail


def test_a_grey_face_keeps_the_photo_as_something_else_on_the_ground():
    grey = np.asarray(Image.fromarray(with_face(product())).convert("L").convert("RGB"))
    verdict = HeuristicFilter()(grey, JACKET, "a")
    assert verdict.keep
    assert verdict.measures["skin"] == 0
    assert "plain ground" in verdict.detail


def test_clothing_in_a_scene_is_kept():
    verdict = HeuristicFilter()(np.asarray(Image.fromarray(data.rocket()).resize((WIDTH, HEIGHT))), JACKET, "a")
    assert verdict.keep
    assert "of the border is one plain ground" in verdict.detail


def test_clothing_that_runs_out_of_the_picture_is_kept():
    cut = region(90, HEIGHT, 70, 170)
    verdict = HeuristicFilter()(product(mask=cut), cut, "a")
    assert verdict.keep
    assert verdict.detail == "the clothing runs out of the picture (9.0% of its rim)"


def test_something_that_touches_the_clothing_all_round_keeps_it():
    around = region(84, 206, 64, 176)
    picture = np.where((around & ~JACKET)[..., None], 30, product()).astype(np.uint8)
    rule = ProductRule(max_other=10.0)
    verdict = HeuristicFilter(rule)(picture, JACKET, "a")
    assert verdict.keep
    assert "of the clothing's surrounding is not the plain ground" in verdict.detail


@pytest.mark.parametrize("ground", [255, 240, 128, 20])
def test_white_grey_and_dark_grounds_are_plain(ground):
    picture = np.where(JACKET[..., None], product(), ground).astype(np.uint8)
    assert not HeuristicFilter()(picture, JACKET, "a").keep


def test_a_mask_that_is_two_pixels_too_narrow_changes_nothing():
    inner = region(92, 198, 72, 168)
    assert not HeuristicFilter()(product(), inner, "a").keep


def test_a_soft_shadow_is_still_ground():
    cast = Image.fromarray(np.roll(JACKET, (6, 6), (0, 1)).astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(6))
    shade = 1 - 0.1 * np.asarray(cast)[..., None] / 255
    picture = np.where(JACKET[..., None], product(), product() * shade).astype(np.uint8)
    assert not HeuristicFilter()(picture, JACKET, "a").keep


def test_measures_hold_at_other_sizes():
    small = measure(with_face(product()), JACKET, 28)
    image = np.asarray(Image.fromarray(with_face(product())).resize((WIDTH * 3, HEIGHT * 3), Image.Resampling.BICUBIC))
    large = measure(image, np.kron(JACKET, np.ones((3, 3), bool)), 28)
    assert max(image.shape) > SIDE
    assert large == pytest.approx(small, abs=0.03)


def test_each_limit_alone_keeps_a_photo():
    rule = ProductRule()
    plain = {"edge": 0.0, "border": 1.0, "skin": 0.0, "touching": 0.0, "other": 0.0}
    assert not judge(plain, rule).keep
    for name, value in (("edge", 0.02), ("border", 0.89), ("skin", 0.02), ("touching", 0.11), ("other", 0.06)):
        assert judge({**plain, name: value}, rule).keep


def test_limits_are_settings():
    picture = with_face(product())
    loose = ProductRule(max_skin=10, max_touching=1, max_other=10)
    assert load_product_filter("heuristic")(picture, JACKET, "a").keep
    assert not load_product_filter("heuristic", rule=loose)(picture, JACKET, "a").keep


def test_a_mask_up_to_the_rim_leaves_no_border_and_is_kept():
    whole = np.ones((60, 60), bool)
    whole[30, 30] = False
    verdict = load_product_filter("heuristic")(np.full((60, 60, 3), 200, np.uint8), whole, "a")
    assert verdict.keep


def test_the_ground_is_what_the_border_explains():
    picture = gradient().round().astype(np.uint8)
    border = np.ones((HEIGHT, WIDTH), bool)
    border[10:-10, 10:-10] = False
    picture[:40, :40] = 20  # a corner of something else
    ground = is_ground(picture, border, 20)
    assert not ground[:40, :40].any()
    assert ground[45:, 45:].all()


def test_faces_are_skin_coloured_and_grey_is_not():
    face = data.astronaut()[95:150, 195:245]
    assert is_skin(face).mean() > 0.8
    assert not is_skin(np.full((4, 4, 3), 128, np.uint8)).any()
