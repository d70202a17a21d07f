"""Stands for a model script, which the trainer loads by its path."""
