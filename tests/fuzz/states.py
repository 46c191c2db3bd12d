"""Targets: the fold's state and policy's, as a checkpoint that anybody may have written holds them.

An honest snapshot is changed entry by entry; what the fold takes of it, it must be able to live
with. The kernels are compiled with bounds checks here (`NUMBA_BOUNDSCHECK`, set by the driver): an
access beyond an array is an IndexError where the shipped machine code would write elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import count
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from detectors.base import StateError
from detectors.fold import Fold
from schemas.batch import Decoded, ModelKey
from schemas.config import (
    AdwinConfig,
    BoundsConfig,
    DetectionConfig,
    DetectorsConfig,
    KswinConfig,
    LabelsConfig,
    PageHinkleyConfig,
    PolicyConfig,
    WindowsConfig,
)
from schemas.findings import Aspect, Distances
from streams.cloudevents import alert_output
from streams.policy import Policy
from tests.detectors.decoded import Event, Scalar, decoded
from tests.fuzz.target import Choices, Target, must
from tests.streams.test_policy import finding

State = dict[str, dict[str, NDArray[Any]]]

CONFIG = DetectionConfig(
    reference_events=20,
    bounds=BoundsConfig(max_models=2, max_features=4, max_classes=3, max_lanes=12),
    labels=LabelsConfig(enabled=True, max_pending=30, max_early=4),
    detectors=DetectorsConfig(
        adwin=AdwinConfig(
            enabled=True, clock=1, max_buckets=3, delta=0.9, min_window_length=1, grace_period=0
        ),
        page_hinkley=PageHinkleyConfig(enabled=True, min_instances=2, threshold=3.0),
        kswin=KswinConfig(enabled=True, seed=3, window_size=12, stat_size=5, alpha=0.2),
        windows=WindowsConfig(enabled=True, window_events=20),
    ),
)
N_EVENTS = 60
NUMBERS: Mapping[str, Sequence[float]] = {
    "f": [0.0, -1.0, 1e308, -1e308, 5e-324, np.inf, np.nan, 1e6],
    "i": [0, 1, -1, 2, 3, 7, 2**31, 2**53, 2**53 + 1, 2**62, -(2**63), 2**63 - 1, 2**61],
    "u": [0, 1, 2, 3, 4, 5, 127, 128, 255],
    "b": [0, 1],
}
VALUES: list[Any] = [
    *(0, 1, -1, 2, 3, 19, 20, 21, 40, 60, 100, 2**31, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1),
    *(None, True, False, "", "x", "a", "m", [], [0], [1, 2], {}, 1.5, -(2**63)),
]


def event(i: int) -> Event:
    """Two models; features come late, go missing and change kind; outputs of both kinds; labels."""
    model = ModelKey("m" if i % 3 else "n", "1", -1)
    if i % 8 == 7:
        about, model = i + (3 if i % 16 == 7 else -3), model._replace(model_version="")
        return Event(i, model=model, is_label=True, prediction="a", ts=1_000 + i, event_id=about)
    features: dict[str, object] = {
        "a": float(i % 5) + 9.0 * (i > 80),
        "b": "xyz"[i % 3] if i % 4 else None,
    }
    if i > 25:
        features["late"] = bool(i % 2)
    prediction: Scalar = "abc"[i % 3] if i % 3 else i / 7
    return Event(
        i, features, model, score=(i % 10) / 10, prediction=prediction, ts=1_000 + i, event_id=i
    )


@lru_cache(maxsize=8)
def events(start: int) -> Decoded:
    return decoded([event(i) for i in range(start, start + N_EVENTS)])


@lru_cache(maxsize=8)
def honest(n_polls: int) -> State:
    """The snapshot after so many polls: still learning, or with references and full windows."""
    fold = Fold(CONFIG)
    for poll in range(n_polls):
        fold.process(events(poll * N_EVENTS))
    return {name: dict(part) for name, part in fold.snapshot().items()}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to every value within a JSON document."""
    pairs: Any = ()
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    for step, inner in pairs:
        yield (*path, step)
        yield from places(inner, (*path, step))


def edit_document(choices: Choices, raw: bytes) -> bytes:
    """A JSON document with one of its values replaced, taken away or repeated."""
    document = orjson.loads(raw)
    ways = list(places(document))
    if not ways:
        return raw
    way = ways[choices.number(2) % len(ways)]
    holder = document
    for step in way[:-1]:
        holder = holder[step]
    match choices.below(4):
        case 0:
            del holder[way[-1]]
        case 1 if isinstance(holder, list):
            holder.append(holder[way[-1]])
        case 2 if isinstance(holder[way[-1]], int):
            holder[way[-1]] += choices.number() - 128
        case _:
            holder[way[-1]] = choices.one_of(VALUES)
    try:
        return orjson.dumps(document)
    except TypeError:  # a number beyond 64 bits
        return raw


def edit_array(choices: Choices, array: NDArray[Any]) -> NDArray[Any]:
    """An array with an entry replaced, or of another length or dtype."""
    array = array.copy()
    match choices.below(8):
        case 0:
            return array[: choices.below(len(array) + 1)]
        case 1:
            return np.concatenate([array, array[-1:]])
        case 2:
            return array.astype(choices.one_of(["<f4", "<i4", "<u1", "<f8", "<i8"]))
        case _ if array.size:
            at = choices.number(2) % array.size
            with suppress(OverflowError, ValueError):  # an edit before made the array narrower
                array.flat[at] = choices.one_of(NUMBERS[array.dtype.kind])
    return array


def edited(choices: Choices) -> State:
    """An honest state with up to six edits."""
    state = {name: dict(part) for name, part in honest(choices.below(4)).items()}
    for _ in range(6):
        if not choices.left:
            break
        part = state[choices.one_of(sorted(state))]
        if not part:
            continue
        name = choices.one_of(sorted(part))
        if name == "document":
            text = edit_document(choices, part[name].tobytes())
            part[name] = np.frombuffer(text, np.uint8).copy()
        elif choices.below(16) == 15:
            del part[name]
        elif part[name].ndim:
            with np.errstate(all="ignore"):
                part[name] = edit_array(choices, part[name])
    return state


def run_fold(content: bytes) -> None:
    """`StateError`, or a fold that goes on, whose state can be written and is taken again."""
    choices = Choices(content)
    try:
        fold = Fold(CONFIG, edited(choices))
    except StateError:
        return
    for start in (0, 120):
        said = fold.process(events(start))
        must(sorted(said, key=lambda each: each.offset) == said, "not in order")
    snapshot = fold.snapshot()
    try:
        again = Fold(CONFIG, snapshot)
    except StateError:
        return  # counters of the made-up state ran over
    again.process(events(0))
    fold.reconfigure(CONFIG.model_copy(update={"detectors": DetectorsConfig()}))
    fold.process(events(60))


@lru_cache(maxsize=1)
def kept_episodes() -> bytes:
    policy = Policy(PolicyConfig(), "lineage", "d", 3)
    numbers = count(1)
    shape = finding(detector="windows")._replace(
        aspect=Aspect.SHAPE, distances=Distances(psi=0.2, js=0.05, ks=0.1, wasserstein=0.3)
    )
    said = [finding(), finding(signal="score"), finding(event=1), shape]
    policy.decide(said, lambda: next(numbers))
    return policy.snapshot()["episodes"].tobytes()


def run_policy(content: bytes) -> None:
    """A document as it is, or edits of an honest one; then findings on its signals."""
    choices = Choices(content)
    edits = choices.below(4)
    text = choices.take(4_096) if not edits else kept_episodes()
    for _ in range(edits if choices.left else 0):
        text = edit_document(choices, text)
    config = PolicyConfig(cooldown_events=10**12)
    try:
        policy = Policy(config, "l", "d", 3, {"episodes": np.frombuffer(text, np.uint8)})
    except StateError:
        return
    numbers = count(1)
    said = [finding(), finding(signal="score", detector="page_hinkley"), finding(admitted=7)]
    for alert in policy.decide(said, lambda: next(numbers)):
        alert_output("alerts", alert, 1)
    again = Policy(config, "l", "d", 3, policy.snapshot())
    for mine, theirs in (
        (again.book.episodes, policy.book.episodes),
        (again.book.opened_ms, policy.book.opened_ms),
    ):
        must(mine == theirs, "other episodes after writing and reading")


TARGETS = (
    Target(
        "fold",
        run_fold,
        lambda: [b"\x03", b"", *(bytes([i, j, 0, 0, 9]) for i in range(4) for j in range(4))],
    ),
    Target(
        "policy",
        run_policy,
        lambda: [
            b"\x00" + kept_episodes(),
            b"\x01\x00\x00\x03\x05",
            b"\x00[]",
            b"\x00[{}]",
            b"\x03",
        ],
        (b"18446744073709551615", b"9223372036854775807", b'"key":[]', b"null", b"[[", b"-1"),
    ),
)
