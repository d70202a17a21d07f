"""Verify a built dataset folder before anything of it is published. Every fault is listed, with what to do."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from harmonygen.data import manifest
from harmonygen.data.manifest import PublishedFile
from harmonygen.errors import UsageError
from harmonygen.publishing.card_fields import field_faults, field_notes
from harmonygen.publishing.front_matter import Card, matches, read_card
from harmonygen.publishing.verify_parquet import (
    SECRET,
    Fault,
    Split,
    background_faults,
    footer_fault,
    image_faults,
    split_faults,
)

Progress = Callable[[int, int], None]

README = "README.md"
_NAME_BYTES = 255  # what a file system holds
MAX_FILE_BYTES = 50_000_000_000  # what the Hub accepts
MAX_FOLDER_FILES = 10_000
MAX_FILES = 100_000
_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".svg", ".gif"}
_LICENCES = {"LICENSE", "LICENSE.md", "LICENSE.txt"}
_LINK = re.compile(r"(?:\]\(|src=[\"'])(?!https?:|#|data:)([^)\"'\s#?]+)")
_AGAIN = "build the dataset again"


@dataclass(frozen=True)
class Verified:
    """A folder that was looked at: what would be published, its card (None if unreadable), what is wrong with it.

    ``images`` were decoded; ``left`` files of the folder are not published; ``notes`` are not faults, but worth
    knowing.
    """

    folder: Path
    entries: tuple[PublishedFile, ...]
    card: Card | None
    faults: tuple[Fault, ...]
    images: int
    left: int
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Bytes of all published files."""
        return sum(each.bytes for each in self.entries)


def published_entries(folder: Path) -> tuple[PublishedFile, ...]:
    """Return what is published: the manifest's files; without one the README, its data files and its pictures.

    Raises:
        UsageError: no such folder, no README, or a card or manifest that cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(
            f"'{folder}' is not a folder: name one that build-human-harmony or augment --format parquet made"
        )
    if not (folder / README).is_file():
        raise UsageError(f"'{folder}' has no README.md: publish takes a built dataset (README.md and Parquet files)")
    listed = manifest.read_manifest(folder)
    if listed is not None:
        return listed
    return tuple(_survey(folder, read_card(_text(folder / README))))


def _survey(folder: Path, card: Card) -> Iterator[PublishedFile]:
    yield manifest.entry(folder, folder / README)
    for path in _visible(folder):
        relative = path.relative_to(folder).as_posix()
        homes = card.homes(relative)
        if homes:
            yield manifest.entry(folder, path, *homes[0])
        elif _is_picture(relative) or relative in _LICENCES:
            yield manifest.entry(folder, path)


def _visible(folder: Path) -> list[Path]:
    """Return the folder's files in order, without hidden ones."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(p for p in files if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def verify(
    folder: Path,
    entries: tuple[PublishedFile, ...],
    sample: int = 16,
    seed: int = 0,
    progress: Progress | None = None,
) -> Verified:
    """Look at a built folder: paths, sizes, SHA-256, footers, columns, rows, card, limits and a sample of images.

    Composites of the sample have to have their photo's background, bit for bit unless they are JPEG.

    Args:
        folder: the built dataset.
        entries: what is to be published, from :func:`published_entries`.
        sample: rows of each split whose images are decoded and compared.
        seed: which images.
        progress: gets (bytes read, bytes in all).
    """
    faults = [*_path_faults(entries), *_limit_faults(entries)]
    inside = [each for each in entries if _is_inside(each.path)]
    whole, wrong = _read_files(folder, inside, progress)
    faults += wrong
    card, told = _card(folder)
    faults += told
    images = 0
    if card is not None:
        faults += [Fault(README, found, remedy) for found, remedy in field_faults(card.text)]
        faults += [*_home_faults(folder, entries, card), *_link_faults(card, entries), *_text_secrets(folder, whole)]
        for split in _splits(folder, card, whole):
            faults += split_faults(split, card.infos.get(split.config))
            looked = list(image_faults(split, sample, seed))
            images += len(looked)
            faults += [fault for fault in looked if fault is not None]
            faults += background_faults(split, sample, seed)
    left = len(_visible(folder)) - sum(1 for each in inside if (folder / each.path).is_file())
    notes = tuple(field_notes(card.text)) if card else ()
    return Verified(folder, entries, card, tuple(faults), images, left, notes)


def _path_faults(entries: Iterable[PublishedFile]) -> Iterator[Fault]:
    for each in entries:
        if not _is_inside(each.path):
            yield Fault(each.path, "is not a plain path inside the folder", "correct the manifest")
        elif any(part.startswith(".") for part in PurePosixPath(each.path).parts) or each.path.endswith(".tmp"):
            yield Fault(each.path, "is a hidden or temporary file", f"take it out of the manifest: {_AGAIN}")


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    plain = not path.startswith("/") and ".." not in parts and not re.search(r"[\\\0-\x1f]", path)
    return bool(parts) and plain and all(len(part.encode("utf-8", "replace")) <= _NAME_BYTES for part in parts)


def _limit_faults(entries: tuple[PublishedFile, ...]) -> Iterator[Fault]:
    for each in entries:
        if each.bytes > MAX_FILE_BYTES:
            found = f"is {each.bytes / 1e9:.0f} GB, the Hub takes {MAX_FILE_BYTES / 1e9:.0f} GB a file"
            yield Fault(each.path, found, "write smaller files (harmonygen's own are near 500 MB)")
    if len(entries) > MAX_FILES:
        yield Fault(".", f"{len(entries)} files, the Hub takes {MAX_FILES}", "write larger files")
    for parent, count in Counter(str(PurePosixPath(each.path).parent) for each in entries).items():
        if count > MAX_FOLDER_FILES:
            yield Fault(parent, f"{count} files in one folder, the Hub takes {MAX_FOLDER_FILES}", "write larger files")


def _read_files(
    folder: Path, entries: list[PublishedFile], progress: Progress | None
) -> tuple[list[PublishedFile], list[Fault]]:
    """Compare each file with its entry, every byte; return the sound ones and the faults of the others."""
    whole: list[PublishedFile] = []
    faults: list[Fault] = []
    done, total = 0, sum(each.bytes for each in entries)
    for each in entries:
        fault = _file_fault(folder, each)
        if fault is None:
            whole.append(each)
        else:
            faults.append(fault)
        done += each.bytes
        if progress is not None:
            progress(done, total)
    return whole, faults


def _file_fault(folder: Path, entry: PublishedFile) -> Fault | None:
    path = folder / entry.path
    if not path.resolve().is_relative_to(folder.resolve()):
        return Fault(entry.path, "is a link to a file outside the folder", "put the file itself there")
    if not path.is_file():
        return Fault(entry.path, "is in the manifest but not in the folder", _AGAIN)
    size = path.stat().st_size
    if size != entry.bytes:
        return Fault(entry.path, f"has {size} bytes, the manifest says {entry.bytes}", _AGAIN)
    if manifest.sha256(path) != entry.sha256:
        return Fault(entry.path, "was changed after the manifest was written (its SHA-256 differs)", _AGAIN)
    return footer_fault(folder, entry) if path.suffix == ".parquet" else None


def _card(folder: Path) -> tuple[Card | None, list[Fault]]:
    try:
        return read_card(_text(folder / README)), []
    except UsageError as error:
        found, _, remedy = str(error).rpartition(": ")
        return None, [Fault(README, found, remedy)]


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"'{path.name}' is not UTF-8 ({error.reason}): save it as UTF-8") from error


def _home_faults(folder: Path, entries: tuple[PublishedFile, ...], card: Card) -> Iterator[Fault]:
    """Compare the card's data files with the manifest's and with the folder's."""
    listed = {each.path for each in entries}
    if README not in listed:
        yield Fault(README, "is not in the manifest", _AGAIN)
    for each in entries:
        homes = card.homes(each.path)
        if not homes and not _is_companion(each.path):
            yield Fault(each.path, "no config of the card names it", f"take it out of the manifest: {_AGAIN}")
        elif homes and (each.config, each.split) not in homes:
            stated = f"{each.config}/{each.split}".strip("/") or "no split"
            yield Fault(each.path, f"the card says {'/'.join(homes[0])}, the manifest says {stated}", _AGAIN)
    for home, globs in card.patterns.items():
        if not any(matches(path, globs) for path in listed):
            yield Fault(README, f"no file fits the pattern {', '.join(globs)} of {'/'.join(home)}", _AGAIN)
    yield from _stray_faults(folder, listed, card)


def _stray_faults(folder: Path, listed: set[str], card: Card) -> Iterator[Fault]:
    for path in _visible(folder):
        relative = path.relative_to(folder).as_posix()
        if relative not in listed and card.homes(relative):
            yield Fault(relative, "fits a pattern of the card but is not in the manifest", f"remove it, or {_AGAIN}")
    for parent in sorted({(folder / path).parent for path in listed if path.endswith(".parquet") and _is_inside(path)}):
        for path in sorted(parent.glob(".*.parquet*")):
            found = "is an unfinished part: the folder was not built to its end"
            yield Fault(path.relative_to(folder).as_posix(), found, "repeat the command that builds it")


def _is_companion(path: str) -> bool:
    return path == README or path in _LICENCES or _is_picture(path)


def _is_picture(path: str) -> bool:
    return path.startswith("assets/") and PurePosixPath(path).suffix.lower() in _PICTURES


def _link_faults(card: Card, entries: tuple[PublishedFile, ...]) -> Iterator[Fault]:
    listed = {each.path for each in entries}
    for link in dict.fromkeys(_LINK.findall(card.text)):
        if _is_picture(link) and link not in listed:
            yield Fault(README, f"shows '{link}', which is not published", _AGAIN)


def _text_secrets(folder: Path, entries: list[PublishedFile]) -> Iterator[Fault]:
    for each in entries:
        if PurePosixPath(each.path).suffix in (".md", ".txt", ".svg") and SECRET.search(
            (folder / each.path).read_bytes()
        ):
            yield Fault(each.path, "holds what looks like an access token", "remove it and revoke the token")


def _splits(folder: Path, card: Card, whole: list[PublishedFile]) -> list[Split]:
    found: dict[tuple[str, str], list[PublishedFile]] = defaultdict(list)
    for each in whole:
        for home in card.homes(each.path) if each.path.endswith(".parquet") else ():
            found[home].append(each)
    return [Split(folder, *home, tuple(entries)) for home, entries in found.items()]
