"""Pickled payloads at every door that takes weights, tables or pictures: executed has to be 0."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faults import samples
from faults.jobs import Workshop
from faults.table import Row


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = str(trace)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.trace,)


def rows(shop: Workshop) -> Iterator[Row]:
    """Hand payloads to every door and count those that ran."""
    place = shop.place / "pickles"
    place.mkdir()
    trace = place / "trace"
    files = _files(place, trace)
    doors = {**_weights(shop, place, files), **_data(shop, place, files), **_resumed(shop, place, files)}
    executed, wrong, ends = [], [], []
    for name, words in doors.items():
        end = shop.forge.run(*words)
        ends.append(end.code)
        if trace.exists():
            executed.append(name)
            trace.rmdir()
        if end.code not in (0, 2, 3) or "settings:" in end.told:  # an option that is wrong would show nothing
            wrong.append(f"{name}: exit {end.code} {end.told}")
    armed = _armed(files, trace)
    note = f"executed {len(executed)}; refused {sum(code != 0 for code in ends)}, quarantined {ends.count(0)}"
    note += "" if armed else "; THE PAYLOAD IS NO THREAT"
    note += f"; WRONG: {executed + wrong}" if executed or wrong else ""
    good = len(doors) - len(executed) - len(wrong) if armed else 0
    yield Row(
        "pickled code (.bin .pt .pth .ckpt .npy, Parquet, YAML)", len(doors), good, note=note, breaches=len(executed)
    )


def _files(place: Path, trace: Path) -> dict[str, Path]:
    """Write the payload in every form."""
    import torch

    payload, files = Payload(trace), {}
    for suffix in ("pt", "pth", "bin", "ckpt"):
        files[suffix] = place / f"weights.{suffix}"
        torch.save({"a": torch.zeros(2), "b": payload}, files[suffix])
    files["legacy"] = place / "legacy.pth"
    torch.save(payload, files["legacy"], _use_new_zipfile_serialization=False)
    files["plain"] = place / "plain.pth"
    files["plain"].write_bytes(pickle.dumps(payload))
    files["npy"] = place / "array.npy"
    np.save(files["npy"], np.array([payload], dtype=object), allow_pickle=True)
    files["safetensors"] = shutil.copyfile(files["plain"], place / "named.safetensors")
    return files


def _armed(files: dict[str, Path], trace: Path) -> bool:
    """Tell whether the payloads do run where somebody unpickles them: the trap works."""
    for code in (
        f"import torch; torch.load({str(files['pth'])!r}, weights_only=False)",
        f"import torch; torch.load({str(files['legacy'])!r}, weights_only=False)",
        f"import numpy; numpy.load({str(files['npy'])!r}, allow_pickle=True)",
    ):
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        if not trace.is_dir():
            return False
        trace.rmdir()
    return True


def _weights(shop: Workshop, place: Path, files: dict[str, Path]) -> dict[str, tuple[object, ...]]:
    """Checkpoint folders that hold a pickle instead of safetensors, and files to import."""
    model, classifier = samples.inverse(place / "inverse"), shutil.copytree(shop.classifier, place / "classifier")
    for part in ("unet", "vae"):
        (model / part / "diffusion_pytorch_model.safetensors").unlink()
        shutil.copyfile(files["bin"], model / part / "diffusion_pytorch_model.bin")
    named = shutil.copytree(classifier, place / "classifier-named")
    shutil.copyfile(files["safetensors"], named / "model.safetensors")
    (classifier / "model.safetensors").unlink()
    shutil.copyfile(files["bin"], classifier / "pytorch_model.bin")
    run = ("synthesize", "--data", shop.data, "--k", 1)
    doors: dict[str, tuple[object, ...]] = {
        "--model": (*run, "--model", model, "--out", place / "o1"),
        "--classifier .bin": (*run, "--generator", "lut", "--classifier", classifier, "--out", place / "o2"),
        "--classifier named safetensors": (*run, "--generator", "lut", "--classifier", named, "--out", place / "o3"),
    }
    for name, path in files.items():
        for kind in ("classifier", "refiner"):
            more = ("--labels", "composite-last") if kind == "classifier" else ()
            words = ("import-weights", "--from", path, "--kind", kind, "--out", place / f"i-{name}-{kind}", *more)
            doors[f"import-weights {kind} {name}"] = words
    build = ("build-human-harmony", "--imaterialist", shop.data, "--product-filter", "person-detector")
    doors["person detector"] = (*build, "--product-weights", files["pth"], "--out", place / "o4")
    return doors


def _data(shop: Workshop, place: Path, files: dict[str, Path]) -> dict[str, tuple[object, ...]]:
    """Pictures that are pickles, and Parquet whose metadata hold one."""
    root = samples.folders(place / "photos", 1)
    for folder in ("images", "masks"):
        shutil.copyfile(files["npy"], root / folder / "p0.png")
    cell = {"bytes": files["plain"].read_bytes(), "path": "a.pkl"}
    field = pa.field(
        "pair_id",
        pa.string(),
        metadata={
            b"ARROW:extension:name": b"arrow.py_extension_type",
            b"ARROW:extension:metadata": files["plain"].read_bytes(),
        },
    )
    schema = pa.schema(
        [field, *(pa.field(name, pa.struct({"bytes": pa.binary(), "path": pa.string()})) for name in ("real", "mask"))]
    )
    schema = schema.with_metadata({b"pandas": files["plain"].read_bytes(), b"huggingface": files["plain"].read_bytes()})
    pq.write_table(
        pa.Table.from_pylist([{"pair_id": "p", "real": cell, "mask": cell}], schema=schema), place / "a.parquet"
    )
    dataset = place / "dataset"
    dataset.mkdir()
    shutil.copyfile(place / "a.parquet", dataset / "train.parquet")
    yaml = f"!!python/object/apply:os.mkdir ['{place / 'trace'}']"
    (dataset / "README.md").write_text(f"---\nconfigs: {yaml}\n---\n# A dataset\n")
    run = ("synthesize", "--generator", "lut", "--k", 1, "--classifier", shop.classifier)
    return {
        "picture": (*run, "--data", root, "--out", place / "o5"),
        "Parquet": (*run, "--data", place / "a.parquet", "--out", place / "o6"),
        "card (YAML)": ("publish", dataset, "--repo", "user/set", "--dry-run"),
    }


def _resumed(shop: Workshop, place: Path, files: dict[str, Path]) -> dict[str, tuple[object, ...]]:
    """A training checkpoint whose optimiser is a payload."""
    out = place / "train"
    words = ("train", "direct", "--recipe", "train/smoke-direct", "--data", shop.data, "--resolution", 32)
    steps = ("--checkpointing-steps", 1, "--output-dir", out, "validation_samples=2")
    shop.forge.run(*words, *steps, "--max-train-steps", 1)
    for folder in out.glob("checkpoint-*"):
        shutil.copyfile(files["pt"], folder / "optimizer.pt")
    return {"optimizer.pt": (*words, *steps, "--max-train-steps", 2, "--resume-from-checkpoint", "latest")}
