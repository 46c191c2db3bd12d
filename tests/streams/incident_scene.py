"""Topics with incidents and what they are made of, on a broker, and the command line on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import orjson
from click.testing import CliRunner, Result
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from pydantic import BaseModel

from schemas.incidents import IncidentData
from schemas.responder_config import IncidentConfig
from schemas.responses import RESPONSE, Response
from schemas.retraining import RetrainingData
from schemas.rollback import RollbackData
from streams.cli import main
from streams.incident_desk import as_bytes
from streams.incident_evidence import merged
from streams.incident_reader import TopicRecord, kafka_topics
from streams.incident_reasons import Said
from streams.incidents import incidents_of
from tests.streams.incident_kit import evidence

NAMES: Final = ("incidents", "retraining", "alerts", "anomalies", "liveness", "commands")


def incidents(
    *records: bytes, said: Iterable[Said] = (), watermark_ms: int | None = None
) -> list[IncidentData]:
    """What the responder makes of these records."""
    known = merged(evidence(*records)).values()
    return incidents_of(known, list(said), watermark_ms, IncidentConfig())


def written(record: BaseModel) -> TopicRecord:
    """An incident or a request as its topic has it."""
    assert isinstance(record, IncidentData | RetrainingData | RollbackData)
    name = record.incident_id if isinstance(record, IncidentData) else record.request_id
    return TopicRecord(name.encode(), as_bytes(record))


class Scene:
    """Topics of its own on a broker."""

    def __init__(self, servers: str, unique_name: Callable[[str], str]) -> None:
        self.servers: Final = servers
        self.topics: Final = {name: unique_name(name) for name in NAMES}
        for topic in self.topics.values():
            # The mock broker makes what is asked for by name.
            AdminClient({"bootstrap.servers": servers}).list_topics(topic, timeout=20)

    def write(self, name: str, *records: TopicRecord) -> None:
        producer = Producer({"bootstrap.servers": self.servers})
        for key, value in records:
            producer.produce(self.topics[name], value, key, 0)
        assert producer.flush(20) == 0

    def tell(self, *records: bytes) -> None:
        """Alerts, findings and silences, on their topics."""
        for each in records:
            fields = orjson.loads(each)
            name = "alerts" if "alert_id" in fields else "anomalies"
            name = "liveness" if "liveness_id" in fields else name
            self.write(name, TopicRecord(b"churn", each))

    def happen(self, *records: bytes, said: Iterable[Said] = ()) -> list[IncidentData]:
        """Evidence on its topics, and the incidents that it makes on theirs."""
        self.tell(*records)
        found = incidents(*records, said=said)
        self.write("incidents", *(written(each) for each in found))
        return found

    def run(self, *arguments: str, topics: dict[str, str] | None = None) -> Result:
        """`driftsentry incident`, on these topics."""
        names = {**self.topics, **(topics or {})}
        environ = {f"DRIFTSENTRY_{name.upper()}_TOPIC": topic for name, topic in names.items()}
        environ["DRIFTSENTRY_BOOTSTRAP_SERVERS"] = self.servers
        return CliRunner().invoke(main, ["incident", *arguments], env=environ)

    def said(self) -> list[Response]:
        """What stands on the commands topic."""
        read = kafka_topics(self.servers, {})
        values = [value for _, value in read(self.topics["commands"])]
        return [RESPONSE.validate_json(value) for value in values if value is not None]
