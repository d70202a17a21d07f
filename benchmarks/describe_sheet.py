"""A sheet of photos beside the words that the rule-based describer picks for them, to be looked at.

Each row has the photo with its foreground's outline, the same with all but the foreground greyed, the descriptions
(foreground above background) and what was measured.

    python benchmarks/describe_sheet.py --data sample --out /tmp/words.png
    python benchmarks/describe_sheet.py --data photos.csv --count 50 --out /tmp/words.png
    python benchmarks/describe_sheet.py --data sample --composites --out /tmp/words.png
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from harmonygen.data import read_pairs
from harmonygen.data.composites import read_composites
from harmonygen.harmonization.zeroshot.describe.measure import Look, measure
from harmonygen.harmonization.zeroshot.describe.rules import RuleDescriber
from harmonygen.pictures.outline import draw, outline
from harmonygen.pictures.photo import Photo, Sizing, load_photo
from harmonygen.records import Pair, ReadOptions

PICTURE, TEXT, GAP, ROWS = 200, 520, 8, 10
SIZING = Sizing(resolution=256, multiple=8, max_side=512)
SHORT = {"brightness": "bri", "warmth": "warm", "warmth_spread": "±", "greenness": "green", "saturation": "sat"}


def chosen(data: str, composites: bool, count: int, seed: int) -> list[Pair]:
    """Return ``count`` pairs of a data set, drawn at random and in order."""
    pairs = list(
        read_composites(data).as_pairs() if composites else read_pairs(data, reading=ReadOptions(allow_outside=True))
    )
    picked = np.random.default_rng(seed).permutation(len(pairs))[:count]
    return [pairs[index] for index in sorted(picked)]


def numbers(look: Look) -> str:
    """Return what was measured, in one line."""
    return " ".join(f"{SHORT.get(each.name, each.name)} {getattr(look, each.name):.2f}" for each in fields(look))


def lines(photo: Photo) -> list[tuple[str, bool]]:
    """Return what is written beside a photo, and whether it is strong."""
    described = RuleDescriber()(photo, alternatives=3)
    text = [(photo.pair.pair_id, False)]
    for number, description in enumerate(described):
        here, there = (", ".join(words) for words in (description.foreground, description.background))
        text += [(f"{number + 1}. {here}", number == 0), (f"    -> {there}", number == 0)]
    return [*text, *((numbers(look), False) for look in measure(photo.image_u8, photo.mask))]


def row(photo: Photo) -> Image.Image:
    """Return one photo's row."""
    sheet = Image.new("RGB", (2 * (PICTURE + GAP) + TEXT, PICTURE), "white")
    picture = Image.fromarray(photo.image_u8)
    picture.thumbnail((PICTURE, PICTURE))
    coverage = Image.fromarray(photo.mask.astype(np.uint8) * 255).resize(picture.size, Image.Resampling.BOX)
    sheet.paste(draw(picture, outline(coverage)), (0, 0))
    sheet.paste(picture, (PICTURE + GAP, 0))
    pen = ImageDraw.Draw(sheet)
    top = 0
    for text, strong in lines(photo):
        size = 18 if strong else 11
        pen.text(
            (2 * (PICTURE + GAP), top), text, fill="black" if strong else "dimgrey", font=ImageFont.load_default(size)
        )
        top += size + 6
    return sheet


def main() -> None:
    """Write sheets of :data:`ROWS` rows: the file named, then with -2, -3 ... before its suffix."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="sample", help="any layout that harmonygen reads")
    parser.add_argument("--composites", action="store_true", help="describe the composites of the data")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="a PNG outside the repository")
    options = parser.parse_args()
    rows = [row(load_photo(p, SIZING)) for p in chosen(options.data, options.composites, options.count, options.seed)]
    for start in range(0, len(rows), ROWS):
        part = rows[start : start + ROWS]
        sheet = Image.new("RGB", (part[0].width, len(part) * (PICTURE + GAP)), "white")
        for index, each in enumerate(part):
            sheet.paste(each, (0, index * (PICTURE + GAP)))
        path = options.out if not start else options.out.with_stem(f"{options.out.stem}-{start // ROWS + 1}")
        sheet.save(path)
        print(path)


if __name__ == "__main__":
    main()
