"""Ways from a sentence to latent vectors of its posterior, one file a method."""
