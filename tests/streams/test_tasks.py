"""Tasks that are called off end, also where that comes in the moment of an answer."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from streams.responder_redis import RedisIncidentStore
from streams.tasks import call_off, in_thread


async def has_ended(task: asyncio.Task[None]) -> bool:
    """Whether one call was enough; it has ended then in any case."""
    task.cancel()
    await asyncio.wait({task}, timeout=1)
    is_ended = task.done()
    await call_off([task])
    return is_ended


@pytest.mark.parametrize("n_steps", range(8))
def test_who_asks_a_thread_ends_though_an_answer_comes(n_steps: int) -> None:
    # A responder that was told to end went on to look, until it was ended hard.
    answers = threading.Event()

    async def ask_on() -> None:
        while True:
            await in_thread(answers.wait, 60)

    async def run() -> None:
        asking = asyncio.create_task(ask_on())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        answers.set()
        # The loop stands still meanwhile: the answer is there, and the loop has not heard of it.
        time.sleep(0.05)
        for _ in range(n_steps):
            await asyncio.sleep(0)
        assert await has_ended(asking)

    asyncio.run(run())


def test_what_does_not_answer_in_time_is_given_up() -> None:
    answers = threading.Event()

    async def run() -> None:
        with pytest.raises(TimeoutError):
            await in_thread(answers.wait, 0.01)
        answers.set()

    asyncio.run(run())


def test_who_asks_redis_ends_wherever_it_is_called_off(redis_url: str, redis_prefix: str) -> None:
    # redis-py forgets in some of these moments that it was called off, on Python 3.11.
    async def run() -> None:
        store = RedisIncidentStore(redis_url, prefix=redis_prefix)
        await store.epoch()

        async def ask_on() -> None:
            while True:
                await store.epoch()

        for n_steps in range(24):
            asking = asyncio.create_task(ask_on())
            for _ in range(n_steps):
                await asyncio.sleep(0)
            (result,) = await asyncio.wait_for(call_off([asking]), 30)
            assert isinstance(result, asyncio.CancelledError)
        await store.close()

    asyncio.run(run())


def test_what_a_task_answered_or_failed_of_is_told_in_order() -> None:
    async def run() -> None:
        async def fail() -> None:
            raise ValueError("failed")

        async def answer() -> int:
            return 7

        async def stay() -> None:
            while True:
                try:
                    await asyncio.sleep(10**6)
                except asyncio.CancelledError:
                    # Once it does as a library does that forgets.
                    if stayed:
                        raise
                    stayed.append(True)

        stayed: list[bool] = []
        tasks = [asyncio.create_task(each()) for each in (stay, fail, answer)]
        await asyncio.sleep(0)
        first, second, third = await call_off(tasks)
        assert stayed
        assert isinstance(first, asyncio.CancelledError)
        assert isinstance(second, ValueError)
        assert third == 7

    asyncio.run(run())
