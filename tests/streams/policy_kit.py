"""A policy of its own for a test, findings for it, and what it decides."""

from __future__ import annotations

from itertools import count

from schemas.alerts import AlertData
from schemas.config import PolicyConfig
from schemas.findings import Aspect, Finding, Notice
from streams.policy import Policy


def policy(cooldown: int = 1_000) -> Policy:
    return Policy(PolicyConfig(cooldown_events=cooldown), "lineage", "deployment", 3)


def decide(own: Policy, *said: Finding | Notice, start: int = 1) -> list[AlertData]:
    numbers = count(start)
    return own.decide(said, lambda: next(numbers))


def finding(
    event: int,
    *,
    signal: str = "feature:x",
    effect: float = 1.0,
    before: float = 0.0,
    n_after: int = 100,
    detector: str = "focus",
    aspect: Aspect = Aspect.MEAN,
    version: str = "7",
    ts: int = 1,
    accepted: float = 1.0,
) -> Finding:
    """A signal that went from `before` to `effect`, both in sd from its reference."""
    return Finding(
        detector=detector,
        model_id="m",
        model_version=version,
        shard=-1,
        signal=signal,
        offset=event * 2,
        event_row=0,
        model=0,
        lane=0,
        model_event=event,
        event_time_ms=ts,
        statistic=20.0,
        threshold=10.0,
        before=before,
        after=effect,
        effect=effect,
        change_offset=(event - n_after) * 2,
        n_before=1_000,
        n_after=n_after,
        is_share=False,
        is_departure=False,
        admitted=0,
        aspect=aspect,
        move=effect - before,
        accepted_per_week=accepted,
    )


def settled(
    event: int,
    *,
    effect: float,
    spread: float = 0.0,
    signal: str = "feature:x",
    ts: int = 1,
) -> Finding:
    """The working baseline of a signal."""
    return finding(event, signal=signal, effect=effect, aspect=Aspect.SETTLED, ts=ts)._replace(
        spread_effect=spread, spread_after=spread, n_before=0
    )
