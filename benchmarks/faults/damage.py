"""Cut files at every sixteenth, flip single bits: refused by name, quarantined, or a picture that decodes."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from faults import jobs, samples
from faults.alone import alone
from faults.jobs import Workshop
from faults.kills import Tally, check
from faults.table import Row

CUTS = range(16)
Read = Callable[[Path], str]
"""Reads a file as harmonygen does and tells how it ended: ``refused`` or ``read``; anything raised is a fault."""


def rows(place: Path, quick: bool = False) -> Iterator[Row]:
    """Cut and flip JPEG, PNG, Parquet and safetensors."""
    flips = 40 if quick else 250
    for kind in SAMPLES:
        for fault, injure in (("truncated at each 1/16", cut_all), (f"bit flips in {kind}", partial(flip, flips))):
            name = f"{kind} {fault}" if injure is cut_all else fault
            yield _counted(name, alone(ended, kind, injure, place / kind))


def _counted(fault: str, found: tuple[Counter[str], list[str]] | str) -> Row:
    if isinstance(found, str):
        return Row(fault, 1, 0, note=found)
    ends, wrong = found
    told = ", ".join(f"{name} {count}" for name, count in sorted(ends.items()))
    wrong_told = f"; WRONG: {'; '.join(wrong[:3])}" if wrong else ""
    return Row(fault, sum(ends.values()), ends["refused"] + ends["read"], note=told + wrong_told)


def ended(kind: str, injure: Callable[..., None], place: Path) -> tuple[Counter[str], list[str]]:
    """Injure a sample file many times and count how reading it ends."""
    from harmonygen.errors import HarmonygenError

    place.mkdir(parents=True, exist_ok=True)
    make, read = SAMPLES[kind]
    whole, ends, wrong = make(place), Counter[str](), []

    def look(content: bytes) -> None:
        path = place / f"{sum(ends.values())}.{kind}"  # a new name each time: footers are remembered by name
        path.write_bytes(content)
        try:
            ends[read(path)] += 1
        except HarmonygenError as error:
            ends["refused" if error.exit_code != 1 and str(error) else "wrong"] += 1
        except Exception as error:
            ends["wrong"] += 1
            wrong.append(f"{type(error).__name__}: {str(error)[:80]}")
        path.unlink()

    injure(whole, look)
    return ends, wrong


def cut_all(whole: bytes, look: Callable[[bytes], None]) -> None:
    """Show a file cut at 0/16, 1/16 ... 15/16 of its length."""
    for sixteenth in CUTS:
        look(whole[: len(whole) * sixteenth // 16])


def flip(count: int, whole: bytes, look: Callable[[bytes], None]) -> None:
    """Show a file with one bit flipped, ``count`` times, the same bits each time."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    bits, seen = st.integers(0, len(whole) * 8 - 1), set[int]()

    @settings(
        max_examples=8 * count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(bits)
    def one(bit: int) -> None:
        if bit in seen or len(seen) == count:
            return
        seen.add(bit)
        injured = bytearray(whole)
        injured[bit // 8] ^= 1 << bit % 8
        look(bytes(injured))

    one()
    generator = np.random.default_rng(0)
    while len(seen) < count:  # hypothesis repeats itself
        bit = int(generator.integers(len(whole) * 8))
        if bit not in seen:
            seen.add(bit)
            injured = bytearray(whole)
            injured[bit // 8] ^= 1 << bit % 8
            look(bytes(injured))


def _picture(image_format: str, _place: Path) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(samples.picture(0, 96, 128)).save(buffer, image_format)
    return buffer.getvalue()


def _read_picture(path: Path) -> str:
    from harmonygen.pictures.images import read_image
    from harmonygen.records import FileSource

    image = read_image(FileSource(path)).image_u8
    assert image.ndim == 3
    assert image.dtype == np.uint8
    return "read"


def _dataset(place: Path) -> bytes:
    cells = [{"bytes": _picture("PNG", place), "path": "a.png"} for _ in range(3)]
    buffer = io.BytesIO()
    Image.fromarray(samples.ellipse(96, 128)).save(buffer, "PNG")
    masks = [{"bytes": buffer.getvalue(), "path": "m.png"}] * 3
    ids = {"pair_id": [f"p{n}" for n in range(3)], "real_id": ["a", "b", "c"], "mask_id": ["1"] * 3}
    pq.write_table(pa.table({**ids, "real": cells, "mask": masks}), place / "whole.parquet", compression="none")
    return (place / "whole.parquet").read_bytes()


def _read_dataset(path: Path) -> str:
    """Read a dataset as synthesize does: a row that cannot be used is quarantined, a file refused."""
    from harmonygen.data import read_pairs
    from harmonygen.errors import InputError
    from harmonygen.pictures.photo import Sizing, load_photo

    bad = 0
    pairs = read_pairs(str(path))
    for pair in pairs:
        try:
            load_photo(pair, Sizing(32, 8))
        except InputError:
            bad += 1
    return "refused" if bad or pairs.bad else "read"


def _weights(place: Path) -> bytes:
    samples.classifier(place / "classifier")
    return (place / "classifier" / "model.safetensors").read_bytes()


def _read_weights(path: Path) -> str:
    from harmonygen.models.classifier import HarmonyResNet

    folder = path.parent / "classifier"
    shutil.copyfile(path, folder / "model.safetensors")
    HarmonyResNet.from_pretrained(folder)
    return "read"


SAMPLES: dict[str, tuple[Callable[[Path], bytes], Read]] = {
    "JPEG": (partial(_picture, "JPEG"), _read_picture),
    "PNG": (partial(_picture, "PNG"), _read_picture),
    "Parquet": (_dataset, _read_dataset),
    "safetensors": (_weights, _read_weights),
}


def finished_shards(shop: Workshop, quick: bool = False) -> Row:
    """Cut a finished run's files at every sixteenth; the same command has to make them again."""
    job = jobs.synthesize(shop)
    expected, _ = shop.straight(job)
    tally, out = Tally(), shop.out_of(job)
    for sixteenth in CUTS[:: 8 if quick else 2]:
        shop.forge.run(*job.command(out))
        for folder in ("candidates", "pairs"):
            path = sorted((out / folder).glob("part-*"))[sixteenth % 2]
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) * sixteenth // 16])
        check(shop, job, out, expected, tally, f"cut at {sixteenth}/16", cut=True)
    return tally.row("a finished run's shards truncated", "the same command makes them again")


def as_inputs(shop: Workshop) -> Row:
    """Give photos cut at every sixteenth to synthesize: each is quarantined or made, none is lost."""
    root, out = shop.place / "cut-photos", shop.place / "cut-run"
    for kind in ("JPEG", "PNG"):
        whole = _picture(kind, root)
        for sixteenth in CUTS:
            name = f"{kind}-{sixteenth}"
            samples.save(samples.ellipse(96, 128), root / "masks" / f"{name}.png")
            path = root / "images" / f"{name}.{'jpg' if kind == 'JPEG' else 'png'}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(whole[: len(whole) * sixteenth // 16])
    words = ("synthesize", "--data", root, "--generator", "lut", "--k", 1, "--classifier", shop.classifier)
    end = shop.forge.run(*words, "--max-bad-fraction", 1, "--out", out, "--quiet")
    if end.code:
        return Row("truncated photos in a run", 32, 0, note=f"exit {end.code}: {end.told}")
    bad = pq.read_table(out / "quarantine.parquet").to_pylist()
    made: set[Any] = {row["pair_id"] for row in pq.read_table(out / "candidates", columns=["pair_id"]).to_pylist()}
    told = sum(bool(row["message"]) and str(root) in row["message"] for row in bad)
    accounted = {row["id"] for row in bad} | made
    note = f"quarantined with path and reason {told}, made {len(made)}"
    return Row("truncated photos in a run", 32, told + len(made), lost=32 - len(accounted), note=note)
