"""A reference that a person sets: the same as one that was learned, from the event it is set at."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors import kept_references
from detectors.base import StateError
from detectors.fold import Fold
from detectors.reference_document import correlation_of, document_of, monitor_of
from detectors.reference_fit import fit_reference
from schemas.batch import ModelKey
from schemas.config import BoundsConfig, DetectionConfig
from schemas.findings import Finding
from schemas.reference import BadReferenceError, ReferenceDocument, parse_reference
from tests.detectors.decoded import MODEL, Event, Scalar, decoded, table
from tests.detectors.folding import SMALL, Said, as_bytes, fold_in

N = 200
CONFIG = SMALL.model_copy(update={"reference_events": N, "bounds": BoundsConfig()})
NAMES = ("x", "y", "z", "word")


def events(
    n: int, *, first: int = 0, seed: int = 1, level: float = 0.0, model: ModelKey = MODEL
) -> list[Event]:
    """Two numbers that go together, one that is rare and depends on itself, a word, outputs."""
    rng = np.random.default_rng([seed, first])
    made, slow = [], 0.0
    for i in range(first, first + n):
        ts = 1_000 + 60_000 * i
        slow = 0.9 * slow + float(rng.normal())
        x = float(rng.normal()) + level
        features: dict[str, object] = {"x": x, "y": 0.9 * x + float(rng.normal()), "z": slow}
        # From the first event on: what begins later learns for as long, later.
        if rng.random() < 0.9 or i == first:
            features["word"] = str(rng.choice(["a", "b"]))
        prediction: Scalar = str(rng.choice(["no", "yes", "yes"]))
        made.append(Event(i, features, model, float(rng.random()), prediction, ts=ts))
    return made


def fitted(seed: int = 1, n: int = N) -> ReferenceDocument:
    return fit_reference(decoded(events(n, seed=seed)), CONFIG).document


def told(said: Said) -> list[tuple[object, ...]]:
    """What was found, without where it stands in a model's own counting."""
    return [
        (f.detector, f.signal, f.offset, f.statistic, f.threshold, f.before, f.after, f.effect)
        for f in said
        if isinstance(f, Finding)
    ]


def test_it_is_what_a_fold_learns_of_the_same_events() -> None:
    fold = Fold(CONFIG)
    fold_in(fold, events(N), [])
    learned = fold.catalog.monitor(0)
    document = fitted()

    again = document_of(
        learned, n_events=N, times_ms=(document.first_ms, document.last_ms), correlation={}
    )

    own = document.model_dump()
    assert again.model_dump() == {
        **own,
        "correlated": [],
        "arrays": own["arrays"] | {"correlation": again.arrays["correlation"].model_dump()},
    }
    monitor = monitor_of(document, MODEL)
    assert monitor.reference == document.digest
    assert [replace(s, lane=-1) for s in learned.signals] == monitor.signals


def test_a_fold_that_is_given_it_finds_what_one_finds_that_has_learned_it() -> None:
    changed = events(400, first=N, level=3.0)
    learner, given_it = Fold(CONFIG), Fold(CONFIG)
    fold_in(learner, events(N), [])
    given_it.set_reference(*MODEL[:2], fitted())

    said = fold_in(given_it, changed, [17, 230])

    assert told(said) == told(fold_in(learner, changed, []))
    assert {f.detector for f in said if isinstance(f, Finding)} >= {"focus", "adwin", "windows"}
    first = next(f for f in said if isinstance(f, Finding))
    assert first.model_event < N


def test_a_model_that_is_watched_begins_anew_against_it_and_others_go_on() -> None:
    other = ModelKey("n", "1")
    fold, alone = Fold(CONFIG), Fold(CONFIG)
    before = events(300, seed=5, level=-2.0)
    beside = events(300, seed=6, model=other)
    fold_in(fold, sorted([*before, *beside], key=lambda e: e.offset), [])
    fold_in(alone, beside, [])
    lanes = [s.lane for s in fold.catalog.monitor(0).signals]
    fold.set_reference(*MODEL[:2], fitted())

    monitor = fold.catalog.monitor(fold.catalog.slot_of[MODEL])
    assert sorted(s.lane for s in monitor.signals) == sorted(lanes)
    assert monitor.admitted == 600
    assert not monitor.cohorts
    fresh = Fold(CONFIG)
    fresh.set_reference(*MODEL[:2], fitted())
    later = events(400, first=1_000, level=3.0)
    assert told(fold_in(fold, later, [])) == told(fold_in(fresh, later, []))
    more = events(400, first=2_000, level=3.0, model=other)
    assert told(fold_in(fold, more, [])) == told(fold_in(alone, more, []))


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(
    at=st.integers(0, 400),
    resumed=st.integers(0, 400),
    cuts=st.lists(st.integers(0, 400), max_size=5),
)
def test_splits_and_restarts_change_nothing(at: int, resumed: int, cuts: list[int]) -> None:
    stream = events(400, seed=3)
    whole, parts = Fold(CONFIG), Fold(CONFIG)
    said = fold_in(whole, stream[:at], [])
    whole.set_reference(*MODEL[:2], fitted())
    said += fold_in(whole, stream[at:], [])

    edges = sorted({0, at, resumed, *cuts, len(stream)})
    found: Said = []
    for start, stop in pairwise(edges):
        if start == resumed:
            parts = Fold(CONFIG, parts.snapshot())
        if start == at:
            parts.set_reference(*MODEL[:2], fitted())
        found += fold_in(parts, stream[start:stop], [])
    if at == len(stream):
        parts.set_reference(*MODEL[:2], fitted())
    assert found == said
    assert as_bytes(parts.snapshot()) == as_bytes(whole.snapshot())


def test_every_shard_has_it_and_a_new_version_inherits_its_inputs() -> None:
    fold = Fold(CONFIG)
    shards = [ModelKey("m", "1", shard) for shard in (0, 1)]
    fold_in(fold, events(5, model=shards[0]), [])
    document = fitted()
    fold.set_reference("m", "1", document)
    fold_in(fold, events(5, model=shards[1]), [])
    fold_in(fold, events(5, model=ModelKey("m", "2", 1)), [])

    def monitor(key: ModelKey) -> tuple[str, int, set[str]]:
        own = fold.catalog.monitor(fold.catalog.slot_of[key])
        return own.reference, len(own.cohorts), {own.name(s) for s in own.signals}

    everything = {f"{kind}:{name}" for name in NAMES for kind in ("feature", "missing")}
    everything |= {"feature:word=b", "feature:word=__new__", "joint:residual"}
    everything |= {"quality:range", "quality:stuck", "quality:type", "representativeness"}
    outputs = {"score", "class:yes", "class:__other__", "quality:late", "quality:future"}
    assert monitor(shards[0]) == monitor(shards[1]) == (document.digest, 0, everything | outputs)
    assert monitor(ModelKey("m", "2", 1)) == ("", 1, everything)
    # They have the same state bytes after a restart, though what they share is read again.
    again = Fold(CONFIG, fold.snapshot())
    late = events(5, first=50, model=ModelKey("m", "1", 7))
    for each in (fold, again):
        fold_in(each, late, [])
    assert as_bytes(again.snapshot()) == as_bytes(fold.snapshot())


def test_what_it_does_not_know_is_learned_when_it_comes() -> None:
    fold = Fold(CONFIG)
    fold.set_reference(*MODEL[:2], fitted())
    rng = np.random.default_rng(2)
    late = [
        replace(e, features={**e.features, "new": float(rng.normal())})
        for e in events(N, first=500)
    ]
    fold_in(fold, late, [])
    monitor = fold.catalog.monitor(0)
    assert {"feature:new", "missing:new"} < {monitor.name(s) for s in monitor.signals}
    assert not monitor.cohorts


def test_what_comes_late_in_the_events_of_a_fit_is_left_out_below_20_rows() -> None:
    rng = np.random.default_rng(2)
    stream = [
        replace(
            e,
            features={n: v for n, v in e.features.items() if n != "y" or i >= 100}
            | ({"rare": float(rng.normal())} if i >= N - 19 else {}),
            score=e.score if i >= N - 5 else np.nan,
        )
        for i, e in enumerate(events(N))
    ]
    document = fit_reference(decoded(stream), CONFIG).document
    monitor = monitor_of(document, MODEL)
    names = {monitor.name(s) for s in monitor.signals}
    assert "rare" not in document.features
    assert {"feature:x", "feature:y", "missing:y"} < names
    ranks = next(s.ranks for s in monitor.signals if monitor.name(s) == "feature:y")
    assert ranks is not None
    assert ranks.n == 100


def test_its_correlation_is_that_of_normal_scores() -> None:
    document = fitted(n=2_000)
    monitor = monitor_of(document, MODEL)
    names = [monitor.name(monitor.signals[at]) for at in document.correlated]
    assert names == ["feature:x", "feature:y", "feature:z", "score"]
    matrix = correlation_of(document)
    assert np.allclose(matrix, matrix.T)
    assert matrix[0, 1] == pytest.approx(0.9 / np.sqrt(0.81 + 1.0), abs=0.04)
    assert np.abs(matrix[2, [0, 1, 3]]).max() < 0.1


def test_what_two_features_share_as_both_follow_the_hour_is_no_correlation() -> None:
    n, per_day = 4_000, 200
    rng = np.random.default_rng(5)
    wave = 2.0 * np.sin(2.0 * np.pi * np.arange(n) / per_day)
    common = rng.normal(size=n)
    columns = {
        "x": wave + common,
        "y": wave + rng.normal(size=n),
        "z": wave + common + rng.normal(size=n),
    }
    batch = table(MODEL, columns, rng.random(n), rng.integers(0, 2, n).astype(np.float64), 0)
    times = np.arange(n, dtype=np.int64) * (86_400_000 // per_day)
    fitted_by_day = fit_reference(replace(batch, event_time_ms=times), DetectionConfig())
    document, monitor = fitted_by_day.document, fitted_by_day.monitor
    names = [monitor.name(monitor.signals[at]) for at in document.correlated]
    assert names == ["feature:x", "feature:y", "feature:z", "score"]
    matrix = correlation_of(document)
    assert abs(matrix[0, 1]) < 0.1
    assert matrix[0, 2] == pytest.approx(1.0 / np.sqrt(2.0), abs=0.06)


def test_its_digest_is_that_of_what_it_says_however_it_is_written() -> None:
    document = fitted()
    spaced = document.model_dump_json(indent=2).encode()
    assert parse_reference(spaced).digest == document.digest
    assert parse_reference(document.canonical()) == document
    assert fitted(seed=2).digest != document.digest
    assert document.model_copy(update={"n_events": N + 1}).digest != document.digest


def test_what_is_kept_is_bounded_and_the_first_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kept_references, "MAX_KEPT", 2)
    fold, document = Fold(CONFIG), fitted()
    for version in ("1", "2", "1", "3"):
        fold.set_reference("m", version, document)
    assert list(fold.catalog.references) == [("m", "1"), ("m", "3")]
    assert fold.counters["n_forgotten_references"] == 1
    assert fold.catalog.has_reference(("m", "1"), document.digest)
    assert not fold.catalog.has_reference(("m", "2"), document.digest)
    fold_in(fold, events(5), [])
    assert fold.catalog.has_reference(("m", "1"), document.digest)
    monkeypatch.setattr(kept_references, "MAX_KEPT_BYTES", len(document.canonical()))
    fold.set_reference("m", "4", document)
    assert list(fold.catalog.references) == [("m", "4")]


def test_too_few_lanes_are_said_and_idle_models_give_way() -> None:
    bounds = BoundsConfig(max_lanes=9, min_idle_records=5)
    fold = Fold(CONFIG.model_copy(update={"bounds": bounds}))
    fold.set_reference(*MODEL[:2], fitted())
    said = fold_in(fold, events(5), [])
    assert [getattr(each, "bound", "") for each in said] == ["max_lanes"]
    assert fold.catalog.monitor(0).n_lanes == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kinds": [0]}, "features and kinds do not agree"),
        ({"kinds": [0, 0, 255, 2]}, "a feature has no kind, and"),
        ({"kinds": [0, 0, 0, 255]}, "a feature has categories and is none"),
        ({"signals": [], "correlated": []}, "shape"),
        ({"prediction_role": 1, "output": None}, "not those of such a prediction"),
        ({"prediction_role": 1}, "output is not what it predicts"),
        ({"arrays": {}}, "not those that a reference has"),
        ({"correlated": [9, 0]}, "`correlated`"),
        ({"classes": []}, "out of range"),
    ],
)
def test_a_document_that_contradicts_itself_is_refused(
    change: dict[str, object], says: str
) -> None:
    document = fitted().model_copy(update=change)
    fold = Fold(CONFIG)
    before = as_bytes(fold.snapshot())
    with pytest.raises(BadReferenceError, match=says):
        fold.set_reference(*MODEL[:2], document)
    assert as_bytes(fold.snapshot()) == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"first_ms": 2, "last_ms": 1}, "`first_ms` is after `last_ms`"),
        ({"events_per_week": 1e308}, "`events_per_week` is above"),
    ],
)
def test_times_that_cannot_be_are_refused(change: dict[str, object], says: str) -> None:
    document = fitted().model_copy(update=change)
    with pytest.raises(BadReferenceError, match=says):
        parse_reference(document.canonical())


def test_sums_that_no_rows_have_are_refused() -> None:
    """A fold that took them could not take up its own state."""
    document = fitted()
    moments = document.arrays["ranks_moments"]
    numbers = np.frombuffer(b64decode(moments.data), moments.dtype).reshape(moments.shape).copy()
    numbers[0, 0] = -1e78
    damaged = moments.model_copy(update={"data": b64encode(numbers.tobytes()).decode()})
    arrays = document.arrays | {"ranks_moments": damaged}
    with pytest.raises(BadReferenceError, match="sums are out of range"):
        Fold(CONFIG).set_reference(*MODEL[:2], document.model_copy(update={"arrays": arrays}))


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_damaged_document_is_refused_or_harmless(seed: int) -> None:
    raw = bytearray(fitted().canonical())
    rng = np.random.default_rng(seed)
    for _ in range(int(rng.integers(1, 4))):
        raw[int(rng.integers(len(raw)))] = int(rng.choice(np.frombuffer(b'09Az"-,[]', np.uint8)))
    fold = Fold(CONFIG)
    try:
        fold.set_reference(*MODEL[:2], parse_reference(bytes(raw)))
    except BadReferenceError:
        return
    fold_in(fold, events(50), [])
    Fold(CONFIG, fold.snapshot())


def test_a_state_with_another_reference_than_it_says_is_refused() -> None:
    fold = Fold(CONFIG)
    fold.set_reference(*MODEL[:2], fitted())
    parts = {name: dict(part) for name, part in fold.snapshot().items()}
    raw = parts["fold"]["references"]
    at = bytes(raw).index(b'"n_events":200') + len(b'"n_events":')
    raw[at] = ord("3")
    with pytest.raises(StateError, match="not the one"):
        Fold(CONFIG, parts)
    parts["fold"]["references"] = raw[:-1]
    with pytest.raises(StateError, match="cannot be read"):
        Fold(CONFIG, parts)


def test_too_few_events_and_too_many_features_are_refused() -> None:
    with pytest.raises(BadReferenceError, match="20 to 1,000,000"):
        fit_reference(decoded(events(19)), DetectionConfig())
    rng = np.random.default_rng(1)
    wide = [Event(i, {f"f{j}": float(rng.normal()) for j in range(400)}, ts=i) for i in range(200)]
    with pytest.raises(BadReferenceError, match="leave features out"):
        fit_reference(decoded(wide), DetectionConfig())


def test_what_differs_from_a_set_reference_from_the_start_says_so() -> None:
    """The version that goes on as its reference says, and moves later, does not."""

    def first_finding(moves_at: int, *, is_set: bool) -> Finding:
        rng = np.random.default_rng(6)
        x = rng.normal(size=6_000)
        x[moves_at:] += 2.0
        moved = [Event(i, {"x": float(each)}) for i, each in enumerate(x.tolist())]
        fold = Fold(DetectionConfig(reference_events=500, arl0=1e7))
        before = [Event(i, {"x": float(each)}) for i, each in enumerate(rng.normal(size=2_000))]
        if is_set:
            document = fit_reference(decoded(before), fold.config).document
            fold.set_reference(*MODEL[:2], document)
        said = fold.process(decoded(moved))
        return next(each for each in said if isinstance(each, Finding))

    assert first_finding(0, is_set=True).is_from_start
    assert not first_finding(3_000, is_set=True).is_from_start
    assert not first_finding(700, is_set=False).is_from_start


def test_the_start_is_where_the_reference_was_set() -> None:
    rng = np.random.default_rng(7)
    calm = [Event(i, {"x": float(each)}) for i, each in enumerate(rng.normal(size=4_000))]
    fold = Fold(DetectionConfig(reference_events=500, arl0=1e7))
    fold.process(decoded(calm[:3_000]))
    away = [Event(i, {"x": 3.0 + float(each)}) for i, each in enumerate(rng.normal(size=1_000))]
    fold.set_reference(*MODEL[:2], fit_reference(decoded(away), fold.config).document)
    resumed = Fold(fold.config, fold.snapshot())
    said = resumed.process(decoded(calm[3_000:]))
    found = [each for each in said if isinstance(each, Finding)]
    assert found[0].model_event > 3_000
    assert found[0].is_from_start
