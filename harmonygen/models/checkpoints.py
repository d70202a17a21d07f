"""Checkpoint folders: safetensors weights, configs, and a ``harmonygen.json`` that says what they are.

The starter weights ship inside the package; every other checkpoint is a folder of the same shape, up to a full
Stable Diffusion 1.5 inpainting folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from harmonygen.errors import CheckpointError, shown, told
from harmonygen.seeds import digest_of_bytes
from harmonygen.settings import Settings

SPEC_NAME = "harmonygen.json"
WEIGHTS = "diffusion_pytorch_model"
"""How diffusers begins the names of a module's weights files."""
STARTER = Path(__file__).resolve().parent.parent / "assets" / "starter"

_MOST = {
    "layers": 256,
    "channels": 65_536,
    "widths": 65_536,
    "dim": 65_536,
    "heads": 65_536,
    "groups": 65_536,
    "resolution": 65_536,
    "size": 2**20,
}
"""Largest numbers in fields of a configuration whose names hold these words; the first that fits counts."""
_MOST_PARTS = 64  # entries of a list of them

SpecT = TypeVar("SpecT", bound=Settings)


def locate(name: str | Path, part: str) -> Path:
    """Return the folder of a checkpoint: ``starter`` is the shipped one for ``part``, anything else is a path.

    ``starter-fast`` is the shipped one for ``part`` and a word more: its folder is called ``inverse-fast``.

    Raises:
        CheckpointError: there is no such folder, or the starter has no such part.
    """
    shipped = shipped_folder(name, part)
    folder = shipped or Path(name)
    if folder.is_dir():
        return folder
    if shipped:
        there = ", ".join(sorted(entry.name for entry in STARTER.glob("*/"))) or "nothing"
        raise CheckpointError(
            f"the starter weights have no '{shipped.name}' (they have {there}): train one with "
            f"'harmonygen train {part}' and give its folder"
        )
    raise CheckpointError(
        f"checkpoint '{name}' is not a folder (looked at '{folder}'): give 'starter' or a checkpoint folder"
    )


def shipped_folder(name: str | Path, part: str) -> Path | None:
    """Return where the checkpoint has to be that ``starter`` names, or ``starter-WORD`` if one is shipped; else None.

    >>> shipped_folder("starter", "inverse").name, shipped_folder("outputs/run", "inverse")
    ('inverse', None)
    """
    stem, _, word = str(name).partition("-")
    folder = STARTER / (f"{part}-{word}" if word else part)
    return folder if stem == "starter" and (folder.is_dir() or not word) else None


def read_spec(folder: Path, kind: type[SpecT], expected: str) -> SpecT:
    """Read ``harmonygen.json`` and check that its ``kind`` is ``expected``.

    Raises:
        CheckpointError: missing, damaged, or of another kind.
    """
    raw = read_json(folder / SPEC_NAME)
    if raw.get("kind") != expected:
        raise CheckpointError(
            f"checkpoint '{folder}' is of kind {raw.get('kind')!r}, {expected!r} is needed: choose another folder"
        )
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise CheckpointError(f"'{folder / SPEC_NAME}' is not valid ({faults}): export the checkpoint again") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a configuration; raise CheckpointError if it is missing, damaged, or of a size that no network has."""
    raw = read_object(path)
    refuse_absurd(raw, path)
    return raw


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; raise CheckpointError if it is missing or damaged."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"cannot read '{path}' ({told(error)}): the checkpoint is incomplete, copy it again"
        ) from error
    if not isinstance(raw, dict):
        raise CheckpointError(
            f"'{path}' holds a {type(raw).__name__}, a JSON object is needed: export the checkpoint again"
        )
    return raw


def refuse_absurd(config: Mapping[str, Any], path: Path) -> None:
    """Raise CheckpointError for a configuration of a size that no network has: building it would take all memory."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            refuse_absurd(value, path)
            continue
        most = next((most for word, most in _MOST.items() if word in name), None)
        parts = value if isinstance(value, list) else [value]
        if most is not None and (len(parts) > _MOST_PARTS or any(_is_over(part, most) for part in parts)):
            found = str(value)[:60]
            raise CheckpointError(f"'{path}' states {name} {found}, over the limit of {most}: export it again")


def _is_over(part: Any, most: int) -> bool:
    return isinstance(part, int | float) and not -most <= part <= most


def refuse_larger(build: Callable[[], nn.Module], state: Mapping[str, Any], folder: Path) -> None:
    """Raise CheckpointError if a network has far more parameters than its weights: it is not built then.

    ``build`` is called with ``meta`` as torch's device, where tensors take no memory.
    """
    with torch.device("meta"):
        stated = sum(parameter.numel() for parameter in build().parameters())
    held = sum(value.numel() for value in state.values())
    if stated > 2 * held:
        raise CheckpointError(
            f"'{folder / SPEC_NAME}' states a network of {stated} parameters, but its weights hold {held}: they do "
            "not fit, export the checkpoint again"
        )


def write_spec(folder: Path, spec: Settings) -> None:
    """Write ``harmonygen.json``."""
    (folder / SPEC_NAME).write_text(spec.model_dump_json(indent=1) + "\n", encoding="utf-8")


def save_module(module: Any, folder: Path) -> None:
    """Write a diffusers module: ``config.json`` and safetensors, without the place that it was loaded from."""
    module.save_pretrained(folder, safe_serialization=True)
    config = read_json(folder / "config.json")
    if config.pop("_name_or_path", None) is not None:
        (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def variant_of(folder: Path, stem: str) -> str | None:
    """Return what diffusers calls the variant of a folder's weights: None, or ``fp16`` without plain files.

    Weights in shards are found by their index.

    Raises:
        CheckpointError: there are no safetensors files of that stem.
    """
    if any((folder / f"{stem}.safetensors{end}").is_file() for end in ("", ".index.json")):
        return None
    if any((folder / name).is_file() for name in (f"{stem}.fp16.safetensors", f"{stem}.safetensors.index.fp16.json")):
        return "fp16"
    found = sorted(path.name for path in folder.glob("*") if path.suffix in (".bin", ".pt", ".pth", ".safetensors"))
    raise CheckpointError(
        f"'{folder}' has no {stem}.safetensors (found: {', '.join(found) or 'no weights'}): "
        "copy the folder again with its safetensors files; pickled weights are not read here"
    )


def load_weights(path: Path) -> dict[str, Any]:
    """Load a safetensors file; nothing is ever unpickled.

    Raises:
        CheckpointError: missing, truncated, not safetensors, or with NaN or infinite values.
    """
    try:
        state = dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read weights '{path}' ({told(error)}): copy the checkpoint again") from error
    refuse_not_finite(state, path)
    return state


def refuse_not_finite(state: Mapping[str, Any], path: Path) -> None:
    """Raise CheckpointError if weights hold NaN or infinite values: what they make is black or noise."""
    wrong = [name for name, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if wrong:
        raise CheckpointError(
            f"weights '{path}' hold NaN or infinite values in {shown(wrong, 'tensors', 3)}: the training diverged or "
            "the file is damaged, choose an earlier checkpoint or copy it again"
        )


@contextmanager
def writing_errors() -> Iterator[None]:
    """Raise OSError where the writers of safetensors and torch met a full or failing disk: each says it its own way."""
    try:
        yield
    except SafetensorError as error:
        if "I/O error" not in str(error):
            raise
        raise OSError(str(error).rpartition("I/O error: ")[2]) from error
    except RuntimeError as error:
        if not any(sign in str(error) for sign in ("inline_container", "PytorchStreamWriter")):
            raise
        raise OSError(f"torch could not write the whole file ({told(error)})") from error


def weights_digest(folder: Path) -> str:
    """Return 16 hex digits over every weight and config file of a checkpoint folder, by name and content."""
    return digest_of_bytes(_named_digests(folder))


def digest_of_model(name: str, config: Any) -> str:
    """Return the weights' digest of a model that was loaded from a folder, or the name and commit of one of the Hub."""
    if Path(name).is_dir():
        return weights_digest(Path(name))
    return f"{name}@{getattr(config, '_commit_hash', None) or ''}"


def load_without_bars() -> None:
    """Turn off the progress bars of diffusers and transformers: they stand amid ours, and with --quiet too."""
    from diffusers.utils import logging

    logging.disable_progress_bar()
    with suppress(ImportError):
        from transformers.utils import logging as of_transformers

        of_transformers.disable_progress_bar()


def _named_digests(folder: Path) -> Iterator[bytes]:
    """Yield the name and the SHA-256 of each weight and config file."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".safetensors", ".json"):
            yield path.relative_to(folder).as_posix().encode()
            with open(path, "rb") as opened:
                yield hashlib.file_digest(opened, "sha256").digest()
