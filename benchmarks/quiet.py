"""How many alerts come where nothing changes, with every default as it is.

    python -m benchmarks.quiet [--seeds 10] [--events 2000000] [--quick] [--json]

One model of 50 signals: 24 features with their missing values, the score and a numeric prediction;
an event every 10 ms by its `ts`. Values are independent and of five laws, a twentieth of one
feature in three is missing. The reference is the first 2,000 events, the budget one false alert a
week; 2,000,000 events are 5.6 hours, in which 0.03 are expected. Each seed is a stream of its own,
folded as the worker does, policy included.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from itertools import count
from typing import Final, NamedTuple

import numpy as np

from benchmarks.kit.report import FigureTable, parser, publish
from detectors.budget import events_between_alarms
from detectors.fold import Fold
from schemas.batch import F64, Decoded, ModelKey, PredictionKind, ValueKind
from schemas.config import DetectionConfig
from schemas.findings import Aspect, Finding
from streams.policy import Policy
from tests.detectors.decoded import table

N_FEATURES: Final = 24
BETWEEN_MS: Final = 10
START_MS: Final = 1_790_000_000_000
BATCH: Final = 8_192
MODEL: Final = ModelKey("quiet", "1")


class Outcome(NamedTuple):
    """What one seed came to."""

    seed: int
    n_signals: int
    arl0: float
    expected: float
    """False alerts, by the stated budget."""
    n_findings: int
    n_alerts: int
    us_per_event: float


def main() -> None:
    """Run, print the table, and with --json the same figures as the last line."""
    options_parser = parser("quiet", __doc__)
    options_parser.add_argument("--seeds", type=int, default=10)
    options_parser.add_argument("--events", type=int, default=2_000_000, help="of each seed")
    options = options_parser.parse_args()
    n_events = 50_000 if options.quick else options.events
    outcomes = []
    for seed in range(1, (2 if options.quick else options.seeds) + 1):
        print(f"seed {seed} ...", file=sys.stderr, flush=True)
        outcomes.append(run(seed, n_events))
    publish("quiet", [summary(outcomes, n_events)], figures(outcomes, n_events), options)


def run(seed: int, n_events: int) -> Outcome:
    """Fold one stream."""
    numbers = np.random.default_rng([seed, N_FEATURES])
    fold, sequence = Fold(DetectionConfig()), count(1)
    policy = Policy(fold.config.policy, "quiet", fold.config.deployment, 0)
    n_findings = n_alerts = 0
    spent_s = 0.0
    for start in range(0, n_events, BATCH):
        events = stream(numbers, start, min(BATCH, n_events - start))
        began_s = time.process_time()
        said = fold.process(events)
        alerts = policy.decide(said, lambda: next(sequence))
        spent_s += time.process_time() - began_s
        n_findings += sum(isinstance(f, Finding) and f.aspect != Aspect.SETTLED for f in said)
        n_alerts += sum(alert.status == "opened" for alert in alerts)
    monitor = fold.catalog.monitor(fold.catalog.slot_of[MODEL])
    arl0 = events_between_alarms(fold.config, monitor)
    return Outcome(
        seed,
        monitor.n_lanes,
        arl0,
        n_events * monitor.n_lanes / arl0,
        n_findings,
        n_alerts,
        1e6 * spent_s / n_events,
    )


def stream(numbers: np.random.Generator, start: int, n: int) -> Decoded:
    """The next n events from `start` on."""
    laws = (
        lambda: numbers.normal(50.0, 3.0, n),
        lambda: numbers.exponential(2.0, n),
        lambda: numbers.lognormal(0.0, 1.0, n),
        lambda: numbers.standard_t(5, n),
        lambda: numbers.poisson(3.0, n).astype(np.float64),
    )
    columns: dict[str, F64] = {f"x{j:02}": laws[j % 5]() for j in range(N_FEATURES)}
    score, prediction = numbers.beta(2.0, 5.0, n), numbers.normal(0.0, 1.0, n)
    events = table(MODEL, columns, score, np.zeros(n), start)
    kind = events.kind.reshape(n, N_FEATURES).copy()
    kind[:, ::3][numbers.random((n, len(range(0, N_FEATURES, 3)))) < 0.05] = ValueKind.NULL
    value = np.where(kind == ValueKind.NULL, np.nan, events.value.reshape(n, N_FEATURES))
    event_time_ms = START_MS + BETWEEN_MS * np.arange(start, start + n, dtype=np.int64)
    return replace(
        events,
        kind=kind.ravel(),
        value=value.ravel(),
        prediction=prediction,
        prediction_kind=np.full(n, PredictionKind.NUMBER, np.uint8),
        predicted_class=np.full(n, -1, np.int32),
        event_time_ms=event_time_ms,
        record_time_ms=event_time_ms,
    )


def summary(outcomes: list[Outcome], n_events: int) -> FigureTable:
    """One row a seed, and their sum."""
    rows = [
        (
            str(each.seed),
            str(each.n_alerts),
            f"{each.expected:.3f}",
            str(each.n_findings),
            f"{each.n_signals}",
            f"{each.arl0:.3g}",
            f"{each.us_per_event:.1f}",
        )
        for each in outcomes
    ]
    total = (
        "all",
        str(sum(each.n_alerts for each in outcomes)),
        f"{sum(each.expected for each in outcomes):.3f}",
        str(sum(each.n_findings for each in outcomes)),
        *("", "", ""),
    )
    return FigureTable(
        "quiet",
        f"{n_events:,} events a seed in which nothing changes, defaults",
        ("seed", "alerts", "expected", "findings", "signals", "ARL0", "us/event"),
        [*rows, total],
    )


def figures(outcomes: list[Outcome], n_events: int) -> dict[str, object]:
    """The same as numbers."""
    return {"n_events": n_events, "seeds": [each._asdict() for each in outcomes]}


if __name__ == "__main__":
    main()
