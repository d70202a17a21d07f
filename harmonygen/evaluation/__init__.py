"""How close a harmonized image is to the real photo."""
