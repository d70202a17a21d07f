"""The words of `export --for` on a run's own candidates, to be read aloud, and a sheet of pictures beside their words.

    python benchmarks/caption_sheet.py outputs/synthesize --count 30
    python benchmarks/caption_sheet.py run1 run2 --count 30 --direction inverse --out sheet.png --pictures 10

Candidates are drawn evenly from the runs, those that may be used alone, at most one of each pair. A picture's row has
the photo with its foreground's outline, the composite, and the words of both directions with the five figures.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from harmonygen.augmentation.export import wanted
from harmonygen.augmentation.settings import ExportSettings
from harmonygen.pictures.images import decode
from harmonygen.pictures.outline import draw, outline
from harmonygen.runs.read import Run
from harmonygen.trainers.captions import words_of
from harmonygen.trainers.rows import EditRow, Reader, keys_of

PICTURE, TEXT, GAP = 220, 620, 8


def drawn(folder: Path, count: int, seed: int) -> Iterator[EditRow]:
    """Yield a candidate of each of ``count`` pairs of a run, drawn at random."""
    run = Run.open(folder)
    rng = np.random.default_rng(seed)
    usable, _ = wanted(run, "all")
    by_pair: dict[str, list[dict]] = {}
    for row in usable:
        by_pair.setdefault(row["pair_id"], []).append(row)
    pairs = sorted(by_pair)
    picked = [by_pair[pairs[index]] for index in sorted(rng.permutation(len(pairs))[:count])]
    chosen = [rows[rng.integers(len(rows))] for rows in picked]
    reader = Reader(run, ExportSettings(run=folder, trainer="imagefolder", seed=seed), keys_of(run), None, "")
    for part in sorted({row["part"] for row in chosen}):
        yield from reader.rows(part, [row for row in chosen if row["part"] == part])


def said(row: EditRow, seed: int) -> tuple[str, str, str]:
    """Return a row's words: what was done, the instruction back, the instruction forth."""
    back, forth = (words_of(row.change, direction, seed, row.key) for direction in ("harmonize", "inverse"))
    return back.change, back.instruction, forth.instruction


def picture_row(row: EditRow, seed: int) -> Image.Image:
    """Return a candidate's row of the sheet."""
    sheet = Image.new("RGB", (2 * (PICTURE + GAP) + TEXT, PICTURE), "white")
    photo, composite = (
        Image.fromarray(row.pair.real_u8),
        Image.fromarray(decode(row.composite.read(), row.key).image_u8),
    )
    for each in (photo, composite):
        each.thumbnail((PICTURE, PICTURE))
    coverage = Image.fromarray(row.pair.mask_u8.astype(np.uint8) * 255).resize(photo.size, Image.Resampling.BOX)
    sheet.paste(draw(photo, outline(coverage)), (0, 0))
    sheet.paste(composite, (PICTURE + GAP, 0))
    pen, top = ImageDraw.Draw(sheet), 0
    figures = " ".join(f"{each.name} {getattr(row.change, each.name):.2f}" for each in fields(row.change))
    for text, size in ((row.key, 12), *((words, 16) for words in said(row, seed)), (figures, 12)):
        for line in wrapped(text, TEXT // (size * 0.56)):
            pen.text((2 * (PICTURE + GAP), top), line, fill="black", font=ImageFont.load_default(size))
            top += size + 4
        top += 6
    return sheet


def wrapped(text: str, width: float) -> list[str]:
    """Break a text into lines of at most ``width`` characters."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def main() -> None:
    """Print the words, and write the sheet if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of finished synthesize runs")
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a PNG outside the repository")
    parser.add_argument("--pictures", type=int, default=10, help="rows of the sheet")
    options = parser.parse_args()
    each = -(-options.count // len(options.runs))
    rows = [row for run in options.runs for row in drawn(run, each, options.seed)][: options.count]
    for number, row in enumerate(rows, 1):
        what, back, forth = said(row, options.seed)
        print(f"{number:2d}. {what}\n    {back}\n    {forth}")
    if options.out:
        shown = rows[:: max(1, len(rows) // options.pictures)][: options.pictures]
        sheet = Image.new("RGB", (2 * (PICTURE + GAP) + TEXT, len(shown) * (PICTURE + GAP)), "white")
        for index, row in enumerate(shown):
            sheet.paste(picture_row(row, options.seed), (0, index * (PICTURE + GAP)))
        sheet.save(options.out)
        print(options.out)


if __name__ == "__main__":
    main()
