"""A local web app to review a run, and where each of its candidates came from (docs/review.md)."""
