"""How every kernel is compiled: once, for any CPU of its kind, without reordering floats.

- A portable target (`NUMBA_CPU_NAME=generic`, unless the environment says otherwise): the cached
  machine code runs on every machine of the architecture, so an image can be built with a warm
  cache. There is no fused multiply-add in it: a product is always rounded before it is added.
- No fastmath, no parallel loops: additions happen in the order in which they are written.
- One explicit signature a kernel, whose input columns are read-only types: a batch
  that was made from read-only memory must not start a second compilation amid a stream.

Numba's cache looks at the kernel's own file only. So what a kernel calls must stand in that file,
and a constant from elsewhere must be an argument.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

import numba
from numba import types

P = ParamSpec("P")
R = TypeVar("R")

os.environ.setdefault("NUMBA_CPU_NAME", "generic")
_reload: Callable[[], object] = numba.config.reload_config  # which has no annotations
_reload()

F64: Final = types.Array(types.float64, 1, "C")
I64: Final = types.Array(types.int64, 1, "C")
I32: Final = types.Array(types.int32, 1, "C")
U8: Final = types.Array(types.uint8, 1, "C")
F64_IN: Final = types.Array(types.float64, 1, "C", readonly=True)
I64_IN: Final = types.Array(types.int64, 1, "C", readonly=True)
I32_IN: Final = types.Array(types.int32, 1, "C", readonly=True)
U8_IN: Final = types.Array(types.uint8, 1, "C", readonly=True)
I64_2D: Final = types.Array(types.int64, 2, "C")
F64_2D: Final = types.Array(types.float64, 2, "C")
BOOL: Final = types.Array(types.boolean, 1, "C")
BOOL_IN: Final = types.Array(types.boolean, 1, "C", readonly=True)

BLOCKS: Final = (I64_IN, I64_IN, I64_IN, I32_IN, F64_IN)
"""block_row_ptr, block_lane_ptr, block_value_ptr, lane, value of a `schemas.batch.Batch`."""
TRIGGERS: Final = (I32_IN, I64_IN)
"""row_index, offset of a `schemas.batch.Batch`."""
FIRED: Final = (I64, I64, I32, F64_2D, I64)
"""cursor, row, lane, numbers, change offset: where a kernel stands and what has fired.

The numbers of a firing: statistic, threshold, before, after, how many observations the two means
rest on, and the aspect (0 where a kernel knows but one)."""

DONE: Final = 0
"""Status: every row was folded."""
FULL: Final = 1
"""Status: the arrays of firings are full; empty them and call again with the same cursor."""
NO_LANE: Final = 2
"""Status: the batch names a lane that the bank does not have."""
LEVELS: Final = 3
"""Status: ADWIN needs more bucket levels (`cursor[4]` of them); call again with the same cursor."""


def kernel(*argument_types: types.Type) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile a function, for these argument types and an int64 result, at its first call.

    At the first call and not at import, so that commands which fold nothing load no compiler.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.cache
        def compiled() -> Callable[..., Any]:
            signature = types.int64(*argument_types)
            return numba.njit(signature, cache=True, nogil=True, error_model="numpy")(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            result: R = compiled()(*args, **kwargs)
            return result

        return call

    return decorate


def part(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function callable from the kernels of its own file, compiled into them."""
    dispatcher: Any = numba.njit(nogil=True, error_model="numpy")(function)
    result: Callable[P, R] = dispatcher
    return result
