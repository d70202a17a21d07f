"""`harmonygen why`: where a candidate came from, and why it was or was not selected."""
