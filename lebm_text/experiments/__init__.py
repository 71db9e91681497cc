"""Experiments as data: models trained, tuned and judged under one budget, and the table that says what came out."""
