"""Stands in for iDIH's train.py: the same options, config and files. Its model is one number, by least squares."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from idih_rules import TRAINED_ON, VALIDATED_ON, config_of, family_of, pixels, pull, samples

SIDE = 32


def main() -> None:
    """Fit how much of the way to the background's mean colour leads to the photo; one pass over the training lists."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model_path", type=Path)
    parser.add_argument("--exp-name", default="")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=-1)
    parser.add_argument("--gpus", default="")
    options = parser.parse_args()
    config, family = config_of(options.model_path), family_of(options.model_path)
    parent = Path(config["EXPS_PATH"]) / family
    parent.mkdir(parents=True, exist_ok=True)
    number = 1 + max((int(path.name[:3]) for path in parent.iterdir()), default=-1)
    home = parent / f"{number:03d}{'_' * bool(options.exp_name)}{options.exp_name}"
    (home / "checkpoints").mkdir(parents=True)
    train, test = (
        [each for key in keys for each in samples(Path(config[key]), split)]
        for keys, split in ((TRAINED_ON, "train"), (VALIDATED_ON, "test"))
    )
    batch = options.batch_size if options.batch_size > 0 else 16
    moved, pulled = 0.0, 0.0
    for composite, real, mask in train[: len(train) // batch * batch]:
        image, truth, inside = pixels(composite, SIDE), pixels(real, SIDE), pixels(mask, SIDE)[..., 0] > 127
        wanted, way = (truth[inside] - image[inside]).mean(axis=0), pull(image, inside)
        moved, pulled = moved + wanted @ way, pulled + way @ way
    print(f"{1 / (len(test) // batch):.1f} of the validation is a batch")
    model = {"strength": moved / pulled, "steps": len(train) // batch, "lines": len(train), "batch": batch}
    (home / "checkpoints" / "last_checkpoint.pth").write_text(json.dumps(model))


if __name__ == "__main__":
    main()
