"""The benchmarks run and say what they are for; how fast anything is, no test says."""

from __future__ import annotations

import pytest

from benchmarks.data_quality import IS_UNIT, NULLS
from benchmarks.scale import N_MODELS, N_PAUSED_SIGNALS, WIDTHS
from benchmarks.trend import MOVES, WITHOUT
from detectors.registry import REGISTRY
from tests.benchmarks.run import rows, run_quick


@pytest.mark.long
def test_kernels_fire_where_river_fires() -> None:
    said = run_quick("kernels")
    measured = said["figures"]["measured"]
    assert {one["detector"] for one in measured} == set(REGISTRY)
    assert all(one["own_ns"] > 0 and one["river_ns"] > 0 for one in measured)
    fired = {one["detector"]: one["n_firings"] for one in measured if one["stream"] == "changing"}
    assert fired["adwin"] > 0
    assert fired["page_hinkley"] > 0
    assert fired["kswin"] > 0
    assert all(fired[name] > 0 for name, spec in REGISTRY.items() if spec.watches_errors_only)


@pytest.mark.long
def test_trend_stands_beside_focus_on_every_move_and_every_null() -> None:
    said = run_quick("trend")
    assert set(rows(said, "rates")) == {null.name for null in WITHOUT}
    assert {one["move"] for one in said["figures"]["moves"]} == {move.name for move in MOVES}
    assert all(set(one["rows"]) == {"alone", "focus", "trend"} for one in said["figures"]["moves"])


@pytest.mark.long
def test_scale_measures_every_size() -> None:
    said = run_quick("scale")
    assert set(rows(said, "models")) == {f"{n:,}" for n in N_MODELS}
    assert set(rows(said, "features")) == {f"{n:,}" for n in WIDTHS}
    sizes = list(said["figures"]["state_bytes_by_window"].values())
    assert sizes == sorted(sizes)
    assert len(sizes) == 2
    assert said["figures"]["checkpoint"]["n_signals"] >= N_PAUSED_SIGNALS


@pytest.mark.long
@pytest.mark.kafka
def test_peers_all_take_part_and_find_the_same() -> None:
    said = run_quick("peers", "--workers", "2")
    standings = rows(said, "standings")
    assert said["not_run"] == []
    assert len(standings) == 6
    detections = rows(said, "detections")
    assert set(detections) == set(standings) - {"bare consume + orjson.loads"}
    for who, (comparison, n_adwin, n_page_hinkley, _) in detections.items():
        assert comparison == "the same", who
        assert int(n_adwin) > 0
        assert int(n_page_hinkley) > 0
    assert set(rows(said, "workers")) == {"1", "2"}


@pytest.mark.long
@pytest.mark.kafka
def test_the_profile_parts_all_of_the_time() -> None:
    figures = run_quick("profile")["figures"]
    own_us = figures["own_us_per_event"]
    assert all(us > 0 for us in own_us.values()), own_us
    assert sum(own_us.values()) == pytest.approx(figures["worker"]["us_per_event"], rel=0.1)


@pytest.mark.long
@pytest.mark.kafka
def test_latency_sees_an_alert_for_every_event_that_must_raise_one() -> None:
    figures = run_quick("latency")["figures"]
    assert figures["n_alerts"] >= figures["n_spikes"] > 0
    assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["max_ms"]


@pytest.mark.long
@pytest.mark.kafka
def test_startup_measures_both_caches() -> None:
    figures = run_quick("startup")["figures"]["seconds"]
    assert min(figures["cold kernel cache"]) > 0
    assert min(figures["warm kernel cache"]) > 0


@pytest.mark.long
def test_changes_of_correlation_alone_are_found_together_and_not_on_each_feature() -> None:
    figures = run_quick("joint")["figures"]
    both = [one for one in figures["changes"] if "joint:mmd" in one["contestant"]]
    alone = [one for one in figures["changes"] if one["contestant"] == "focus on each feature"]
    assert len(both) == len(alone) == 9
    assert all(one["n_found"] == one["n_seeds"] for one in both)
    assert sum(one["n_found"] for one in alone) < sum(one["n_seeds"] for one in alone) / 4
    assert {one["detector"] for one in figures["nulls"]} == {"joint:residual", "joint:mmd"}


def test_a_checkpoint_of_what_waits_for_labels_writes_what_is_new() -> None:
    figures = run_quick("labels")["figures"]
    assert figures["n_joined"] == figures["n_pending"] // 10
    # Of the blocks of predictions the one that was begun, and the new one; answers; numbers.
    assert 0 < figures["second"]["n_new_bytes"] < 2 * 4_096 * 80 + 8_192 * 16 + 4_096
    assert figures["second"]["n_bytes"] > 3 * figures["second"]["n_new_bytes"]
    with_labels, without = figures["costs"]
    assert with_labels["n_joined"] > 1_000
    assert without["n_joined"] == 0
    assert min(one[us] for one in figures["costs"] for us in ("off_us", "on_us")) > 0
    memory = figures["memory"]
    parts = [memory[name] for name in ("total", "expected", "groups", "leakage")]
    # Three windows, and five.
    for name, n_windows in (("all", 3), ("all_of_most", 5)):
        assert memory[name] == sum(parts) + n_windows * memory["window"]
    assert 0 < memory["window"] < 20_000
    off, by_default, and_duplicates = figures["quality"]
    assert off["signals"] == []
    kinds = ("late", "future", "range", "stuck", "type")
    names = {"latency", *(f"quality:{kind}" for kind in kinds)}
    assert set(by_default["signals"]) == names
    assert set(and_duplicates["signals"]) == names | {"quality:duplicate"}
    assert min(one["us"] for one in figures["quality"]) > 0


@pytest.mark.long
def test_metrics_are_those_of_scikit_learn_and_estimates_those_of_nannyml() -> None:
    said = run_quick("performance")
    assert said["not_run"] == []
    # Where scikit-learn says otherwise the benchmark ends with an error.
    assert len(said["figures"]["delayed"]["differences"]) == 4 * (7 + 2)
    estimates = said["figures"]["estimate"]["estimates"]
    for name, ours in estimates["driftsentry"].items():
        theirs = estimates["NannyML"][name]
        assert ours["value"] == pytest.approx(theirs["value"], abs=0.01), name
        assert all(low < high for low, high in zip(ours["low"], ours["high"], strict=True))


@pytest.mark.long
def test_quiet_streams_have_the_signals_they_claim_and_state_what_is_expected() -> None:
    seeds = run_quick("quiet")["figures"]["seeds"]
    assert [one["n_signals"] for one in seeds] == [53, 53]
    assert all(0 < one["expected"] < 0.01 for one in seeds)


@pytest.mark.long
def test_data_quality_measures_changes_rates_and_units() -> None:
    figures = run_quick("data_quality")["figures"]
    wider = figures["changes"]["normal, spread + 10 %"]
    assert all(one["ours"] < (one["others"] or 10_000) for one in wider)
    assert {one["null"] for one in figures["rates"]} == set(NULLS)
    units = figures["units"]
    others = [one for name, one in units.items() if name != IS_UNIT]
    assert units[IS_UNIT]["n_named"] > 0.3 * units[IS_UNIT]["n_settled"]
    assert sum(one["n_named"] for one in others) < 0.05 * sum(one["n_settled"] for one in others)


@pytest.mark.long
@pytest.mark.kafka
def test_the_pipeline_is_measured_with_the_default_detector_too() -> None:
    said = run_quick("pipeline")
    contestants = rows(said, "pipeline")
    assert {"driftsentry, 1 model", "driftsentry, 1 model, focus"} < set(contestants)
    figures = said["figures"]["contestants"]
    assert all(one["events_per_s"] > 0 for one in figures.values())


@pytest.mark.long
@pytest.mark.kafka
def test_an_attacker_is_named_on_the_topic_at_the_query_at_which_the_fold_names_it() -> None:
    said = run_quick("attack_stream")
    victims = said["figures"]["victims"]
    assert len(rows(said, "stream")) == len(victims) == 2
    for victim in victims:
        assert victim["stream"] == victim["in_process"]
        assert victim["stream"]["n_queries"] < victim["n_attack"]
        assert victim["finding"]["class_uid"] == 2004
        assert victim["finding"]["unmapped"]["is_provisional"] is False
