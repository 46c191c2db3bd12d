"""The responder logs in where a broker asks for it: over TLS, with a user and a password."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.embedded import free_port
from streams.process_guard import ProcessGuard
from tests.delivery.test_responder_reads import Responders, Topic
from tests.kit.kafka_libs import java_command
from tests.kit.kafka_node import KafkaNode
from tests.kit.kafka_server import make_new_topics, node_properties

CLUSTER_ID = "Y2xzZW50cnktdGxzLXRlcw"
SAID = "wr1tten-nowhere"

pytestmark = pytest.mark.kafka


class Secured(NamedTuple):
    """A broker with a listener for its own test, and one that asks who is there."""

    plain: str
    secured: str
    certificate: Path


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    directory = tmp_path_factory.mktemp("login")
    certificate = make_certificate(directory)
    port = free_port()
    with ProcessGuard() as guard:
        node = KafkaNode(1, directory, guard, heap_mib=512)
        node.format(
            CLUSTER_ID,
            {
                **node_properties([node]),
                "listeners": (
                    f"PLAINTEXT://{node.address},CONTROLLER://127.0.0.1:{node.controller_port},"
                    f"LOGIN://127.0.0.1:{port}"
                ),
                "advertised.listeners": f"PLAINTEXT://{node.address},LOGIN://127.0.0.1:{port}",
                "listener.security.protocol.map": (
                    "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_SSL"
                ),
                "listener.name.login.ssl.keystore.location": directory / "broker.p12",
                "listener.name.login.ssl.keystore.password": "keystore",
                "listener.name.login.ssl.keystore.type": "PKCS12",
                "sasl.enabled.mechanisms": "PLAIN",
                "listener.name.login.plain.sasl.jaas.config": (
                    "org.apache.kafka.common.security.plain.PlainLoginModule required "
                    f'user_responder="{SAID}";'
                ),
            },
            alone=True,
        )
        try:
            node.start()
            yield Secured(node.address, f"127.0.0.1:{port}", certificate)
        finally:
            node.kill()


def make_certificate(directory: Path) -> Path:
    """A certificate for 127.0.0.1, signed by itself, in a keystore and alone."""
    java = java_command()
    assert java is not None
    keytool = [str(Path(java).with_name("keytool")), "-alias", "broker"]
    store = ["-keystore", str(directory / "broker.p12"), "-storepass", "keystore"]
    made = ["-genkeypair", "-keyalg", "EC", "-storetype", "PKCS12", "-dname", "CN=broker"]
    subprocess.run([*keytool, *store, *made, "-ext", "san=ip:127.0.0.1"], check=True)
    path = directory / "broker.pem"
    subprocess.run([*keytool, *store, "-exportcert", "-rfc", "-file", str(path)], check=True)
    return path


@pytest.fixture
def topic(broker: Secured, unique_name: Callable[[str], str]) -> Topic:
    name = unique_name("alerts")
    admin = AdminClient({"bootstrap.servers": broker.plain})
    make_new_topics(admin, [NewTopic(name, num_partitions=1)])
    return Topic(broker.plain, name, unique_name)


@pytest.fixture
def responders(
    topic: Topic, unique_name: Callable[[str], str], tmp_path: Path
) -> Iterator[Responders]:
    with ProcessGuard() as guard:
        made = Responders(topic, unique_name("group"), tmp_path, guard)
        yield made
        made.close()


def settings(broker: Secured, password: Path, **more: str) -> dict[str, object]:
    return {
        "bootstrap_servers": broker.secured,
        "kafka": {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "responder",
            "sasl.password": f"${{file:{password}}}",
            "ssl.ca.location": str(broker.certificate),
            **more,
        },
    }


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.touch(mode=0o600)
    path.write_text(SAID, encoding="utf-8")
    return path


def test_it_reads_over_tls_with_a_password(
    broker: Secured, topic: Topic, responders: Responders, password: Path
) -> None:
    topic.transaction(3)
    process = responders.start(settings(broker, password))
    responders.wait_done(process)
    process.stop()
    assert set(responders.handled()) == topic.committed
    assert SAID not in process.log()


@pytest.mark.parametrize("what", ["password", "certificate"])
def test_it_ends_where_it_is_not_trusted_or_does_not_trust(
    broker: Secured, topic: Topic, responders: Responders, password: Path, what: str
) -> None:
    topic.transaction(3)
    more: dict[str, str] = {}
    if what == "password":
        password.write_text("an0ther-word", encoding="utf-8")
    else:
        # Without a name that it trusts, the authorities of the machine are asked.
        more = {"ssl.ca.location": "probe"}
    process = responders.start(settings(broker, password, **more))
    assert process.wait(60) != 0
    assert responders.handled() == []
    assert "an0ther-word" not in process.log()
