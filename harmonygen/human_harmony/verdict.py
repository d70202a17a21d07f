"""What a product filter says about a photo, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from harmonygen.pictures.images import ImageU8, Mask


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a photo is kept; if not, ``reason`` (``product:<strategy>``). ``detail`` says why in plain words."""

    keep: bool
    reason: str = ""
    detail: str = ""
    measures: Mapping[str, float] = field(default_factory=dict)


ProductFilter = Callable[[ImageU8, Mask, str], Verdict]
"""``(image_u8 (H, W, 3), mask (H, W) of the clothing, real_id) -> Verdict``."""
