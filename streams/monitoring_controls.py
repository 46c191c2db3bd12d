"""Duties of governance frameworks, and which sections of a monitoring report are on them: data.

The words are shortened; the sources are NIST AI 100-1 (AI RMF 1.0, January 2023) and Regulation
(EU) 2024/1689 (AI Act). That a section is on a duty does not say that the duty is fulfilled.
"""

from __future__ import annotations

from typing import Final

from schemas.monitoring_report import ControlEntry, Section

NIST: Final = ("NIST AI RMF", "1.0 (NIST AI 100-1)")
EU: Final = ("EU AI Act", "Regulation (EU) 2024/1689")


def _control(
    of: tuple[str, str], control: str, duty: str, sections: list[Section], evidence: str
) -> ControlEntry:
    framework, version = of
    return ControlEntry(
        framework=framework,
        version=version,
        control=control,
        duty=duty,
        sections=sections,
        evidence=evidence,
    )


CONTROLS: Final[tuple[ControlEntry, ...]] = (
    _control(
        *(NIST, "MEASURE 1.1, 1.2"),
        "metrics are selected, and their effectiveness is assessed regularly, with error reports",
        ["plan", "incidents"],
        "which detectors watched with which thresholds, and which incidents people overruled",
    ),
    _control(
        *(NIST, "MEASURE 2.4"),
        "functionality and behaviour are monitored when in production",
        ["coverage", "gaps", "incidents"],
        "events folded and refused by partition, gaps with their reasons, what was found",
    ),
    _control(
        *(NIST, "MEASURE 2.6"),
        "safety metrics reflect reliability, robustness, real-time monitoring and response times",
        ["incidents", "requests"],
        "when each incident began, was first noted and closed, and what was asked for",
    ),
    _control(
        *(NIST, "MEASURE 2.7"),
        "security and resilience are evaluated and documented",
        ["incidents"],
        "incidents of suspected poisoning and probing; each finding has its MITRE ATLAS id on the "
        "anomalies topic",
    ),
    _control(
        *(NIST, "MEASURE 2.8"),
        "risks of transparency and accountability are examined",
        ["decisions", "incidents", "trail"],
        "who decided what, and whether they had opened the evidence; a trail that shows changes",
    ),
    _control(
        *(NIST, "MEASURE 2.13"),
        "the effectiveness of the metrics and processes of measurement is evaluated",
        [],
        "not in this report: `driftsentry budget` tests the detectors on a model's own past",
    ),
    _control(
        *(NIST, "MEASURE 3.1"),
        "existing, unanticipated and emergent risks are tracked",
        ["incidents"],
        "the register of incidents",
    ),
    _control(
        *(NIST, "MEASURE 4.3"),
        "measurable improvements or declines are identified and documented",
        ["followups", "requests"],
        "how each new version compares with the last one; requests to retrain or roll back, and "
        "what became of them",
    ),
    _control(
        *(NIST, "MANAGE 2.3"),
        "procedures are followed to respond to and recover from a previously unknown risk",
        ["incidents", "decisions"],
        "how each incident stands and was decided, and what people did; each step is in the trail",
    ),
    _control(
        *(NIST, "MANAGE 2.4"),
        "mechanisms are in place to supersede, disengage or deactivate",
        ["requests", "decisions"],
        "rollback and retraining requests, what held them, who approved",
    ),
    _control(
        *(NIST, "MANAGE 4.1"),
        "a plan of post-deployment monitoring is implemented, with override, incident response, "
        "recovery and change management",
        ["plan", "changes", "decisions"],
        "the config in force with its identity, each change of it, each override",
    ),
    _control(
        *(NIST, "MANAGE 4.3"),
        "incidents and errors are communicated, and tracked",
        ["incidents"],
        "the register of incidents; who was told is not in this report",
    ),
    _control(
        *(EU, "Article 12(1)"),
        "events are recorded automatically over the lifetime of the system",
        ["coverage", "gaps", "trail"],
        "what was recorded of the monitoring, and where it has gaps; the system's own logs are not "
        "part of it",
    ),
    _control(
        *(EU, "Article 12(2)(a)"),
        "logs allow situations of risk (Article 79(1)) and substantial modification to be found",
        ["incidents", "changes"],
        "incidents with their reasons, deployment changes among them",
    ),
    _control(
        *(EU, "Article 12(2)(b), 72"),
        "post-market monitoring collects, documents and analyses performance over the lifetime, "
        "after a plan",
        ["plan", "coverage", "incidents"],
        "the plan as it was in force, and what came of it",
    ),
    _control(
        *(EU, "Article 12(2)(c), 26(5)"),
        "deployers monitor the operation of the system",
        ["coverage", "incidents", "decisions"],
        "what was watched, what was found, what people did about it",
    ),
    _control(
        *(EU, "Article 19(1), 26(6)"),
        "logs are kept for a period appropriate to the purpose, of at least six months",
        ["trail"],
        "the audit topic is made with a retention of 366 days; where the trail begins shows what "
        "is kept",
    ),
    _control(
        *(EU, "Article 73"),
        "serious incidents are reported",
        ["incidents"],
        "the register to judge them by; whether one is serious is for people to say",
    ),
)
"""In the order of the frameworks."""
