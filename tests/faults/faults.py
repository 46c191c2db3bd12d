"""What can go wrong, each as a function: do it to a deployment, and say how long it recovered.

A fault leaves everything repaired: workers restarted, brokers and Redis up, edges healed. `rng`
chooses victims and moments. Times are in seconds, from the fault until every partition has
committed beyond where it stood.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException

from streams.duties import Duty
from tests.delivery.kit import WorkerProcess, dumped, wait_until
from tests.faults.deployment import ASSIGNED, SESSION_MS, Deployment
from tests.kit.kafka_node import KafkaNode
from tests.kit.proxy import END_TXN, TXN_OFFSET_COMMIT, Incident

_BROKER_S: Final = 240.0
Rng = np.random.Generator
Fault = Callable[[Deployment, Rng], list[float]]


def kill(run: Deployment, rng: Rng) -> list[float]:
    """`kill -9` of a worker, at any moment of its loop; it comes back at once, or later."""
    victim = _victims(run, rng, 1)[0]
    time.sleep(float(rng.uniform(0, 0.08)))
    is_back_at_once = bool(rng.integers(2))

    def strike() -> None:
        run.members[victim].kill()
        if is_back_at_once:
            run.ensure_members()

    took_s = run.recovery_s(strike)
    run.ensure_members()
    return [took_s]


def zombies(run: Deployment, rng: Rng) -> list[float]:
    """Two workers are stopped until the third has their partitions; then they wake up."""
    stopped = [run.members[name] for name in _victims(run, rng, 2)]
    time.sleep(float(rng.uniform(0, 0.08)))
    before = [len(worker.said(ASSIGNED)) for worker in stopped]

    def signal_all(number: int) -> None:
        for worker in stopped:
            worker.send(number)

    try:
        took_s = run.recovery_s(partial(signal_all, signal.SIGSTOP))
    finally:
        signal_all(signal.SIGCONT)
    for worker, n_before in zip(stopped, before, strict=True):
        # It finds out that it is out of the group, and joins again. Or it ends, and is restarted.
        wait_until(partial(_is_back, worker, n_before), worker.log)
    run.ensure_alive()
    return [took_s] * len(stopped)


def _is_back(worker: WorkerProcess, n_before: int) -> bool:
    return len(worker.said(ASSIGNED)) > n_before or not worker.is_running()


def lost_end_txn(run: Deployment, _rng: Rng) -> list[float]:
    """The reply to a commit is lost: the client asks again, or does not know what became of it."""
    return _lost_replies(run, END_TXN)


def lost_offset_commit(run: Deployment, _rng: Rng) -> list[float]:
    """The reply to the offsets within a transaction is lost."""
    return _lost_replies(run, TXN_OFFSET_COMMIT)


def _lost_replies(run: Deployment, api_key: int) -> list[float]:
    """Once with the connection, as in a network, and once alone: the client waits in vain."""
    took_s = []
    for resets in (True, False):
        incident = run.site.network.drop_reply(api_key, resets=resets)
        took_s.append(run.recovery_s(partial(_await, incident)))
    return took_s


def late_end_txn(run: Deployment, rng: Rng) -> list[float]:
    """A commit is held up on its way, and arrives when its producer has long been replaced."""
    held = run.site.network.hold_request(END_TXN)
    took_s = run.recovery_s(partial(_await, held))
    time.sleep(float(rng.uniform(0, 0.3)))
    run.site.network.release(held)
    return [took_s, run.recovery_s(lambda: None)]


def rebalance_storm(run: Deployment, rng: Rng) -> list[float]:
    """Members join, take partitions and leave, one after the other; they fold nothing."""

    def storm() -> None:
        for _ in range(5):
            _join_and_leave(run, float(rng.uniform(0.1, 0.6)))

    return [run.recovery_s(storm)]


def broker_kill(run: Deployment, rng: Rng) -> list[float]:
    """`kill -9` of a broker, which comes back and catches up."""
    node = run.site.cluster.nodes[int(rng.integers(3))]
    try:
        return [run.recovery_s(node.kill)]
    finally:  # the next fault is one of its own, whatever became of this one
        _bring_back(run, node)


def broker_roll(run: Deployment, _rng: Rng) -> list[float]:
    """Every broker is stopped and started again, one after the other."""
    took_s = []
    for node in run.site.cluster.nodes:
        try:
            took_s.append(run.recovery_s(node.stop))
        finally:
            _bring_back(run, node)
    return took_s


def _bring_back(run: Deployment, node: KafkaNode) -> None:
    # No test of how quickly a machine starts three Javas.
    node.restart(_BROKER_S)
    run.site.cluster.wait_in_sync(_BROKER_S)
    run.site.cluster.wait_replicated(_BROKER_S)


def redis_wiped(run: Deployment, rng: Rng) -> list[float]:
    """Everything in Redis is gone, and a worker with it."""

    def wipe() -> None:
        with run.store() as store:
            store.flushdb()

    return _with_a_kill(run, rng, wipe)


def redis_rolled_back(run: Deployment, rng: Rng) -> list[float]:
    """Redis holds what it held a while ago, and a worker is gone."""
    with run.store() as store:
        old = dumped(store)
        time.sleep(float(rng.uniform(1.0, 2.0)))

        def roll_back() -> None:
            pipe = store.pipeline(transaction=True)
            pipe.flushdb()
            for key, (content, ttl_ms) in old.items():
                pipe.restore(key, ttl_ms, content)
            pipe.execute()

        return _with_a_kill(run, rng, roll_back)


def redis_off(run: Deployment, rng: Rng) -> list[float]:
    """Redis is down for a while, a worker is lost meanwhile; then Redis is back, and empty."""
    try:
        took_s = _with_a_kill(run, rng, run.site.valkey.kill)
        time.sleep(float(rng.uniform(1.0, 3.0)))
    finally:
        run.site.valkey.restart()
    return [*took_s, run.recovery_s(lambda: None)]


def holes(run: Deployment, rng: Rng) -> list[float]:
    """Producers upstream write events and abort: nobody may read them, and offsets have gaps."""
    for _ in range(3):
        run.feed.abort(int(rng.integers(8, 200)))
    return _with_a_kill(run, rng, lambda: run.feed.abort(8))


def connections_reset(run: Deployment, _rng: Rng) -> list[float]:
    """Every connection to brokers and Redis ends with RST."""

    def reset() -> None:
        for edge in run.site.network.edges:
            edge.reset()

    return [run.recovery_s(reset)]


def broker_unreachable(run: Deployment, rng: Rng) -> list[float]:
    """A broker does not answer the workers, or its connections are half open; then it is well."""
    edge = run.site.cluster.edges[int(rng.integers(3))]
    fault = edge.half_open if rng.integers(2) else edge.black_hole

    def wait_and_heal() -> None:
        fault()
        time.sleep(1.5 * SESSION_MS / 1000)
        edge.heal()

    return [run.recovery_s(wait_and_heal)]


def slow_network(run: Deployment, rng: Rng) -> list[float]:
    """Every piece to and from brokers and Redis takes up to 150 ms more, for a while."""
    edges = [*run.site.cluster.edges, run.site.redis_edge]

    def slow_down() -> None:
        for edge in edges:
            edge.delay(float(rng.uniform(0.02, 0.15)))

    try:
        took_s = run.recovery_s(slow_down)
        time.sleep(1.0)
    finally:
        for edge in edges:
            edge.heal()
    return [took_s, run.recovery_s(lambda: None)]


def _with_a_kill(run: Deployment, rng: Rng, fault: Callable[[], object]) -> list[float]:
    """The fault, and a worker dies: another has to do without its memory."""
    victim = run.members[_victims(run, rng, 1)[0]]

    def strike() -> None:
        fault()
        victim.kill()

    took_s = run.recovery_s(strike)
    run.ensure_members()
    return [took_s]


def _victims(run: Deployment, rng: Rng, n: int) -> list[str]:
    run.ensure_alive()
    wait_until(lambda: len(run.ready_members()) > n - 1, run.logs)
    names = run.ready_members()
    return [names[i] for i in rng.permutation(len(names))[:n].tolist()]


def _await(incident: Incident) -> None:
    assert incident.wait(30), "no such request was made"


def _join_and_leave(run: Deployment, stay_s: float) -> None:
    member = Consumer({
        "bootstrap.servers": run.kafka,
        "group.id": run.group,
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": SESSION_MS,
        "heartbeat.interval.ms": 300,
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "log_level": 0,
    })  # fmt: skip
    try:
        member.subscribe([run.events])
        deadline_s = time.monotonic() + 2.0
        while not member.assignment() and time.monotonic() < deadline_s:
            _ignore(member)
        until_s = time.monotonic() + stay_s
        while time.monotonic() < until_s:
            _ignore(member)
    finally:
        member.close()


def _ignore(member: Consumer) -> None:
    message = member.poll(0.05)
    if message is None or (error := message.error()) is None:
        return
    # A partition without a commit yet has no position for such a member.
    if error.code() != getattr(KafkaError, "_AUTO_OFFSET_RESET") and error.fatal():  # noqa: B009
        raise KafkaException(error)


FAULTS: Final[dict[str, Fault]] = {
    "worker killed": kill,
    "worker a zombie": zombies,
    "reply to EndTxn lost": lost_end_txn,
    "reply to TxnOffsetCommit lost": lost_offset_commit,
    "EndTxn late": late_end_txn,
    "rebalance storm": rebalance_storm,
    "broker killed": broker_kill,
    "brokers rolled": broker_roll,
    "Redis wiped": redis_wiped,
    "Redis rolled back": redis_rolled_back,
    "Redis off": redis_off,
    "aborted producers upstream": holes,
    "connections reset": connections_reset,
    "broker unreachable": broker_unreachable,
    "slow network": slow_network,
    "security worker killed": kill,
}
"""By the name they have in the table."""
DUTY_OF: Final[Mapping[str, Duty]] = {"security worker killed": "security"}
"""What the workers of its deployment are for; all others are for drift."""
