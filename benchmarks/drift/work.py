"""The parts of a run, on several processors: the same results for any number of them."""

from __future__ import annotations

import multiprocessing
import pickle  # only to see whether a task can be sent
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, Generic, Self, TypeVar

T = TypeVar("T")
_MINUTE_S: Final = 60.0
_SAID: Final = 300
"""Characters of a result that progress shows."""


@dataclass(frozen=True, slots=True)
class Task(Generic[T]):
    """One piece of work, seeded by what it is: where and after what it runs changes nothing."""

    what: str
    function: Callable[..., T]
    arguments: tuple[Any, ...]

    def run(self) -> tuple[T, float]:
        """Its result and its CPU seconds."""
        began_s = time.process_time()
        return self.function(*self.arguments), time.process_time() - began_s


class Workers:
    """So many processes, or with 1 this one; a context manager.

    What is done is said on stderr as it is done, with what it came to, so that a run that is
    stopped has not been for nothing.
    """

    def __init__(self, n_processes: int) -> None:
        self._n_processes = n_processes
        self._pool: ProcessPoolExecutor | None = None
        self._stack = ExitStack()
        self._began_s = time.monotonic()

    def __enter__(self) -> Self:
        if self._n_processes > 1:
            # Anew, not forked: compiled kernels and their threads do not survive a fork.
            context = multiprocessing.get_context("spawn")
            self._pool = self._stack.enter_context(
                ProcessPoolExecutor(self._n_processes, mp_context=context)
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._stack.close()

    def run(self, part: str, tasks: Sequence[Task[T]]) -> list[T]:
        """Their results, in their order. Raises what a task raises."""
        results: dict[int, T] = {}
        cpu_s = 0.0
        for number, (result, task_s) in self._done(tasks):
            results[number] = result
            cpu_s += task_s
            minutes = (time.monotonic() - self._began_s) / _MINUTE_S
            print(
                f"{minutes:6.1f} min  {part} {len(results)}/{len(tasks)}, {task_s:.1f} s  "
                f"{tasks[number].what}: {str(result)[:_SAID]}",
                file=sys.stderr,
                flush=True,
            )
        print(f"{part}: {cpu_s:.0f} CPU seconds", file=sys.stderr, flush=True)
        return [results[number] for number in range(len(tasks))]

    def _done(self, tasks: Sequence[Task[T]]) -> Iterator[tuple[int, tuple[T, float]]]:
        if self._pool is None:
            yield from ((number, task.run()) for number, task in enumerate(tasks))
            return
        for task in tasks:
            # Before any is begun: one that cannot be sent would let the pool wait for ever.
            pickle.dumps(task)
        waiting = {self._pool.submit(task.run): number for number, task in enumerate(tasks)}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
