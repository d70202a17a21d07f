"""The fault-injection suite: one module a kind of fault, each with functions that return rows of one table."""
