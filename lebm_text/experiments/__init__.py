"""Experiments: many models that are trained, tuned and judged under one budget, and a table of the results."""
