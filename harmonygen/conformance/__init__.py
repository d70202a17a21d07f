"""Whether a plug-in keeps its contract: the suites of `check-plugin`, one for each door."""
