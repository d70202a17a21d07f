"""From a pair to scored, gated and selected candidates."""
