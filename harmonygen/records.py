"""The records that flow through harmonygen: Pair -> Candidate -> Scored -> Selected | Dropped.

Frozen and typed: paths, ids and numbers only, no pixels and no tensors. Pixels travel beside a record, never in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, overload

from harmonygen.errors import InputError

Orientation = Literal["auto", "stored", "upright"]
_VALUE_KINDS = (r"[0-9]{1,10}", r"#[0-9a-f]{6}", r">=[0-9]{1,10}")


def parse_mask_values(text: str) -> tuple[str, ...]:
    """Split what ``--mask-values`` was given: ids, colours, or one threshold.

    Raises:
        ValueError: something else, or a mixture.

    >>> parse_mask_values("1, 7"), parse_mask_values("#FF0000,#00ff00"), parse_mask_values(">= 128")
    (('1', '7'), ('#ff0000', '#00ff00'), ('>=128',))
    """
    values = tuple(value for part in text.lower().split(",") if (value := "".join(part.split())))
    ids, colours, threshold = (all(re.fullmatch(kind, value) for value in values) for kind in _VALUE_KINDS)
    if (not values and text) or not (ids or colours or (threshold and len(values) == 1)):
        raise ValueError(
            f"mask_values is {text!r}: give ids (1,7), colours (#ff0000,#00ff00) or one threshold (>=128), no mixture"
        )
    return values


@dataclass(frozen=True, slots=True)
class MaskRule:
    """How a mask is read: which ``values`` are foreground, and whether it follows its photo's ``orientation``.

    ``values`` are ids (``1``), colours (``#ff0000``) or one threshold (``>=128``), by the stated rule if there are none
    (:mod:`harmonygen.pictures.mask_values`). ``orientation`` counts where a photo has an EXIF orientation and its
    mask's size does not tell: ``stored`` is turned with the photo, ``upright`` is not, ``auto`` means that nobody knows
    and upright is assumed.
    """

    values: tuple[str, ...] = ()
    orientation: Orientation = "auto"


AS_STATED = MaskRule()
"""The rule of a mask of which nothing was said."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """An image file on disk; ``url`` is where it was copied from, if ``path`` is a copy in the cache.

    Of a mask, ``rule`` says how it is read; it travels here, so that whoever decodes a mask reads it so.
    ``within`` is the folder that the file must lie in once links are followed (None: anywhere): that of the data set
    which names it, since names in data of others may lead to private files. ``as_stored`` takes the colours as the file
    holds them, whatever profile it has: composites of a data set were made of these values.
    """

    path: Path
    url: str = ""
    rule: MaskRule = AS_STATED
    within: Path | None = field(default=None, compare=False)
    as_stored: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return self.url or str(self.path)


@dataclass(frozen=True, slots=True)
class CellSource:
    """An image held in one cell of a Parquet file: ``column`` of row ``row`` (0-based over the whole file).

    ``within`` is the folder that a file must lie in which the cell names instead of holding it (:class:`FileSource`).
    """

    path: Path
    column: str
    row: int
    rule: MaskRule = AS_STATED
    within: Path | None = field(default=None, compare=False)
    as_stored: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return f"{self.path}[{self.column}, row {self.row}]"


@dataclass(frozen=True, slots=True)
class SegmentSource:
    """A COCO segmentation of an image ``height`` x ``width``: JSON text of polygons or of one RLE object."""

    segmentation: str
    height: int
    width: int
    name: str
    rule: MaskRule = AS_STATED

    def __str__(self) -> str:
        return self.name


ImageSource = FileSource | CellSource
MaskSource = FileSource | CellSource | SegmentSource


@dataclass(frozen=True, slots=True)
class Pair:
    """A real photo and one foreground mask of it: the input of synthesis.

    ``pair_id`` is unique in a dataset; ``real_id`` and ``mask_id`` name the photo and the mask inside it, so that
    pairs of one photo share ``real_id``. ``subset`` is the part of the dataset (``HCOCO`` ...), empty if there is
    none. ``originals`` lists the composites the dataset already has for this pair, as paths relative to its root.
    """

    pair_id: str
    real_id: str
    mask_id: str
    real: ImageSource
    mask: MaskSource
    subset: str = ""
    originals: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def borrows(self) -> bool:
        """Whether the photo has no mask of its own; ``mask`` then names the photo, and ``mask_id`` is empty."""
        return not self.mask_id


@dataclass(frozen=True, slots=True)
class Composite:
    """A composite with its mask and, where the data has it, its real photo.

    ``name`` is unique in a dataset and names what is made from the composite: ``<Subset>/<stem of its file>``, or
    ``<pair_id>_hg<k>`` for a candidate of a run. Composites of one photo share ``real_id``.
    """

    name: str
    subset: str
    real_id: str
    composite: ImageSource
    real: ImageSource | None
    mask: MaskSource
    extra: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def photo(self) -> ImageSource:
        """The real photo; raises InputError if the data has none."""
        if self.real is None:
            raise InputError(f"composite '{self.name}' has no real photo: name data that have one for each composite")
        return self.real

    def as_pair(self) -> Pair:
        """Return the pair that a harmonizer works on: the composite stands in the photo's place."""
        return Pair(self.name, self.name, "0", self.composite, self.mask, self.subset, extra=self.extra)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Composite ``k`` (0-based) of a pair, drawn from ``seed``."""

    pair_id: str
    k: int
    seed: int


@dataclass(frozen=True, slots=True)
class GateValues:
    """What the gates measure on a candidate; all are fractions in [0, 1] except ``fmse`` (8-bit units squared).

    ``clipped``: share of foreground values newly at 0 or 255. ``fmse``: foreground change from the real photo.
    ``structure``: SSIM of the foreground's luminance after matching mean and variance. ``drift``: share of
    background pixels that differ from the photo. ``shift``: mean change of the foreground's R, G, B, 8-bit units.
    """

    clipped: float
    fmse: float
    structure: float
    drift: float
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Scored:
    """A candidate with its judge's probability of being a composite, its gates and the first gate it failed.

    Of several judges ``p_composite`` is their mean, and ``judged`` has each one's name and probability.
    """

    candidate: Candidate
    p_composite: float
    gates: GateValues
    failed_gate: str = ""
    judged: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Selected:
    """A candidate that the selection rule keeps, with its rank (0 = first) among its pair's.

    ``decided_by`` says which of several judges alone would have selected it too.
    """

    scored: Scored
    rank: int
    decided_by: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A candidate that a gate or the selection rule refused, and why.

    ``decided_by`` says which of several judges refused it, or alone would not have selected it either.
    """

    scored: Scored
    reason: str
    decided_by: str = ""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How data are read, as :class:`harmonygen.settings.ReadSettings` says it: one argument for every reader.

    ``layout`` names the reader; None finds it out. ``allow_outside`` lets tables and cells name files outside the
    data's folder. ``mask_values`` and ``mask_orientation`` make the masks' :class:`MaskRule`.
    """

    layout: str | None = None
    allow_outside: bool = False
    mask_values: str = ""
    mask_orientation: Orientation = "auto"

    @property
    def mask_rule(self) -> MaskRule:
        """The rule that the masks are read by; raises ValueError for values that say nothing."""
        return MaskRule(parse_mask_values(self.mask_values), self.mask_orientation)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An input that could not be used: its id, the stage it failed at, the error's kind and its message."""

    id: str
    stage: str
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A file or row of a dataset that is not read though nothing is wrong with it, and why.

    ``reason`` is a word or two, the same for all of a kind, to be counted by: ``suffix``, ``hidden``, ``link``,
    ``split``, ``no list``, ``not a picture``; ``message`` says what was found and how it would be read.
    """

    name: str
    reason: str
    message: str


@dataclass(frozen=True)
class PairSet(Sequence[Pair]):
    """Pairs in a stable order, what could not be read, and where they came from.

    ``root`` is the dataset's folder (or file). ``layout`` names the reader: ``iharmony4``, ``folders``, ``coco``,
    ``table``, ``parquet``, ``imaterialist`` or ``sample``. ``left_out`` names photos that nothing is wrong with but
    that have no segment of the chosen classes (error ``NotChosen``) or none at all (``NoSegment``). ``lists`` are the
    lists of an iHarmony4 tree that were read. ``passed_over`` are files and rows that are not read by design, and
    ``notes`` are sentences about how the data were understood that a user should know of. ``split`` is the split that
    is read, if the data have several. ``classes`` are the names and supercategories of segments' classes by
    id, where masks are unions of segments.
    """

    pairs: tuple[Pair, ...]
    layout: str
    root: Path
    bad: tuple[Quarantined, ...] = ()
    left_out: tuple[Quarantined, ...] = ()
    lists: tuple[Path, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()
    notes: tuple[str, ...] = ()
    split: str = ""
    classes: Mapping[int, tuple[str, str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pairs)

    @overload
    def __getitem__(self, index: int) -> Pair: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Pair]: ...

    def __getitem__(self, index: int | slice) -> Pair | Sequence[Pair]:
        return self.pairs[index]

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)
