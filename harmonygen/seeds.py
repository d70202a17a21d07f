"""Stable 64-bit seeds: candidate (pair, k) depends on the run seed, the pair's id and k, and on nothing else.

The order of the pairs, the batch size, the number of workers and a resume change none of them (DESIGN guarantee 1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np


def stable_seed(*parts: int | str) -> int:
    """Hash ``parts`` to an integer in [0, 2**63), the same on every machine and Python version.

    Parts are length-prefixed, so ``("a", "bc")`` and ``("ab", "c")`` differ.

    >>> stable_seed(0, "pair", 1) == stable_seed(0, "pair", 1)
    True
    >>> stable_seed(0, "a", "bc") == stable_seed(0, "ab", "c")
    False
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        encoded = f"{type(part).__name__}:{part}".encode()
        digest.update(len(encoded).to_bytes(4, "little") + encoded)
    return int.from_bytes(digest.digest(), "little") >> 1  # torch.Generator takes signed 64-bit seeds


def digest_of_bytes(chunks: Iterable[bytes]) -> str:
    """Return 16 hex digits of a content that comes in chunks, however it is cut.

    >>> digest_of_bytes([b"ab", b"c"]) == digest_of_bytes([b"abc"])
    True
    """
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()[:16]


def candidate_seed(run_seed: int, pair_id: str, k: int) -> int:
    """Return the seed of candidate ``k`` (0-based) of pair ``pair_id`` in [0, 2**63)."""
    return stable_seed("candidate", run_seed, pair_id, k)


def numpy_rng(*parts: int | str) -> np.random.Generator:
    """Return an independent NumPy generator for ``parts`` (see :func:`stable_seed`)."""
    return np.random.default_rng(stable_seed(*parts))
