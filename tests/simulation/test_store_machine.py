"""Any order of saves, losses and reads: each store says what a dictionary of rules says.

One machine for the store in memory, one for a real Valkey. Against the lists of saves in
tests/streams/test_store_contract.py it adds what happens to a store from outside: it is emptied,
its newest checkpoints or single segments are lost, a dead client's segments arrive late.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import ClassVar, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from streams.embedded import EmbeddedValkey
from streams.memory_store import MemoryStore
from streams.ports import SaveResult, StateStore, StoredManifest
from streams.segments import segment_digest
from streams.store_rules import N_KEPT
from tests.streams.store_kit import TP, RedisPair, make_user, pieces, redis_pair, save

CONTENTS = [b"a", b"b", b"c", b"d"]
LINEAGES = ["A", "B", "C"]


class Kept(NamedTuple):
    lineage: str
    offset: int
    needed: frozenset[bytes]
    manifest: bytes


class StoreMachine(RuleBasedStateMachine):
    """The model is a list of what is kept and a set of what is stored."""

    server: ClassVar[EmbeddedValkey | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.kept: list[Kept] = []
        self.stored: set[bytes] = set()
        self.fresh: set[bytes] = set()
        self.n_saves = 0
        self.pair: RedisPair | None = None
        self.store: StateStore = MemoryStore()

    @initialize()
    def open(self) -> None:
        if self.server is not None:
            self.pair = self.stack.enter_context(redis_pair(self.server))
            self.store = self.pair.store

    def teardown(self) -> None:
        self.stack.close()

    @rule(
        lineage=st.sampled_from(LINEAGES),
        parent=st.sampled_from(["", *LINEAGES]),
        offset=st.integers(0, 20),
        needed=st.frozensets(st.sampled_from(CONTENTS), max_size=3),
        omitted=st.none() | st.frozensets(st.sampled_from(CONTENTS), max_size=2),
    )
    def save(
        self,
        lineage: str,
        parent: str,
        offset: int,
        needed: frozenset[bytes],
        omitted: frozenset[bytes] | None,
    ) -> None:
        self.n_saves += 1
        manifest = b"%d" % self.n_saves
        sent = needed - (omitted or frozenset())
        expected = self._decide(lineage, parent, offset, needed, sent, manifest)
        answer = save(
            self.store,
            offset,
            pieces(*needed),
            lineage=lineage,
            parent=parent,
            send=pieces(*sent),
            manifest=manifest,
        )
        assert answer is expected

    @precondition(lambda self: self.kept)
    @rule(step=st.integers(0, 3), needed=st.frozensets(st.sampled_from(CONTENTS), max_size=3))
    def save_further(self, step: int, needed: frozenset[bytes]) -> None:
        """What a worker does most of the time."""
        newest = self.kept[0]
        self.save(newest.lineage, "", newest.offset + step, needed, needed & self.stored)

    def _decide(
        self,
        lineage: str,
        parent: str,
        offset: int,
        needed: frozenset[bytes],
        sent: frozenset[bytes],
        manifest: bytes,
    ) -> SaveResult:
        self.fresh |= sent
        newest = self.kept[0] if self.kept else None
        if newest is not None and (
            newest.offset > offset if newest.lineage == lineage else newest.lineage != parent
        ):
            self.fresh -= needed
            return SaveResult.REFUSED
        if needed - self.stored - self.fresh:
            return SaveResult.MISSING
        self.stored |= needed
        self.fresh -= needed
        if newest is not None and (newest.lineage, newest.offset) == (lineage, offset):
            del self.kept[0]
        self.kept = [Kept(lineage, offset, needed, manifest), *self.kept][:N_KEPT]
        # A segment that was lost stays so, whoever needs it.
        self.stored &= set[bytes]().union(*(kept.needed for kept in self.kept))
        return SaveResult.ACCEPTED

    @rule()
    def wipe(self) -> None:
        self.kept, self.stored, self.fresh = [], set(), set()
        if self.pair is None:
            assert isinstance(self.store, MemoryStore)
            self.store.wipe()
        elif keys := self.pair.keys():
            self.pair.admin.delete(*keys)

    @precondition(lambda self: self.stored)
    @rule(which=st.integers(0, len(CONTENTS) - 1))
    def lose_a_segment(self, which: int) -> None:
        """As when memory runs short and the server may evict: the manifests stay."""
        lost = sorted(self.stored)[which % len(self.stored)]
        self.stored.discard(lost)
        digest = segment_digest(lost)
        if self.pair is None:
            assert isinstance(self.store, MemoryStore)
            del self.store._partitions[TP].segments[digest]
        else:
            assert self.pair.admin.delete(f"{self.pair.base}seg:{digest}") == 1

    @invariant()
    def says_what_is_kept(self) -> None:
        assert self.store.manifests(TP) == [
            StoredManifest(kept.lineage, kept.offset, kept.manifest) for kept in self.kept
        ]
        found = self.store.segments(TP, list(pieces(*CONTENTS)))
        assert found == pieces(*self.stored)


@pytest.fixture(scope="module", params=["memory", "redis"])
def server(request: pytest.FixtureRequest) -> Iterator[EmbeddedValkey | None]:
    if request.param == "memory":
        yield None
        return
    with EmbeddedValkey() as running:
        make_user(running)
        yield running


def test_any_order_of_saves_and_losses(server: EmbeddedValkey | None) -> None:
    machine = type("Machine", (StoreMachine,), {"server": server})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
