"""The prior p(z) and the generator p(x|z). No sampling, no configuration."""
