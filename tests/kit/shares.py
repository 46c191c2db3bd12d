"""Who runs which tests when several processes run them at once, and what begins first.

The tests of a file stay in one process, in the order that chance gave them. Files that stand on the
same servers are one share, so that these are started once. Nothing but time depends on this: any
test can run in any process, beside any other.
"""

from __future__ import annotations

import os
from typing import Final

import pytest

DELIVERY: Final = "workers on a broker"
CONTRACTS: Final = "calls to a broker"
RESPONDERS: Final = "responders on a broker"
FAULTS: Final = "three brokers"

_SHARES: Final[tuple[tuple[str, str], ...]] = (
    ("tests/faults/test_faults.py", FAULTS),
    ("tests/faults/test_rules.py", FAULTS),
    ("tests/delivery/test_responder", RESPONDERS),
    ("tests/delivery/test_notify", RESPONDERS),
    ("tests/delivery/", DELIVERY),
    ("tests/streams/test_transport_contract.py", CONTRACTS),
    ("tests/streams/test_place_contract.py", CONTRACTS),
    ("tests/streams/test_kafka_", CONTRACTS),
    ("tests/streams/test_doctor.py", CONTRACTS),
    ("tests/streams/test_responder_doctor.py", CONTRACTS),
    ("tests/streams/test_topics.py", CONTRACTS),
)
"""By the beginning of a test's id; what is not here is a share for each file."""


LONGEST: Final = (
    DELIVERY,
    FAULTS,
    RESPONDERS,
    "tests/fuzz/test_fuzz.py",
    "tests/simulation/test_simulation.py",
    CONTRACTS,
    "tests/kit/test_kit.py",
    "tests/streams/test_demo_run.py",
    "tests/schemas/test_decode_differential.py",
    "tests/streams/test_audit.py",
    "tests/test_compose.py",
    "tests/streams/test_runner.py",
    "tests/simulation/test_mutants.py",
    "tests/schemas/test_arrow.py",
    "tests/simulation/test_recovery_machine.py",
    "tests/test_packaging.py",
    "tests/streams/test_acl_kafka.py",
    "tests/kit/test_install.py",
    "tests/detectors/test_hostile_state.py",
)
"""What must begin first, so that nothing is left to wait for at the end."""


def share_of(test_id: str) -> str:
    """The share of a test, by its pytest id."""
    for beginning, share in _SHARES:
        if test_id.startswith(beginning):
            return share
    return test_id.partition("::")[0]


def by_share(items: list[pytest.Item]) -> None:
    """Bring what belongs together together, the longest shares first; else the order stays."""
    first_seen: dict[str, int] = {}
    for item in items:
        first_seen.setdefault(share_of(item.nodeid), len(first_seen))
    longest = {share: number for number, share in enumerate(LONGEST)}

    def place(item: pytest.Item) -> tuple[int, int]:
        share = share_of(item.nodeid)
        return longest.get(share, len(longest)), first_seen[share]

    items.sort(key=place)


def n_processes() -> int:
    """How many processes run the tests."""
    return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def own_number() -> int:
    """The number of this process among them, from 0 on."""
    # One that died is replaced by one with a number beyond.
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % n_processes()
