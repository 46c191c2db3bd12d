"""A policy of its own for a test, and what it decides."""

from __future__ import annotations

from itertools import count

from schemas.alerts import AlertData
from schemas.config import PolicyConfig
from schemas.findings import Finding, Notice
from streams.policy import Policy


def policy(cooldown: int = 1_000) -> Policy:
    return Policy(PolicyConfig(cooldown_events=cooldown), "lineage", "deployment", 3)


def decide(own: Policy, *said: Finding | Notice, start: int = 1) -> list[AlertData]:
    numbers = count(start)
    return own.decide(said, lambda: next(numbers))
