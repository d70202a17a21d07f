"""Mutated inputs: small data sets in every layout, one to three random mutations each, read by the verbs."""
