"""Calls made beside the loop: in one thread, in the order in which they were submitted."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Background(Protocol):
    """Where calls are made beside the loop, one after the other."""

    def submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Make this call after those that were submitted before it."""
        ...

    def wait(self, under_way: Collection[Future[Any]], timeout_s: float) -> None:
        """Wait for these, so long at most."""
        ...

    def close(self) -> None:
        """Drop what has not begun."""
        ...


class BackgroundThread:
    """One thread of this process."""

    def __init__(self, name: str = "checkpoint") -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    def submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Make this call in the thread."""
        return self._thread.submit(call, *args, **kwargs)

    def wait(self, under_way: Collection[Future[Any]], timeout_s: float) -> None:
        """Wait for these, so long at most."""
        wait(under_way, timeout=timeout_s)

    def close(self) -> None:
        """Drop what has not begun; the thread ends after what has."""
        self._thread.shutdown(wait=False, cancel_futures=True)


class AtOnce:
    """No thread: a call is made when it is submitted, and what it raises comes out there."""

    def submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Make this call now."""
        done: Future[T] = Future()
        done.set_result(call(*args, **kwargs))
        return done

    def wait(self, under_way: Collection[Future[Any]], timeout_s: float) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Nothing to drop."""
