"""Signatures are those of Standard Webhooks, and ids are of the content alone."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from streams.notify_signing import message_id, secret_bytes, signed_headers
from tests.kit.pages import DOCS, blocks

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the one of the documentation


def test_the_example_of_the_documentation_is_signed_as_it_says() -> None:
    headers = signed_headers(
        [secret_bytes(SECRET)],
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        b'{"test": 2432232314}',
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_each_of_two_secrets_verifies_and_a_third_does_not() -> None:
    texts = [f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2, 3)]
    headers = signed_headers(
        [secret_bytes(each) for each in texts[:2]], "msg_1", int(time.time()), b'{"a": 1}'
    )
    for each in texts[:2]:
        assert Webhook(each).verify(b'{"a": 1}', headers) == {"a": 1}
    with pytest.raises(WebhookVerificationError):
        Webhook(texts[2]).verify(b'{"a": 1}', headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(texts[0]).verify(b'{"a": 2}', headers)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "should begin with whsec_"),
        ("whsec_a b", "is no base64"),
        ("whsec_c2hvcnQ=", "has 5 bytes"),
        (f"whsec_{base64.b64encode(bytes(65)).decode()}", "has 65 bytes"),
    ],
)
def test_a_secret_that_is_none_is_refused_and_not_repeated(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        secret_bytes(text)
    assert text.removeprefix("whsec_") not in str(raised.value)


_PARTS = st.tuples(st.text(max_size=5), st.binary(max_size=5), st.none() | st.binary(max_size=5))


@given(_PARTS, _PARTS)
def test_ids_are_equal_where_the_content_is(
    one: tuple[str, bytes, bytes | None], other: tuple[str, bytes, bytes | None]
) -> None:
    assert (message_id(*one) == message_id(*other)) == (one == other)


def test_the_example_for_receivers_takes_what_is_signed_and_nothing_else() -> None:
    (example,) = blocks(DOCS / "notifications.md", "python")
    named: dict[str, Any] = {}
    exec(example, named)  # noqa: S102 - the example is what is tested
    now_s = int(time.time())
    headers = signed_headers([bytes(32), secret_bytes(SECRET)], "msg_1", now_s, b"{}")
    assert named["is_genuine"](SECRET, headers, b"{}")
    assert not named["is_genuine"](SECRET, headers, b"{ }")
    old = signed_headers([secret_bytes(SECRET)], "msg_1", now_s - 3_600, b"{}")
    assert not named["is_genuine"](SECRET, old, b"{}")
    moved = {**old, "webhook-timestamp": str(now_s)}
    assert not named["is_genuine"](SECRET, moved, b"{}")


def test_the_id_of_a_record_stays_what_it_is() -> None:
    # Receivers keep ids: another hash would tell everything again.
    assert message_id("incidents", b"k", b"{}") == "msg_9aa0ac2150ceb8b53bf07b288e08f503"
