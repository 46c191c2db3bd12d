"""Signs what is sent to a receiver. Pure.

Source: Standard Webhooks 1.0: `v1,` and base64 of HMAC-SHA256 over `ID.TIMESTAMP.BODY`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "whsec_"
MIN_SECRET_BYTES: Final = 24
MAX_SECRET_BYTES: Final = 64


def secret_bytes(text: str) -> bytes:
    """The key that `whsec_BASE64` stands for. Raises ValueError, which does not repeat it."""
    if not text.startswith(PREFIX):
        raise ValueError(f"should begin with {PREFIX}")
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"is no base64 after {PREFIX}") from None
    if not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise ValueError(
            f"has {len(key)} bytes after base64, should have {MIN_SECRET_BYTES} to "
            f"{MAX_SECRET_BYTES}"
        )
    return key


def message_id(what: str, key: bytes, value: bytes | None) -> str:
    """The id of a record: of its content, so that the same record has the same one for ever.

    `what` is the kind of topic, not its name or an offset: a record that was written twice with the
    same bytes is one message.
    """
    digest = hashlib.blake2b(digest_size=16, person=b"ds-webhook")
    for part in (what.encode(), key, b"gone" if value is None else b"here", value or b""):
        # With lengths: no two records may look the same when joined.
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return f"msg_{digest.hexdigest()}"


def signed_headers(
    secrets: Sequence[bytes], message: str, timestamp_s: int, body: bytes
) -> dict[str, str]:
    """The three headers; one signature for each secret, so that receivers can change theirs."""
    content = f"{message}.{timestamp_s}.".encode() + body
    signatures = [
        "v1," + base64.b64encode(hmac.digest(secret, content, "sha256")).decode()
        for secret in secrets
    ]
    return {
        "webhook-id": message,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(signatures),
    }
