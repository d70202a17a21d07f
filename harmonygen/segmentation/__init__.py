"""Masks for photos that have none: segmenters behind a door, rules that choose the foreground, the job `masks`."""
