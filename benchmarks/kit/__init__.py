"""What the benchmarks share: reports, clocks, child processes, topics."""
