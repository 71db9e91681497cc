"""Speed, memory and exactness against a plain PyTorch model; see docs/performance.md."""
