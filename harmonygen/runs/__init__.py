"""Whole jobs, put together from the parts below: synthesize, augment."""
