"""Archives: WebDataset's tar shards, one key a sample, and a zip of ``_start`` and ``_end`` pictures with captions.

Members have no time of their own, so that the same rows give the same bytes.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence

from harmonygen.trainers.formats.shape import Export, Format

PAIRS, MASKS = "pairs.zip", "masks.zip"


def configs(export: Export) -> Mapping[str, str]:
    """Return nothing: what reads archives is configured by code."""
    return {}


def _webdataset(export: Export) -> Sequence[str]:
    names = f"train-{{00000..{export.parts - 1:05d}}}.tar" if export.parts > 1 else "train-00000.tar"
    rows = f'webdataset.WebDataset({json.dumps(export.at(names))}, shardshuffle=False).decode("pil")'
    return [f"python -c {shlex.quote(f'import webdataset; print(next(iter({rows})))')}"]


def _zip(export: Export) -> Sequence[str]:
    return [f"# upload {export.at(PAIRS)} to the trainer; {export.at(MASKS)} holds the masks by the same names"]


WEBDATASET = Format(
    {"composite": "{key}.composite", "real": "{key}.real", "mask": "{key}.mask.png", "json": "{key}.json"},
    configs,
    _webdataset,
    alike="photos",  # readers expect the same members in every sample
    pack="tar",
)
ZIP_PAIRS = Format(
    {
        "source": f"{PAIRS}/{{key}}_start",
        "target": f"{PAIRS}/{{key}}_end",
        "text": f"{PAIRS}/{{key}}.txt",
        "mask": f"{MASKS}/{{key}}.png",
    },
    configs,
    _zip,
    pack="zip",
)
