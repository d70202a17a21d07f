"""What augmentation is worth: base, augmented and control arms trained with equal steps and seeds, compared."""
