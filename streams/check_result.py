"""What a check of the doctor came to; and of topics, how they are beside how they should be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.topics import Duty, TopicError, check_names, compare_topics


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One thing that was looked at. A remedy beside `ok` is advice."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def topic_results(admin: AdminClient, names: Mapping[Duty, str]) -> Iterator[CheckResult]:
    """Whether these topics are there, and made as they should be."""
    try:
        check_names(names)
        outcomes = compare_topics(admin, names)
    except (TopicError, KafkaException) as error:
        yield CheckResult(
            "topics", False, str(error), "allow DESCRIBE and DESCRIBE_CONFIGS on them"
        )
        return
    for outcome in outcomes:
        name = f"topic {outcome.name}"
        if outcome.state == "missing":
            remedy = "`driftsentry topics create` makes it"
            yield CheckResult(name, False, "does not exist", remedy)
        elif outcome.state == "different":
            advice = (
                "records that a replay or a reader needs are thrown away: change it"
                if outcome.is_harmful
                else "consider changing it; docs/topics.md says why"
            )
            yield CheckResult(name, not outcome.is_harmful, outcome.detail, advice)
        else:
            yield CheckResult(name, True, outcome.detail)
