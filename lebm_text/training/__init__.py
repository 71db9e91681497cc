"""Losses, the loop, its state on disk and its watchdog."""
