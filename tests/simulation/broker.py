"""The broker of a simulation: faults between the steps of a transaction, and a memory of its own.

What retention has removed is kept aside, so that the oracle can fold all there ever was; and a
committed offset that moves back is noticed in the moment it happens.
"""

from __future__ import annotations

from collections.abc import Callable

from schemas.records import Record, TopicPartition
from streams.memory_broker import MemoryBroker, MemoryTransaction
from streams.ports import Committed, IndeterminateError, Output


class SimulatedBroker(MemoryBroker):
    """`at` is asked at every step of a worker's transaction; upstream's are not disturbed."""

    def __init__(self, at: Callable[..., None]) -> None:
        super().__init__()
        self.at = at
        self.trimmed: dict[TopicPartition, list[Record]] = {}

    def begin(self, transactional_id: str, epoch: int) -> MemoryTransaction:
        transaction = super().begin(transactional_id, epoch)
        self.at("in a transaction: begun", IndeterminateError)
        return transaction

    def add_offset(
        self, transaction: MemoryTransaction, group: str, tp: TopicPartition, committed: Committed
    ) -> None:
        super().add_offset(transaction, group, tp, committed)
        self.at("in a transaction: offset added", IndeterminateError)

    def end(self, transaction: MemoryTransaction, *, commit: bool) -> None:
        before = {key: self._offsets.get(key) for key in transaction.offsets}
        super().end(transaction, commit=commit)
        for key, old in before.items():
            new = self._offsets.get(key)
            assert new == old or old is None or (new is not None and new.offset >= old.offset), (
                f"the commit of {key} moved back from {old} to {new}"
            )

    def write(self, output: Output, transaction: MemoryTransaction | None = None) -> int:
        offset = super().write(output, transaction)
        self.at("in a transaction: record written", IndeterminateError)
        return offset

    def stable_commit(self, group: str, tp: TopicPartition) -> Committed | None:
        """The commit as it stands, whatever is pending."""
        return self._offsets.get((group, tp))

    def trim(self, tp: TopicPartition, before: int) -> None:
        """Retention; what it removes is kept aside."""
        partition = self.partition(tp)
        gone = [e.record for e in self.records(tp) if e.record.offset < before]
        self.trimmed.setdefault(tp, []).extend(gone)
        partition.trim(before)

    def all_records(self, tp: TopicPartition) -> list[Record]:
        """Every committed record there ever was."""
        return self.trimmed.get(tp, []) + [entry.record for entry in self.records(tp)]
