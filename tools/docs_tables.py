"""Writes the tables of docs/ that have a source in the code: `python -m tools.docs_tables`.

With `--check` it changes nothing, names the pages that differ and ends with 1. Each table stands
between two comments that name it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from schemas.alerts import AlertData, DeadLetterData, MovedSignal
from schemas.anomalies import SEVERITIES, AnomalyData, Quarantine, Unmapped
from schemas.atlas import ATTACKS, AtlasAttack
from schemas.audit_check import TrailBreak, TrailVerification
from schemas.audit_trail import KINDS, AuditRecord, SourceRecord
from schemas.config import BoundsConfig
from schemas.events import LabelEvent, PredictionEvent
from schemas.feedback import FeedbackWarning
from schemas.incidents import EvidencePlace, IncidentData, RankedCause, Verdict
from schemas.liveness import LivenessData
from schemas.reasons import EXPLANATIONS
from schemas.retraining import (
    CleanWindow,
    ExpectedBenefit,
    Hold,
    QuarantinePart,
    RetrainingData,
    WindowPart,
)
from schemas.rollback import (
    FollowUpData,
    GroupComparison,
    RollbackData,
    RollbackHold,
    VersionComparison,
)
from schemas.undelivered import UndeliveredData
from streams.anomaly_sentences import TOLD
from streams.config import Topics
from streams.incident_reasons import RULES
from streams.monitoring_controls import CONTROLS
from streams.topics import TOPICS

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
_DAY_MS: Final = 24 * 60 * 60 * 1000

_MEANINGS: Final = {
    "type": "Which of the two it is.",
    "deployment": "The deployment's name, as the detection config says it.",
    "model_id": "The model.",
    "model_version": "Its version.",
    "severity": "From the size of the effect: see below.",
    "lineage": "The unbroken fold that refused it.",
    "topic": "The events topic.",
    "status": "See above.",
    "ranges": "Of offsets, both ends included.",
    "window": "What to train on: see below.",
    "incident_id": "The incident that it follows from.",
    "reference_error_rate": "That of the reference, as the alert on errors says it.",
    "n_labels": "Of which the error rate is.",
    "reason": "Which it is: see above.",
    "partition": "Its partition.",
    "offset": "Where the refused record is.",
}
"""Of fields whose model does not say it."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def json_type(part: Mapping[str, Any]) -> str:
    """What a JSON Schema says of a value, in words."""
    if "anyOf" in part:
        kinds = [json_type(option) for option in part["anyOf"]]
        return " or ".join(dict.fromkeys(kind for kind in kinds if kind != "null"))
    if "$ref" in part:
        return "object"
    if "enum" in part or "const" in part:
        return " or ".join(f"`{value}`" for value in part.get("enum", [part.get("const")]))
    kind = str(part.get("type", "any value"))
    if kind == "object":
        inner = part.get("additionalProperties")
        return f"object of {json_type(inner)}" if isinstance(inner, Mapping) and inner else kind
    if kind == "array":
        return f"array of {json_type(part['items'])}"
    if part.get("format") == "date-time":
        return "RFC 3339 string"
    return kind + _limits(part)


def _limits(part: Mapping[str, Any]) -> str:
    said = []
    if (low := part.get("minimum")) is not None:
        said.append(f"from {low}")
    if (above := part.get("exclusiveMinimum")) is not None:
        said.append(f"above {above}")
    if (high := part.get("maximum")) is not None:
        said.append(f"to {high:,}")
    shortest, longest = part.get("minLength"), part.get("maxLength")
    if longest is not None:
        said.append(f"{shortest or 0} to {longest} characters")
    return f" ({' '.join(said)})" if said else ""


def field_table(model: type[BaseModel]) -> str:
    """The fields of what others send or read: type, required, meaning."""
    schema = model.model_json_schema(mode="validation")
    required = set(schema.get("required", ()))
    sent = "event" in schema["title"]
    rows = []
    for name, part in schema["properties"].items():
        meaning = str(part.get("description", "")) or _MEANINGS[name]
        row = [f"`{name}`", json_type(part), meaning]
        if sent:
            row.insert(2, "yes" if name in required else "")
        elif any(option.get("type") == "null" for option in part.get("anyOf", ())):
            row[1] += " or null"
        rows.append(row)
    head = ["field", "type", "required", "meaning"] if sent else ["field", "type", "meaning"]
    return table(head, rows)


def topics_table() -> str:
    """The topics as `driftsentry topics create` makes them."""
    names = Topics().model_dump()
    rows = []
    for spec in TOPICS:
        days = spec.retention_ms // _DAY_MS
        retention = "for ever" if spec.retention_ms < 0 else f"{days} days"
        compaction = "no" if spec.config["cleanup.policy"] == "delete" else "yes"
        rows.append(
            (
                f"`{names[spec.duty]}`",
                spec.holds,
                str(spec.n_partitions),
                spec.key,
                retention,
                compaction,
                spec.timestamp_type,
                spec.reason,
            )
        )
    head = ("name", "holds", "partitions", "key", "retention", "compacted", "timestamp", "why")
    return table(head, rows)


def reasons_table() -> str:
    """The reason codes of dead letters, in the order of `schemas.reasons`."""
    return table(
        ("reason", "what it means", "what to do"),
        ((f"`{reason}`", said.sentence, said.remedy) for reason, said in EXPLANATIONS.items()),
    )


def bounds_table() -> str:
    """The bounds of the detection config and their defaults."""
    rows = [
        (f"`{name}`", f"{field.default:,}", " ".join((field.description or "").split()))
        for name, field in BoundsConfig.model_fields.items()
    ]
    return table(("bound", "default", "meaning"), rows)


def atlas_table() -> str:
    """Techniques as findings name them, in MITRE ATLAS, and how severe each is."""
    rows = []
    for technique, told in TOLD.items():
        attacks = "; ".join(_atlas(attack) for attack in ATTACKS[technique])
        rows.append((f"`{technique}`", told.title, attacks, SEVERITIES[told.severity_id]))
    return table(("technique", "title", "in ATLAS", "severity"), rows)


def rules_table() -> str:
    """What decides the reason of an incident, in the order in which it is asked."""
    rows = [
        (str(number), f"`{rule.name}`", f"`{rule.reason}`", rule.holds_where)
        for number, rule in enumerate(RULES, 1)
    ]
    return table(("", "rule", "reason", "it holds where"), rows)


def kinds_table() -> str:
    """What the records of an audit trail are of."""
    return table(("kind", "what it says"), ((f"`{kind}`", said) for kind, said in KINDS.items()))


def controls_table() -> str:
    """Which sections of a monitoring report are on which duties."""
    rows = [
        (
            f"{each.framework} {each.version}",
            each.control,
            each.duty,
            ", ".join(f"`{name}`" for name in each.sections) or "none",
            each.evidence,
        )
        for each in CONTROLS
    ]
    return table(("framework", "duty", "what it asks", "sections", "what they show"), rows)


def _atlas(attack: AtlasAttack) -> str:
    what = attack.sub_technique or attack.technique
    return f"{what.uid} {what.name} ({attack.tactic.name})"


TABLES: Final[dict[tuple[str, str], Callable[[], str]]] = {
    ("topics.md", "topics"): topics_table,
    ("events.md", "prediction"): lambda: field_table(PredictionEvent),
    ("events.md", "label"): lambda: field_table(LabelEvent),
    ("events.md", "reasons"): reasons_table,
    ("alerts.md", "alert"): lambda: field_table(AlertData),
    ("alerts.md", "moved-signal"): lambda: field_table(MovedSignal),
    ("alerts.md", "dead-letter"): lambda: field_table(DeadLetterData),
    ("liveness.md", "liveness"): lambda: field_table(LivenessData),
    ("anomalies.md", "atlas"): atlas_table,
    ("anomalies.md", "anomaly"): lambda: field_table(AnomalyData),
    ("anomalies.md", "unmapped"): lambda: field_table(Unmapped),
    ("anomalies.md", "quarantine"): lambda: field_table(Quarantine),
    ("retraining.md", "request"): lambda: field_table(RetrainingData),
    ("retraining.md", "hold"): lambda: field_table(Hold),
    ("retraining.md", "window"): lambda: field_table(CleanWindow),
    ("retraining.md", "part"): lambda: field_table(WindowPart),
    ("retraining.md", "left-out"): lambda: field_table(QuarantinePart),
    ("retraining.md", "benefit"): lambda: field_table(ExpectedBenefit),
    ("rollback.md", "request"): lambda: field_table(RollbackData),
    ("rollback.md", "hold"): lambda: field_table(RollbackHold),
    ("rollback.md", "followup"): lambda: field_table(FollowUpData),
    ("rollback.md", "comparison"): lambda: field_table(VersionComparison),
    ("rollback.md", "group"): lambda: field_table(GroupComparison),
    ("rollback.md", "warning"): lambda: field_table(FeedbackWarning),
    ("incidents.md", "rules"): rules_table,
    ("incidents.md", "incident"): lambda: field_table(IncidentData),
    ("incidents.md", "verdict"): lambda: field_table(Verdict),
    ("incidents.md", "cause"): lambda: field_table(RankedCause),
    ("incidents.md", "place"): lambda: field_table(EvidencePlace),
    ("notifications.md", "undelivered"): lambda: field_table(UndeliveredData),
    ("audit-trail.md", "record"): lambda: field_table(AuditRecord),
    ("audit-trail.md", "source"): lambda: field_table(SourceRecord),
    ("audit-trail.md", "kinds"): kinds_table,
    ("audit-trail.md", "verification"): lambda: field_table(TrailVerification),
    ("audit-trail.md", "break"): lambda: field_table(TrailBreak),
    ("audit-trail.md", "controls"): controls_table,
    ("detectors.md", "bounds"): bounds_table,
}
"""By page and name."""


def filled(page: str, text: str) -> str:
    """The page with its tables made anew. Raises ValueError where one has no place."""
    for (of_page, name), make in TABLES.items():
        if of_page != page:
            continue
        begin, end = f"<!-- table {name}: begin -->\n", f"\n<!-- table {name}: end -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"{page} has no place for the table {name}")
        text = before + begin + "\n" + make() + "\n" + end + after
    return text


def outdated(folder: Path = DOCS) -> list[str]:
    """The pages whose tables are not what the code says."""
    pages = dict.fromkeys(page for page, _ in TABLES)
    return [p for p in pages if (text := (folder / p).read_text("utf-8")) != filled(p, text)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs_tables")
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 on difference")
    check = parser.parse_args(arguments).check
    pages = outdated()
    for page in pages:
        if check:
            sys.stderr.write(f"docs/{page} differs: run `python -m tools.docs_tables`\n")
        else:
            path = DOCS / page
            path.write_text(filled(page, path.read_text("utf-8")), "utf-8")
    return 1 if check and pages else 0


if __name__ == "__main__":
    sys.exit(main())
