"""Which events came before: a table of the latest fingerprints of their ids."""

from __future__ import annotations

from detectors.kernels.compile import BOOL, BOOL_IN, I32, I64_IN, kernel
from schemas.batch import I32 as I32A
from schemas.batch import I64 as I64A
from schemas.batch import Bool


@kernel(I64_IN, BOOL_IN, I32, BOOL)
def find_recent(key: I64A, is_asked: Bool, table: I32A, found: Bool) -> int:
    """Say of each key whether it is in the table, and put it there; returns how many were.

    `table` has a power of two of places. A key's lower bits say which is its own, its upper 32
    stand there: whoever comes to the same place takes it. 0 stands for none.
    """
    n_found = 0
    mask = len(table) - 1
    for i in range(len(key)):
        found[i] = False
        if not is_asked[i]:
            continue
        place = key[i] & mask
        tag = key[i] >> 32
        if tag == 0:
            tag = 1
        if table[place] == tag:
            found[i] = True
            n_found += 1
        table[place] = tag
    return n_found
