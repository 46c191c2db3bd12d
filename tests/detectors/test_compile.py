from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FOLD = """
import numpy as np
from numba.core import event
from numba.core.registry import cpu_target
from detectors.registry import REGISTRY
from tests.detectors.batches import batch_of, one_model

n_compiled = 0


class Count(event.Listener):
    def on_start(self, event):
        global n_compiled
        n_compiled += 1

    def on_end(self, event):
        pass


with event.install_listener("numba:compile", Count()):
    stream = one_model(np.random.default_rng(1).normal(size=(500, 2)))
    for read_only in (True, False):
        for spec in REGISTRY.values():
            bank = spec.build(spec.config_type(), 2, None)
            bank.update(batch_of(stream, 0, 500, read_only=read_only))
print(n_compiled, cpu_target.target_context.codegen().magic_tuple()[1])
"""


def fold(cache: Path) -> tuple[int, str]:
    """How many functions a new process compiled to run every bank, and for which CPU."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", FOLD],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"NUMBA_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    n_compiled, cpu = run.stdout.split()
    return int(n_compiled), cpu


def test_kernels_are_compiled_once_for_any_cpu(tmp_path: Path) -> None:
    n_compiled, cpu = fold(tmp_path)
    assert n_compiled > 0
    assert cpu == "generic"
    assert fold(tmp_path) == (0, "generic")
