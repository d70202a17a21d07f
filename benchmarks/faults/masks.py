"""Faulty masks and run-length codes: each refused by name; random ones refused or decoded to the photo's size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from faults import samples
from faults.alone import alone
from faults.table import Row

H, W = 6, 8
RUNS = ("", "1", "1 2 3", "0 2", "2 -1", "2 0", "5 2 1 2", "1 4 3 2", "47 3", "1 49", "1 2.5", "a b", "1 1e3")
MORE_RUNS = ("9" * 400 + " 1", "1 9223372036854775808", "1 nan", "\0", "1\t2\n3", "١ ٢ ٣", "1,2", "0x1 2")
SEGMENTATIONS: tuple[Any, ...] = (
    *([], [[]], [[1, 2]], [[1, 2, 3]], [[1, 2, 3, 4, 5]], [[1, 2, 3, 4, 5, float("nan")]], [[1e308] * 6], [[None] * 6]),
    *([["a"] * 6], [[[1, 2, 3, 4, 5, 6]]], None, 7, "text", {}, {"size": [H, W]}, {"counts": [48]}),
    {"size": [H, W], "counts": []},
    {"size": [H, W], "counts": [47]},
    {"size": [H, W], "counts": [49]},
    {"size": [H, W], "counts": [-1, 49]},
    {"size": [H, W], "counts": [2**63, 48]},
    {"size": [H, W], "counts": [1.5, 46.5]},
    {"size": [H, W], "counts": [True, 47]},
    {"size": [H, W], "counts": "\udc80"},
    {"size": [H, W], "counts": "zzzzzzzzzzzzzz"},
    {"size": [H, W], "counts": "0"},
    {"size": [H, W], "counts": None},
    {"size": [W, H], "counts": [48]},
    {"size": [-H, -W], "counts": [48]},
    {"size": [H, W, 1], "counts": [48]},
    {"size": [10**9, 10**9], "counts": [10**18]},
    {"size": "6x8", "counts": [48]},
)


def rows(_place: Path, quick: bool = False) -> Iterator[Row]:
    """Decode faulty codes, random ones, and mask files that do not fit."""
    for fault, function, arguments in (
        ("run-length codes and polygons, faulty", faulty, ()),
        ("run-length codes, random (hypothesis)", random_codes, (60 if quick else 600,)),
        ("masks of another size, empty, full, dim", misfits, ()),
    ):
        found = alone(function, *arguments)
        if isinstance(found, str):
            yield Row(fault, 1, 0, note=found)
            continue
        injected, wrong = found
        note = "refused by name" if "random" not in fault else "refused, or decoded to the photo's size"
        yield Row(fault, injected, injected - len(wrong), note=note + (f"; WRONG: {wrong[:4]}" if wrong else ""))


def faulty() -> tuple[int, list[str]]:
    """Decode what is certainly wrong; return how many, and those that were not refused."""
    from harmonygen.errors import InputError
    from harmonygen.pictures.masks import check_mask, decode_segmentation, runs_to_mask
    from harmonygen.records import SegmentSource

    wrong = []
    for runs in (*RUNS, *MORE_RUNS):
        try:
            check_mask(runs_to_mask(runs, H, W, "here"), "here")
            wrong += [repr(runs)] if runs not in ("1\t2\n3",) else []
        except InputError as error:
            wrong += [] if "here" in str(error) else [repr(runs)]
        except Exception as error:
            wrong.append(f"{runs[:20]!r}: {type(error).__name__}")
    for segmentation in SEGMENTATIONS:
        try:
            check_mask(decode_segmentation(SegmentSource(json.dumps(segmentation), H, W, "here")), "here")
            wrong.append(repr(segmentation))
        except InputError as error:
            wrong += [] if "here" in str(error) else [repr(segmentation)]
        except Exception as error:
            wrong.append(f"{str(segmentation)[:30]}: {type(error).__name__}")
    return len(RUNS) + len(MORE_RUNS) + len(SEGMENTATIONS), wrong


def random_codes(count: int) -> tuple[int, list[str]]:
    """Decode random codes; return how many, and those that ended in anything but a refusal or a mask."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    from harmonygen.errors import InputError
    from harmonygen.pictures.masks import decode_segmentation, runs_to_mask
    from harmonygen.records import SegmentSource

    numbers = st.lists(st.integers(-3, 60), max_size=9)
    texts = st.one_of(numbers.map(lambda row: " ".join(map(str, row))), st.text(max_size=12))
    packed = st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=12)
    codes = st.builds(lambda counts: {"size": [H, W], "counts": counts}, st.one_of(packed, numbers))
    wrong: list[str] = []
    tried = [0]
    how = settings(
        max_examples=count // 2,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    def look(decode: Any, code: Any) -> None:
        tried[0] += 1
        try:
            mask = decode()
        except InputError:
            return
        except Exception as error:
            wrong.append(f"{code!r}: {type(error).__name__}")
            return
        if mask.shape != (H, W) or mask.dtype != np.bool_ or mask.view(np.uint8).max(initial=0) > 1:
            wrong.append(f"{code!r}: {mask.shape} {mask.dtype}")

    @how
    @given(texts)
    def runs(text: str) -> None:
        look(lambda: runs_to_mask(text, H, W, "here"), text)

    @how
    @given(codes)
    def segmentations(code: Any) -> None:
        look(lambda: decode_segmentation(SegmentSource(json.dumps(code), H, W, "here")), code)

    runs()
    segmentations()
    return tried[0], wrong


def misfits() -> tuple[int, list[str]]:
    """Read mask pictures that do not fit their photo; return how many, and those that were not refused."""
    from harmonygen.errors import InputError
    from harmonygen.pictures.images import Decoded
    from harmonygen.pictures.masks import check_mask, fit_mask, understand

    from PIL import Image  # isort: skip

    photo = Decoded(samples.picture(), (samples.WIDTH, samples.HEIGHT), 1)
    whole = samples.ellipse()
    pictures = {
        "smaller": whole[:-1],
        "larger": np.pad(whole, 1),
        "on its side": whole.T,
        "one pixel": whole[:1, :1],
        "empty": np.zeros_like(whole),
        "full": np.ones_like(whole),
        "dim": whole.astype(np.uint8) * np.arange(90, 90 + whole.shape[1], dtype=np.uint8) + 1,
    }
    wrong = []
    for name, mask in pictures.items():
        image = Image.fromarray(np.ascontiguousarray(mask.astype(np.uint8) * 255 if mask.dtype == bool else mask))
        try:
            check_mask(fit_mask(understand(image, name="here")[0], photo, "here", "refuse"), "here")
            wrong.append(name)
        except InputError as error:
            wrong += [] if "here" in str(error) else [name]
    return len(pictures), wrong
