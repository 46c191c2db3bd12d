"""The fold of the security duty: whatever the batches, resumable at any event, bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors.base import BankState, StateError
from detectors.security.banks import kinds_by_words
from detectors.security.base import Suspicion
from detectors.security.calibration import ModelCalibration, fit
from detectors.security.columns import columns_of
from detectors.security.fold import SECURITY_COUNTERS, SecurityFold, security_versions
from detectors.security.neighbour_fit import NEAR
from detectors.security.neighbours import NeighboursBank
from detectors.security.population import Learning
from schemas.batch import Decoded, ModelKey
from schemas.config import DetectionConfig
from schemas.source_hash import SourceKey
from tests.detectors.damage import Arrays
from tests.detectors.folding import as_bytes
from tests.detectors.security_events import KEY, MODEL, benign, numbers, part, with_attack


def config(**security: object) -> DetectionConfig:
    own = {
        "learn_events": 200,
        "max_models": 2,
        "max_sources": 16,
        "admit_after": 2,
        "detectors": {"provenance": {"capacity": 256}},
    }
    return DetectionConfig.model_validate(
        {
            "security": own | security,
            "labels": {"enabled": True, "max_pending": 300, "max_early": 20},
            "bounds": {"min_idle_records": 40},
        }
    )


SMALL = config()


def models_by_turns(events: Decoded, rng: np.random.Generator, n_models: int) -> Decoded:
    """The same rows, of models that come and go; some of them labels."""
    n = len(events)
    keys = [*(ModelKey("m", str(k)) for k in range(n_models)), ModelKey("m", "")]
    model = np.where(
        rng.random(n) < 0.7, np.arange(n) * n_models // max(n, 1), rng.integers(0, n_models, n)
    )
    is_label = rng.random(n) < 0.1
    length = np.where(is_label, 0, np.diff(events.value_ptr))
    kept = np.repeat(~is_label, np.diff(events.value_ptr))
    return replace(
        events,
        models=keys,
        model=np.where(is_label, n_models, model).astype(np.int32),
        is_label=is_label,
        shape=np.where(is_label, -1, events.shape).astype(np.int32),
        score=np.where(is_label, np.nan, events.score),
        event_id=rng.integers(1, 60, n).astype(np.uint64),
        value_ptr=np.concatenate([[0], np.cumsum(length)]).astype(np.int64),
        value=events.value[kept],
        kind=events.kind[kept],
    )


def stream(seed: int, n: int, n_models: int = 3) -> Decoded:
    rng = np.random.default_rng(seed)
    return models_by_turns(with_attack(rng, n, 3, 3), rng, n_models)


def fold_in(fold: SecurityFold, events: Decoded, cuts: Sequence[int]) -> list[Suspicion]:
    edges = [0, *sorted(min(cut, len(events)) for cut in cuts), len(events)]
    return [s for a, b in pairwise(edges) for s in fold.process(part(events, a, b))]


slow = settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.too_slow])


@slow
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 2_500),
    cuts=st.lists(st.integers(0, 2_500), max_size=6),
)
def test_any_split_gives_the_same_suspicions_and_state(seed: int, n: int, cuts: list[int]) -> None:
    events = stream(seed, n)
    whole, parts = SecurityFold(SMALL, KEY), SecurityFold(SMALL, KEY)
    expected = fold_in(whole, events, [])
    assert fold_in(parts, events, cuts) == expected
    assert as_bytes(parts.snapshot()) == as_bytes(whole.snapshot())


@slow
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 2_500), cut=st.integers(0, 2_500))
def test_resumed_at_any_event_it_goes_on_as_if_never_interrupted(
    seed: int, n: int, cut: int
) -> None:
    events = stream(seed, n)
    cut = min(cut, n)
    whole, first = SecurityFold(SMALL, KEY), SecurityFold(SMALL, KEY)
    expected = fold_in(whole, events, [])
    said = first.process(part(events, 0, cut))
    state = first.snapshot()
    second = SecurityFold(SMALL, KEY, state)
    assert as_bytes(second.snapshot()) == as_bytes(state)
    assert said + second.process(part(events, cut, n)) == expected
    assert as_bytes(second.snapshot()) == as_bytes(whole.snapshot())


def test_event_by_event_is_the_same_as_at_once() -> None:
    events = stream(3, 1_300)
    whole, single = SecurityFold(SMALL, KEY), SecurityFold(SMALL, KEY)
    expected = fold_in(whole, events, [])
    assert fold_in(single, events, range(1_300)) == expected
    assert as_bytes(single.snapshot()) == as_bytes(whole.snapshot())
    assert whole.counters["n_evicted_models"] > 0


def test_one_who_searches_the_boundary_is_found_and_nobody_else() -> None:
    rng = np.random.default_rng(5)
    fold = SecurityFold(config(learn_events=1_000), KEY)
    assert fold.process(benign(rng, 3_000)) == []
    said = fold.process(with_attack(rng, 2_000, 10, first=3_000))
    (low, high) = KEY.words(["s77"])[0].tolist()
    of_one = [s for s in said if s.source >= 0]
    assert of_one
    assert {s.source_words for s in of_one} == {(low, high)}
    assert all(s.is_provisional for s in said)
    assert said == sorted(said)
    assert fold.uncalibrated() == []


def test_who_is_named_twice_is_of_that_kind_and_who_is_of_two_is_of_none() -> None:
    kinds = {"batch": ["a", "b", "a"], "grid": ["c", "b"], "line": ["b"]}
    own = config(kinds=kinds)
    a, b, c = ((low, high) for low, high in KEY.words(["a", "b", "c"]).tolist())
    assert kinds_by_words(own, KEY) == {a: "batch", b: "", c: "grid"}
    assert kinds_by_words(own, None) == {}
    fold = SecurityFold(own, KEY)
    words = np.array([a, b, c, (1, 2)], np.uint64)
    n = np.arange(4, dtype=np.int64)
    where = np.zeros(4, np.int32)
    placed = fold.sources.place(where, words, n, n.astype(np.uint64), n, where, n)
    assert placed.kind.tolist() == [1, 0, 2, 0]


def test_exact_repeats_accuse_nobody() -> None:
    rng = np.random.default_rng(6)
    fold = SecurityFold(config(learn_events=1_000), KEY)
    fold.process(benign(rng, 1_500))
    x, who = rng.normal(size=(2_000, 4)), 1 + rng.integers(0, 6, 2_000)
    is_canary = np.arange(2_000) % 5 == 0
    x[is_canary], who[is_canary] = 0.001, 9
    assert fold.process(numbers(x, who, first=1_500)) == []
    assert fold.counters["n_repeats"] == 398


def test_sources_without_a_name_are_one_and_without_a_key_all_are() -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(600, 3))
    fold = SecurityFold(SMALL, None)
    fold.process(numbers(x, np.zeros(600, np.int64)))
    assert len(fold.sources) == 1


def test_a_flood_of_models_pushes_out_nobody_who_lives() -> None:
    rng = np.random.default_rng(8)
    fold = SecurityFold(SMALL, KEY)
    fold.process(benign(rng, 300))
    events = benign(rng, 1_000, first=300)
    keys = [MODEL, *(ModelKey("flood", str(k)) for k in range(500))]
    model = np.where(np.arange(1_000) % 2 == 0, 0, np.arange(1_000) // 2 + 1)
    fold.process(replace(events, models=keys, model=model.astype(np.int32)))
    assert MODEL in fold.models.slot_of
    assert len(fold.models.slot_of) == 2
    assert fold.counters["n_refused_models"] > 400
    # Of those that flood, one gives way to the next when it was idle for long enough.
    assert fold.counters["n_evicted_models"] <= 1_000 // SMALL.bounds.min_idle_records


def calibration(seed: int = 9, kinds: Sequence[str] = ("batch", "web")) -> ModelCalibration:
    """As people would have reviewed it: of kinds of clients that are alike."""
    learning = Learning()
    rng = np.random.default_rng(seed)
    columns = columns_of(benign(rng, 2_000), 0, SecurityFold(SMALL, KEY)._salt)
    learning.add(columns, np.arange(2_000), 100)
    population, learned = learning.freeze(SecurityFold(SMALL, KEY)._salt)
    fitted, _ = fit(learned, reviewed=True)
    return ModelCalibration(population, dict.fromkeys(kinds, fitted), is_reviewed=True)


KINDS = {"web": ["s1", "s2"], "batch": ["s3", "s1"]}


def test_a_calibration_that_was_set_takes_the_place_of_learning() -> None:
    rng = np.random.default_rng(10)
    own = config(kinds=KINDS)
    fold = SecurityFold(own, KEY)
    fold.set_calibration(*MODEL[:2], calibration())
    events = with_attack(rng, 1_500, 5)
    said = fold.process(part(events, 0, 700))
    state = fold.snapshot()
    resumed = SecurityFold(own, KEY, state)
    assert as_bytes(resumed.snapshot()) == as_bytes(state)
    rest = fold.process(part(events, 700, 1_500))
    assert rest == resumed.process(part(events, 700, 1_500))
    assert said + rest
    assert not any(s.is_provisional for s in said + rest)
    # Whoever is named for two kinds is of none.
    names = KEY.words(["s1", "s2", "s3"]).tolist()
    assert [fold._kinds()[low, high] for low, high in names] == [0, 2, 1]
    # It is there for a version that comes back, and for another one it is not.
    fold._evict(fold.models.slot_of[MODEL])
    fold.process(part(events, 0, 1))
    assert fold.calibration(fold.models.slot_of[MODEL]) is not None


def test_who_is_of_no_kind_is_judged_by_the_strictest_of_all_kinds() -> None:
    alike = calibration(kinds=("", "web"))
    lax = dict(alike.kinds[""])
    lax["neighbours"] = dict(lax["neighbours"]) | {"near": 0.5 * lax["neighbours"]["near"]}
    fold = SecurityFold(config(kinds=KINDS), KEY)
    fold.set_calibration(*MODEL[:2], replace(alike, kinds={"": alike.kinds[""], "web": lax}))
    fold.process(part(benign(np.random.default_rng(12), 10), 0, 1))
    bank = fold.banks["neighbours"]
    assert isinstance(bank, NeighboursBank)
    nobody, batch, web = bank._thresholds[fold.models.slot_of[MODEL], :3, NEAR].tolist()
    near = float(alike.kinds[""]["neighbours"]["near"][0])
    assert (nobody, batch, web) == (near, near, near / 2)
    # And the other way round: who is of no kind has not even what rows of no kind would allow.
    fold.set_calibration(*MODEL[:2], replace(alike, kinds={"": lax, "web": alike.kinds["web"]}))
    assert bank._thresholds[fold.models.slot_of[MODEL], 0, NEAR] == near


def test_a_kind_that_nobody_is_of_has_no_say_in_what_is_strictest() -> None:
    """Its rows are in no traffic, while the clients of no kind would be accused by its reach."""
    alike = calibration(kinds=("", "web"))
    far = dict(alike.kinds[""])
    near = float(far["neighbours"]["near"][0])
    far["neighbours"] = dict(far["neighbours"]) | {"near": np.array([2.0 * near])}
    both = replace(alike, kinds={"": alike.kinds[""], "web": far})

    def near_of_nobody(fold: SecurityFold) -> float:
        bank = fold.banks["neighbours"]
        assert isinstance(bank, NeighboursBank)
        return float(bank._thresholds[fold.models.slot_of[MODEL], 0, NEAR])

    events = benign(np.random.default_rng(12), 900)
    given: list[dict[str, list[str]]] = [{}, {"web": []}, {"batch": ["s3"]}]
    for kinds in given:
        fold = SecurityFold(config(kinds=kinds), KEY)
        fold.set_calibration(*MODEL[:2], both)
        fold.process(part(events, 0, 600))
        assert near_of_nobody(fold) == near
        # Once somebody is of it, it has.
        fold.reconfigure(config(kinds={"web": ["s1"]}))
        assert near_of_nobody(fold) == 2.0 * near
        fold.process(part(events, 600, 900))
        state = fold.snapshot()
        resumed = SecurityFold(fold.config, KEY, state)
        assert as_bytes(resumed.snapshot()) == as_bytes(state)
        fold.reconfigure(config(kinds=kinds))
        assert near_of_nobody(fold) == near


def test_where_all_kinds_are_of_nobody_all_of_them_have_a_say() -> None:
    own = calibration(kinds=("batch", "web"))
    far = dict(own.kinds["web"])
    near = float(far["neighbours"]["near"][0])
    far["neighbours"] = dict(far["neighbours"]) | {"near": np.array([2.0 * near])}
    fold = SecurityFold(SMALL, KEY)
    fold.set_calibration(*MODEL[:2], replace(own, kinds={"batch": own.kinds["batch"], "web": far}))
    fold.process(part(benign(np.random.default_rng(12), 10), 0, 1))
    bank = fold.banks["neighbours"]
    assert isinstance(bank, NeighboursBank)
    assert bank._thresholds[fold.models.slot_of[MODEL], 0, NEAR] == 2.0 * near


def test_one_that_is_set_for_a_model_that_runs_lets_it_begin_anew() -> None:
    rng = np.random.default_rng(11)
    fold = SecurityFold(SMALL, KEY)
    fold.process(with_attack(rng, 900, 5))
    assert len(fold.sources)
    fold.set_calibration(*MODEL[:2], calibration())
    assert not len(fold.sources)
    assert not fold.banks.standing().any()
    state = fold.snapshot()
    assert as_bytes(SecurityFold(SMALL, KEY, state).snapshot()) == as_bytes(state)
    own = calibration()
    (name,) = [k for k in own.kinds["web"] if k == "neighbours"]
    wrong = {"web": {name: {"surplus": np.zeros(2)}}}
    with pytest.raises(StateError):
        fold.set_calibration(*MODEL[:2], replace(own, kinds=wrong))
    with pytest.raises(StateError):
        fold.set_calibration(*MODEL[:2], replace(own, kinds={"web": {"unknown": {}}}))
    assert as_bytes(fold.snapshot()) == as_bytes(state)


@pytest.mark.parametrize(
    "change",
    [
        {"max_sources": 32},
        {"max_models": 1},
        {"admit_after": 3},
        {"learn_events": 300},
        {"kinds": {"a": ["s2"], "web": ["s3"]}},
        {"detectors": {"neighbours": {"enabled": False}, "provenance": {"capacity": 512}}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_under_another_config_it_goes_on_and_can_be_resumed(change: dict[str, object]) -> None:
    events = stream(12, 2_400)
    before, after = config(kinds=KINDS), config(**({"kinds": KINDS} | change))
    fold = SecurityFold(before, KEY)
    fold.set_calibration("m", "1", calibration())
    fold.process(part(events, 0, 1_500))
    fold.reconfigure(after)
    state = fold.snapshot()
    resumed = SecurityFold(after, KEY, state)
    assert as_bytes(resumed.snapshot()) == as_bytes(state)
    rest = part(events, 1_500, 2_400)
    assert fold.process(rest) == resumed.process(rest)
    assert as_bytes(fold.snapshot()) == as_bytes(resumed.snapshot())
    fold.reconfigure(before)
    assert as_bytes(SecurityFold(before, KEY, fold.snapshot()).snapshot()) == as_bytes(
        fold.snapshot()
    )


def test_labels_are_joined_only_while_the_config_says_so() -> None:
    fold = SecurityFold(SMALL, KEY)
    events = stream(13, 900)
    fold.process(part(events, 0, 500))
    assert fold.counters["n_joined_labels"] > 0
    without = SMALL.model_copy(update={"labels": DetectionConfig().labels})
    fold.reconfigure(without)
    assert not {"labels", "label_poisoning"} & fold.snapshot().keys()
    n_joined = fold.counters["n_joined_labels"]
    fold.process(part(events, 500, 900))
    assert fold.counters["n_joined_labels"] == n_joined


def test_its_parts_have_versions_and_its_counters_names() -> None:
    fold = SecurityFold(SMALL, KEY)
    assert set(fold.snapshot()) == set(security_versions()) == set(fold.versions)
    assert tuple(fold.counters) == SECURITY_COUNTERS


def used() -> dict[str, BankState]:
    fold = SecurityFold(SMALL, KEY)
    fold.set_calibration("other", "1", calibration())
    events = benign(np.random.default_rng(14), 320)
    second = [MODEL, ModelKey("m", "2")]
    fold.process(replace(events, models=second, model=(np.arange(320) % 4 == 3).astype(np.int32)))
    assert len(fold._watched.populations.learning) == 1
    return fold.snapshot()


def test_a_state_of_another_key_or_another_form_is_refused() -> None:
    state = used()
    SecurityFold(SMALL, KEY, state)

    def refused(changed: dict[str, BankState], key: SourceKey | None = KEY) -> None:
        with pytest.raises(StateError):
            SecurityFold(SMALL, key, changed)

    refused(state, None)
    refused(state, SourceKey(b"another key, 16 b"))
    for name in state:
        refused({part: own for part, own in state.items() if part != name})
    for name, array in state["security"].items():
        own = dict(state["security"])
        del own[name]
        refused(state | {"security": own})
        refused(state | {"security": own | {name: array[:-1]}})
        refused(state | {"security": own | {name: np.append(array, array[-1:])}})
    refused(state | {"security": dict(state["security"]) | {"surplus": np.zeros(1)}})


DOCUMENTS: dict[str, tuple[tuple[str | int, ...], object]] = {
    "a name too long": (("slots", 0, "model_id"), "x" * 300),
    "a shard": (("slots", 0, "shard"), -2),
    "a model twice": (("slots", 1, "model_version"), "1"),
    "a feature twice": (("slots", 1, "learning", "features", 0), "f001"),
    "rows": (("slots", 1, "learning", "n_rows"), 2),
    "rows, negative": (("slots", 1, "learning", "n_rows"), -1),
    "values": (("slots", 1, "learning", "n_values"), 10**9),
    "both": (("slots", 0, "calibration"), None),
    "features out of order": (("slots", 0, "calibration", "population", "features", 0), "z"),
    "classes": (("slots", 0, "calibration", "population", "n_classes"), 99),
    "answers": (("slots", 0, "calibration", "population", "output"), 64),
    "no kinds": (("slots", 0, "calibration", "kinds"), []),
    "a detector": (("slots", 0, "calibration", "arrays", 0, "detector"), "unknown"),
    "a shape": (("slots", 0, "calibration", "arrays", 0, "shape"), [2**40, 2**40]),
    "a shape, negative": (("slots", 0, "calibration", "arrays", 0, "shape"), [-1]),
    "the salt": (("salt",), 5),
    "slots": (("slots",), []),
    "a surplus": (("more",), 1),
}


@pytest.mark.parametrize(("path", "value"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document_that_contradicts_itself_is_refused(
    path: tuple[str | int, ...], value: object
) -> None:
    state = used()
    own: Arrays = dict(state["security"])
    document = orjson.loads(own["document"].tobytes())
    at = document
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    own["document"] = np.frombuffer(orjson.dumps(document), np.uint8).copy()
    with pytest.raises(StateError):
        SecurityFold(SMALL, KEY, state | {"security": own})


@pytest.mark.parametrize(
    ("name", "at", "number"),
    [
        ("numbers", 0, -1),
        ("numbers", 1, 2**62),
        ("last_seen", 0, 320),
        ("last_seen", 0, -1),
        ("n_events", 0, 321),
        ("packed_f8", 0, np.nan),
        ("packed_u1", 0, 2),
        ("packed_i4", -1, 2**30),
    ],
)
def test_a_number_that_cannot_be_is_refused(name: str, at: int, number: float) -> None:
    state = used()
    own: Arrays = {key: array.copy() for key, array in state["security"].items()}
    own[name][at] = number
    with pytest.raises(StateError):
        SecurityFold(SMALL, KEY, state | {"security": own})
