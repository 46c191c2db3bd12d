"""The same events through driftsentry and through others: `python -m benchmarks.peers`."""
