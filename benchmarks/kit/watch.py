"""Wall time, CPU time and memory of this process; the standard library alone.

Contestants with other dependencies than ours import this too.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path


class Watch:
    """Wall and CPU time from the event at which the warm-up is over."""

    def __init__(self, n_warm: int) -> None:
        self.n_warm = n_warm
        self.n_start = 0
        self.wall_s = self.cpu_s = 0.0

    def at(self, n: int) -> None:
        """So many events have been read."""
        if self.n_start == 0 and n >= self.n_warm:
            self.n_start, self.wall_s, self.cpu_s = n, time.perf_counter(), time.process_time()

    def figures(self, n: int) -> dict[str, float]:
        """Events per second, CPU seconds of all threads per million events, peak memory."""
        n_timed = n - self.n_start
        wall_s = time.perf_counter() - self.wall_s
        cpu_s = time.process_time() - self.cpu_s
        return {
            "n_timed": n_timed,
            "events_per_s": n_timed / wall_s,
            "us_per_event": wall_s / n_timed * 1e6,
            "cpu_s_per_million": cpu_s / n_timed * 1e6,
            "peak_rss_mib": peak_rss_mib(),
        }


def peak_rss_mib() -> float:
    """The most memory this process has had resident, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: on Linux that begins with the size of the process that started this one.
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
