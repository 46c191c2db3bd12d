"""Kernels are compiled when they are warmed, all of them, for any CPU, and never again.

That they compile from nothing, without a warning, is shown where they are warmed first: `make test`
does it before the tests, in a fresh checkout for all of them. To do it a second time would take two
minutes. Here one small kernel is compiled into an empty cache; of the others it is looked at what a
new process finds in the warm one.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
COUNTING = """
import numpy as np
from numba.core import event
from numba.core.registry import cpu_target
from detectors.drift.rhythm import DAY, Rhythm
from detectors.registry import REGISTRY
from detectors.warm import warm
from tests.detectors.batches import batch_of, one_model

n_compiled = 0


class Count(event.Listener):
    def on_start(self, event):
        global n_compiled
        n_compiled += 1

    def on_end(self, event):
        pass


with event.install_listener("numba:compile", Count()):
    {what}
print("compiled", n_compiled, cpu_target.target_context.codegen().magic_tuple()[1])
"""
WARM = "assert warm() == list(REGISTRY)"
FOLD = """
    stream = one_model(np.random.default_rng(1).normal(size=(500, 2)))
    for read_only in (True, False):
        for spec in REGISTRY.values():
            bank = spec.build(spec.config_type(), 2, None)
            bank.update(batch_of(stream, 0, 500, read_only=read_only))
"""
ONE_KERNEL = "Rhythm(np.zeros(DAY), 1, 0.0).without(np.zeros(0), np.zeros(0, np.int64))"


class Compiled(NamedTuple):
    """What a new process did to have its kernels."""

    n: int
    """Functions that it compiled, kernels and what they are made of."""
    cpu: str
    """For which CPU."""
    saved: Counter[str]
    """Kernels that it put into the cache, and how often."""
    loaded: Counter[str]
    """Those that it found there."""


def compiled(what: str, cache: Path | None = None) -> Compiled:
    """What a new process compiles for this; its cache is that of all others, if none is given."""
    own = {} if cache is None else {"NUMBA_CACHE_DIR": str(cache)}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", COUNTING.format(what=what)],
        cwd=ROOT,
        env=os.environ | own | {"NUMBA_DEBUG_CACHE": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    counts = re.findall(r"^compiled (\d+) (\S+)$", run.stdout, re.MULTILINE)
    ((n_compiled, cpu),) = counts
    names = {
        done: Counter(
            # FILE.KERNEL-LINE.PYTHON.NUMBER.nbc
            Path(path).name.split("-")[0].rpartition(".")[2]
            for path in re.findall(rf"^\[cache\] data {done} '(.+)'$", run.stdout, re.MULTILINE)
        )
        for done in ("saved to", "loaded from")
    }
    return Compiled(int(n_compiled), cpu, names["saved to"], names["loaded from"])


def kernels() -> set[str]:
    """The functions that are marked as one."""
    return {
        function.name
        for path in (ROOT / "detectors" / "kernels").glob("*.py")
        for function in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(function, ast.FunctionDef)
        and any(
            isinstance(decorator, ast.Call)
            and isinstance(decorator.func, ast.Name)
            and decorator.func.id == "kernel"
            for decorator in function.decorator_list
        )
    }


def test_a_kernel_is_compiled_once_for_any_cpu(tmp_path: Path) -> None:
    first = compiled(ONE_KERNEL, tmp_path)
    assert first.n >= 1
    assert first[1:] == ("generic", Counter({"take_out"}), Counter())
    assert [path.suffix for path in sorted(tmp_path.rglob("*.nb*"))] == [".nbc", ".nbi"]
    assert compiled(ONE_KERNEL, tmp_path) == (0, "generic", Counter(), Counter({"take_out"}))


def test_warming_leaves_no_kernel_to_compile() -> None:
    every_one = Counter(kernels())
    assert len(every_one) >= 3
    # What is not there yet is compiled by the first; the second finds all of it.
    first = compiled(WARM)
    assert first.saved + first.loaded == every_one
    assert compiled(WARM) == (0, "generic", Counter(), every_one)
    assert compiled(FOLD)[:3] == (0, "generic", Counter())
