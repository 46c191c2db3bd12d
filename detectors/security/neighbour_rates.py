"""How many hits make an alarm, so that benign queries hardly ever do. Pure."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, exp, lgamma, log, log1p, sqrt
from typing import Final

from detectors.kernels.probing import MAX_HITS

AIM: Final = 1e-6
"""Findings of one rule for each benign event, at most: all four together stay at a few per
million."""
AMONG: Final = 64
"""Rows among which the most hits are counted."""
_ONE_SIDED_95: Final = 1.645


def upper_count(n: int) -> float:
    """Not below the one-sided 95 % limit of the mean behind a Poisson count of n."""
    return n + _ONE_SIDED_95 * sqrt(n + 1.0) + 1.9


def upper_share(n: int, of: int) -> float:
    """The one-sided 95 % limit of a share (Wilson), had there been two more of either outcome.

    So that of 0 of 0, or of 1 of 1, something is said.
    """
    z, n, of = _ONE_SIDED_95, n + 2, of + 4
    share = n / of
    middle = share + z * z / (2.0 * of)
    half = z * sqrt(share * (1.0 - share) / of + z * z / (4.0 * of * of))
    return min((middle + half) / (1.0 + z * z / of), 1.0)


def needed_hits(rate: float, clump: float, among: int) -> int:
    """So many hits among `among` events begin with an event in at most `AIM` of cases; 0: none do.

    Hits come in independent clumps of `clump` on average, `rate` of all events are one. An alarm
    needs a clump, and enough others among the events before it: a binomial count.
    """
    clumps = min(rate / clump, 1.0)
    if clumps <= AIM:
        return ceil(clump)
    n = among - 1
    tail, enough = 0.0, 0
    for k in range(n, -1, -1):
        tail += _binomial(k, n, clumps)
        if clumps * tail > AIM:
            break
        enough = k + 1
    return min(ceil(enough * clump), among + 1) if enough else 0


def _binomial(k: int, n: int, p: float) -> float:
    if p >= 1.0:
        return 1.0 if k == n else 0.0
    ways = lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0)
    return exp(ways + k * log(p) + (n - k) * log1p(-p))


@lru_cache(maxsize=4_096)
def alarm_at(rate: float, clump: float, most: float, least: int, among: int) -> int:
    """Hits among so many rows that make an alarm, `least` or more; 0: none tell of an attack.

    More than the `most` that benign rows have had among `AMONG`.
    """
    enough = needed_hits(rate, clump, among)
    if enough == 0:
        return 0
    seen = ceil(most * max(among / AMONG, 1.0))
    needed = max(enough, least, seen + 1)
    return needed if needed <= min(among, MAX_HITS) else 0


def needed_steps(n: int, n_threes: int, n_beyond: int, n_long: int) -> float:
    """How long a run has to be to come up in at most `AIM` of n events; infinite: none is enough.

    `n_threes` runs came to three steps, and `n_beyond` of `n_long` that were so long or longer went
    on by one more. Beyond three steps a run goes on as often as those did, or half of the time.
    """
    rate = upper_count(n_threes) / max(n, 1)
    goes_on = max(0.5, upper_share(n_beyond, n_long))
    if rate <= AIM:
        return 3.0
    return 3.0 + log(rate / AIM) / -log(goes_on) if goes_on < 1.0 else float("inf")
