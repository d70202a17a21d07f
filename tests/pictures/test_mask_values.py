"""Masks of every kind of value, by the pixels that come out: used rightly, or refused with the values found."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from harmonygen.errors import InputError
from harmonygen.pictures.images import Decoded
from harmonygen.pictures.mask_values import to_mask, understand, understand_array
from harmonygen.pictures.masks import load_mask, load_understood
from harmonygen.records import FileSource, MaskRule, parse_mask_values

A = np.zeros((24, 32), bool)
A[3:10, 4:14] = True  # one object
B = np.zeros((24, 32), bool)
B[13:21, 6:26] = True  # another
RIM = np.zeros((24, 32), bool)
RIM[2:11, 3:15] = True
RIM &= ~A  # void around the first
VOC = np.zeros((256, 3), np.uint8)
for index in range(256):
    VOC[index] = [sum(((index >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(3)) for channel in range(3)]
VOC[255] = 224, 224, 192


def grey(dtype=np.uint8, **values):
    """Values by region: a, b, rim, ground."""
    array = np.full(A.shape, values.get("ground", 0), dtype)
    for name, region in (("rim", RIM), ("a", A), ("b", B)):
        if name in values:
            array[region] = values[name]
    return array


def picture(dtype=np.uint8, **values):
    return Image.fromarray(grey(dtype, **values))


def palette(table=VOC, **values):
    image = Image.fromarray(grey(**values))
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette(np.asarray(table, np.uint8).tobytes())
    return image


def coloured(a, b=None, rim=None, ground=(0, 0, 0)):
    array = np.full((*A.shape, 3), ground, np.uint8)
    for region, colour in ((RIM, rim), (A, a), (B, b)):
        if colour is not None:
            array[region] = colour
    return Image.fromarray(array)


def stored(image, image_format, **options):
    """The image as it comes back from a file."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    opened = Image.open(io.BytesIO(buffer.getvalue()))
    opened.load()
    return opened


def forgotten(image):
    """The image as if it had been saved without loss since."""
    return image.copy()


def soft(factor=8):
    big = Image.fromarray(np.kron(A, np.ones((factor, factor))).astype(np.uint8) * 255)
    return big.filter(ImageFilter.GaussianBlur(factor // 2)).resize((32, 24), Image.Resampling.BOX)


def transparent(image, index):
    image.info["transparency"] = index
    return image


def with_alpha(image, opaque):
    image = image.copy()
    image.putalpha(Image.fromarray(opaque.astype(np.uint8) * 255))
    return image


RED, YELLOW, GREEN = (255, 0, 0), (255, 255, 0), (0, 128, 0)
BW = np.zeros((256, 3), np.uint8)
BW[1] = 255
WB = np.zeros((256, 3), np.uint8)
WB[0] = 255
RAMP = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
MIXED = np.zeros((256, 3), np.uint8)
MIXED[0], MIXED[2] = RED, YELLOW  # index 1 is black

USED = {
    # two values, in every depth
    "0/1 in 8 bits": (picture(a=1), A, "two-valued"),
    "0/1 in 16 bits": (picture(np.uint16, a=1), A, "two-valued"),
    "0/1 in 16 bits, PNG": (stored(picture(np.uint16, a=1), "PNG"), A, "two-valued"),
    "0/1 in 16 bits, big-endian TIFF": (
        Image.frombytes("I;16B", (32, 24), grey(">u2", a=1).tobytes()),
        A,
        "two-valued",
    ),
    "0/1 in 32 bits": (stored(picture(np.int32, a=1), "TIFF"), A, "two-valued"),
    "0/255 in 32 bits": (picture(np.int32, a=255), A, "two-valued"),
    "0/65535 in 16 bits": (picture(np.uint16, a=65535), A, "two-valued"),
    "0/4095 in 16 bits": (picture(np.uint16, a=4095), A, "two-valued"),
    "0/2147483647 in 32 bits": (picture(np.int32, a=2**31 - 1), A, "two-valued"),
    "0/7": (picture(a=7), A, "two-valued"),
    "0/100": (picture(a=100), A, "two-valued"),
    "0/1 in floats": (picture(np.float32, a=1), A, "two-valued"),
    "0/0.3 in floats": (picture(np.float32, a=0.3), A, "two-valued"),
    "16/235": (picture(ground=16, a=235), A, "two-valued"),
    "one bit": (picture(a=255).convert("1"), A, "two-valued"),
    "palette black, white": (palette(BW, a=1), A, "two-valued"),
    "palette white, black": (palette(WB, a=1), ~A, "two-valued"),
    "palette grey": (palette(RAMP, a=255), A, "two-valued"),
    "VOC with one class": (palette(a=1), A, "two-valued"),
    "two colours": (coloured(RED), A, "colours"),
    "two colours, dark": (coloured((64, 0, 0)), A, "colours"),
    # soft edges and noise
    "soft": (soft(), A, "soft"),
    "soft in 16 bits": (Image.fromarray(np.asarray(soft()).astype(np.uint16) * 257), A, "soft"),
    "soft in floats": (Image.fromarray((np.asarray(soft()) / 255).astype(np.float32)), A, "soft"),
    "soft RGB": (soft().convert("RGB"), A, "soft"),
    "soft palette": (Image.merge("RGB", [soft()] * 3).convert("P", palette=Image.Palette.ADAPTIVE), A, "soft"),
    "JPEG 95": (stored(picture(a=255), "JPEG", quality=95), A, None),
    "JPEG 40": (stored(picture(a=255), "JPEG", quality=40), A, None),
    "JPEG RGB": (stored(picture(a=255).convert("RGB"), "JPEG", quality=60), A, None),
    "JPEG saved as PNG": (forgotten(stored(picture(a=255), "JPEG", quality=60)), A, None),
    "JPEG RGB saved as PNG": (forgotten(stored(picture(a=255).convert("RGB"), "JPEG", quality=90)), A, None),
    "WebP with loss": (stored(picture(a=255).convert("RGB"), "WEBP", quality=60), A, None),
    # labels
    "ids 1, 2": (picture(a=1, b=2), A | B, "labels"),
    "ids 1, 2 in 16 bits": (picture(np.uint16, a=1, b=2), A | B, "labels"),
    "ids 1, 2 in 32 bits": (picture(np.int32, a=1, b=2), A | B, "labels"),
    "id 15 and 255": (picture(a=15, rim=255), A, "labels"),
    "id 1 and 255": (picture(a=1, rim=255), A, "labels"),
    "ids and 65535 in 16 bits": (picture(np.uint16, a=3, b=9, rim=65535), A | B, "labels"),
    "ids and -1 in 32 bits": (picture(np.int32, a=3, b=9, rim=-1), A | B, "labels"),
    "instances in 16 bits": (picture(np.uint16, a=24001, b=26003), A | B, "labels"),
    "scaled labels": (picture(a=50, b=100, rim=150), A | B | RIM, "labels"),
    "labels in RGB": (Image.merge("RGB", [picture(a=1, b=2, rim=255)] * 3), A | B, "labels"),
    "VOC": (palette(a=8, b=15), A | B, "labels"),
    "VOC with void": (palette(a=8, b=15, rim=255), A | B, "labels"),
    "VOC, one class and void": (palette(a=15, rim=255), A, "labels"),
    "VOC in a GIF": (stored(palette(a=8, b=15), "GIF"), A | B, None),
    "palette with black elsewhere": (palette(MIXED, ground=1, a=0, b=2), A | B, "labels"),
    "trimap": (picture(a=255, rim=128), A, "labels"),
    "trimap of 127": (picture(a=255, rim=127), A, "labels"),
    # colours
    "colours": (coloured(RED, YELLOW), A | B, "colours"),
    "colours and void": (coloured(RED, GREEN, rim=(224, 224, 192)), A | B, "colours"),
    "colours, BMP": (stored(coloured(RED, GREEN), "BMP"), A | B, "colours"),
    # alpha
    "cut-out": (with_alpha(coloured(RED, YELLOW, ground=(9, 9, 9)), A | B), A | B, "alpha"),
    "opaque alpha": (with_alpha(coloured(RED, YELLOW), np.ones_like(A)), A | B, "colours"),
    "grey with alpha": (with_alpha(picture(a=40, b=250, ground=90), B), B, "alpha"),
    "grey with opaque alpha": (with_alpha(picture(a=1, b=2), np.ones_like(A)), A | B, "labels"),
    "transparent index 0, void": (transparent(palette(a=8, rim=255, b=3), 0), A | B, "alpha"),
    "transparent grey 0": (transparent(picture(a=8, b=3), 0), A | B, "labels"),
}


@pytest.mark.parametrize(("image", "foreground", "kind"), USED.values(), ids=USED)
def test_a_mask_of_this_kind_has_the_right_pixels(image, foreground, kind):
    mask, reading = understand(image)
    assert mask.dtype == np.bool_
    assert np.array_equal(mask, foreground)
    assert kind in (None, reading.kind)


REFUSED = {
    "no background": (picture(ground=1, a=2, b=3), r"values 1 .*, 3 .*, 2 .*, none of which is 0"),
    "two labels without background": (picture(ground=1, a=2), "neither of which is 0"),
    "a scale of labels up to 255": (picture(a=85, b=170, rim=255), r"0 .*170 .*85 .*255 .*--mask-values 1,2"),
    "100 and 255": (picture(a=100, b=255, rim=30), "neither two values, nor a soft edge, nor labels"),
    "a photo": (Image.fromarray(np.tile(np.arange(60, 92, dtype=np.uint8) * 2, (24, 1))), "neither two values"),
    "0/1 saved as JPEG": (stored(picture(a=1), "JPEG", quality=95), "all dark, in a file that keeps no exact values"),
    "labels saved as JPEG": (stored(picture(a=100, b=50), "JPEG", quality=90), "all dark"),
    "a trimap saved as JPEG": (stored(picture(a=255, b=128), "JPEG", quality=90), "neither two values"),
    "labels from a JPEG, saved as PNG": (
        forgotten(stored(picture(a=100, b=50), "JPEG", quality=80)),
        "neither two values|labels or noise",
    ),
    "colours without black": (coloured(RED, YELLOW, ground=GREEN), "none of which is black.*--mask-values #rrggbb"),
    "white among colours": (coloured(RED, YELLOW, rim=(255, 255, 255)), "white could be an object or a border"),
    "colours saved as JPEG": (stored(coloured(RED, YELLOW), "JPEG"), "a picture of many colours"),
    "a palette without index 0 or black": (palette(MIXED, ground=2, a=3), "values 2"),
    "negative values": (picture(np.int32, a=3, b=9, rim=-7), "none of which is 0|neither two"),
    "not numbers": (picture(np.float32, a=np.nan), "not numbers"),
}
MIXED[3] = GREEN
REFUSED["a palette without index 0 or black"] = (palette(MIXED, ground=2, a=3), "none of which is index 0 or black")


@pytest.mark.parametrize(("image", "told"), REFUSED.values(), ids=REFUSED)
def test_a_mask_that_could_mean_several_things_is_refused_with_what_was_found(image, told):
    with pytest.raises(InputError, match=told) as caught:
        understand(image, name="m.png")
    assert "'m.png'" in str(caught.value)


def test_what_was_found_used_and_ignored_is_told():
    _, reading = understand(palette(a=8, b=15, rim=255))
    assert (reading.kind, reading.values) == ("labels", ("0", "8", "15", "255"))
    assert (reading.foreground, reading.ignored) == (("8", "15"), ("255",))
    assert understand(coloured(RED))[1].foreground == ("#ff0000",)


CHOSEN = {
    "a palette's index": (palette(a=8, b=15, rim=255), "15", B),
    "void is an object": (palette(a=8, b=15, rim=255), "255", RIM),
    "a grey id": (picture(a=1, b=2, rim=255), "2, 7", B),
    "ids in 32 bits": (picture(np.int32, a=24001, b=26003), "24001", A),
    "an id in opaque RGBA": (with_alpha(picture(a=1, b=2).convert("RGB"), np.ones_like(A)), "1", A),
    "a colour": (coloured(RED, YELLOW), "#FF0000", A),
    "colours with white": (coloured(RED, YELLOW, rim=(255, 255, 255)), "#ff0000,#ffff00", A | B),
    "a palette's colour": (palette(a=1, b=2), "#800000", A),
    "a threshold": (picture(a=85, b=170, rim=255), ">=170", B | RIM),
    "a threshold on JPEG": (stored(picture(a=255, b=120), "JPEG", quality=95), ">= 60", A | B),
    "background chosen": (picture(a=1, ground=2, b=3), "1", A),
}


@pytest.mark.parametrize(("image", "values", "foreground"), CHOSEN.values(), ids=CHOSEN)
def test_chosen_values_are_foreground(image, values, foreground):
    mask, _ = understand(image, MaskRule(parse_mask_values(values)))
    assert np.array_equal(mask, foreground)


@pytest.mark.parametrize(
    ("image", "values", "told"),
    [
        (palette(a=8), "7", r"values 0 .*, 8 .*, none of which is among --mask-values 7"),
        (coloured(RED), "#00ff00", r"none of the colours #00ff00, found #000000, #ff0000"),
        (coloured(RED), "1", "has colours: give them as in --mask-values #ff0000"),
        (stored(picture(a=255), "JPEG"), "255", "keeps no exact values"),
    ],
)
def test_values_that_are_not_there_are_refused_with_those_that_are(image, values, told):
    with pytest.raises(InputError, match=told):
        understand(image, MaskRule(parse_mask_values(values)))


@pytest.mark.parametrize("text", ["1,#ff0000", "red", ">=1,2", "-1", "#ff", "1.5", ","])
def test_values_that_say_nothing_are_refused(text):
    with pytest.raises(ValueError, match="give ids"):
        parse_mask_values(text)


def test_arrays_are_read_by_the_same_rule():
    assert np.array_equal(understand_array(grey(np.int64, a=1, b=2))[0], A | B)
    assert np.array_equal(to_mask(picture(a=1, b=2)), A | B)


# Pages


PHOTO = Decoded(np.zeros((*A.shape, 3), np.uint8), A.shape[::-1], 1)


def test_pages_of_one_size_are_refused_and_a_preview_is_not(tmp_path):
    first = picture(a=255)
    first.save(tmp_path / "two.tif", save_all=True, append_images=[picture(b=255)])
    with pytest.raises(InputError, match=r"two\.tif' has 2 pages or frames of one size"):
        load_mask(FileSource(tmp_path / "two.tif"), PHOTO)
    first.save(tmp_path / "preview.tif", save_all=True, append_images=[first.resize((8, 6))])
    assert np.array_equal(load_mask(FileSource(tmp_path / "preview.tif"), PHOTO), A)


def test_an_animation_is_refused(tmp_path):
    palette(a=1).save(tmp_path / "m.gif", save_all=True, append_images=[palette(b=1)])
    with pytest.raises(InputError, match="has 2 pages or frames"):
        load_mask(FileSource(tmp_path / "m.gif"), PHOTO)


def test_the_rule_travels_with_the_source(tmp_path):
    palette(a=8, b=15).save(tmp_path / "m.png")
    mask, reading = load_understood(FileSource(tmp_path / "m.png", rule=MaskRule(("15",))), PHOTO)
    assert np.array_equal(mask, B)
    assert reading.foreground == ("15",)
