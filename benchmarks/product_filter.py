"""How often the heuristic product filter, or `witness`, is wrong, on photos of people and on pictures made from them.

DATA is a folder of street-fashion photos: ``train/*.jpg``, ``expected_union_masks/*.png`` (clothing) and
``person_masks/*.png`` (clothes, skin and hair). Four kinds of picture, one of each a photo:

- *street people*: the photos as they are. Dropping one is an error.
- *studio people*: the wearer cut out and laid on a studio ground. Dropping one is an error.
- *studio people, grey*: the same pictures without colour, where no skin can be seen. Dropping one is an error.
- *products*: the clothing alone cut out and laid on a studio ground. Keeping one is an error.

The ground is white, near-white, a gradient, a pale colour or the beige of skin, with sensor noise, a soft shadow in
half of the pictures, and JPEG; the filter gets the clothing mask with a wavering edge, as hand-drawn polygons have.
The made kinds are a **stand-in**: clothes worn and cut out are no packshots (no hanger, mannequin or reflection; folds
as on a body; bags and shoes in the same picture), and cut-out people are easier to tell from the ground than those that
a studio lit.
Photos with an even number were looked at while the limits were chosen; the odd ones are the held-out half.

    python benchmarks/product_filter.py DATA [--filter witness] [--sheet WRONG.png]
"""

from __future__ import annotations

import argparse
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from harmonygen.human_harmony.products import Strategy, load_product_filter
from harmonygen.human_harmony.verdict import Verdict
from harmonygen.pictures.images import ImageU8, Mask, decode
from harmonygen.pictures.masks import to_mask
from harmonygen.seeds import numpy_rng

KINDS = ("street people", "studio people", "studio people, grey", "products")
HALVES = ("looked at", "held out")
_TILE = (120, 190)


@dataclass(frozen=True)
class Case:
    """One decision: the photo's number, the kind of picture, the picture at a small size, and the verdict."""

    name: str
    kind: str
    tile: Image.Image
    verdict: Verdict

    @property
    def wrong(self) -> bool:
        """A person dropped or a product kept."""
        return self.verdict.keep == (self.kind == "products")

    @property
    def half(self) -> str:
        """Which half the photo is of."""
        return HALVES[int(self.name) % 2]


def wilson(wrong: int, total: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a rate."""
    z = 1.959964
    rate, spread = wrong / total, z * z / total
    middle = (rate + spread / 2) / (1 + spread)
    reach = z / (1 + spread) * float(np.sqrt(rate * (1 - rate) / total + spread / (4 * total)))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def studio(image_u8: ImageU8, cut: Mask, clothing: Mask, rng: np.random.Generator) -> tuple[ImageU8, Mask]:
    """Lay what ``cut`` shows centred on a studio ground; return the picture and the clothing's mask in it."""
    rows, columns = np.nonzero(cut)
    top, left = rows.min(), columns.min()
    box = (slice(top, rows.max() + 1), slice(left, columns.max() + 1))
    margin = round(rng.uniform(0.1, 0.25) * max(cut[box].shape))
    padded = [np.pad(layer[box], margin) for layer in (cut, clothing)]
    colours = np.pad(image_u8[box], ((margin, margin), (margin, margin), (0, 0)))
    ground = backdrop(padded[0], rng)
    alpha = ndimage.gaussian_filter(padded[0].astype(float), 0.6)[..., None]
    picture = colours * alpha + ground * (1 - alpha)
    picture = np.where(padded[0][..., None], picture, ground + (picture - ground) * (alpha > 0.5))
    noisy = np.clip(picture + rng.normal(0, rng.uniform(0.5, 2.5), picture.shape), 0, 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, "JPEG", quality=int(rng.integers(75, 95)))
    return decode(buffer.getvalue(), "made").image_u8, padded[1]


def backdrop(cut: Mask, rng: np.random.Generator) -> np.ndarray:
    """Return a studio ground (H, W, 3): white, near-white, gradient, pale or beige; half of them with a shadow."""
    height, width = cut.shape
    kind = rng.integers(5)
    base = np.full(3, 255.0) if kind == 0 else np.full(3, rng.uniform(225, 250)) + rng.normal(0, 2, 3)
    if kind == 3:
        base = rng.uniform(170, 240, 3)
    if kind == 4:
        base = np.array([225.0, 195.0, 170.0]) + rng.normal(0, 8, 3)
    ground = np.broadcast_to(base, (height, width, 3)).copy()
    if kind == 2:
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        shape = (y + 1) / 2 if rng.random() < 0.5 else (x * x + y * y) / 2
        ground -= rng.uniform(15, 60) * shape[..., None]
    if rng.random() < 0.5:
        shift = rng.integers(2, 8, 2)
        cast = Image.fromarray(np.roll(cut, shift, (0, 1)).astype(np.uint8) * 255)
        shadow = np.asarray(cast.filter(ImageFilter.GaussianBlur(rng.uniform(4, 10)))) / 255
        ground *= 1 - rng.uniform(0.05, 0.25) * shadow[..., None]
    return ground


def waver(mask: Mask, rng: np.random.Generator) -> Mask:
    """Return a mask whose edge is off by up to two pixels or so, smoothly along it."""
    height, width = mask.shape
    coarse = Image.fromarray(rng.uniform(-0.4, 0.4, (height // 16 + 2, width // 16 + 2)).astype(np.float32))
    offset = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    moved = ndimage.gaussian_filter(mask.astype(np.float32), 1.5) > 0.5 + np.clip(offset, -0.4, 0.4)
    return moved if moved.any() else mask


def grey(image_u8: ImageU8) -> ImageU8:
    """Return a picture without colour."""
    return np.asarray(Image.fromarray(image_u8).convert("L").convert("RGB"))


def cases(data: Path, strategy: Strategy) -> list[Case]:
    """Judge four pictures of each photo."""
    judge, found = load_product_filter(strategy), []
    for path in sorted((data / "train").glob("*.jpg")):
        image = decode(path.read_bytes(), str(path)).image_u8
        clothing, person = (
            to_mask(Image.open(data / folder / f"{path.stem}.png"))
            for folder in ("expected_union_masks", "person_masks")
        )
        if not clothing.any():
            print(f"left out: photo {path.stem} has no clothing mask")
            continue
        rng = numpy_rng("product-filter", path.stem)
        worn, worn_mask = studio(image, person | clothing, clothing, rng)
        product = studio(image, clothing, clothing, rng)
        pictures = ((image, clothing), (worn, worn_mask), (grey(worn), worn_mask), product)
        for kind, (picture, mask) in zip(KINDS, pictures, strict=True):
            verdict = judge(picture, waver(mask, rng), path.stem)
            tile = Image.fromarray(picture)
            tile.thumbnail(_TILE)
            found.append(Case(path.stem, kind, tile, verdict))
    return found


def table(found: list[Case]) -> None:
    """Print error rates by kind and half, and why products were kept."""
    print("| picture | half | wrong | n | rate | 95 % Wilson interval |\n|---|---|---|---|---|---|")
    for kind in KINDS:
        for half in HALVES:
            here = [case for case in found if case.kind == kind and case.half == half]
            wrong = sum(case.wrong for case in here)
            low, high = wilson(wrong, len(here))
            print(f"| {kind} | {half} | {wrong} | {len(here)} | {wrong / len(here):.2%} | {low:.2%} - {high:.2%} |")
    for kind in KINDS:
        words = Counter(reason(case.verdict) for case in found if case.kind == kind and case.verdict.keep)
        print(f"{kind}, kept because: " + "; ".join(f"{word} {count}" for word, count in words.most_common()))


def reason(verdict: Verdict) -> str:
    """Return the words of a verdict without its figures."""
    return " ".join(word for word in verdict.detail.split() if not any(sign.isdigit() for sign in word)).strip("( ")


def sheet(found: list[Case], path: Path, columns: int = 12, rows: int = 6) -> None:
    """Write a contact sheet of wrong decisions, evenly drawn, with their measures."""
    wrong = [case for case in found if case.wrong]
    wrong = wrong[:: max(1, -(-len(wrong) // (columns * rows)))]
    picture = Image.new("RGB", (columns * _TILE[0], rows * (_TILE[1] + 24)), "white")
    draw = ImageDraw.Draw(picture)
    for index, case in enumerate(wrong):
        left, top = index % columns * _TILE[0], index // columns * (_TILE[1] + 24)
        picture.paste(case.tile, (left, top))
        values = " ".join(f"{name[0]}{value:.2f}" for name, value in case.verdict.measures.items())
        draw.text((left + 2, top + _TILE[1]), f"{case.name} {case.kind}\n{values}", fill="black", font_size=8)
    picture.save(path)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--filter", default="heuristic", choices=["heuristic", "witness"], help="which is judged")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of wrong decisions")
    options = parser.parse_args()
    found = cases(options.data, options.filter)
    table(found)
    if options.sheet:
        sheet(found, options.sheet)


if __name__ == "__main__":
    main()
