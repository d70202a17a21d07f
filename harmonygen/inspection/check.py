"""Read a pair as a run reads it, and note what its photo and its mask turned out to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from PIL import Image

from harmonygen.errors import InputError
from harmonygen.inspection.headers import FileHeader, header_of_bytes, threads_here
from harmonygen.pictures.images import MAX_PIXELS, Decoded, Mask, PhotoReading, decode, read_bytes
from harmonygen.pictures.mask_reading import MaskReading
from harmonygen.pictures.masks import check_mask, fg_ratio, load_understood
from harmonygen.pictures.phash import phash
from harmonygen.pictures.photo import Sizing, fitted_mask
from harmonygen.records import MaskSource, Pair, Quarantined
from harmonygen.settings import MaskResize
from harmonygen.storage.content import digest_of_bytes

STAGE = "inspect"
_HASHED = 256  # pixels; a photo is shrunk to about this side before it is hashed


@dataclass(frozen=True, slots=True)
class Rules:
    """What a run asks of its inputs: how large a photo may be, how a mask has to fit, how many may be bad."""

    max_pixels: int = MAX_PIXELS
    mask_resize: MaskResize = "refuse"
    max_side: int | None = None
    max_bad_fraction: float = 0.01

    def sizing(self) -> Sizing:
        """Return how a run would size photos, as far as it decides which of them can be used."""
        return Sizing(128, 8, max_side=self.max_side, mask_resize=self.mask_resize, max_pixels=self.max_pixels)


@dataclass(frozen=True, slots=True)
class Checked:
    """A pair that was read: how its photo and mask were understood, or ``fault``, which a run would quarantine it for.

    ``ratio`` is the foreground's share in [0, 1]; ``digest`` and ``phash`` are of the photo's bytes and look.
    """

    pair_id: str
    fault: Quarantined | None = None
    header: FileHeader | None = None
    photo: PhotoReading | None = None
    mask: MaskReading | None = None
    ratio: float | None = None
    digest: str = ""
    phash: int = 0


def check_all(
    pairs: Sequence[Pair], rules: Rules, done: Callable[[int], None] = lambda _count: None
) -> tuple[Checked, ...]:
    """Read pairs, in threads, in their order; ``done`` is called with each."""
    checked = []
    with ThreadPoolExecutor(threads_here()) as threads:
        for found in threads.map(lambda pair: check_pair(pair, rules), pairs):
            checked.append(found)
            done(1)
    return tuple(checked)


def check_pair(pair: Pair, rules: Rules) -> Checked:
    """Read a pair's photo and mask, and note what they are; nothing is raised for bad input."""
    looked = Looked(pair, rules)
    try:
        looked.read()
    except InputError as error:
        fault = Quarantined(pair.pair_id, STAGE, type(error).__name__, str(error))
        return replace(looked.found, fault=fault)
    return looked.found


class Looked:
    """A pair while it is read: its photo and mask as far as that came."""

    def __init__(self, pair: Pair, rules: Rules) -> None:
        self.pair, self.rules = pair, rules
        self.found = Checked(pair.pair_id)
        self.decoded: Decoded | None = None
        self.mask: Mask | None = None

    def read(self) -> None:
        """Read both.

        Raises:
            InputError: a run would quarantine the pair.
        """
        self.decoded = self._photo()
        if not self.pair.borrows:
            self.mask = self._mask(self.pair.mask, self.decoded)
            check_mask(self.mask, str(self.pair.mask))
            fitted_mask(self.pair, self.mask, self.rules.sizing())

    def _photo(self) -> Decoded:
        encoded = read_bytes(self.pair.real)
        self.found = replace(self.found, header=header_of_bytes(encoded), digest=digest_of_bytes(encoded))
        decoded = decode(encoded, str(self.pair.real), self.rules.max_pixels, self.pair.real.as_stored)
        self.found = replace(self.found, photo=decoded.reading, phash=_hash(decoded))
        return decoded

    def _mask(self, source: MaskSource, photo: Decoded) -> Mask:
        mask, reading = load_understood(source, photo, self.rules.mask_resize, self.rules.max_pixels)
        self.found = replace(self.found, mask=reading, ratio=fg_ratio(mask))
        return mask


def _hash(decoded: Decoded) -> int:
    image = Image.fromarray(decoded.image_u8)
    return phash(image.reduce(max(1, min(image.size) // _HASHED)))
