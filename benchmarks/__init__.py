"""Benchmarks: each prints one table, and with `--json` one JSON object as its last line."""
