"""Whether a plug-in keeps its door's contract: the suite of `check-plugin`, for generators, judges and harmonizers."""
