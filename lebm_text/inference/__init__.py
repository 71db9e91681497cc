"""Inference of latent vectors from the posterior of a sentence, one file per method."""
