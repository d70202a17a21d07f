"""Where models run (device, dtype of the weights, batch) and how they are sampled; an allocator that keeps memory."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch

from harmonygen.errors import UsageError
from harmonygen.models.runtime import Runtime, pick_runtime
from harmonygen.settings import Posterior, RuntimeName, Sampler

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # names of mallopt(3)
_LARGE, _NEVER = 1 << 30, (1 << 31) - 1


def keep_memory() -> bool:
    """Keep freed blocks of up to 1 GiB for the next that are asked for; return whether the allocator can.

    glibc gives every block of some megabytes back at once, and the kernel clears its pages again when the next one is
    taken: on a CPU, a model of a few channels at full resolution waits for that more than it computes. A process then
    keeps its peak of memory until it ends. Elsewhere than on Linux with glibc nothing is done.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGE)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))


def image_threads() -> int:
    """Return how many threads work on pictures beside a model: as many as torch computes with, from 2 to 8."""
    return min(8, max(2, torch.get_num_threads()))


_MOST_IN_BATCH = 4096
_AUTO_BATCH = {"cpu": 16, "cuda": 64, "mps": 16}


_DTYPES = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "float16": torch.float16,
    "fp16": torch.float16,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
}


def pick_device(name: str) -> str:
    """Return the device for ``auto`` (CUDA, Apple, CPU in this order), or check the one that is named.

    Raises:
        UsageError: it is missing.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    kind = name.partition(":")[0]
    if kind not in _AUTO_BATCH or (kind == "cuda" and not cuda) or (kind == "mps" and not mps):
        raise UsageError(f"--device {name} is not available here: use auto, or see 'harmonygen doctor'")
    return name


def pick_dtype(name: str, device: str) -> torch.dtype:
    """Return the dtype for ``auto`` (bfloat16 on CUDA that has it, float16 on older, float32 elsewhere) or by name."""
    if name != "auto":
        if name not in _DTYPES:
            raise UsageError(f"--dtype {name} is not known: choose auto, {', '.join(_DTYPES)}")
        return _DTYPES[name]
    if not device.startswith("cuda"):
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def pick_batch(name: str, device: str) -> int:
    """Return the number of candidates denoised together: a number, or ``auto`` by device."""
    if name == "auto":
        return _AUTO_BATCH[device.partition(":")[0]]
    if not name.isdecimal() or len(name) > 5 or not 1 <= int(name) <= _MOST_IN_BATCH:
        raise UsageError(f"--batch-size is {name[:40]!r}: write auto or a whole number from 1 to {_MOST_IN_BATCH}")
    return int(name)


@dataclass(frozen=True, slots=True)
class Device:
    """Where a model runs (``cpu``, ``cuda:0`` ...), the dtype of its weights, and how many pictures go in one batch.

    With a ``runtime``, that computes the UNet in its own dtype, and the weights of all else are float32.
    """

    name: str
    dtype: torch.dtype
    batch: int
    runtime: Runtime | None = None

    @classmethod
    def pick(
        cls,
        name: str = "auto",
        dtype: str = "auto",
        batch: str = "auto",
        runtime: RuntimeName = "torch",
        each_size: bool = False,
    ) -> Device:
        """Return the device that the options name, each ``auto`` by what this machine has.

        ``each_size`` says that pictures are of one size, so that a network made for it pays.

        Raises:
            UsageError: the device or the runtime is missing, or the dtype or the batch is not understood.
        """
        device = pick_device(name)
        precision, most = pick_dtype(dtype, device), pick_batch(batch, device)
        found = pick_runtime(runtime, device, precision, each_size)
        return cls(device, torch.float32 if found else precision, most, found)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a denoiser is sampled; None stands for what its checkpoint states.

    ``steps`` at guidance 1, the ``sampler``, how many ``draws`` a harmonized picture is the mean of, and whether what
    it is given is a ``sample`` of the condition's ``posterior`` or its ``mode``.
    """

    steps: int | None = None
    sampler: Sampler | None = None
    draws: int | None = None
    posterior: Posterior | None = None


AS_STATED = Sampling()
