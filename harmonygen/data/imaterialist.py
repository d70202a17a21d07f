"""Read an iMaterialist-Fashion folder: ``train.csv`` with one run-length code a garment, photos in ``train/``.

The mask of a photo is the union of its valid segments (REFERENCE section 1). The table is read line by line: a row is
a line, so a stray quote, a missing field or bytes that are not text cost their own row and no other, which a CSV parser
that reads on to the closing quote, or gives up a whole block, cannot promise; and memory does not grow with the table.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harmonygen.data.categories import Categories, read_labels
from harmonygen.data.files import Listing, bad, is_image
from harmonygen.data.photo_masks import NO_SEGMENT, Unions
from harmonygen.data.splits import passed
from harmonygen.errors import InputError, UsageError, shown
from harmonygen.pictures.images import MAX_PIXELS
from harmonygen.pictures.masks import Rle, runs_to_rle
from harmonygen.records import PairSet, Quarantined

TABLE, PHOTOS = "train.csv", "train"
_TEST = ("test",)  # photos of the contest that have no masks
COLUMNS = ("ImageId", "EncodedPixels", "Height", "Width", "ClassId")
ATTRIBUTES = "AttributesIds"
MAX_LINE = 16 * 2**20  # bytes; a garment of 5,000 px a side with a ragged border takes 1

_FIELD = re.compile(r'(?:"([^"]*(?:""[^"]*)*)"|([^",]*))(,|\Z)')
_WHOLE = re.compile(r"([0-9]{1,9})(?:\.0*)?")


@dataclass(frozen=True, slots=True)
class Segment:
    """One row of the table, checked but for its runs."""

    photo: str
    runs: str
    height: int
    width: int
    class_id: int
    attributes: Sequence[int]
    name: str

    def rle(self) -> Rle:
        """Return the runs as a compressed COCO RLE; raise InputError if they are broken."""
        return runs_to_rle(self.runs, self.height, self.width, self.name)


def matches(path: Path) -> bool:
    """Return whether a folder has ``train.csv`` with iMaterialist's columns."""
    table = path / TABLE
    return table.is_file() and set(COLUMNS) <= set(_header(table))


def read_imaterialist(data: Path, classes: str = "all", anywhere: bool = False) -> PairSet:
    """Read one pair per photo: the union of its valid segments; bad rows go to ``PairSet.bad``.

    Args:
        data: the contest's folder.
        classes: ``all``, ``garments``, or ids or names separated by commas (see :mod:`harmonygen.data.categories`).
        anywhere: read photos that are links out of the folder too.

    Raises:
        UsageError: no ``train.csv`` with the columns, classes that are missing, or ids that cannot name files.
    """
    if not matches(data):
        raise UsageError(_why_not(data))
    labels = read_labels(data)
    chosen = labels.choose(classes)
    unions, seen = Unions("row"), set()
    for number, photo, segment in read_rows(data / TABLE, labels):
        seen.add(photo)
        if isinstance(segment, InputError):
            unions.lose(photo, number, str(segment))
        elif chosen is not None and segment.class_id not in chosen:
            unions.pass_over(photo, segment.class_id)
        else:
            _unite(unions, number, segment)
    photos = Listing(data / PHOTOS, (".jpg", ".jpeg", ".png"))
    found = unions.pair_set("imaterialist", data, photos.path, within=None if anywhere else data)
    rows = photos.passed_over() + tuple(
        passed(data / each, "test", "train") for each in _TEST if (data / each).is_dir()
    )
    left_out = found.left_out + _without_rows(photos, seen)
    return replace(found, left_out=left_out, passed_over=rows, classes=labels.by_id)


def _why_not(data: Path) -> str:
    """Say what the contest's folder lacks."""
    lacks = f"'{data}' has no {TABLE} with columns {', '.join(COLUMNS)}"
    found = _header(data / TABLE) if (data / TABLE).is_file() else []
    if len(found) == 1 and any(mark in found[0] for mark in ";\t"):
        return f"{lacks}: its columns are not parted by commas (found {found[0][:80]!r}): save it with commas"
    return f"{lacks}{f' (found {shown(found)})' if found else ''}: name the contest's folder"


def _unite(unions: Unions, number: int, segment: Segment) -> None:
    try:
        unions.add(segment.photo, number, segment.rle(), segment.class_id, segment.attributes)
    except InputError as error:
        unions.lose(segment.photo, number, str(error))


def _without_rows(photos: Listing, seen: set[str]) -> tuple[Quarantined, ...]:
    """Return the photos that the table does not name."""
    return tuple(
        bad(stem, f"'{stem}' has no row in {TABLE}: it has no mask", NO_SEGMENT) for stem in photos if stem not in seen
    )


def read_rows(table: Path, labels: Categories) -> Iterator[tuple[int, str, Segment | InputError]]:
    """Yield each row's number (from 1), its photo's id ("" if unknown) and the segment, or what is wrong.

    The runs themselves are not looked at; :meth:`Segment.rle` checks them.
    """
    columns = _header(table)
    parse = _parser(columns, labels)
    for number, line in enumerate(_lines(table)):
        if number == 0 or not line.strip():
            continue
        photo = ""
        try:
            fields = split_row(line, number)
            if len(fields) != len(columns):
                photo = photo_id(fields[0]) if columns[0] == COLUMNS[0] and len(fields) > 1 else ""
                raise InputError(f"row {number} has {len(fields)} fields but {TABLE} has {len(columns)}: fix the row")
            photo = photo_id(fields[columns.index(COLUMNS[0])])
            yield number, photo, parse(photo, fields, number)
        except InputError as error:
            yield number, photo, error


def _header(table: Path) -> list[str]:
    line = next(_lines(table), b"").removeprefix(b"\xef\xbb\xbf")
    try:
        return [name.strip() for name in split_row(line, 0)]
    except InputError:
        return []


def _lines(table: Path) -> Iterator[bytes]:
    """Yield lines; of one over ``MAX_LINE`` the beginning alone, so that a file without line ends is never held."""
    with table.open("rb") as opened:
        while line := opened.readline(MAX_LINE):
            yield line
            while line and len(line) == MAX_LINE and not line.endswith(b"\n"):
                line = opened.readline(MAX_LINE)


def split_row(line: bytes, number: int) -> list[str]:
    r"""Split one line of comma-separated fields, some of them in quotes.

    Raises:
        InputError: not UTF-8, a quote that stands alone, or a line that was cut at ``MAX_LINE``.

    >>> split_row(b'a1,1 2,8,9,3,"115,138"\r\n', 1)
    ['a1', '1 2', '8', '9', '3', '115,138']
    """
    if len(line) >= MAX_LINE:
        raise InputError(f"row {number} is over {MAX_LINE} bytes long: a row is one line; fix or drop it")
    try:
        text = line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"row {number} is not UTF-8 text ({error.reason} at byte {error.start}): fix it") from error
    fields, place, comma = [], 0, ","
    while comma:
        found = _FIELD.match(text, place)
        if not found:
            raise InputError(f"row {number} has a quote that is not closed or stands within a field: fix the row")
        quoted, plain, comma = found.groups()
        fields.append(plain if quoted is None else quoted.replace('""', '"'))
        place = found.end()
    return fields


def photo_id(image_id: str) -> str:
    """Return an ImageId without a file's suffix, which the contest of 2019 wrote.

    >>> photo_id("00a1.jpg"), photo_id("00a1")
    ('00a1', '00a1')
    """
    name = image_id.strip()
    return os.path.splitext(name)[0] if is_image(name) else name


def _parser(columns: list[str], labels: Categories) -> Callable[[str, list[str], int], Segment]:
    """Return the function that makes a segment of a row's photo, fields and number, or raises InputError."""
    runs, height, width, class_id = (columns.index(name) for name in COLUMNS[1:])
    attributes = columns.index(ATTRIBUTES) if ATTRIBUTES in columns else None

    def parse(photo: str, fields: list[str], number: int) -> Segment:
        name = f"{photo}, row {number}"
        if not photo:
            raise InputError(f"row {number} has no {COLUMNS[0]}: drop the row")
        size = _size(fields[height], fields[width], name)
        first, *others = fields[class_id].split("_")
        if attributes is not None:
            others += fields[attributes].replace(",", " ").split()
        class_ = _whole(first, "ClassId", name)
        why = labels.fault(class_)
        if why:
            raise InputError(f"{why}: fix or drop '{name}'")
        return Segment(photo, fields[runs], *size, class_, [_whole(each, ATTRIBUTES, name) for each in others], name)

    return parse


def _size(height: str, width: str, name: str) -> tuple[int, int]:
    high, wide = _whole(height, "Height", name), _whole(width, "Width", name)
    if high < 1 or wide < 1 or high * wide > MAX_PIXELS:
        raise InputError(
            f"Height and Width of '{name}' are {high} and {wide}: they must be 1 or more, "
            f"and {MAX_PIXELS} pixels at most"
        )
    return high, wide


def _whole(text: str, column: str, name: str) -> int:
    found = _WHOLE.fullmatch(text.strip())
    if not found:
        raise InputError(f"{column} of '{name}' is {text[:40]!r}, not a whole number from 0: fix or drop the row")
    return int(found[1])
