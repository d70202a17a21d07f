"""Recolour a photo's foreground without a network: classical colour transfer and random LUTs.

Pure NumPy and SciPy over arrays; the only files are ``.cube`` LUTs.
"""

from harmonygen.recolor.color_transfer import (
    METHODS,
    TransferFunction,
    fecker,
    pitie,
    reinhard,
    transfer_foreground,
    xiao,
)
from harmonygen.recolor.cube import read_cube, write_cube
from harmonygen.recolor.lut import apply_lut, identity_lut, lut_foreground, random_lut

__all__ = [
    "METHODS",
    "TransferFunction",
    "apply_lut",
    "fecker",
    "identity_lut",
    "lut_foreground",
    "pitie",
    "random_lut",
    "read_cube",
    "reinhard",
    "transfer_foreground",
    "write_cube",
    "xiao",
]
