"""The transport of the responder without a broker: what it leans on, and what it would commit.

What it reads is seen on a real broker: tests/delivery/test_responder_reads.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from faust.transport import consumer as base
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, Message
from faust.types.tuples import ConsumerMessage

from streams.committed_transport import (
    CommittedConsumer,
    CommittedTransport,
    FaustChangedError,
    check_faust,
    missing_names,
)
from streams.config import Settings
from streams.responder_app import make_app

PARTITION = TP("alerts", 0)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


@asynccontextmanager
async def consumer() -> AsyncIterator[CommittedConsumer]:
    """A consumer of an app that is not started."""
    app = make_app(Settings())
    assert isinstance(app.transport, CommittedTransport)
    made = app.consumer
    assert isinstance(made, CommittedConsumer)
    made.app.topics.acking_topics.add(PARTITION.topic)
    try:
        yield made
    finally:
        made.close_unused_loop()


async def handed_out(to: CommittedConsumer, offset: int) -> Message:
    """Hand out a record as the fetcher does."""
    message = ConsumerMessage(*PARTITION, offset, 0.0, 0, None, b"", b"", None, tp=PARTITION)

    async def deliver(_message: Message) -> None:
        message.incref()

    await to._handing_out(deliver)(message)
    return message


def committable(of: CommittedConsumer) -> int | None:
    """What a commit would say now."""
    tps = list(of._filter_tps_with_pending_acks())
    return of._filter_committable_offsets(tps).get(PARTITION)


def test_nothing_of_what_it_leans_on_is_missing() -> None:
    assert missing_names() == []
    check_faust()


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (driver.AIOKafkaConsumerThread, "_create_worker_consumer"),
        (base.Consumer, "_new_offset"),
    ],
)
def test_a_faust_without_a_private_name_is_refused_at_the_start(
    owner: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(owner, name)

    async def begin() -> None:
        with pytest.raises(FaustChangedError, match=f"{owner.__name__}.{name}"):
            _ = make_app(Settings()).transport

    run(begin())


def test_a_faust_that_keeps_its_books_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = next(
        each
        for each in driver.Consumer.__mro__
        if "_acked" in vars(each).get("__annotations__", {})
    )
    monkeypatch.delitem(keeper.__annotations__, "_acked")
    with pytest.raises(FaustChangedError, match=r"Consumer\._acked"):
        check_faust()


def test_a_record_after_a_gap_is_not_passed_before_it_is_handled() -> None:
    async def test() -> None:
        async with consumer() as of:
            first, second, third = [await handed_out(of, offset) for offset in (5, 8, 9)]
            for message in (first, third):
                message.ack(of)
            assert committable(of) == 8
            second.ack(of)
            assert committable(of) == 10

    run(test())


def test_a_gap_after_the_first_record_of_all_is_passed() -> None:
    async def test() -> None:
        async with consumer() as of:
            (await handed_out(of, 0)).ack(of)
            assert committable(of) == 1
            of._committed_offset[PARTITION] = 1
            (await handed_out(of, 5)).ack(of)
            assert committable(of) == 6

    run(test())


def test_what_was_handed_out_before_a_rebalance_commits_nothing_after_it() -> None:
    async def test() -> None:
        async with consumer() as of:
            before = [await handed_out(of, offset) for offset in (5, 6)]
            of._begin_anew()
            again = await handed_out(of, 5)
            before[1].ack(of)
            assert committable(of) == 5
            again.ack(of)
            assert committable(of) == 6

    run(test())


def test_a_record_that_comes_again_after_a_commit_that_failed_is_handled() -> None:
    async def test() -> None:
        async with consumer() as of:
            of._committed_offset[PARTITION] = 9
            first, second = [await handed_out(of, offset) for offset in (5, 9)]
            second.ack(of)
            assert of.done_to() == {PARTITION: 5}
            first.ack(of)
            assert of.done_to() == {PARTITION: 10}
            assert committable(of) == 10

    run(test())
