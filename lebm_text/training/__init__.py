"""Losses, the training loop, its state on disk and its watchdog."""
