"""From latent vectors and logits to sentences."""
