"""Harmonizers: a sized composite in, the same picture with a foreground that fits its background out.

All give (H, W, 3) uint8 at the composite's own size; background pixels are the composite's, bit for bit.
"""
