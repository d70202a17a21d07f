"""Read weights that another program wrote, and say what they are.

safetensors files are read as they are, sharded ones through their index; pickles (``.pth .pt .bin .ckpt``) only by
torch's ``weights_only`` reader, which builds tensors and runs nothing. Names are brought to the bare form (no
``module.`` of DataParallel), and told by their landmarks from the weights of other networks.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harmonygen.errors import CheckpointError, listed, told
from harmonygen.models.checkpoints import SPEC_NAME, load_weights, read_json, read_object, refuse_not_finite
from harmonygen.seeds import digest_of_bytes

PICKLES = (".pth", ".pt", ".bin", ".ckpt")
_SUFFIXES = (".safetensors", *PICKLES)
_INDEXES = (".safetensors.index.json", ".safetensors.index.fp16.json")
_USUAL = (
    "diffusion_pytorch_model.safetensors",
    f"diffusion_pytorch_model{_INDEXES[0]}",
    "model.safetensors",
    f"model{_INDEXES[0]}",
    "diffusion_pytorch_model.fp16.safetensors",
    f"diffusion_pytorch_model{_INDEXES[1]}",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
)
_CHUNK = 1 << 20
_LANDMARKS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("classifier", "a ResNet's weights (conv1, layer1 ...)", ("conv1.weight", "layer1.0.conv1.weight")),
    ("harmony-vae", "a Harmony-VAE's weights (conditional_encoder ...)", ("conditional_encoder.conv_in.weight",)),
    (
        "vae",
        "a plain autoencoder's weights (encoder, decoder ...)",
        ("encoder.conv_in.weight", "decoder.conv_in.weight"),
    ),
    (
        "denoiser",
        "a diffusion UNet's weights (time_embedding, down_blocks ...)",
        ("conv_in.weight", "time_embedding.linear_1.weight"),
    ),
    (
        "refiner",
        "the weights of a UNet without timestep (conv_in, down_blocks ...)",
        ("conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"),
    ),
    (
        "original",
        "weights in Stable Diffusion's original names (model.diffusion_model ...), which diffusers converts",
        ("model.diffusion_model.input_blocks.0.0.weight",),
    ),
)
"""Kind, what to call it, and names that it alone has; the first whose names are all there."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """Weights as read: bare names, the file, the first 16 hex digits of its SHA-256, and the config beside it.

    Sharded weights have their index for the file, and the digest is over the shards in the order of their names.
    """

    state: dict[str, Tensor]
    path: Path
    digest: str
    config: dict[str, Any]
    config_name: str

    @property
    def dtype(self) -> torch.dtype:
        """The floating type that most values are of."""
        counts: dict[torch.dtype, int] = {}
        for value in self.state.values():
            if value.is_floating_point():
                counts[value.dtype] = counts.get(value.dtype, 0) + value.numel()
        return max(counts, key=lambda dtype: counts[dtype], default=torch.float32)


def read_foreign(source: Path, kind: str, part: str = "") -> Foreign:
    """Read the weights of ``kind`` from a file, or from a folder (or its sub-folder ``part``).

    Raises:
        CheckpointError: no weights, several, unreadable or pickled code, those of another kind, or values that are
            not finite.
    """
    path = find_weights(source, part)
    if (path.parent / SPEC_NAME).is_file() or (source / SPEC_NAME).is_file():
        raise CheckpointError(f"'{source}' is a checkpoint of harmonygen already ({SPEC_NAME}): use it as it is")
    state = bare_names(read_tensors(path))
    found, words = recognise(state)
    if found != kind:
        raise CheckpointError(f"'{path}' holds {words}, a {kind} is asked for: choose another --kind or file")
    beside = path.parent / "config.json"
    config = read_json(beside) if beside.is_file() else {}
    return Foreign(state, path, digest_of_bytes(_content(path)), config, f"'{beside}'" if config else "")


def _content(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a weights file, or of all shards of an index."""
    for part in shards_of(path) if path.name.endswith(_INDEXES) else [path]:
        with open(part, "rb") as opened:
            while chunk := opened.read(_CHUNK):
                yield chunk


def find_weights(source: Path, part: str = "") -> Path:
    """Return the weights file: ``source`` itself, or the one in its sub-folder ``part`` or in it.

    Raises:
        CheckpointError: there is none, or there are several without a usual name.
    """
    if source.is_file():
        if source.suffix not in _SUFFIXES and not source.name.endswith(_INDEXES):
            raise CheckpointError(
                f"'{source}' is not a weights file: give one of {', '.join(_SUFFIXES)}, or its folder"
            )
        return source
    if not source.is_dir():
        raise CheckpointError(f"'{source}' is neither a file nor a folder: check --from")
    for folder in dict.fromkeys((source / part, source)):
        files = sorted(path for path in folder.glob("*") if path.suffix in _SUFFIXES or path.name.endswith(_INDEXES))
        usual = [folder / name for name in _USUAL if folder / name in files]
        if usual or len(files) == 1:
            return (usual or files)[0]
        if files:
            raise CheckpointError(f"'{folder}' holds {listed([path.name for path in files])}: give the file by --from")
    raise CheckpointError(f"'{source}' holds no weights ({', '.join(_SUFFIXES)}): check --from")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file of named tensors; nothing in it is ever run.

    Raises:
        CheckpointError: unreadable, pickled code, or not one set of named tensors.
    """
    if path.name.endswith(_INDEXES):
        return _joined(path)
    if path.suffix == ".safetensors":
        return load_weights(path)
    try:
        raw = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"'{path}' is damaged or holds more than tensors ({told(error)}): it was not run and is refused; "
            "have it saved as safetensors"
        ) from error
    except Exception as error:  # a damaged pickle can raise anything at all
        raise CheckpointError(f"cannot read weights '{path}' ({told(error)}): copy the file again") from error
    state = _parted(_one_set(raw, path))
    refuse_not_finite(state, path)
    return state


def shards_of(index: Path) -> list[Path]:
    """Return the shards that an index of safetensors names, in the order of their names.

    Raises:
        CheckpointError: no index, a shard that is missing, or one that is not beside the index.
    """
    names = read_object(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise CheckpointError(f"'{index}' has no weight_map: copy the folder again")
    shards = sorted({str(name) for name in names.values()})
    wrong = [name for name in shards if Path(name).name != name or not (index.parent / name).is_file()]
    if wrong:
        raise CheckpointError(f"'{index}' names shards that are not beside it ({listed(wrong)}): copy the folder again")
    return [index.parent / name for name in shards]


def _joined(index: Path) -> dict[str, Tensor]:
    """Read all shards of an index.

    Raises:
        CheckpointError: a shard is missing or damaged, or they do not hold what the index names.
    """
    state: dict[str, Tensor] = {}
    for shard in shards_of(index):
        state |= load_weights(shard)
    differing = sorted(set(state) ^ set(read_object(index)["weight_map"]))
    if differing:
        raise CheckpointError(f"'{index}' and its shards differ in {listed(differing)}: copy the folder again")
    return state


def _parted(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors that share memory, or are a view of a larger one, memory of their own: safetensors wants it."""
    seen: set[int] = set()
    for name, value in state.items():
        storage = value.untyped_storage()
        whole = storage.nbytes() == value.numel() * value.element_size() and value.is_contiguous()
        if storage.data_ptr() in seen or not whole:
            state[name] = value.clone(memory_format=torch.contiguous_format)
        seen.add(storage.data_ptr())
    return state


def _one_set(raw: Any, path: Path) -> dict[str, Tensor]:
    """Return the one dict of tensors: the object itself, or the only one in it (``state_dict`` beside ``epoch``)."""
    if _is_set(raw):
        return dict(raw)
    sets = {str(name): value for name, value in raw.items() if _is_set(value)} if isinstance(raw, Mapping) else {}
    if len(sets) == 1:
        return dict(next(iter(sets.values())))
    if sets:
        raise CheckpointError(
            f"'{path}' holds several sets of weights ({', '.join(sets)}): save the one you mean alone"
        )
    keys = f" with {listed([str(name) for name in raw])}" if isinstance(raw, Mapping) else ""
    raise CheckpointError(f"'{path}' holds a {type(raw).__name__}{keys}: a dict of named tensors is needed")


def _is_set(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(one, Tensor) for one in value.values())


def bare_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take off prefixes that all names share (``module.`` of DataParallel) until the network is recognised.

    >>> sorted(bare_names({"module.a.weight": torch.zeros(1), "module.b.weight": torch.zeros(1)}))
    ['a.weight', 'b.weight']
    """
    names = dict(state)
    while recognise(names)[0] == "":
        first = {name.partition(".")[0] for name in names}
        if len(first) != 1 or not all(name.partition(".")[2] for name in names):
            return names
        names = {name.partition(".")[2]: value for name, value in names.items()}
    return names


def recognise(state: Mapping[str, Tensor]) -> tuple[str, str]:
    """Return the kind of network by its names, and words for it; kind ``""`` if it is none that is known."""
    for kind, words, names in _LANDMARKS:
        if all(name in state for name in names):
            return kind, words
    return "", f"weights of an unknown network ({listed(list(state))})"


def check_names(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> None:
    """Check names and shapes against those of a network (its tensors may be on ``meta``).

    Raises:
        CheckpointError: says the first few missing, unexpected and mis-shaped names, and how many.
    """
    shapes = {
        name: f"{name} {tuple(state[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    }
    faults = {
        "missing": [name for name in expected if name not in state],
        "unexpected": [name for name in state if name not in expected],
        "of another shape": list(shapes.values()),
    }
    said = [f"{len(names)} {fault}: {listed(names)}" for fault, names in faults.items() if names]
    if said:
        raise CheckpointError(f"the weights do not fit {what}: {'; '.join(said)}")
