"""Read image sources in any order and from any process: files, and Parquet cells through a memory map.

A Parquet file is read by row groups of about 100 MB, which suits a pass in order and not a shuffled one. So the image
columns are copied once, encoded as they are, to an Arrow file in Hugging Face's cache and mapped from there: nothing is
loaded whole, and loader workers share the pages.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harmonygen.storage.parquet_cells import cell_bytes
from harmonygen.errors import InputError
from harmonygen.pictures.images import Decoded, decode, load_upright, open_checked, read_bytes
from harmonygen.pictures.images import Mask as MaskArray
from harmonygen.pictures.masks import check_mask, fit_mask, read_mask, to_mask
from harmonygen.records import CellSource, ImageSource, MaskSource


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
        return decode(self._bytes(source), str(source))

    def mask(self, source: MaskSource, photo: Decoded) -> MaskArray:
        """Decode the mask of a photo; raise InputError if it is bad, empty, full or of another size."""
        if not isinstance(source, CellSource):
            return read_mask(source, photo)
        upright, _ = load_upright(open_checked(self._bytes(source), str(source)), str(source))
        return check_mask(fit_mask(to_mask(upright), photo, str(source), "refuse"), str(source))

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
