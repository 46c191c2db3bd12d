"""Text from outside, made fit to be shown: control characters do things to terminals and logs."""

from __future__ import annotations

from typing import Final

_CONTROL: Final = (
    *(*range(32), *range(127, 160)),
    # What turns the direction of the rest of a line, and what ends a line without being seen to.
    *(0x61C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),
)
_MASKED: Final = dict.fromkeys(_CONTROL, "?")
_ESCAPED: Final = {code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in _CONTROL}
_JSON_ESCAPED: Final = {code: f"\\u{code:04x}" for code in _CONTROL}


def masked(text: str) -> str:
    """The text with a question mark for each control character."""
    return text.translate(_MASKED)


def escaped(text: str) -> str:
    r"""The text with `\xNN` or `\uNNNN` for each control character."""
    return text.translate(_ESCAPED)


def json_escaped(document: str) -> str:
    r"""JSON on one line, with `\uNNNN` for what JSON lets stand as it is: of the same value."""
    return document.translate(_JSON_ESCAPED)
