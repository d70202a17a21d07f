"""What zero-shot editing does on the trained toy text-to-image model, in figures; one table.

    python benchmarks/zero_shot_edits.py [--scenes 6] [--steps 20] [--sheet sheet.png]

Unseen drawn scenes: a textured shape of one colour on a field of another. Words: the shape's colour (foreground), the
field's (background). Means over scenes, lowest and highest in brackets. Rates are scaled to the toy's token embeddings,
which are about fifty times as large as Stable Diffusion's.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "fakes"))

from zero_shot_measures import TOY, colour_distance, edge_correlation, edits, inversion_psnr, scenes

from harmonygen.harmonization.zeroshot.text_to_image import TextToImage

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = {
    "as published": {},
    "no words refined": {"refine_inner": 0},
    "no L_Edge": {"edge_weight": 0.0},
    "L_Edge x 30": {"edge_weight": 30.0},
    "L_Edge x 300": {"edge_weight": 300.0},
    "L_Edge x 300, more steps": {"edge_weight": 300.0, "null_inner": 20},
    "more steps, no L_Edge": {"edge_weight": 0.0, "null_inner": 20},
}


def told(values: list[float], digits: int) -> str:
    """Write a mean with its lowest and highest."""
    low, high = min(values), max(values)
    return f"{np.mean(values):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=6)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--model", type=Path, default=ROOT / "tests" / "assets" / "toy-sd")
    parser.add_argument("--only", nargs="*", default=list(VARIANTS))
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    chosen, shown = scenes(options.scenes), []
    model = TextToImage.from_pretrained(options.model)
    for steps in (options.steps, 50):
        again, alone = inversion_psnr(model, chosen, steps)
        figures = f"median {np.median(again):.2f}, {told(again, 2)} dB (autoencoder alone: {told(alone, 2)} dB)"
        print(f"DDIM inversion and reconstruction, {steps} steps: {figures}")
    before = told([colour_distance(scene.picture01, scene) for scene in chosen], 0)
    print(f"distance of the foreground's mean colour from the background's word, before: {before} of 441\n")
    print("| edit | attention inside, before -> after | outside | colour distance | edge correlation |")
    print("|---|---|---|---|---|")
    for name in options.only:
        made = edits(options.model, chosen, TOY.model_copy(update={"inversion_steps": options.steps, **VARIANTS[name]}))
        shares = [
            " -> ".join(f"{np.mean([edit.figures[f'attention_{side}_{when}'] for edit in made]):.3f}" for when in WHEN)
            for side in ("inside", "outside")
        ]
        pairs = list(zip(made, chosen, strict=True))
        colours = told([colour_distance(edit.picture01, scene) for edit, scene in pairs], 0)
        edges = told([edge_correlation(edit.picture01, scene) for edit, scene in pairs], 2)
        print(f"| {name} | {shares[0]} | {shares[1]} | {colours} | {edges} |", flush=True)
        shown.append(np.concatenate([edit.picture01 for edit in made], 1))
    if options.sheet:
        rows = np.concatenate([np.concatenate([scene.picture01 for scene in chosen], 1), *shown])
        sheet = Image.fromarray((rows * 255).round().astype(np.uint8))
        sheet.resize((sheet.width * 2, sheet.height * 2), Image.Resampling.NEAREST).save(options.sheet)


WHEN = ("before", "after")


if __name__ == "__main__":
    main()
