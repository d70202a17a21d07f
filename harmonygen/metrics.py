"""Metrics of harmonization: the public functions ``mse psnr fmse``; evaluation proper is built on them.

Images are (H, W, 3) arrays in 0..255, masks (H, W) bool; sums are float64 (REFERENCE section 7).
"""

from harmonygen.evaluation.metrics import fmse, mse, psnr

__all__ = ["fmse", "mse", "psnr"]
