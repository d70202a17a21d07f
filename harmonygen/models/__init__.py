"""The networks: denoiser (both directions), autoencoder and harmony classifier, and how they lie on disk."""
