r"""Ids that may become file names: what is refused, what is cleaned, and what collides.

An id is refused when it could lead out of its folder (``/``, ``\\``, ``..``, a NUL), is empty or is too long to be a
file name. Other characters that some file system refuses become ``-``. Two ids that are the same once cleaned, in
any case, are refused together: on Windows and macOS they would be one file.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from harmonygen.errors import UsageError, listed
from harmonygen.records import CellSource, Pair

MAX_BYTES = 200  # a file name holds 255; the rest is for `_<mask>_<variant>` and the suffix
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CLEANED = re.compile(r"[^\w.+=@,()-]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_UTF8 = re.compile(r"[\ud800-\udfff]")


def fault(text: str) -> str:
    """Say why an id is refused, or return "".

    >>> fault("../a"), fault("a0001"), fault("a/b")
    ("holds '..'", '', "holds '/'")
    """
    if _PLAIN.fullmatch(text) and ".." not in text and len(text) <= MAX_BYTES:
        return ""
    if not text or not (_clean(text) or _NOT_UTF8.search(text)):
        return "has no character that a file name may hold"
    if _NOT_UTF8.search(text):
        return "is not UTF-8"
    for piece in ("..", "/", "\\"):
        if piece in text:
            return f"holds {piece!r}"
    if _CONTROL.search(text):
        return "holds a NUL or another control character"
    size = len(text.encode("utf-8", "replace"))
    return f"is {size} bytes long, over {MAX_BYTES}" if size > MAX_BYTES else ""


def safe_id(text: str) -> str:
    """Return an id as a file name may hold it; characters that some file system refuses become ``-``.

    Raises:
        UsageError: the id is refused (see :func:`fault`).

    >>> safe_id("d1048-20120628"), safe_id("space suit"), safe_id("a:b")
    ('d1048-20120628', 'space-suit', 'a-b')
    """
    if _PLAIN.fullmatch(text) and not fault(text):
        return text
    refuse_unsafe([text], "id")
    return _clean(text)


def _clean(text: str) -> str:
    return _CLEANED.sub("-", unicodedata.normalize("NFC", text)).lstrip(".-").rstrip(".")


def refuse_unsafe(ids: Iterable[str], what: str) -> None:
    """Raise UsageError naming the first ids that are refused; ``what`` says what they are ids of."""
    faults = [(text, why) for text in ids if (why := fault(text))]
    if faults:
        named = listed([f"{text[:80]!r} {why}" for text, why in faults], between="; ")
        raise UsageError(f"{len(faults)} {what}(s) cannot name a file: {named}: rename them")


def refuse_collisions(named: Iterable[tuple[str, str]], what: str) -> None:
    """Raise UsageError if two origins share an id in any case; ``named`` yields (id, where it comes from).

    >>> refuse_collisions([("a", "x.png"), ("a", "x.png"), ("b", "y.png")], "photo id")
    """
    owners: dict[str, tuple[str, str]] = {}
    clashes = []
    for name, origin in named:
        owner = owners.setdefault(name.casefold(), (name, origin))
        if owner != (name, origin):
            clashes.append(f"{owner[0]!r} ({owner[1]}) and {name!r} ({origin})")
    if clashes:
        raise UsageError(
            f"{len(clashes)} {what}(s) collide (also where case alone differs): {listed(clashes, between='; ')}: "
            "rename one of each"
        )


def check_pairs(pairs: Iterable[Pair]) -> None:
    """Check that every pair has its own ``pair_id`` and every ``real_id`` stands for one photo.

    Raises:
        UsageError: ids collide; the first are named with their files.
    """
    pairs = list(pairs)
    refuse_collisions(((pair.pair_id, f"{pair.real} + {pair.mask}") for pair in pairs), "pair id")
    refuse_repeats((pair.pair_id for pair in pairs), "pair id", "pairs")
    refuse_collisions(((pair.real_id, _photo_origin(pair)) for pair in pairs), "photo id")


def _photo_origin(pair: Pair) -> str:
    """Return a photo's file; rows of a Parquet dataset may each hold a copy of it, so the folder stands for them."""
    return str(pair.real.path.parent) if isinstance(pair.real, CellSource) else str(pair.real)


def refuse_repeats(names: Iterable[str], what: str, of: str) -> None:
    """Raise UsageError if a name comes twice; ``what`` says what the names are, ``of`` what they stand for.

    >>> refuse_repeats(["a", "b"], "pair id", "pairs")
    """
    counts = Counter(names)
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated:
        named = listed([repr(name) for name in repeated])
        raise UsageError(f"{len(repeated)} {what}(s) stand for several {of}: {named}: make them unique")
