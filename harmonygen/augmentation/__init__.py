"""Augmentation: candidates of a run mixed into a harmonization dataset at blending ratio gamma, and runs exported as datasets."""
