"""The tests are shared out as the table says, and the table names what there is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.kit.kafka_libs import REPOSITORY
from tests.kit.shares import (
    _SHARES,
    CONTRACTS,
    DELIVERY,
    LONGEST,
    by_share,
    n_processes,
    own_number,
    share_of,
)


def test_the_table_names_files_that_there_are() -> None:
    names = [beginning for beginning, _ in _SHARES]
    shared = {share for _, share in _SHARES}
    names += [share for share in LONGEST if share not in shared]
    for name in names:
        assert list(REPOSITORY.glob(f"{name}*")), name
    assert shared <= set(LONGEST)


def test_a_file_is_a_share_where_the_table_knows_no_other() -> None:
    assert share_of("tests/delivery/test_kill.py::test_kills") == DELIVERY
    assert share_of("tests/streams/test_kafka_log.py::test_log[a::b]") == CONTRACTS
    assert share_of("tests/kit/test_kit.py::test_kit[tests/delivery/]") == "tests/kit/test_kit.py"


def test_what_belongs_together_is_brought_together_and_else_nothing_is_moved() -> None:
    names = [
        "tests/a.py::2", "tests/streams/test_kafka_log.py::1", "tests/b.py::1", "tests/a.py::1",
        "tests/delivery/test_stop.py::1", "tests/streams/test_topics.py::1", "tests/b.py::2",
    ]  # fmt: skip
    items: list[Any] = [SimpleNamespace(nodeid=name) for name in names]
    by_share(items)
    assert [item.nodeid for item in items] == [
        "tests/delivery/test_stop.py::1",
        "tests/streams/test_kafka_log.py::1", "tests/streams/test_topics.py::1",
        "tests/a.py::2", "tests/a.py::1", "tests/b.py::1", "tests/b.py::2",
    ]  # fmt: skip


def test_a_process_that_replaces_another_has_one_of_their_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "3")
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw4")
    assert (n_processes(), own_number()) == (3, 1)
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT")
    monkeypatch.delenv("PYTEST_XDIST_WORKER")
    assert (n_processes(), own_number()) == (1, 0)
