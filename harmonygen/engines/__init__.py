"""Engines run the same shard function somewhere: in this process, or in several."""
