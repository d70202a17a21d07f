"""Sample sheets: rows of pictures to look at while a model trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harmonygen.images import encode, to_u8
from harmonygen.shards import write_bytes


def save_rows(rows: Sequence[Tensor], path: Path) -> None:
    """Save rows of images (N, 3, H, W) in [-1, 1], one row a tensor, as one PNG picture."""
    lines = [torch.cat(list(row.float().cpu()), dim=2) for row in rows]
    sheet = torch.cat(lines, dim=1).clamp(-1, 1) / 2 + 0.5
    write_bytes(path, encode(to_u8(np.ascontiguousarray(sheet.permute(1, 2, 0).numpy()))))
