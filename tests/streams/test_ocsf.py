"""What goes out to security teams is a Detection Finding as OCSF publishes it."""

from __future__ import annotations

from itertools import count
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from detectors.security.base import MAX_NAMED, Suspicion, Technique
from schemas.anomalies import CLASS_UID, OCSF_VERSION, AnomalyData
from schemas.atlas import ATTACKS
from schemas.batch import ModelKey
from streams.anomaly_records import anomaly_output
from tests.schemas.ocsf import FACTS, violations
from tests.streams.anomaly_kit import LINEAGE, QUIET, Told, cluster, passed, policy, suspicion

SOURCES = [(n, n) for n in range(40)]
"""The first is what has no name."""
CASES: dict[str, Suspicion] = {
    **{f"{technique}": suspicion(10, technique=technique) for technique in Technique},
    "cluster": cluster(10, SOURCES[1:9]),
    "more than are named": cluster(10, SOURCES[:MAX_NAMED], n_sources=40),
    "nobody is named": cluster(10, [], detector="pressure", technique=Technique.PRESSURE),
    "without a source": suspicion(10, source_words=(0, 0)),
    "of the partition": cluster(10, [], model=-1, technique=Technique.PRESSURE),
    "of a shard": suspicion(10, model=1),
    "exposure": suspicion(
        10, detector="exposure", technique=Technique.EXTRACTION, detail="exposure"
    ),
    "of a slice": suspicion(10, technique=Technique.BACKDOOR, n_expected=2.25, n_slices=3),
    "odd numbers": suspicion(10, statistic=float("nan"), baseline=-1e300, detail="a" * 9_999),
    "numbers without bound": suspicion(10, n_hits=1 << 62, n_seen=1 << 62),
}


def finding(case: Suspicion) -> AnomalyData:
    (told,) = Told().until(20, case)
    return told


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_every_finding_is_one_of_ocsf(case: Suspicion) -> None:
    told = Told()
    records = [*told.until(20, case), *told.until(QUIET + 20)]
    assert [record.activity_name for record in records] == ["Create", "Close"]
    for record in records:
        document = orjson.loads(orjson.dumps(record.as_ocsf()))
        assert violations(document) == []
        assert AnomalyData.model_validate(document) == record


def test_the_class_and_its_numbers_are_those_that_are_published() -> None:
    document = finding(CASES["cluster"]).as_ocsf()
    assert FACTS["version"] == OCSF_VERSION == document["metadata"]["version"]
    assert str(CLASS_UID) in FACTS["class"]["attributes"]["class_uid"]["values"]
    required = {
        name
        for name, facts in FACTS["class"]["attributes"].items()
        if facts["requirement"] == "required"
    }
    assert required <= set(document)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["class_uid"], None, "lacks class_uid"),
        (["severity_id"], 7, "has no meaning"),
        (["severity"], "Low", "finding.severity is 'Low'"),
        (["type_uid"], 200405, "has no meaning"),
        (["time"], "now", "is no timestamp_t"),
        (["colour"], "red", "knows no colour"),
        (["finding_info", "uid"], None, "lacks uid"),
        (["finding_info", "attacks"], {}, "is no array"),
        (["finding_info", "analytic", "type_id"], 99, None),
        (["evidences", 0], {"name": "queries"}, "has none of"),
        (["anomaly_analyses", 0, "anomalies", 0, "observations"], None, "lacks observations"),
        (["observables", 0, "type_id"], 77, "has no meaning"),
        (["unmapped"], [], "is no object"),
        (["is_alert"], 1, "is no boolean"),
        (["count"], 1 << 40, "is no integer_t"),
    ],
)
def test_what_is_no_finding_of_ocsf_is_noticed(
    path: list[Any], value: object, said: str | None
) -> None:
    document = orjson.loads(orjson.dumps(finding(CASES["probing"]).as_ocsf()))
    *parents, last = path
    inner = document
    for name in parents:
        inner = inner[name]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    found = violations(document)
    assert found == [] if said is None else any(said in each for each in found), found


@pytest.mark.parametrize(
    "change", [{"severity": "Low"}, {"type_uid": 200402}, {"activity_name": "Close"}]
)
def test_a_number_and_its_caption_cannot_differ(change: dict[str, object]) -> None:
    document = finding(CASES["probing"]).as_ocsf()
    with pytest.raises(ValidationError, match="does not fit its number"):
        AnomalyData.model_validate({**document, **change})


def test_a_finding_says_what_in_atlas_of_which_model_by_whom_and_where() -> None:
    record = finding(CASES["probing"])
    info, (evidence,) = record.finding_info, record.evidences
    assert [attack.technique.uid for attack in info.attacks] == ["AML.T0043"]
    assert info.attacks[0].sub_technique is not None
    assert info.attacks[0].sub_technique.uid == "AML.T0043.001"
    assert info.attacks[0].version == "5.6.0"
    assert record.resources is not None
    assert (record.resources[0].name, record.resources[0].version) == ("churn", "7")
    assert evidence.actor is not None
    # The bytes of the two little-endian words 7 and 9.
    assert evidence.actor.user.uid == "07" + "00" * 7 + "09" + "00" * 7
    assert evidence.data is not None
    assert [(each.first_offset, each.last_offset) for each in evidence.data.ranges] == [(0, 6)]
    assert (evidence.data.n_hits, evidence.data.n_seen) == (3, 64)
    (analysis,) = record.anomaly_analyses
    assert analysis.anomalies[0].observations[0].value == "4"
    said = {each.observed_pattern: each.observations[0].value for each in analysis.baselines}
    assert said == {"usual": "0.25", "threshold": "3"}
    quarantine = record.unmapped.quarantine
    assert quarantine.sources == [evidence.actor.user.uid]
    assert (quarantine.source_key, quarantine.is_complete) == (evidence.actor.user.domain, True)
    assert (quarantine.since_ms, quarantine.until_ms) == (0, 10_000)


def test_a_source_without_a_name_has_no_pseudonym() -> None:
    record = finding(CASES["without a source"])
    assert record.evidences[0].actor is None
    quarantine = record.unmapped.quarantine
    assert (quarantine.sources, quarantine.source_key) == ([], None)
    assert (quarantine.without_source, quarantine.is_complete) == (True, True)
    assert "what has no source" in record.message


def test_more_sources_than_are_named_are_said_to_be_more() -> None:
    record = finding(CASES["more than are named"])
    quarantine = record.unmapped.quarantine
    # One of the 32 is what has no name.
    assert len(quarantine.sources) == MAX_NAMED - 1
    assert (record.unmapped.n_sources, quarantine.is_complete) == (40, False)
    assert len(record.evidences) == MAX_NAMED - 1


def test_an_exposure_accuses_nobody() -> None:
    record = finding(CASES["exposure"])
    assert (record.severity, record.is_alert) == ("Informational", False)
    assert record.unmapped.is_exposure
    assert record.finding_info.attacks == []
    assert "may be" not in record.message


def test_every_technique_is_told_in_words_of_its_own() -> None:
    records = {technique: finding(suspicion(10, technique=technique)) for technique in Technique}
    for said in ("title", "desc"):
        assert len({getattr(r.finding_info, said) for r in records.values()}) == len(Technique)
    assert len({record.remediation.desc for record in records.values()}) == len(Technique)
    for technique, record in records.items():
        assert record.is_alert
        assert len(record.finding_info.attacks) == len(ATTACKS[technique])


def test_a_record_is_a_cloudevent_keyed_by_its_model() -> None:
    record = finding(CASES["of a shard"])
    output = anomaly_output("driftsentry.anomalies", record, 1_764_215_416_123)
    headers = dict(output.headers)
    assert output.key == b"fraud"
    assert (output.topic, output.partition, output.timestamp_ms) == (
        "driftsentry.anomalies",
        -1,
        1_764_215_416_123,
    )
    assert headers == {
        "content-type": b"application/json",
        "ce_specversion": b"1.0",
        "ce_id": f"{record.finding_info.uid}.1".encode(),
        "ce_type": b"io.driftsentry.anomaly.opened.v1",
        "ce_source": b"/driftsentry/driftsentry",
        "ce_subject": b"fraud/1/probing",
        "ce_time": b"2025-11-27T03:50:16.123Z",
        "ce_partitionkey": b"fraud",
        "ce_severitytext": b"WARN",
        "ce_severitynumber": b"13",
        "ce_lineage": LINEAGE.encode(),
        "ce_inputpartition": b"2",
        "ce_sequence": b"0000000000000000001",
    }
    assert orjson.loads(output.value) == record.as_ocsf()
    assert record.unmapped.shard == 3
    assert "(shard 3 alone)" in record.message


def test_what_is_about_a_partition_has_no_key_and_no_model() -> None:
    record = finding(CASES["of the partition"])
    output = anomaly_output("a", record, 1 << 60)
    assert output.key == b""
    assert "ce_partitionkey" not in dict(output.headers)
    assert dict(output.headers)["ce_subject"] == b"partition 2/pressure"
    assert dict(output.headers)["ce_time"] == b"9999-12-31T23:59:59.999Z"
    assert record.resources is None
    assert record.message.startswith("partition 2: somebody may be using so many names")


def test_names_of_models_put_no_control_characters_into_headers() -> None:
    numbers = count(1)
    (record,) = policy().decide(
        [suspicion(1, model_key=ModelKey("a\nb\x1b", "1"))],
        passed(0, 5),
        lambda: next(numbers),
    )
    for _, value in anomaly_output("a", record, 1).headers:
        assert value.isascii()
        assert not set(value) & set(range(32))
