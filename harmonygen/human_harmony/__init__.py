"""Which photos become Human Harmony, how their masks are widened, and which split they fall into.

Pure functions and callables over arrays, ids and hashes; what to do with them is a workflow's.
"""
