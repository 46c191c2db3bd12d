"""Traffic: rows of predictions with their sources, and which of them are an attack's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from benchmarks.kit.event_table import EventTable
from schemas.batch import F64, I64, Bool
from schemas.source_hash import SourceKey

KEY_TEXT: Final = "the key of the benchmark of attacks"
KEY: Final = SourceKey(KEY_TEXT.encode())
STEP_MS: Final = 50
"""Between two events."""
_START_MS: Final = 1_700_000_000_000
ATTACKER: Final = 1_000_000
"""The first attacker's number; honest clients are below."""
N_HONEST: Final = 20
"""Clients that send the benign traffic around an attack."""


def generator(*what: object) -> np.random.Generator:
    """A generator that is seeded by what it is for."""
    digest = hashlib.blake2b(repr(what).encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


@dataclass(frozen=True, slots=True)
class Traffic:
    """n predictions of one model, in order."""

    x: F64
    """(n, d) features in raw units."""
    score: F64
    """(n,) the probability: of class 1 where there are two classes, else of the likeliest."""
    predicted: I64
    """(n,)"""
    source: I64
    """(n,) number of the client."""
    is_attack: Bool
    """(n,)"""

    def __len__(self) -> int:
        return len(self.score)

    def take(self, rows: I64 | slice) -> Traffic:
        """These rows, in this order."""
        return Traffic(
            self.x[rows],
            self.score[rows],
            self.predicted[rows],
            self.source[rows],
            self.is_attack[rows],
        )

    def sent_by(self, source: I64) -> Traffic:
        """The same rows from these clients."""
        return replace(self, source=source.astype(np.int64))

    def repeated(self, n: int, rng: np.random.Generator) -> Traffic:
        """N of these rows: as often all of them as it takes, each time in another order."""
        rounds = [rng.permutation(len(self)) for _ in range(max(1, -(-n // len(self))))]
        return self.take(np.concatenate(rounds)[:n])

    def attackers(self) -> I64:
        """The clients that send any query of an attack."""
        return np.unique(self.source[self.is_attack])

    def table(self) -> EventTable:
        """The same as events, one each `STEP_MS`."""
        n = len(self)
        numbers, of_row = np.unique(self.source, return_inverse=True)
        words = KEY.words([name_of(number) for number in numbers.tolist()])
        return EventTable(
            values=self.x,
            score=self.score,
            answer=self.predicted,
            words=words[of_row.reshape(-1)],
            time_ms=_START_MS + STEP_MS * np.arange(n, dtype=np.int64),
            event_id=np.arange(1, n + 1, dtype=np.uint64),
            is_label=np.zeros(n, np.bool_),
        )


def name_of(source: int) -> str:
    """What a client is called in its events."""
    return f"client-{source}"


def joined(parts: Sequence[Traffic]) -> Traffic:
    """One after the other."""
    return Traffic(
        np.concatenate([one.x for one in parts]),
        np.concatenate([one.score for one in parts]),
        np.concatenate([one.predicted for one in parts]),
        np.concatenate([one.source for one in parts]),
        np.concatenate([one.is_attack for one in parts]),
    )


def spread(traffic: Traffic, n_sources: int, first: int = 0) -> Traffic:
    """The same rows by so many clients in turn."""
    return traffic.sent_by(first + np.arange(len(traffic)) % n_sources)


def embedded(
    attack: Traffic, benign: Traffic, share: float, n_before: int, rng: np.random.Generator
) -> Traffic:
    """An attack's queries in benign traffic, of which they are so large a share.

    `n_before` benign events come before the first query. At share 1 none come after it.
    """
    between = round(1.0 / share) - 1
    n = len(attack)
    rows = spread(benign.repeated(n_before + between * n, rng), N_HONEST)
    place = np.full(n_before + (between + 1) * n, True)
    at = n_before + between + (between + 1) * np.arange(n)
    place[at] = False
    order = np.empty(len(place), np.int64)
    order[place] = np.arange(len(rows))
    order[~place] = len(rows) + np.arange(n)
    return joined([rows, attack]).take(order)
