"""What the budgets of a fold come to, what was observed, and what its past says in other orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.drift.thresholds import octave_thresholds
from detectors.fold import Fold
from detectors.promise import Promise
from detectors.reference_fit import fit_reference
from schemas.batch import F64, Decoded, ModelKey
from schemas.config import (
    AdwinConfig,
    DetectionConfig,
    DetectorsConfig,
    FocusConfig,
    ModelConfig,
    WindowsConfig,
)
from schemas.records import TopicPartition
from streams.audit_observed import Position, Seen
from streams.budget import (
    ModelBudget,
    Observed,
    counting_from,
    model_budgets,
    observe,
    references_set,
)
from streams.budget_reader import count_opened
from streams.budget_replay import ReplayWish, block_order, replay
from streams.budget_report import caveats, model_lines
from streams.budget_states import State
from streams.checkpoint import Checkpoint
from streams.lineage import JournaledCommand, JournalEntry, Lineage
from streams.past import Past, taken
from streams.reference_report import reference_json, reference_lines
from streams.worker import Detection
from tests.detectors.decoded import Event, decoded, table
from tests.detectors.folding import NO_QUALITY, as_bytes
from tests.fuzz.outputs import ALERT
from tests.streams.reference_kit import reference, set_reference

MODEL = ModelKey("m", "1")
CONFIG = DetectionConfig(reference_events=1_000, arl0=2_000, quality=NO_QUALITY)
LINEAGE = Lineage(deployment="driftsentry", topic_id="t", partition=0, start_offset=10)


def events_of(x: F64, model: ModelKey = MODEL) -> Decoded:
    """Events with this feature, one without news, a score and two classes; a second apart."""
    n = len(x)
    rng = np.random.default_rng(8)
    columns = {"x": x, "y": rng.normal(size=n)}
    batch = table(model, columns, rng.random(n), rng.integers(0, 2, n).astype(np.float64), 0)
    return replace(batch, event_time_ms=np.arange(n, dtype=np.int64) * 1_000)


def budgets_of(fold: Fold) -> list[ModelBudget]:
    return model_budgets(fold, 0, 100)


def folded(x: F64, config: DetectionConfig = CONFIG) -> tuple[Fold, Past]:
    fold, past = Fold(config), Past(200_000)
    events = events_of(x)
    fold.process(events)
    past.take(events)
    return fold, past


def test_a_model_s_budget_is_that_of_its_lanes() -> None:
    fold, _ = folded(np.random.default_rng(1).normal(size=5_000))
    (budget,) = budgets_of(fold)
    assert (budget.key, budget.n_events, budget.n_reference) == (MODEL, 5_000, 1_000)
    assert [each.name for each in budget.watched] == [
        *("feature:x", "missing:x", "feature:y", "missing:y", "score", "class:1"),
        "class:__other__",
        "joint:residual",
    ]
    # Four of them have values, with location and spread; the others are frequencies.
    assert budget.n_lanes == 4 * 2 + 4
    assert budget.events_per_week == pytest.approx(604_800.0)
    assert budget.arl0 == 2_000
    assert budget.accepted_per_week == pytest.approx(604_800.0 * 8 / 2_000)
    # 4,000 events after the reference, eight signals.
    assert budget.expected == pytest.approx(4_000 / 2_000 * 8)
    two, one = octave_thresholds(4_000.0), octave_thresholds(2_000.0)
    assert budget.thresholds() == {
        "location, spread": (two[0], two[-1]),
        "frequency": (one[0], one[-1]),
    }
    assert budget.is_provisional
    assert not budget.is_learning
    # 1,000 rows, independent.
    assert {each.verdict.promise for each in budget.signals} == {Promise.PROVISIONAL}


def test_the_week_and_the_model_s_own_budget_decide_on_the_arl0() -> None:
    config = DetectionConfig(
        reference_events=1_000,
        quality=NO_QUALITY,
        model={"m": ModelConfig(false_alerts="2 per day and model")},
    )
    fold, _ = folded(np.random.default_rng(1).normal(size=1_500), config)
    (budget,) = budgets_of(fold)
    assert budget.accepted_per_week == 14.0
    assert budget.arl0 == pytest.approx(604_800.0 * 8 / 14.0, rel=1e-3)
    assert budget.expected == pytest.approx(500 * 8 / budget.arl0)


def test_a_reference_of_few_periods_is_provisional_and_a_replay_keeps_the_hours() -> None:
    """Four days of a rhythm; shuffled with their times the events still have it. Seeded."""
    n, per_day = 46_000, 5_000
    times = np.arange(n, dtype=np.int64) * 86_400_000 // per_day
    wave = 2.0 * np.sin(2.0 * np.pi * np.arange(n) / per_day)
    events = events_of(wave + np.random.default_rng(5).normal(size=n))
    events = replace(events, event_time_ms=times)
    config = DetectionConfig(reference_events=20_000, arl0=10_000)
    fold, past = Fold(config), Past(100_000)
    fold.process(events)
    past.take(events)
    (budget,) = budgets_of(fold)
    assert budget.n_reference == 20_000
    assert budget.n_periods == {"day": 4}
    assert budget.is_provisional
    (signal,) = [each for each in budget.not_kept() if each.name == "feature:x"]
    said = signal.as_json()
    assert (said["promise"], said["reason"]) == ("provisional", "rhythm")
    assert (said["rhythm"], said["n_periods"], said["enough"]) == ("day", 4, 50_000)
    lines = "\n".join(model_lines(budget))
    assert "20,000 rows: provisional, it covers 4 days, fewer than 10 periods" in lines
    assert "feature:x: few periods of its rhythm (4 days); 20,000 rows, and 50,000 would" in lines
    # A reference that a person has made says the same.
    document = fit_reference(taken(events, np.arange(20_000)), DetectionConfig()).document
    assert reference_json(document)["is_provisional"]
    made = list(reference_lines(document))
    assert made[-1] == "  provisional: it covers 4 days, fewer than 10 periods"
    (line,) = [each for each in made if "feature:x " in each]
    assert line.endswith("kept only roughly: 50,000 rows would do; without its rhythm of a day")
    replay(fold, [budget], past, ReplayWish(46_000))
    assert {each.kind for each in budget.replays} == {"shuffled", "blocks", "frozen"}
    for each in budget.replays:
        if each.kind != "blocks":
            assert each.n_alarms <= 2 * each.observed.expected


@pytest.mark.parametrize("n", [10, 999])
def test_a_model_that_learns_promises_nothing(n: int) -> None:
    fold, past = folded(np.random.default_rng(1).normal(size=n))
    (budget,) = budgets_of(fold)
    assert (budget.n_reference, budget.is_learning, budget.watched) == (0, True, [])
    assert budget.expected == 0.0
    replay(fold, [budget], past, ReplayWish(1_000))
    assert budget.replays == []
    assert "not replayed: no signal" in budget.notes[0]
    assert any("none: no signal of it is watched" in line for line in model_lines(budget))


@pytest.mark.parametrize("n", [999, 1_500])
def test_without_a_detector_that_keeps_one_there_is_no_budget(n: int) -> None:
    detectors = DetectorsConfig(focus=FocusConfig(enabled=False))
    fold, _ = folded(
        np.random.default_rng(1).normal(size=n),
        CONFIG.model_copy(update={"detectors": detectors}),
    )
    (budget,) = budgets_of(fold)
    assert (budget.watched, budget.expected, budget.thresholds()) == ([], 0.0, {})
    assert budget.n_lanes == 0
    assert budget.as_json()["detectors"] == []
    text = "\n".join(model_lines(budget))
    assert "none: no detector that keeps one is on. Switch on `focus` (or `windows`)" in text
    assert "its times do not say" not in text
    assert "would do" not in text
    if n > 1_000:
        assert "complete, but its rows are not kept" in text
        assert "not known, since no rows of its reference are kept" in text
    else:
        assert "none is complete; one is still being learned" in text
        assert "not known, since its reference is not complete" in text


def test_what_a_detector_without_a_budget_has_to_be_is_said_where_none_keeps_one() -> None:
    detectors = DetectorsConfig(focus=FocusConfig(enabled=False), adwin=AdwinConfig(enabled=True))
    config = CONFIG.model_copy(update={"detectors": detectors})
    fold, _ = folded(np.random.default_rng(1).normal(size=1_500), config)
    (budget,) = budgets_of(fold)
    assert (budget.detectors, budget.others, budget.n_reference) == ((), ("adwin",), 1_000)
    text = "\n".join(model_lines(budget))
    assert "What `adwin` finds opens an alert where it is as strong as `focus` would ask" in text
    assert "at one false alarm in 2,000 events of each signal" in text


def words(n: int) -> Decoded:
    """A number and a category of three values, in each event; the category lacks every tenth."""
    rng = np.random.default_rng(2)
    names = rng.choice(["a", "b", "c"], n)
    return decoded([
        Event(i, {"x": float(rng.normal()), "w": None if i % 10 == 0 else str(names[i])},
              ts=1_000 * i)
        for i in range(n)
    ])  # fmt: skip


@pytest.mark.parametrize("focus", [True, False])
def test_a_category_as_a_whole_is_counted_with_the_signals_that_windows_watches(
    focus: bool,
) -> None:
    detectors = DetectorsConfig(
        focus=FocusConfig(enabled=focus), windows=WindowsConfig(enabled=True, window_events=200)
    )
    fold = Fold(CONFIG.model_copy(update={"detectors": detectors}))
    fold.process(words(3_000))
    monitor = fold.catalog.monitor(0)
    (budget,) = budgets_of(fold)
    of = {each.name: each for each in budget.signals}
    assert len(of) == monitor.n_lanes == len(set(of))
    # Every signal has its share of the budget; alone, windows has no use for those of two values.
    wanted = set(of) if focus else {"feature:x", "feature:w"}
    watched = {each.name: each for each in budget.watched}
    assert set(watched) == wanted
    cells = watched["feature:w"]
    assert (cells.lane, cells.n_lanes, cells.windows_arl0) == (None, 1, 2_000)
    if focus:
        # Two thousand events after the reference, of which a tenth had no value.
        assert cells.n_observed == of["feature:w=a"].n_observed == 1_800
        assert of["feature:x"].arl0s == [4_000, 4_000]
        assert budget.expected == pytest.approx(
            sum(each.n_observed / 2_000 for each in budget.signals)
        )
    else:
        assert of["feature:x"].arl0s == [2_000]
        assert of["feature:x"].expected == pytest.approx(1.0)
        assert of["missing:w"].n_observed == 0
    lines = list(model_lines(budget))
    text = "\n".join(lines)
    n = len(of)
    shown = f"{n} signals in" if focus else f"2 of {n} signals in 2 lanes"
    assert any(line.split(maxsplit=1)[1].startswith(shown) for line in lines if "watched  " in line)
    assert f"of {n} signals:" in text
    assert ("thresholds" in text) == focus


def test_what_is_observed_stands_beside_its_exact_law() -> None:
    observed = Observed(3, 0.5)
    low, high = observed.interval
    assert low == pytest.approx(0.6187, abs=1e-4)
    assert high == pytest.approx(8.7673, abs=1e-4)
    assert observed.probability == pytest.approx(0.014388, abs=1e-6)


def entry(offset: int, config: DetectionConfig) -> JournalEntry:
    return JournalEntry.model_validate({
        "kind": "config" if config.generation > 1 else "lineage",
        "lineage": LINEAGE,
        "offset": offset,
        "generation": config.generation,
        "config": Detection(config, None).identity,
        "versions": {},
        "document": config,
    })  # fmt: skip


def test_lanes_count_from_the_last_switch_that_begins_them_anew() -> None:
    other_policy = CONFIG.model_copy(update={"generation": 2, "max_late_ms": 1})
    other_budget = other_policy.model_copy(update={"generation": 3, "arl0": 9_000.0})
    other_focus = other_budget.model_copy(
        update={"generation": 4, "detectors": DetectorsConfig(focus=FocusConfig(baseline_rows=50))}
    )
    entries = [entry(10, CONFIG), entry(20, other_policy)]
    assert counting_from(10, entries) == 10
    entries.append(entry(30, other_budget))
    assert counting_from(10, entries) == 30
    entries.append(entry(40, other_focus))
    assert counting_from(10, entries) == 40
    assert counting_from(10, []) == 10


def state(since: int = 20, next_offset: int = 100, n_alerts: int = 5) -> State:
    checkpoint = Checkpoint(
        lineage=LINEAGE.id,
        parent="",
        topic_id="t",
        next_offset=next_offset,
        config_identity="c",
        generation=1,
        versions={},
        fields={"n_alerts": n_alerts},
        parts={},
    )
    return State(TopicPartition("events", 0), LINEAGE, Fold(CONFIG), checkpoint, since)


def said(seq: int, trigger_offset: int, lineage: str = LINEAGE.id, **more: object) -> Seen:
    """An alert record as it stands on the topic."""
    document = ALERT.model_dump() | {
        "seq": seq,
        "alert_id": f"alert-{seq}",
        "trigger_offset": trigger_offset,
        "revision": 1,
        "model_id": "m",
        "model_version": "1",
        "shard": None,
        "lineage": lineage,
        "kind": "drift",
        **more,
    }
    return Seen(b"m", orjson.dumps(document), (("ce_lineage", lineage.encode()),), 0)


def counted(records: Sequence[Seen]) -> tuple[dict[tuple[int, ModelKey], int], int]:
    placed = [(Position(0, at), record) for at, record in enumerate(records)]
    n_opened, n_lost = count_opened(iter([placed]), [state()])
    return dict(n_opened), n_lost[LINEAGE.id]


def test_alerts_are_counted_that_were_opened_while_the_lanes_counted() -> None:
    records = [
        said(1, 50),
        said(1, 50),  # delivered twice
        said(2, 60, revision=2, alert_id="alert-1"),
        said(3, 19),  # before the lanes began anew
        said(4, 70, shard=3),
        said(5, 80, kind="bound"),
        said(6, 100),  # later than the state
        said(7, 50, lineage="another fold's"),
        Seen(b"m", b"no json", (("ce_lineage", LINEAGE.id.encode()),), 0),
        Seen(b"m", b'{"seq": "x"}', (("ce_lineage", LINEAGE.id.encode()),), 0),
        Seen(b"m", None, (), 0),
    ]
    assert counted(records) == ({(0, MODEL): 1, (0, ModelKey("m", "1", 3)): 1}, 0)


def test_of_a_model_whose_reference_was_set_alerts_count_from_there() -> None:
    placed = [
        (Position(0, seq), said(seq, offset, model_version=version))
        for seq, offset, version in ((1, 50, "1"), (2, 60, "1"), (3, 50, "2"))
    ]
    own = replace(state(), set_at={("m", "1"): 60})
    n_opened, _ = count_opened(iter([placed]), [own])
    assert n_opened == {(0, MODEL): 1, (0, ModelKey("m", "2")): 1}


def test_where_references_were_set_stands_in_the_journal() -> None:
    def said_at(offset: int, number: int, version: str) -> JournalEntry:
        order = set_reference(reference(), f"r{number}", "m", version)
        command = JournaledCommand(
            number=number, topic_id="c", offset=number, said_ms=1, order=order
        )
        update = {"kind": "command", "document": None, "command": command, "offset": offset}
        return entry(offset, CONFIG).model_copy(update=update)

    entries = [entry(10, CONFIG), said_at(20, 1, "1"), said_at(30, 2, "2"), said_at(40, 3, "1")]
    assert references_set(entries, 2) == {("m", "1"): 20, ("m", "2"): 30}
    assert references_set(entries, 3) == {("m", "1"): 40, ("m", "2"): 30}


def test_a_reference_that_was_set_is_named_and_no_event_of_the_model_was_its() -> None:
    fold = Fold(CONFIG)
    document = reference(n=300)
    fold.set_reference("m", "1", document)
    events = [Event(i, {"x": float(i % 7), "y": 0.1 * (i % 5)}) for i in range(50)]
    fold.process(decoded(events))
    (budget,) = budgets_of(fold)
    assert (budget.reference, budget.n_reference, budget.n_events) == (document.digest, 300, 50)
    assert any(f"300 rows, set: {document.digest}" in line for line in model_lines(budget))


def test_records_that_are_gone_from_the_topic_are_told() -> None:
    assert counted([said(4, 50), said(5, 60)]) == ({(0, MODEL): 2}, 3)


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 50), st.integers(0, 2**32))
def test_blocks_stay_together_and_nothing_is_lost(n: int, length: int, seed: int) -> None:
    order = block_order(n, length, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(n))
    n_breaks = int(np.count_nonzero(np.diff(order) != 1))
    assert n_breaks <= n // length + 1


def replayed(
    x: F64, wish: ReplayWish, config: DetectionConfig = CONFIG
) -> tuple[ModelBudget, Fold]:
    fold, past = folded(x, config)
    (budget,) = budgets_of(fold)
    observe([budget], {(0, MODEL): 2})
    before = as_bytes(fold.snapshot())
    replay(fold, [budget], past, wish)
    assert as_bytes(fold.snapshot()) == before
    return budget, fold


def test_a_shuffled_past_gives_no_more_alarms_than_are_stated() -> None:
    config = CONFIG.model_copy(update={"reference_events": 2_000})
    x = np.random.default_rng(4).standard_t(3, size=22_000)
    budget, _ = replayed(x, ReplayWish(200_000, seed=5), config)
    assert [each.kind for each in budget.replays] == ["shuffled", "blocks", "frozen"]
    for each in budget.replays:
        assert each.n_events == 20_000
        # Eight by the event; one by the block of 100, and no lane alarms more than once in 100.
        assert each.observed.expected == pytest.approx(20_000 / 2_000 * 8 + 200 / 100)
        assert 0 < each.n_alarms <= 2 * each.observed.expected
        assert 0 < each.observed.n_alerts <= each.n_alarms
    again, _ = replayed(x, ReplayWish(200_000, seed=5), config)
    assert again.replays == budget.replays
    other, _ = replayed(x, ReplayWish(200_000, seed=6), config)
    assert other.replays != budget.replays


def test_a_past_that_changed_is_quiet_shuffled_and_unlike_its_old_reference() -> None:
    config = CONFIG.model_copy(update={"arl0": 1e7})
    x = np.random.default_rng(4).normal(size=9_000)
    x[4_000:] += 3.0
    budget, _ = replayed(x, ReplayWish(200_000), config)
    alerts = {each.kind: each.observed.n_alerts for each in budget.replays}
    assert alerts["shuffled"] == 0
    assert alerts["frozen"] >= 1
    text = "\n".join([*model_lines(budget), *caveats([budget])])
    assert "Observed ones may be true changes" in text
    assert "what hangs together in time is destroyed" in text


def test_of_a_long_past_the_latest_events_are_replayed_and_too_few_are_told() -> None:
    x = np.random.default_rng(4).normal(size=6_000)
    fold, events = Fold(CONFIG), events_of(x)
    fold.process(events)
    (budget,) = budgets_of(fold)
    past = Past(2_000)
    past.take(events)
    replay(fold, [budget], past, ReplayWish(2_000))
    # A reference of its own, or the old one, of which none of these is part.
    assert [each.n_events for each in budget.replays] == [1_000, 1_000, 2_000]
    (short,) = budgets_of(fold)
    few = Past(1_099)
    few.take(events)
    replay(fold, [short], few, ReplayWish(1_099))
    assert short.replays == []
    assert "1,099 of its events are there" in short.notes[0]


def test_names_from_events_do_not_reach_the_numbers_of_others() -> None:
    """What is replayed of one model is the same whoever else there is."""
    x = np.random.default_rng(4).normal(size=4_000)
    other = ModelKey("other", "1")
    fold, past = folded(x)
    fold.process(events_of(x, other))
    past.take(events_of(x, other))
    both = budgets_of(fold)
    replay(fold, both, past, ReplayWish(200_000))
    alone, _ = replayed(x, ReplayWish(200_000))
    assert both[0].key == MODEL
    assert both[0].replays == alone.replays
    assert [each.key for each in model_budgets(fold, 0, 0, "other")] == [other]
