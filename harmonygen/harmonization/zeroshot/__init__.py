"""Harmonization without harmonization training: words for both grounds, a text-to-image model and a judge."""
