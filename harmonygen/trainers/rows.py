"""The rows of an export for a trainer: a photo, its composite, the mask and the words, one row in memory at a time."""

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from harmonygen.augmentation.export import bytes_of, head_of
from harmonygen.augmentation.settings import ExportSettings
from harmonygen.data.files import read_text
from harmonygen.data.plain_names import plain_ids
from harmonygen.errors import StorageError, UsageError, shown
from harmonygen.pictures.images import ImageU8, Mask, decode
from harmonygen.pictures.masks import to_mask
from harmonygen.pictures.stored import PhotoForm, convert, kept_suffix
from harmonygen.runs.read import PairImages, Run
from harmonygen.trainers.captions import Words, words_of
from harmonygen.trainers.change import ForegroundChange, measure_foreground_change
from harmonygen.trainers.formats.shape import Alike

_THREADS = 4  # decoders do not hold the interpreter
PROVENANCE = ("pair_id", "real_id", "k", "seed", "p_composite", "width", "height")


class EncodedPicture(NamedTuple):
    """A picture to be written: its encoded bytes, or the file on disk that has them, and its suffix."""

    encoded: bytes | None
    path: Path | None
    suffix: str

    def read(self) -> bytes:
        """Return the encoded bytes."""
        assert self.encoded is not None or self.path is not None
        return self.encoded if self.encoded is not None else self.path.read_bytes()  # type: ignore[union-attr]


@dataclass(frozen=True)
class PairPictures:
    """A pair's photo and mask, encoded and decoded: they are shared by its rows."""

    pair_id: str
    real: EncodedPicture
    mask: bytes
    real_u8: ImageU8
    mask_u8: Mask


@dataclass(frozen=True)
class EditRow:
    """A row: the pair's pictures, the composite, what was measured and how it is put into words.

    ``key`` names its files. ``text`` is the caption that a trainer gets.
    """

    key: str
    picked: Mapping[str, Any]
    pair: PairPictures
    composite: EncodedPicture
    change: ForegroundChange
    words: Words
    text: str

    def record(self) -> dict[str, Any]:
        """Return what tables and the manifest say of the row, beside its files."""
        provenance = {name: self.picked[name] for name in PROVENANCE}
        figures = {name: round(value, 4) for name, value in asdict(self.change).items()}
        words = {"change": self.words.change, "instruction": self.words.instruction}
        return {"key": self.key, "text": self.text, **words, **figures, **provenance, "said": self.words.said}


def keys_of(run: Run) -> dict[str, str]:
    """Return the name that the rows of each pair begin with: no ``_``, no dot, different for each pair."""
    ids = (pair["pair_id"] for part in range(len(run.parts)) for pair in run.pairs(part))
    return plain_ids({pair_id: pair_id.replace("/", "-") for pair_id in ids})


def given_words(settings: ExportSettings, rows: Sequence[Mapping[str, Any]]) -> dict[str, str] | None:
    """Return the caption of each pair where they come from elsewhere: a file, or none; else None.

    Raises:
        UsageError: no such file, a line that is no ``{"pair_id": ..., "text": ...}``, pairs without words.
    """
    if settings.caption == "measured":
        return None
    if settings.caption == "none":
        return {row["pair_id"]: "" for row in rows}
    told = _read_words(Path(settings.caption))
    found = {row["pair_id"]: told.get(row["pair_id"], told.get(row["real_id"])) for row in rows}
    missing = [pair_id for pair_id, text in found.items() if text is None]
    if missing:
        raise UsageError(
            f"'{settings.caption}' has no words for {len(missing)} pairs: {shown(missing, 'pairs')}: add them"
        )
    return {pair_id: text for pair_id, text in found.items() if text is not None}


def _read_words(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise UsageError(
            f"--caption '{path}' is not a file: give measured, none, or a JSONL file with pair_id and text"
        )
    found: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        try:
            row = json.loads(line) if line.strip() else None
            if row is not None:
                found[str(row.get("pair_id", row.get("real_id")))] = " ".join(str(row["text"]).split())
        except (ValueError, KeyError, AttributeError) as error:
            raise UsageError(
                f'line {number} of \'{path}\' is not {{"pair_id": ..., "text": ...}}: correct it'
            ) from error
    return found


@dataclass(frozen=True)
class Reader:
    """Reads the rows of a run, part by part; ``alike`` says which pictures have to have one suffix in all rows.

    ``than`` has, by pair, a candidate that stands in the photo's place: the one that is preferred to the row's.
    """

    run: Run
    settings: ExportSettings
    keys: Mapping[str, str]
    words: Mapping[str, str] | None
    alike: Alike
    than: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @cached_property
    def form(self) -> PhotoForm:
        """How pictures that are neither JPEG nor PNG are stored; photos that are JPEG all of them stay so."""
        if self.settings.photos == "jpg":
            return "jpg"
        return "jpg" if self.alike == "photos" and self._all_jpeg() else "png"

    def _all_jpeg(self) -> bool:
        parts = range(len(self.run.parts))
        images = (each for part in parts for _, each in self.run.images(part))
        return all(kept_suffix(head_of(each), "jpg") for each in images)

    def rows(self, part: int, picked: Sequence[Mapping[str, Any]]) -> Iterator[EditRow]:
        """Yield the rows of a shard, in the order of its file.

        Raises:
            StorageError: a photo is gone.
        """
        images = dict(self.run.images(part, {row["pair_id"] for row in picked}))
        better = self._preferred(picked)
        pair: PairPictures | None = None
        ahead: deque[Future[EditRow]] = deque()
        with ThreadPoolExecutor(_THREADS) as threads:
            for row, encoded in self.run.composites(picked):
                if pair is None or pair.pair_id != row["pair_id"]:
                    pair = self._pair(row["pair_id"], images[row["pair_id"]])
                    if row["pair_id"] in better:
                        pair = self._instead(pair, better[row["pair_id"]])
                ahead.append(threads.submit(self._row, row, encoded, pair))
                if len(ahead) > 2 * _THREADS:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def _pair(self, pair_id: str, images: PairImages) -> PairPictures:
        if images.real is None and not images.path.is_file():
            raise StorageError(f"photo '{images.path}' of {pair_id} is gone: bring it back, then repeat the command")
        real_u8 = decode(bytes_of(images), str(images.path), as_stored=True).image_u8
        mask = to_mask(Image.open(io.BytesIO(images.mask)))
        suffix = self._kept(head_of(images))
        own = EncodedPicture(images.real, None if images.real is not None else images.path, suffix)
        real = own if suffix else self._converted(real_u8, pair_id)
        return PairPictures(pair_id, real, images.mask, real_u8, mask)

    def _preferred(self, picked: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
        """Return the encoded candidates that stand in the photos' places, by pair."""
        rows = [self.than[row["pair_id"]] for row in picked if row["pair_id"] in self.than]
        return {row["pair_id"]: encoded for row, encoded in self.run.composites(rows)}

    def _instead(self, pair: PairPictures, encoded: bytes) -> PairPictures:
        """Return a pair whose photo is another candidate."""
        preferred_u8 = decode(encoded, pair.pair_id, as_stored=True).image_u8
        suffix = self._kept(encoded[:16])
        own = EncodedPicture(encoded, None, suffix) if suffix else self._converted(preferred_u8, pair.pair_id)
        return replace(pair, real=own, real_u8=preferred_u8)

    def _row(self, row: Mapping[str, Any], encoded: bytes, pair: PairPictures) -> EditRow:
        key = f"{self.keys[pair.pair_id]}-k{row['k']:03d}"
        composite_u8 = decode(encoded, key, as_stored=True).image_u8
        change = measure_foreground_change(pair.real_u8, composite_u8, pair.mask_u8)
        words = words_of(change, self.settings.direction, self.settings.seed, key)
        suffix = kept_suffix(encoded[:16], "png")
        if self.alike == "pictures" and suffix != f".{self.form}":
            suffix = ""
        composite = EncodedPicture(encoded, None, suffix) if suffix else self._converted(composite_u8, key)
        text = words.instruction if self.words is None else self.words[pair.pair_id]
        return EditRow(key, row, pair, composite, change, words, text)

    def _kept(self, head: bytes) -> str:
        """Return the suffix of a photo that keeps its bytes, "" if it has to be converted."""
        found = kept_suffix(head, self.form)
        return found if not self.alike or found == f".{self.form}" else ""

    def _converted(self, image_u8: np.ndarray[Any, Any], name: str) -> EncodedPicture:
        return EncodedPicture(convert(image_u8, self.form, name).encoded, None, f".{self.form}")
