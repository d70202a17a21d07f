"""Mix candidates of a run into a harmonization dataset at blending ratio gamma; export a run as a dataset."""
