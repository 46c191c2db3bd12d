"""Incidents as lines for a terminal: all that a person needs, and nothing that controls it."""

from __future__ import annotations

import unicodedata
from typing import Any, get_args

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.incidents import IncidentData, Reason
from schemas.printable import json_escaped
from schemas.retraining import RetrainingData
from streams.cli_incident import REASONS
from streams.incident_cluster import shown_as_json
from streams.incident_evidence import Evidence, merged
from streams.incident_reader import OpenedEvidence
from streams.incident_reasons import Opening, Overruling, Said
from streams.incident_view import incident_line, incident_page, quarantine_lines, request_line
from streams.response_cluster import json_line
from tests.streams.incident_kit import alert, evidence, moved, shown, silence
from tests.streams.incident_scene import incidents
from tests.streams.test_retraining_gate import attack, only, worse

POISONED = attack((5_000, 5_100), (5_200, 5_300))
RECORDS = [alert(1, signals=[moved("error")]), silence(1), POISONED]
KNOWN = merged(evidence(*RECORDS))
ATTACK = next(each for each in KNOWN.values() if each.anomaly is not None)
OPENED = OpenedEvidence(KNOWN, {})
(ONE,) = incidents(*RECORDS)
WORDS: list[Said] = [
    Overruling(2, ONE.incident_id, "data_fault", "ana", "a broken join", shown(*RECORDS))
]
(OVERRULED,) = incidents(*RECORDS, said=WORDS)
REQUEST = only(worse(), attack((5_100, 5_200)))

_ENUMERATED = {"status", "severity", "reason", "also", "ruled", "kind"}
_texts = st.text(
    st.sampled_from("\x1b\x07\n\r\x7f\x9b\u2028\u202e\u2066\u200f[2Ja")
    | st.characters(codec="utf-8"),
    min_size=1,
    max_size=12,
)


def is_harmless(text: str) -> bool:
    """Whether it stays on its line, in its direction, and does nothing to a terminal."""
    kinds = {unicodedata.category(each) for each in text}
    turns = {unicodedata.bidirectional(each) for each in text}
    return not kinds & {"Cc", "Zl", "Zp"} and not turns & {
        *("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"),
    }


def with_text(value: Any, text: str) -> Any:
    """The same JSON with this text wherever any may stand."""
    if isinstance(value, str):
        return text
    if isinstance(value, list):
        return [with_text(each, text) for each in value]
    if isinstance(value, dict):
        return {
            name: each if name in _ENUMERATED else with_text(each, text)
            for name, each in value.items()
        }
    return value


def hostile_evidence(text: str) -> dict[str, Evidence]:
    """What names are in the records of the evidence does not matter: messages are shown."""
    found: dict[str, Evidence] = {}
    for each in KNOWN.values():
        copies: dict[str, Any] = {}
        for name in ("alert", "anomaly", "silence"):
            record = getattr(each, name)
            if record is not None:
                copies[name] = record.model_copy(update={"message": text})
        if each.anomaly is not None:
            advice = each.anomaly.remediation.model_copy(update={"desc": text})
            copies["anomaly"] = copies["anomaly"].model_copy(update={"remediation": advice})
        found[each.evidence_id] = each.model_copy(update=copies)
    return found


@settings(deadline=None)
@given(_texts)
def test_whatever_stands_on_the_topics_does_nothing_to_a_terminal(text: str) -> None:
    found = IncidentData.model_validate(with_text(OVERRULED.model_dump(mode="json"), text))
    request = RetrainingData.model_validate(with_text(REQUEST.model_dump(mode="json"), text))
    own = OVERRULED.model_copy(update={"message": text})
    shown = OpenedEvidence(hostile_evidence(text), {text: text})
    hidden = OpenedEvidence({}, dict.fromkeys(KNOWN, text))
    lines = [
        *(incident_line(found), request_line(request)),
        *(json_line(found), json_line(request), shown_as_json(found, shown)),
        *incident_page(found, shown),
        *incident_page(own, shown),
        *incident_page(own, hidden),
        *quarantine_lines([text, *KNOWN], shown),
    ]
    for line in lines:
        assert is_harmless(line), ascii(line)


@given(_texts)
def test_json_that_is_safe_to_print_says_the_same(text: str) -> None:
    document = orjson.dumps({text: [text, 1]}).decode()
    assert is_harmless(json_escaped(document))
    assert orjson.loads(json_escaped(document)) == {text: [text, 1]}
    found = ONE.model_copy(update={"model_id": text})
    assert IncidentData.model_validate_json(json_line(found)) == found


def test_a_page_says_what_was_decided_on_what_and_where_to_look() -> None:
    page = "\n".join(incident_page(ONE, OPENED))
    assert page.startswith(ONE.message)
    for said in (ONE.incident_id, ONE.verdict.rule, ONE.verdict.because, *ONE.model_versions):
        assert said in page
    for place in ONE.evidence:
        assert f"{place.kind} {place.evidence_id}" in page
    for each in KNOWN.values():
        record = each.alert or each.anomaly or each.silence
        assert record is not None
        assert record.message in page
    assert ATTACK.anomaly is not None
    assert f"What to do: {ATTACK.anomaly.remediation.desc}" in page
    assert f"offsets {ATTACK.first_offset} to " in page
    assert "rules of these hold as well: data_fault, harmful_drift" in page
    assert "NOT SHOWN" not in page


def test_a_page_says_what_could_not_be_shown() -> None:
    page = incident_page(ONE, OpenedEvidence({}, {ATTACK.evidence_id: "it is gone"}))
    assert "    NOT SHOWN: it is gone" in page
    assert sum("NOT SHOWN" in line for line in page) == len(ONE.evidence)


def test_a_page_says_who_overruled_and_whether_they_had_looked() -> None:
    unseen = "\n".join(incident_page(OVERRULED, OPENED))
    assert "so says ana, who had NOT opened the evidence: a broken join" in unseen
    assert "the rules say suspected_poisoning: " in unseen
    looked: list[Said] = [Opening(1, ONE.incident_id, "ana", 1, shown(*RECORDS)), *WORDS]
    (found,) = incidents(*RECORDS, said=looked)
    page = "\n".join(incident_page(found, OPENED))
    assert "so says ana, who had opened the evidence" in page
    assert "which does not cover" not in page
    more = [*RECORDS, alert(1, 2, signals=[moved("error")], revision=2), alert(9, 1)]
    (later,) = incidents(*more, said=looked)
    page = "\n".join(incident_page(later, OPENED))
    assert "which does not cover what is new since in 2 of 4 pieces of evidence" in page


def test_a_page_says_all_that_broke_and_all_who_are_accused() -> None:
    names = [f"missing:f{each}" for each in range(30)]
    many = [moved(each, effect=0.9) for each in names]
    latency = moved("latency", unit="spread", standing="returned", named_feature="age")
    broken = alert(1, signals=[*many, latency, moved("error")], n_faults_unnamed=7)
    sources = [f"{each:032x}" for each in range(20)]
    liars = attack((5_000, 5_100), sources=sources, is_complete=False)
    (found,) = incidents(broken, liars)
    page = "\n".join(incident_page(found, OpenedEvidence(merged(evidence(broken, liars)), {})))
    for each in [*names, *sources]:
        assert each in page
    assert "latency in spread (returned, at age) and 7 more" in page
    assert "Worse: error in share (moved)" in page
    assert f"{sources[-1]}, others, who are not named" in page


def test_of_much_evidence_a_page_says_how_much_there_is() -> None:
    (many,) = incidents(*(alert(number) for number in range(100)))
    lines = incident_page(many, OpenedEvidence({}, {}))
    assert "Evidence, 64 of 100, the first and the latest:" in lines


def test_what_is_left_out_is_said_by_anomaly() -> None:
    assert ATTACK.anomaly is not None
    (source,) = ATTACK.anomaly.unmapped.quarantine.sources
    lines = quarantine_lines([ATTACK.evidence_id, "x"], OPENED)
    on = ", and on to the window's end, as it is not over"
    where = f"offsets 5000 to 5100, 5200 to 5300 of partition 2{on}"
    assert lines[1] == f"    events of {source[:12]}: {where}"
    assert lines[-2:] == [
        "  anomaly x",
        "    what is left out for it is not known: no incident names it",
    ]
    (unnamed,) = merged(evidence(attack((5_000, 5_100), is_complete=False))).values()
    lines = quarantine_lines(
        [unnamed.evidence_id], OpenedEvidence({unnamed.evidence_id: unnamed}, {})
    )
    assert lines[1] == "    every event: offsets 5000 to 5100 of partition 2"
    (over,) = merged(evidence(attack((5_000, 5_100), is_over=True))).values()
    lines = quarantine_lines([over.evidence_id], OpenedEvidence({over.evidence_id: over}, {}))
    assert lines[1].endswith("offsets 5000 to 5100 of partition 2")


def test_an_attack_of_sources_that_are_named_leaves_nothing_more_out() -> None:
    records = [attack((5_050, 5_300)), attack((5_000, 5_200), number=2, is_complete=False)]
    known = merged(evidence(*records))
    lines = quarantine_lines(list(known), OpenedEvidence(known, {}))
    assert "    nothing more: it is that of the sources which are named" in lines
    assert not any("every event" in each for each in lines)


def test_the_reasons_that_a_person_may_give_are_those_of_the_rules() -> None:
    assert set(REASONS) == set(get_args(Reason))
