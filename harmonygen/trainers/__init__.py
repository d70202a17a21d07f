"""Write a run for edit-model trainers: pairs, masks, words made from the measured change, and the trainer's config."""
