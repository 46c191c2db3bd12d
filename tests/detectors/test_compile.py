"""Kernels are compiled when they are warmed, all of them, for any CPU, and never again."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COUNTING = """
import numpy as np
from numba.core import event
from numba.core.registry import cpu_target
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
print(n_compiled, cpu_target.target_context.codegen().magic_tuple()[1])
"""
WARM = "assert warm() == list(REGISTRY)"
FOLD = """
    stream = one_model(np.random.default_rng(1).normal(size=(500, 2)))
    for read_only in (True, False):
        for spec in REGISTRY.values():
            bank = spec.build(spec.config_type(), 2, None)
            bank.update(batch_of(stream, 0, 500, read_only=read_only))
"""


def compiled(what: str, cache: Path) -> tuple[int, str]:
    """How many functions a new process compiled for this, and for which CPU."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", COUNTING.format(what=what)],
        cwd=ROOT,
        env=os.environ | {"NUMBA_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    n_compiled, cpu = run.stdout.split()
    return int(n_compiled), cpu


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


def test_warming_compiles_every_kernel_once_for_any_cpu(tmp_path: Path) -> None:
    n_compiled, cpu = compiled(WARM, tmp_path)
    assert n_compiled >= len(kernels()) >= 3
    assert cpu == "generic"
    cached = {path.name.split("-")[0].rpartition(".")[2] for path in tmp_path.rglob("*.nbi")}
    assert cached == kernels()
    assert compiled(WARM, tmp_path) == (0, "generic")
    assert compiled(FOLD, tmp_path) == (0, "generic")
