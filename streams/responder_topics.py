"""Whether the topics are fit for a responder; its client would make what is missing."""

from __future__ import annotations

from collections import Counter

from streams.config import Settings
from streams.responder_probe import ResponderProbe


class TopicsUnfitError(Exception):
    """Topics are missing, or not alike; the message says what to do."""


def check_topics(probe: ResponderProbe, settings: Settings) -> None:
    """Raise `TopicsUnfitError` where topics are missing, or those it reads are not shared alike."""
    topics = settings.topics
    read = (topics.alerts, topics.anomalies, topics.liveness)
    written = (topics.incidents, topics.retraining, topics.rollback, topics.followup)
    needed = (*read, topics.events, topics.commands, *written)
    n_partitions = Counter(topic for topic, _ in probe.partitions(needed))
    missing = sorted(topic for topic in needed if not n_partitions[topic])
    if missing:
        raise TopicsUnfitError(
            f"no such topic, or no right to see it: {', '.join(missing)}; "
            "`driftsentry topics create` makes what is missing"
        )
    if len({n_partitions[topic] for topic in read}) > 1:
        said = ", ".join(f"{topic} {n_partitions[topic]}" for topic in read)
        most = max(n_partitions[topic] for topic in read)
        raise TopicsUnfitError(
            f"alerts, anomalies and silences of a model must be read by one responder, and their "
            f"topics have different numbers of partitions: {said}. Stop workers and responders, "
            f"give each of them {most} (`kafka-topics.sh --alter --topic NAME --partitions "
            f"{most}`), and run `driftsentry respond --rebuild`"
        )
