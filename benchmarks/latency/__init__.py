"""From an event to its alert: `python -m benchmarks.latency`."""
