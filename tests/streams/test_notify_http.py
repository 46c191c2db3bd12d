"""One POST on a real HTTPS server: to the address that was checked, and to nothing else."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from streams.notify_addresses import AddressPolicy, Endpoint, endpoint
from streams.notify_http import MAX_ANSWER, Poster, UnreachableError, tls_context
from tests.kit.https_receiver import (
    OK,
    Receiver,
    drip,
    endless,
    hang,
    hang_up,
    https_receiver,
    status,
)

LOOPBACK = AddressPolicy.of(["127.0.0.1/32"])
"""The servers of these tests listen there; nothing but such a policy lets anything through."""


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with https_receiver(tmp_path) as server:
        yield server


def poster(
    receiver: Receiver,
    policy: AddressPolicy = LOOPBACK,
    *,
    url: str | None = None,
    timeout_s: float = 20.0,
    lookup: Callable[[str, int], Sequence[str]] = lambda _host, _port: ["127.0.0.1"],
) -> Poster:
    return Poster(
        endpoint(url or receiver.url),
        policy,
        timeout_s=timeout_s,
        tls=tls_context(str(receiver.ca_file)),
        lookup=lookup,
    )


def test_a_body_arrives_as_it_is_with_its_headers(receiver: Receiver) -> None:
    with poster(receiver) as sender:
        answer = sender.post(b'{"a":1}', {"webhook-id": "msg_1"})
    assert answer.is_success
    (got,) = receiver.got
    assert (got.path, got.body) == ("/hook", b'{"a":1}')
    assert got.headers["webhook-id"] == "msg_1"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["host"] == f"localhost:{receiver.port}"
    assert got.headers["user-agent"] == "driftsentry-notify"


def test_a_refused_address_sees_no_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for host, address in (
            ("localhost", "127.0.0.1"),
            ("localhost", "::ffff:127.0.0.1"),
            ("127.0.0.1", "127.0.0.1"),
            ("hooks.example.com", "127.0.0.1"),
        ):
            sender = Poster(
                Endpoint("https", host, port, "/"),
                AddressPolicy(),
                timeout_s=20.0,
                lookup=lambda _host, _port, address=address: [address],  # type: ignore[misc]
            )
            with sender, pytest.raises(UnreachableError, match="is not public"):
                sender.post(b"{}", {})
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_the_systems_resolver_is_judged_too(receiver: Receiver) -> None:
    sender = Poster(
        endpoint(receiver.url),
        AddressPolicy(),
        timeout_s=20.0,
        tls=tls_context(str(receiver.ca_file)),
    )
    with sender, pytest.raises(UnreachableError, match="nothing is sent to localhost"):
        sender.post(b"{}", {})
    assert receiver.got == []


def test_a_name_that_changes_its_address_changes_nothing(receiver: Receiver) -> None:
    # What DNS rebinding does: a good address while it is looked at, another one when it is used.
    answers = [["127.0.0.1"], ["169.254.169.254"], ["10.0.0.1", "127.0.0.1"]]
    asked: list[str] = []

    def lookup(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return answers.pop(0)

    with poster(receiver, lookup=lookup) as sender:
        assert sender.post(b"1", {}).is_success
        assert asked == ["localhost"]
        with pytest.raises(UnreachableError, match=r"169\.254\.169\.254 is link-local"):
            sender.post(b"2", {})
        # Only those of its addresses that pass are connected to.
        assert sender.post(b"3", {}).is_success
    assert [each.body for each in receiver.got] == [b"1", b"3"]


def test_a_name_without_an_address_is_said(receiver: Receiver) -> None:
    def lookup(_host: str, _port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with (
        poster(receiver, lookup=lookup) as sender,
        pytest.raises(UnreachableError, match="Name or service not known"),
    ):
        sender.post(b"{}", {})


def test_the_certificate_has_to_have_the_name_and_a_known_authority(tmp_path: Path) -> None:
    with https_receiver(tmp_path, names=["hooks.example.com"]) as receiver:
        with poster(receiver) as sender, pytest.raises(UnreachableError, match="ertificate"):
            sender.post(b"{}", {})
        named = f"https://hooks.example.com:{receiver.port}/hook"
        with poster(receiver, url=named) as sender:
            assert sender.post(b"{}", {}).is_success
        unknown = Poster(
            endpoint(named), LOOPBACK, timeout_s=20.0, lookup=lambda _host, _port: ["127.0.0.1"]
        )
        with unknown, pytest.raises(UnreachableError, match="ertificate"):
            unknown.post(b"{}", {})
        assert len(receiver.got) == 1


def test_a_redirect_is_an_answer_and_nothing_else(receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with https_receiver(tmp_path / "other") as other:
        for code in (301, 302, 307, 308):
            receiver.then(status(code, location=other.url))
            with poster(receiver) as sender:
                answer = sender.post(b"{}", {})
            assert (answer.status, answer.is_success) == (code, False)
        assert other.got == []


def test_a_proxy_of_the_environment_is_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with poster(receiver) as sender:
        assert sender.post(b"{}", {}).is_success


@pytest.mark.parametrize("play", [hang, drip], ids=["hangs", "drips headers"])
def test_who_does_not_answer_in_time_is_not_waited_for(
    receiver: Receiver, play: Callable[..., None]
) -> None:
    receiver.then(play)
    with (
        poster(receiver, timeout_s=0.5) as sender,
        pytest.raises(UnreachableError, match=r"no answer within 0\.5 s"),
    ):
        sender.post(b"{}", {})


def test_a_resolver_that_hangs_is_not_waited_for(receiver: Receiver) -> None:
    def lookup(_host: str, _port: int) -> Sequence[str]:
        receiver.let_go.wait()
        return ["127.0.0.1"]

    sender = poster(receiver, lookup=lookup, timeout_s=0.5)
    try:
        with pytest.raises(UnreachableError, match=r"no answer within 0\.5 s"):
            sender.post(b"{}", {})
    finally:
        receiver.let_go.set()
        sender.close()


def test_of_an_endless_answer_little_is_read(receiver: Receiver) -> None:
    with poster(receiver) as sender:
        receiver.then(endless(500))
        answer = sender.post(b"{}", {})
        assert answer.status == 500
        assert len(answer.text) <= MAX_ANSWER
        receiver.then(endless(200))
        assert sender.post(b"{}", {}).is_success


def test_what_breaks_off_is_said_without_the_secret_path(receiver: Receiver) -> None:
    receiver.then(hang_up)
    url = f"https://localhost:{receiver.port}/T0KEN/in-the-path"
    with poster(receiver, url=url) as sender, pytest.raises(UnreachableError) as raised:
        sender.post(b"{}", {})
    assert "T0KEN" not in str(raised.value)


def test_how_long_to_wait_is_heard(receiver: Receiver) -> None:
    receiver.then(
        status(429, retry_after="7"), status(429, retry_after="soon"), status(503, "busy"), OK
    )
    with poster(receiver) as sender:
        answers = [sender.post(b"{}", {}) for _ in range(4)]
    assert [each.retry_after_s for each in answers] == [7.0, None, None, None]
    assert [each.text for each in answers] == ["", "", "busy", ""]
