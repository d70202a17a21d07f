"""Metrics of harmonization, public: a function for one image each, and :class:`Metric` for their mean over many.

Images are (H, W, 3) arrays or (3, H, W) tensors in 0..255, masks (H, W); sums are float64 (REFERENCE section 7).
"""

from harmonygen.evaluation.metrics import Metric, fmse, fpsnr, fssim, lab_bias, mse, psnr, ssim

__all__ = ["Metric", "fmse", "fpsnr", "fssim", "lab_bias", "mse", "psnr", "ssim"]
