"""The C library's allocator, told to keep the memory it is given back."""

from __future__ import annotations

import ctypes

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # names of mallopt(3)
_LARGE, _NEVER = 1 << 30, (1 << 31) - 1


def keep_memory() -> bool:
    """Keep freed blocks of up to 1 GiB for the next that are asked for; return whether the allocator can.

    glibc gives every block of some megabytes back at once, and the kernel clears its pages anew when the next one is
    taken: on a CPU, a model of a few channels at full resolution waits for that more than it computes. A process then
    keeps its peak of memory until it ends. Elsewhere than on Linux with glibc nothing is done.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGE)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
