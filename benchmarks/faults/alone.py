"""Call functions in a process of their own, under a memory limit, so that a crash is a count and not the end."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

T = TypeVar("T")
ROOM = 6 * 2**30  # bytes of address space


def alone(function: Callable[..., T], *args: object) -> T | str:
    """Return what a module's function returns, or, as text, how its process died."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_limit) as pool:
        try:
            return pool.submit(function, *args).result(timeout=600)
        except BrokenProcessPool:
            return "the process crashed"


def peak_mebibytes() -> int:
    """Return the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM))
