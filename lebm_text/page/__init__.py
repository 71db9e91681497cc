"""The HTML page about a run, one self-contained file."""
