"""A hypothesis state machine that drives the command line against a dictionary as its model."""
