"""What iDIH's trainer (iSSAM and its kin) reads: the keys of ``config.yml``, its folders, and a script that starts it.

Facts of SamsungLabs/image_harmonization. ``config.yml`` names four folders, one for each subset of iHarmony4. Each
needs one list ``*train.txt`` and one ``*test.txt`` of bare names, and ``real_images``, ``composite_images`` and
``masks`` beside them. ``train.py`` looks for ``config.yml`` in the folders above the model script, which must lie below
one called ``models``. Experiments are numbered, ``<EXPS_PATH>/<script>/000_<name>``. ``predict_for_dir.py`` names its
results like their inputs.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from harmonygen.augmentation import dataset as originals
from harmonygen.augmentation.augment import data_folder
from harmonygen.augmentation.settings import AugmentSettings
from harmonygen.data.write_tree import COMPOSITES, MASKS
from harmonygen.errors import UsageError

NAME, START, CONFIG = "issam", "train.sh", "config.yml"
FOLDERS = {
    "HFLICKR_PATH": "HFlickr",
    "HCOCO_PATH": "HCOCO",
    "HDAY2NIGHT_PATH": "Hday2night",
    "HADOBE5K_PATH": "HAdobe5k",
}
"""Keys of ``config.yml`` and the subset that each is meant for, in the order in which other subsets get them."""
SIDE = 256  # of the scripts in models/fixed256, and of the protocol "paper"
_UNVALIDATED = "HADOBE5K_PATH"
_BATCH = 16  # of the scripts; with fewer composites than a batch they train nothing, or divide by zero
_BACKBONES = {
    "HRNETV2_W18_SMALL": "hrnet_w18_small_model_v2",
    "HRNETV2_W18": "hrnetv2_w18_imagenet_pretrained",
    "HRNETV2_W32": "hrnetv2_w32_imagenet_pretrained",
    "HRNETV2_W40": "hrnetv2_w40_imagenet_pretrained",
    "HRNETV2_W48": "hrnetv2_w48_imagenet_pretrained",
}


def refuse_unfit(settings: AugmentSettings) -> None:
    """Refuse a dataset that iDIH's scripts could not train on, before anything is written.

    Raises:
        UsageError: no test composites where the scripts validate, or more subsets than they have folders for.
    """
    data = data_folder(settings.data)
    found = originals.read_originals(data, settings.list_file, settings.subset, settings.test_list)
    test = {pair.subset for pair in originals.heldout_on_disk(found)}
    keys = folders_of({pair.subset for pair in found.train} | test)
    if not validated(keys) & test:
        named = ", ".join(name for key, name in FOLDERS.items() if key != _UNVALIDATED)
        raise UsageError(
            f"--for {NAME}: its scripts validate on test composites of {named}, or of subsets of one's own, and "
            f"'{found.root}' has none of these: give the dataset a test list (--test-list), or leave --subset out"
        )


def folders_of(subsets: Iterable[str]) -> dict[str, str]:
    """Return the subset of each key of ``config.yml`` that gets one.

    Raises:
        UsageError: more subsets than keys.

    >>> folders_of(["HAdobe5k", "photos"])
    {'HADOBE5K_PATH': 'HAdobe5k', 'HFLICKR_PATH': 'photos'}
    """
    left = {subset.casefold(): subset for subset in sorted(subsets)}
    found = {key: left.pop(name.casefold()) for key, name in FOLDERS.items() if name.casefold() in left}
    free = [key for key in FOLDERS if key not in found]
    if len(left) > len(free):
        raise UsageError(
            f"--for {NAME}: the trainer reads {len(FOLDERS)} folders, and the dataset has {len(left) + len(found)} "
            "subsets: choose one with --subset, or merge them"
        )
    return found | dict(zip(free, left.values(), strict=False))


def validated(keys: Mapping[str, str]) -> set[str]:
    """Return the subsets whose test composites the scripts validate on."""
    return {subset for key, subset in keys.items() if key != _UNVALIDATED}


def config(arm: Path, folders: Mapping[str, Path]) -> str:
    """Return the ``config.yml`` of an arm, its own folder and those of its subsets by key; all of them absolute."""
    trained = str(arm / "experiments")
    whole = {
        "MODELS_PATH": trained,
        "EXPS_PATH": trained,
        **{key: str(folders[key]) for key in FOLDERS},
        "IMAGENET_PRETRAINED_MODELS": {name: f"./pretrained_models/{file}.pth" for name, file in _BACKBONES.items()},
    }
    return str(yaml.safe_dump(whole, sort_keys=False))


def start(out: Path, arms: Sequence[str], epoch: int, tests: Mapping[str, int], keys: Mapping[str, str]) -> str:
    """Return the script that trains an arm and predicts.

    The model script is copied beside each arm's config, where the trainer finds that config, and the trainer's own
    folder stays as it is.

    Args:
        out: the arms' folder, absolute.
        arms: their names.
        epoch: the number of training composites of each.
        tests: the number of test composites of each subset.
        keys: the subset of each key of ``config.yml``.
    """
    fewest = min(epoch, sum(count for subset, count in tests.items() if subset in validated(keys)))
    batch = f" --batch-size={fewest}" if fewest < _BATCH else ""
    tested = " ".join(shlex.quote(subset or "all") for subset in sorted(tests))
    return f"""#!/bin/sh
# Train an arm with iDIH's trainer, then predict the test composites. Run this in the trainer's folder:
#   sh {shlex.quote(str(out / START))} {"|".join(arms)}
# What follows the arm is handed to train.py. MODEL is a script below models/, KIND its name in iharm/mconfigs.
set -e
arm=$1
out={shlex.quote(str(out))}
model=${{MODEL:-fixed256/improved_ssam}}
python=${{PYTHON:-python3}}
gpu=${{GPU:-0}}
case "$arm" in {"|".join(arms)}) shift ;; *) echo "name an arm: {" or ".join(arms)}" >&2; exit 2 ;; esac
[ -f "models/$model.py" ] || {{ echo "no models/$model.py here: run this in the trainer's folder" >&2; exit 2; }}
mkdir -p "$out/$arm/models/$(dirname "$model")"
cp "models/$model.py" "$out/$arm/models/$model.py"
"$python" train.py "$out/$arm/models/$model.py" --gpus="$gpu" --workers="${{WORKERS:-4}}" --exp-name="$arm"{batch} "$@"
trained=$(ls -d "$out/$arm/experiments/$model"/[0-9]*/ | tail -n 1)
for subset in {tested}; do
  "$python" scripts/predict_for_dir.py "${{KIND:-improved_ssam256}}" "${{trained}}checkpoints/last_checkpoint.pth" \\
    --config-path "$out/$arm/{CONFIG}" --gpu "$gpu" --resize {SIDE} \\
    --images "$out/test/$subset/{COMPOSITES}" --masks "$out/test/$subset/{MASKS}" \\
    --results-path "$out/$arm/predictions/$subset"
done
"""
