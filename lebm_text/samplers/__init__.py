"""Samplers of any log density: a callable and a tensor, no model, no text."""
