"""Train every model by one loop: the settings, the data, the loop, and one file a model."""
