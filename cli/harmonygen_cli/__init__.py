"""The command line of harmonygen: words and colours, no logic."""
