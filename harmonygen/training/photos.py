"""Photos for training: decoded once and kept while they fit in memory, else decoded at each use."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, overload

import numpy as np

from harmonygen.errors import InputError, TooManyBadInputsError, UsageError
from harmonygen.pictures.images import Decoded, ImageU8, Mask, decode, read_bytes, resize
from harmonygen.pictures.images import Mask as MaskArray
from harmonygen.pictures.masks import read_mask, resize_mask
from harmonygen.records import CellSource, ImageSource, MaskSource, Pair, Quarantined
from harmonygen.seeds import digest_of_bytes, stable_seed
from harmonygen.settings import Enlarge
from harmonygen.storage.parquet_cells import cell_bytes
from harmonygen.storage.shards import make_folder, write_json

Crop = Literal["random", "center", "square"]
_MIN_FOREGROUND = 0.01
_CROP_TRIES = 8
_ASPECT = 1.5  # of a usual camera: what a photo's size is guessed by before it is opened
_BYTES = 4  # a pixel: red, green, blue and the mask


class OfPhoto(Protocol):
    """Anything that belongs to one photo."""

    @property
    def real_id(self) -> str:
        """The photo's id."""


OfPhotoT = TypeVar("OfPhotoT", bound=OfPhoto)
PixelsT = TypeVar("PixelsT", ImageU8, Mask)


@dataclass(frozen=True, slots=True)
class TrainingPhoto:
    """A decoded photo (H, W, 3) uint8 and its mask (H, W) bool, shrunk for training.

    One that ``borrows`` has no mask of its own: ``mask`` is True all over.
    """

    real_id: str
    image_u8: ImageU8
    mask: Mask
    borrows: bool = False


@dataclass(frozen=True, slots=True)
class TrainingSize:
    """What photos are brought to: short side ``short_side``, or with ``square`` that side both ways.

    Photos that grow are enlarged by ``enlarge``.
    """

    short_side: int
    square: bool = False
    enlarge: Enlarge = "bicubic"

    def of(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) that a photo of ``height`` x ``width`` is brought to."""
        if self.square:
            return self.short_side, self.short_side
        scale = self.short_side / min(height, width)
        return max(self.short_side, round(height * scale)), max(self.short_side, round(width * scale))

    def resized(self, image_u8: ImageU8, height: int, width: int) -> ImageU8:
        """Bring a picture of a photo of ``height`` x ``width`` to its size."""
        return resize(image_u8, *self.of(height, width), self.enlarge)

    def bytes_of(self, photos: int) -> int:
        """Estimate the memory that ``photos`` decoded photos take: 3:2 pictures at 4 bytes a pixel."""
        return int(photos * _BYTES * self.short_side**2 * (1 if self.square else _ASPECT))


class PhotosOnDisk(Sequence[TrainingPhoto]):
    """Photos that are decoded each time they are asked for; a bad one raises InputError then."""

    def __init__(self, pairs: Sequence[Pair], sizing: TrainingSize) -> None:
        self.pairs, self.sizing = pairs, sizing
        self.sources = Sources(source for pair in pairs for source in (pair.real, pair.mask))

    def __len__(self) -> int:
        return len(self.pairs)

    @overload
    def __getitem__(self, index: int) -> TrainingPhoto: ...

    @overload
    def __getitem__(self, index: slice) -> PhotosOnDisk: ...

    def __getitem__(self, index: int | slice) -> TrainingPhoto | PhotosOnDisk:
        if isinstance(index, slice):
            return PhotosOnDisk(self.pairs[index], self.sizing)
        return self.load(self.pairs[index])

    def load(self, pair: Pair) -> TrainingPhoto:
        """Decode a pair; raise InputError if it is bad."""
        if pair.borrows:
            photo = self.sources.image(pair.real).image_u8
            photo = self.sizing.resized(photo, *photo.shape[:2])
            return TrainingPhoto(pair.real_id, photo, np.ones(photo.shape[:2], dtype=bool), borrows=True)
        decoded, mask = read_pixels(self.sources, pair.real, pair.mask)
        shrunk = shrink_mask(mask, self.sizing.of(*mask.shape), str(pair.mask))
        return TrainingPhoto(pair.real_id, self.sizing.resized(decoded.image_u8, *mask.shape), shrunk)


def read_pixels(sources: Sources, real: ImageSource, mask: MaskSource) -> tuple[Decoded, Mask]:
    """Decode a photo and its mask; raise InputError if either is bad."""
    decoded = sources.image(real)
    return decoded, sources.mask(mask, decoded)


def shrink_mask(mask: Mask, size: tuple[int, int], name: str) -> Mask:
    """Resize a mask to (height, width); raise InputError if nothing of its foreground is left."""
    shrunk = resize_mask(mask, *size)
    if not shrunk.any():
        raise InputError(f"mask '{name}' has no foreground left at {size[1]}x{size[0]}: draw it larger or drop it")
    return shrunk


def load_photos(
    pairs: Sequence[Pair],
    short_side: int,
    square: bool = False,
    bad: BadSamples | None = None,
    enlarge: Enlarge = "bicubic",
) -> tuple[list[TrainingPhoto], list[str]]:
    """Decode pairs to short side ``short_side`` in threads; return the photos and the messages of the bad ones.

    Raises:
        UsageError: none could be read.
        TooManyBadInputsError: more are bad than ``bad`` allows.
    """
    on_disk = PhotosOnDisk(pairs, TrainingSize(short_side, square, enlarge))
    photos: list[TrainingPhoto] = []
    messages: list[str] = []
    with ThreadPoolExecutor(4) as pool:
        for pair, loaded in zip(pairs, pool.map(lambda pair: _load(on_disk, pair), pairs), strict=True):
            if isinstance(loaded, TrainingPhoto):
                photos.append(loaded)
                continue
            messages.append(str(loaded))
            if bad:
                bad.record(pair.pair_id, loaded)
    if not photos:
        raise UsageError(
            f"none of {len(pairs)} photos could be read: {'; '.join(messages[:3]) or 'the data set is empty'}"
        )
    return photos, messages


def _load(photos: PhotosOnDisk, pair: Pair) -> TrainingPhoto | InputError:
    try:
        return photos.load(pair)
    except InputError as error:
        return error


def hold_out(items: Sequence[OfPhotoT], fraction: float) -> tuple[list[OfPhotoT], list[OfPhotoT]]:
    """Split items into training and validation by a hash of their photo's id, the same in every run."""
    held = [stable_seed("hold out", item.real_id) % 10_000 < fraction * 10_000 for item in items]
    training = [item for item, out in zip(items, held, strict=True) if not out]
    validation = [item for item, out in zip(items, held, strict=True) if out]
    if not training or not validation:  # a handful of photos: one of them is held out, with all its masks
        one = min({item.real_id for item in items}, key=lambda real_id: stable_seed("hold out", real_id))
        training = [item for item in items if item.real_id != one] or list(items)
        validation = [item for item in items if item.real_id == one]
    return training, validation


def ids_digest(ids: Iterable[str]) -> str:
    """Return 16 hex digits over ids in order: data that differ in them are not resumed on."""
    return digest_of_bytes(["\n".join(ids).encode()])


def crop_corner(mask: Mask, side: int, rng: np.random.Generator, at_random: bool) -> tuple[int, int]:
    """Return (top, left) of a square of ``side`` that has foreground and background.

    Drawn at random up to eight times, or the most central; if none will do, the one around the foreground's median.
    """
    height, width = mask.shape
    for _ in range(_CROP_TRIES if at_random else 1):
        top = int(rng.integers(height - side + 1)) if at_random else (height - side) // 2
        left = int(rng.integers(width - side + 1)) if at_random else (width - side) // 2
        if _MIN_FOREGROUND < mask[top : top + side, left : left + side].mean() < 1 - _MIN_FOREGROUND:
            return top, left
    rows, columns = np.nonzero(mask)
    top = int(np.clip(int(np.median(rows)) - side // 2, 0, height - side))
    return top, int(np.clip(int(np.median(columns)) - side // 2, 0, width - side))


def cut(pixels: PixelsT, corner: tuple[int, int], side: int, flipped: bool) -> PixelsT:
    """Cut a square out of pixels (H, W, ...) and mirror it if ``flipped``."""
    top, left = corner
    square: PixelsT = pixels[top : top + side, left : left + side]
    return square[:, ::-1] if flipped else square


class Sources:
    """Decodes photos and masks; ``sources`` are all that it will be asked for."""

    def __init__(self, sources: Iterable[ImageSource | MaskSource]) -> None:
        columns: dict[Path, set[str]] = {}
        for source in sources:
            if isinstance(source, CellSource):
                columns.setdefault(source.path, set()).add(source.column)
        self._mapped = {path: _mapped(path, sorted(names)) for path, names in columns.items()}

    def image(self, source: ImageSource) -> Decoded:
        """Decode a photo; raise InputError if it is bad."""
        return decode(self._bytes(source), str(source), as_stored=source.as_stored)

    def mask(self, source: MaskSource, photo: Decoded) -> MaskArray:
        """Decode the mask of a photo; raise InputError if it is bad, empty, full or of another size."""
        return read_mask(source, photo, read=self._bytes)

    def _bytes(self, source: ImageSource) -> bytes:
        if not isinstance(source, CellSource):
            return read_bytes(source)
        encoded = cell_bytes(self._mapped[source.path][source.row][source.column], source)
        if not encoded:
            raise InputError(f"'{source}' is empty (0 bytes): export it again")
        return encoded


def _mapped(path: Path, columns: list[str]) -> Any:
    from datasets import Dataset, Image, disable_progress_bars

    disable_progress_bars()
    mapped = Dataset.from_parquet(str(path), columns=columns)
    for name in columns:
        if isinstance(mapped.features[name], Image):
            mapped = mapped.cast_column(name, Image(decode=False))
    return mapped


QUARANTINE = "quarantine"


class BadSamples:
    """One small file per bad input in ``folder``: loader workers, processes and resumed runs write each once.

    Args:
        folder: made when the first input is bad.
        total: photos or composites of the data set.
        fraction: the share of them that may be bad; one always may, unless it is 0.
    """

    def __init__(self, folder: Path, total: int, fraction: float) -> None:
        self.folder, self.total = folder, total
        self.allowed = max(1, int(fraction * total)) if fraction else 0

    def record(self, name: str, error: Exception) -> None:
        """Record that ``name`` could not be used.

        Raises:
            TooManyBadInputsError: more are bad than allowed.
        """
        row = Quarantined(name, "train", type(error).__name__, str(error))
        file_name = f"{digest_of_bytes([name.encode()])}.json"
        write_json(make_folder(self.folder) / file_name, asdict(row))
        found = len(list(self.folder.glob("*.json")))
        if found > self.allowed:
            raise TooManyBadInputsError(
                f"{found} of {self.total} inputs could not be used, {self.allowed} are allowed; the last: {error}; all "
                f"are in '{self.folder}': mend them, or raise max_bad_fraction"
            )

    def rows(self) -> list[Quarantined]:
        """Return what was recorded, by any worker, process or earlier start of the run."""
        found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.folder.glob("*.json"))]
        return [Quarantined(**row) for row in found]
