"""The documentation is true: its tables and lists are the code's."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from detectors.registry import REGISTRY
from schemas.alerts import AlertData, DeadLetterData
from schemas.anomalies import AnomalyData, Quarantine, Unmapped
from schemas.audit_check import TrailBreak, TrailVerification
from schemas.audit_trail import AuditRecord, SourceRecord
from schemas.config import DetectorsConfig
from schemas.events import LabelEvent, PredictionEvent
from schemas.feedback import FeedbackWarning
from schemas.incidents import EvidencePlace, IncidentData, RankedCause, Verdict
from schemas.liveness import LivenessData
from schemas.reasons import Reason
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
from streams.config import Topics
from streams.incident_reasons import RULES
from streams.topics import TOPICS
from tests.kit.pages import DOCS, INLINE, ROOT, table
from tools import docs_tables


def test_the_generated_tables_are_current() -> None:
    assert docs_tables.outdated() == [], "run `python -m tools.docs_tables`"


def test_a_page_that_differs_is_found(tmp_path: Path) -> None:
    for page in {page for page, _ in docs_tables.TABLES}:
        text = (DOCS / page).read_text("utf-8")
        (tmp_path / page).write_text(text, "utf-8")
    assert docs_tables.outdated(tmp_path) == []
    topics = tmp_path / "topics.md"
    topics.write_text(topics.read_text("utf-8").replace("LogAppendTime", "CreateTime"), "utf-8")
    assert docs_tables.outdated(tmp_path) == ["topics.md"]
    topics.write_text("no table", "utf-8")
    with pytest.raises(ValueError, match="no place for the table topics"):
        docs_tables.outdated(tmp_path)


def test_the_reasons_table_lists_exactly_the_reasons() -> None:
    rows = table("events.md", "reasons")
    assert sorted(row[0].strip("`") for row in rows) == sorted(Reason)
    assert all(len(row) == 3 and all(row) for row in rows)


def test_the_topics_table_is_what_is_created() -> None:
    rows = table("topics.md", "topics")
    names = Topics().model_dump()
    for row, spec in zip(rows, TOPICS, strict=True):
        assert row[0] == f"`{names[spec.duty]}`"
        assert row[2] == str(spec.n_partitions)
        assert row[3] == spec.key
        days = spec.retention_ms / 86_400_000
        assert row[4] == ("for ever" if days < 0 else f"{days:g} days")
        assert row[5] == ("no" if spec.config["cleanup.policy"] == "delete" else "yes")
        assert row[6] == spec.timestamp_type


@pytest.mark.parametrize(
    ("page", "name", "model"),
    [
        ("events.md", "prediction", PredictionEvent),
        ("events.md", "label", LabelEvent),
        ("alerts.md", "alert", AlertData),
        ("alerts.md", "dead-letter", DeadLetterData),
        ("liveness.md", "liveness", LivenessData),
        ("anomalies.md", "anomaly", AnomalyData),
        ("anomalies.md", "unmapped", Unmapped),
        ("anomalies.md", "quarantine", Quarantine),
        ("retraining.md", "request", RetrainingData),
        ("retraining.md", "hold", Hold),
        ("retraining.md", "window", CleanWindow),
        ("retraining.md", "part", WindowPart),
        ("retraining.md", "left-out", QuarantinePart),
        ("retraining.md", "benefit", ExpectedBenefit),
        ("rollback.md", "request", RollbackData),
        ("rollback.md", "hold", RollbackHold),
        ("rollback.md", "followup", FollowUpData),
        ("rollback.md", "comparison", VersionComparison),
        ("rollback.md", "group", GroupComparison),
        ("rollback.md", "warning", FeedbackWarning),
        ("incidents.md", "incident", IncidentData),
        ("incidents.md", "verdict", Verdict),
        ("incidents.md", "cause", RankedCause),
        ("incidents.md", "place", EvidencePlace),
        ("notifications.md", "undelivered", UndeliveredData),
        ("audit-trail.md", "record", AuditRecord),
        ("audit-trail.md", "source", SourceRecord),
        ("audit-trail.md", "verification", TrailVerification),
        ("audit-trail.md", "break", TrailBreak),
    ],
)
def test_field_tables_name_every_field_and_say_what_it_means(
    page: str, name: str, model: type[BaseModel]
) -> None:
    rows = table(page, name)
    assert [row[0].strip("`") for row in rows] == list(model.model_fields)
    assert all(row[1] and row[-1] for row in rows)


def test_the_rules_of_incidents_stand_in_the_order_in_which_they_are_asked() -> None:
    rows = table("incidents.md", "rules")
    assert [row[1].strip("`") for row in rows] == [rule.name for rule in RULES]
    assert [row[2].strip("`") for row in rows] == [rule.reason for rule in RULES]
    assert [row[0] for row in rows] == [str(number + 1) for number in range(len(RULES))]


def test_every_detector_stands_in_the_docs_with_its_parameters_and_defaults() -> None:
    text = (DOCS / "detectors.md").read_text("utf-8")
    assert set(re.findall(r"^### `(\w+)`$", text, re.MULTILINE)) == set(REGISTRY)
    for name in REGISTRY:
        section = text.split(f"### `{name}`\n")[1].split("\n### ")[0]
        shown = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", section, re.MULTILINE))
        config: BaseModel = getattr(DetectorsConfig(), name)
        assert shown == {field: json.dumps(value) for field, value in config.model_dump().items()}


# What the worker says


def said_by_the_worker() -> set[str]:
    """The text of every warning and error in the log, `...` for what is filled in."""
    found = set()
    for path in sorted((ROOT / "streams").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            of = node.func.value
            is_log = isinstance(of, ast.Name) and of.id in {"log", "LOGGER"}
            if not is_log or node.func.attr not in {"warning", "error", "critical", "exception"}:
                continue
            if node.args and isinstance(node.args[0], ast.Constant):
                found.add(str(node.args[0].value).replace("%s", "..."))
    return found


def test_operations_explains_every_warning_and_none_that_there_is_not() -> None:
    text = (DOCS / "operations.md").read_text("utf-8")
    section = text.split("## What each warning means")[1].split("\n## ")[0]
    first_cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    explained = {code for cell in first_cells for code in INLINE.findall(cell)}
    assert explained - {"...: ..."} == said_by_the_worker()


def test_delivery_explains_every_case_in_which_a_person_has_to_decide() -> None:
    code = "".join(path.read_text("utf-8") for path in sorted((ROOT / "streams").glob("*.py")))
    explained = set(
        re.findall(r"^\| `([a-z_]+)`:", (DOCS / "delivery.md").read_text("utf-8"), re.MULTILINE)
    )
    raised = set(re.findall(r"OperatorNeededError\(\s*\"([a-z_]+)\"", code))
    assert raised <= explained
    for case in explained:
        assert f'"{case}"' in code, case


def test_every_dependency_has_earned_its_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["demo"]]
    text = next((DOCS / "decisions").glob("0006-*.md")).read_text("utf-8")
    explained = set(
        re.findall(r"[\w-]+", " ".join(re.findall(r"^\| (.+?) \|", text, re.MULTILINE)))
    )
    for requirement in wanted:
        assert re.split(r"[<>=~!\[ ]", requirement)[0] in explained, requirement


def test_decisions_are_numbered_dated_and_whole() -> None:
    pages = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text("utf-8")
        assert text.startswith(f"# {page.name[:4]}. ")
        assert re.search(r"^\d{4}-\d\d-\d\d\. ", text, re.MULTILINE)
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
            "Context",
            "Decision",
            "Consequences",
        ]
