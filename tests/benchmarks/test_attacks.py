"""The judge of the security lane: its traffic, its counts, its baselines, and that it runs."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.attacks.agreement import ENOUGH, Stolen, best_copy, sizes, stolen
from benchmarks.attacks.baseline_kernels import growing_distances, knn_means
from benchmarks.attacks.baselines import NAMES as PEERS
from benchmarks.attacks.baselines import QUIET, Baselines, Prada, Volume, spaced
from benchmarks.attacks.breaks import BREAKS, Break, breaking
from benchmarks.attacks.controls import AS_RECORDED, permuted, shuffled
from benchmarks.attacks.duels import LANE, SETTINGS, Duel, Found, queries_to
from benchmarks.attacks.frog import Boiled, boiled
from benchmarks.attacks.goals import MET, MISSED, NOT_SHOWN, goals
from benchmarks.attacks.intervals import per_million, quantile, wilson
from benchmarks.attacks.lane import Alarm
from benchmarks.attacks.made import made
from benchmarks.attacks.mixes import CANARIES, MIXES, N_CLIENTS, canaries, load, retries
from benchmarks.attacks.quiet import Quiet, quiet
from benchmarks.attacks.recordings import NoRecordingsError, data_set, folder
from benchmarks.attacks.results import Results
from benchmarks.attacks.traffic import ATTACKER, Traffic, embedded, generator, spread
from benchmarks.drift.work import Task, Workers
from benchmarks.kit.event_table import EventTable
from detectors.security.base import Technique
from schemas.batch import Decoded, ValueKind
from tests.benchmarks.run import rows, run_quick
from tests.detectors.decoded import Event, decoded


@given(
    n=st.integers(1, 30),
    share=st.sampled_from([1.0, 0.5, 0.1, 0.02]),
    n_before=st.integers(0, 20),
    n_sources=st.sampled_from([1, 3, 20]),
)
def test_queries_stand_in_their_order_at_their_share(
    n: int, share: float, n_before: int, n_sources: int
) -> None:
    attack = spread(made().attacks["copycat_uniform"].victims[0].take(slice(0, n)), n_sources, 100)
    traffic = embedded(attack, made().benign, share, n_before, generator("test"))
    assert np.array_equal(traffic.x[traffic.is_attack], attack.x)
    assert np.array_equal(traffic.source[traffic.is_attack], attack.source)
    assert not traffic.is_attack[:n_before].any()
    assert len(traffic) == n_before + round(n / share)
    assert traffic.is_attack[-1]


def test_a_poll_is_what_the_decoder_gives_for_the_same_events() -> None:
    made_by_hand = decoded(
        [
            Event(0, {"f000": 1.5, "f001": -2.0}, score=0.25, prediction=0, ts=7, record_ts=7),
            Event(1, {"f000": 0.5, "f001": 3.0}, score=0.75, prediction=1, ts=8, record_ts=8),
        ]
    )
    table = EventTable(
        values=np.array([[1.5, -2.0], [0.5, 3.0]]),
        score=np.array([0.25, 0.75]),
        answer=np.array([0, 1]),
        words=np.zeros((2, 2), np.uint64),
        time_ms=np.array([7, 8]),
        event_id=np.zeros(2, np.uint64),
        is_label=np.zeros(2, np.bool_),
    )
    for name in Decoded.__slots__:
        np.testing.assert_array_equal(
            getattr(table.poll(0, 2), name), getattr(made_by_hand, name), err_msg=name
        )


@pytest.mark.parametrize("own", BREAKS, ids=lambda one: one.name)
def test_a_break_changes_the_rows_of_its_clients_and_no_answer_that_is_recorded(own: Break) -> None:
    rows = spread(made().benign.take(slice(0, 1_000)), 20)
    broken = breaking(rows, own, 3, None)
    is_changed = (broken.x != rows.x).any(axis=1)
    is_hit = (np.arange(1_000) >= 300) & (rows.source % own.n_th_client == 0)
    # A feature that is stuck at a row's value does not change that row.
    assert not (is_changed & ~is_hit).any()
    assert (is_hit & ~is_changed).sum() <= 1
    assert np.array_equal(broken.predicted, rows.predicted)
    poll = broken.table().poll(0, 1_000)
    is_null = (poll.kind == ValueKind.NULL).reshape(1_000, -1)
    assert np.array_equal(is_null, np.isnan(broken.x))


def test_a_control_takes_one_thing_away_and_leaves_the_others() -> None:
    attack = made().attacks["boundary"].victims[0]
    rng = generator("test")
    without_answers, without_order = permuted(attack, rng), shuffled(attack, rng)
    assert np.array_equal(without_answers.x, attack.x)
    assert not np.array_equal(without_answers.predicted, attack.predicted)
    pairs = sorted(zip(attack.score.tolist(), attack.predicted.tolist(), strict=True))
    assert pairs == sorted(
        zip(without_answers.score.tolist(), without_answers.predicted.tolist(), strict=True)
    )
    rows_ = {(*x, p) for x, p in zip(attack.x.tolist(), attack.predicted.tolist(), strict=True)}
    assert not np.array_equal(without_order.x, attack.x)
    assert rows_ == {
        (*x, p)
        for x, p in zip(without_order.x.tolist(), without_order.predicted.tolist(), strict=True)
    }


def test_retries_are_rows_that_their_client_has_just_sent() -> None:
    traffic = retries(made(), 4_000, generator("test"))
    latest: dict[int, list[bytes]] = {}
    n_again = 0
    for row, client in zip(traffic.x, traffic.source.tolist(), strict=True):
        sent = latest.setdefault(client, [])
        n_again += row.tobytes() in sent[-5:]
        sent.append(row.tobytes())
    assert n_again == pytest.approx(4_000 / 11, rel=0.15)


def test_canaries_are_one_row_of_each_client() -> None:
    traffic = canaries(made(), 4_000, generator("test"))
    for client in range(N_CLIENTS):
        own = traffic.x[traffic.source == client]
        _, counts = np.unique(own, axis=0, return_counts=True)
        assert counts.max() == pytest.approx(CANARIES * len(own), rel=0.6)
        assert np.sort(counts)[-2] <= 2


def test_under_load_one_client_sends_ten_times_as_much() -> None:
    source = load(made(), 20_000, generator("test")).source
    before, after = source[:10_000], source[10_000:]
    assert (before == 0).mean() == pytest.approx(1 / N_CLIENTS, rel=0.1)
    ratio = (after == 0).sum() / (after == 1).sum()
    assert ratio == pytest.approx(10.0, rel=0.25)


def _alarm(row: int, sources: tuple[int, ...] = (), first: int = 0) -> Alarm:
    return Alarm(row, "some", "probing", sources, first, 1.0, 0.0, "")


def test_an_alarm_counts_where_half_of_its_evidence_is_the_attacks() -> None:
    rows_ = made().benign.take(slice(0, 10))
    source = np.array([1, 2, ATTACKER, 3, ATTACKER + 1, 4, ATTACKER, 5, 6, ATTACKER])
    is_attack = source >= ATTACKER
    traffic = Traffic(rows_.x, rows_.score, rows_.predicted, source, is_attack)
    assert queries_to([_alarm(6, (ATTACKER,))], traffic) == {"some": 3.0, LANE: 3.0}
    assert queries_to([_alarm(6, (ATTACKER, 1))], traffic)[LANE] == 3.0
    assert queries_to([_alarm(6, (ATTACKER, 1, 2))], traffic) == {}
    assert queries_to([_alarm(6, (1,))], traffic) == {}
    # One that names nobody: by the events among which it saw it.
    assert queries_to([_alarm(6, (), 2)], traffic)[LANE] == 3.0
    assert queries_to([_alarm(6, (), 0)], traffic) == {}
    assert queries_to([_alarm(6, (ATTACKER,)), _alarm(4, (ATTACKER,))], traffic)[LANE] == 2.0
    # Before the first query nothing can be found.
    assert queries_to([_alarm(1, (ATTACKER,))], traffic) == {}
    # A rank by exposure and changed data accuse nobody.
    ranked = _alarm(6, (ATTACKER,))._replace(detector="exposure")
    changed = _alarm(6, (ATTACKER,))._replace(technique=Technique.DATA_CHANGE)
    assert queries_to([ranked, changed], traffic) == {}


def test_intervals_are_the_published_ones() -> None:
    # Wilson's for 5 of 5, and for 81 of 263 as in Newcombe (1998), table I.
    assert wilson(5, 5) == pytest.approx((0.5655, 1.0), abs=1e-4)
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert per_million(0, 300_000)[1] == pytest.approx(10.0, rel=0.01)
    assert per_million(3, 1_000_000) == pytest.approx((3.0, 8.767), abs=1e-3)


def test_what_was_missed_is_infinite() -> None:
    assert quantile([1.0, 2.0, math.inf], 0.5) == 2.0
    assert quantile([1.0, math.inf, math.inf], 0.5) == math.inf
    assert quantile([4.0, 1.0, 3.0, 2.0], 0.95) == 4.0
    assert math.isnan(quantile([], 0.5))


def test_knn_is_what_sorting_all_distances_says() -> None:
    rng = np.random.default_rng(3)
    z = rng.normal(size=(120, 5)).astype(np.float32)
    found = knn_means(z, 7, 40)
    assert np.isinf(found[:7]).all()
    for i in range(7, 120):
        apart = np.linalg.norm(z[max(0, i - 40) : i].astype(float) - z[i], axis=1)
        assert found[i] == pytest.approx(np.sort(apart)[:7].mean(), rel=1e-6)


def test_growing_sets_are_prada_s() -> None:
    rng = np.random.default_rng(4)
    z = rng.normal(size=(200, 3)).astype(np.float32)
    predicted = rng.integers(0, 2, 200)
    found = growing_distances(z, predicted, 256)
    members: dict[int, list[int]] = {0: [], 1: []}
    joined: dict[int, list[float]] = {0: [], 1: []}
    threshold = {0: 0.0, 1: 0.0}
    for i, c in enumerate(predicted.tolist()):
        if not members[c]:
            members[c].append(i)
            assert found[i] == math.inf
            continue
        least = float(np.linalg.norm(z[members[c]].astype(float) - z[i], axis=1).min())
        assert found[i] == pytest.approx(least, rel=1e-6)
        if least > threshold[c]:
            members[c].append(i)
            joined[c].append(least)
            threshold[c] = max(threshold[c], float(np.mean(joined[c]) - np.std(joined[c])))


def test_baselines_are_silent_on_what_they_were_calibrated_on() -> None:
    known = made()
    own = Baselines(known.calibration)
    own.usual(6)
    scaled = own.scaler(spread(known.calibration, 6))
    by_clients = own.scaler(known.calibration)
    for one in own.each:
        assert one.alarms(scaled if isinstance(one, Volume) else by_clients) == [], one.name


def test_baselines_find_a_walk_along_the_boundary() -> None:
    known = made()
    own = Baselines(known.calibration)
    walk = own.scaler(known.attacks["boundary"].victims[0])
    found = {one.name: one.alarms(walk) for one in own.each}
    assert all(found[name] for name in ("kNN", "Blacklight", "MMD"))


def test_a_client_is_quiet_after_an_alarm() -> None:
    own = np.arange(0, 8_000, 2)
    assert spaced([5, 6, 5 + QUIET, 6 + QUIET, 3_000], own) == [10, 2 * (6 + QUIET), 6_000]


def test_prada_needs_a_hundred_distances() -> None:
    scaled = Baselines(made().calibration).scaler(made().calibration)
    statistic = Prada().statistic(scaled, np.arange(300))
    first = int(np.flatnonzero(np.isfinite(statistic))[0])
    assert 100 <= first <= 120


def test_of_goals_is_said_what_the_bound_shows_and_no_more() -> None:
    found = [
        Quiet("d", "proved", 400_000, {}, 0, {}),
        Quiet("d", "too few", 1_000, {}, 0, {}),
        Quiet("d", "too many", 1_000, {"probing": 3}, 0, {}),
    ]
    assert [one.verdict for one in goals(Results(quiet=found))] == [MET, NOT_SHOWN, MISSED]


def test_a_source_that_is_found_after_half_a_deviation_is_found_too_late() -> None:
    def verdicts(moved_by: list[float]) -> list[str]:
        n = len(moved_by)
        to = [1_000.0 if math.isfinite(by) else math.inf for by in moved_by]
        own = Boiled("one source of 5% of the events", 10, to, moved_by, 0, [0.0] * n, [0.0] * n)
        return [one.verdict for one in goals(Results(boiled=[own])) if one.name.endswith("found")]

    assert verdicts([0.3, 0.49]) == [MET]
    assert verdicts([0.3, 0.5]) == [MISSED]
    assert verdicts([0.3, 0.4, math.inf]) == [MISSED]


@given(st.integers(1, 5_000))
def test_copies_are_trained_on_ever_more_queries_and_at_last_on_all(n: int) -> None:
    found = list(sizes(n))
    assert found == sorted(set(found))
    assert found[0] == min(5, n)
    assert found[-1] == n
    assert all(after <= before * 1.25 + 1 for before, after in pairwise(found))


def test_a_copy_of_one_answer_says_it_always() -> None:
    rows_ = made().benign
    ones = rows_.take(np.flatnonzero(rows_.predicted == 1))
    assert best_copy(ones, rows_) == pytest.approx(len(ones) / len(rows_))


def test_a_theft_pays_after_the_first_copy_that_agrees() -> None:
    """The copies are seeded; the theft is a logistic model's, which a copy of its kind learns."""
    copied = stolen(None, "made", "copycat_uniform")
    known = made()
    theft = known.attacks["copycat_uniform"].victims[0]
    judges = known.benign.take(slice(0, 2_000))
    tried = list(sizes(len(theft)))
    at = tried.index(int(copied.queries))
    shares = [best_copy(theft.take(slice(0, n)), judges) for n in tried[: at + 1]]
    assert all(share < ENOUGH for share in shares[:-1])
    assert shares[-1] >= ENOUGH
    assert copied.at_last > 0.95
    assert copied.at_first == shares[0]


def _duel(attack: str, queries: float, *, n_whole: int = 1_000) -> Duel:
    return Duel("d", attack, SETTINGS[0], [n_whole], [n_whole], [True], Found([queries]), {}, {})


def test_a_theft_that_is_found_after_it_has_paid_is_found_too_late() -> None:
    def verdict(found: float, paid: float) -> str:
        results = Results(
            duels=[_duel("jbda", found)], stolen=[Stolen("d", "jbda", paid, 0.5, 0.9)]
        )
        return next(one.verdict for one in goals(results) if "a copy agrees" in one.name)

    assert verdict(50.0, 51.0) == MET
    assert verdict(51.0, 51.0) == MISSED
    assert verdict(50.0, math.inf) == MET
    # Nobody has found it: that it has not paid is nobody's merit.
    assert verdict(math.inf, math.inf) == MISSED


def _record(folder_: Path, name: str, x: np.ndarray, **meta: object) -> None:
    n = len(x)
    np.savez(
        folder_ / f"set-{name}.npz",
        X=x.astype(np.float32),
        proba=np.tile(np.array([[0.25, 0.75]], np.float32), (n, 1)),
        pred=np.ones(n, np.int16),
        call=np.zeros(n, np.int32),
        victim=np.repeat(np.array([0, 1], np.int16), n // 2),
        seq=np.arange(n, dtype=np.int32),
        meta=np.array(json.dumps(meta)),
    )


def test_rows_that_an_attack_sends_too_are_in_no_benign_part(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(300, 4)).astype(np.float32)
    _record(tmp_path, "benign", x, truth=list(range(300)))
    _record(tmp_path, "copycat_inpool", np.concatenate([x[100:140], rng.normal(size=(10, 4))]))
    known = data_set(tmp_path, "set")
    assert len(known.calibration) == 2 * 260 // 3
    assert len(known.calibration) + len(known.benign) == 260
    kept = {*known.calibration.x[:, 0].tolist(), *known.benign.x[:, 0].tolist()}
    assert not kept & set(x[100:140, 0].astype(float).tolist())
    assert np.array_equal(known.truth, np.arange(300)[-len(known.benign) :])
    assert [len(one) for one in known.attacks["copycat_inpool"].victims] == [25, 25]
    assert known.benign.score[0] == 0.75


def test_missing_recordings_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DRIFTSENTRY_ATTACKS", raising=False)
    with pytest.raises(NoRecordingsError, match="DRIFTSENTRY_ATTACKS"):
        folder()
    monkeypatch.setenv("DRIFTSENTRY_ATTACKS", str(tmp_path))
    with pytest.raises(NoRecordingsError, match="no recorded attacks"):
        folder()


def test_the_lane_finds_the_walks_that_it_makes_and_says_what_it_costs() -> None:
    said = run_quick("attacks", "--processes", "1")
    duels = {
        (one["attack"], one["setting"]["share"]): one["lane"]["queries"]
        for one in said["figures"]["duels"]
    }
    assert set(duels) == {(a, s) for a in ("boundary", "copycat_uniform") for s in (1.0, 0.1)}
    assert all(queries is not None for queries in duels["boundary", 1.0])
    assert set(rows(said, "attacks_100_1")) == {"made, boundary", "made, copycat_uniform"}
    independent = next(one for one in said["figures"]["benign"] if one["mix"] == "independent")
    assert independent["n_of"] == {}
    assert all(one["us_per_event"] > 0 for one in said["figures"]["costs"][-1:])
    assert set(rows(said, "together")) == {LANE, *PEERS}
    assert rows(said, "together")["Blacklight"][-1] == "grows"
    assert {row[1] for row in rows(said, "stolen").values()} == {
        f"{said['figures']['stolen'][0]['queries']:.0f}"
    }
    assert {one["flips"] for one in said["figures"]["labels"]} == {0.0, 0.1, 0.2, 0.5}
    assert {one["floor"] for one in said["figures"]["adaptive"]} == {0.0, 0.5, 1.0, 2.0, 4.0}
    assert len(said["figures"]["baseline"]) == 3
    assert {one["break_name"] for one in said["figures"]["breaks"]} == {one.name for one in BREAKS}
    of_all = [one for one in said["figures"]["breaks"] if "client" not in one["break_name"]]
    assert all(one["n_accused"] == 0 for one in of_all)
    assert any(one["n_accused_without"] > 0 for one in of_all)
    controls = {
        (one["attack"], one["control"]): one["lane"]["queries"]
        for one in said["figures"]["controls"]
    }
    assert controls["boundary", AS_RECORDED] == duels["boundary", 1.0]
    assert set(rows(said, "controls")) == {"made, boundary", "made, copycat_uniform"}
    assert {row[0] for row in rows(said, "goals").values()} <= {MET, MISSED, NOT_SHOWN}


@pytest.mark.long
def test_any_number_of_processes_gives_the_same_figures_in_any_order_of_the_tasks() -> None:
    """Each task is seeded by what it is: what ran before it in the same process says nothing."""
    tasks: list[Task[Any]] = [
        Task("benign", quiet, (None, "made", MIXES[0].name, 2_000, 1)),
        Task("frog", boiled, (None, "made", 0.3, 2_000, 1)),
        Task("benign again", quiet, (None, "made", MIXES[0].name, 2_000, 2)),
    ]
    with Workers(1) as workers:
        alone: list[Any] = workers.run("part", tasks)
        assert workers.run("part", tasks[::-1]) == alone[::-1]
    with Workers(2) as workers:
        assert workers.run("part", tasks) == alone
    assert isinstance(alone[0], Quiet)
    assert isinstance(alone[2], Quiet)
    assert alone[0].n_events == alone[2].n_events > 0
