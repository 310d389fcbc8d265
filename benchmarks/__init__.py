"""Reproducible figures of the hot paths, each a ratio to a limit or a peer of the same run: `python -m benchmarks`."""
