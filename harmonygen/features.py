"""Arrow schemas that Hugging Face datasets reads as it should: image columns carry their feature in the metadata.

An image cell is ``struct<bytes: binary, path: string>``.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

IMAGE = "image"


def schema(columns: dict[str, str]) -> pa.Schema:
    """Return the Arrow schema of ``columns`` (name -> ``image`` or a scalar type name), features in its metadata.

    >>> schema({"composite": "image", "k": "int32"}).field("composite").type
    StructType(struct<bytes: binary, path: string>)
    """
    from datasets import Features, Image, Value

    features: dict[str, Any] = {name: Image() if kind == IMAGE else Value(kind) for name, kind in columns.items()}
    arrow: pa.Schema = Features(features).arrow_schema
    return arrow


def image_cell(encoded: bytes, name: str) -> dict[str, Any]:
    """Return an image cell holding encoded bytes under a file name."""
    return {"bytes": encoded, "path": name}
