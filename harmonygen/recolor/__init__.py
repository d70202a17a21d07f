"""Recolour a photo's foreground without a network: classical colour transfer, random LUTs and photometric changes.

Pure NumPy and SciPy over arrays; the only files are ``.cube`` LUTs.
"""

from harmonygen.recolor.color_transfer import (
    METHODS,
    TRANSFERS,
    TransferFunction,
    fecker,
    pitie,
    reinhard,
    transfer_foreground,
    xiao,
    ycbcr,
)
from harmonygen.recolor.cube import read_cube, write_cube
from harmonygen.recolor.lut import apply_lut, identity_lut, lut_foreground, random_lut
from harmonygen.recolor.photometric import Grade, draw_grade, grade_foreground

__all__ = [
    "METHODS",
    "TRANSFERS",
    "Grade",
    "TransferFunction",
    "apply_lut",
    "draw_grade",
    "fecker",
    "grade_foreground",
    "identity_lut",
    "lut_foreground",
    "pitie",
    "random_lut",
    "read_cube",
    "reinhard",
    "transfer_foreground",
    "write_cube",
    "xiao",
    "ycbcr",
]
