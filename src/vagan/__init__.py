"""What does this class look like in this image? Visual feature attribution with Wasserstein GANs."""
