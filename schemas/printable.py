"""Text from outside, made fit to be shown: control characters do things to terminals and logs."""

from __future__ import annotations

from typing import Final

_CONTROL: Final = (*range(32), *range(127, 160))
_MASKED: Final = dict.fromkeys(_CONTROL, "?")
_ESCAPED: Final = {code: f"\\x{code:02x}" for code in _CONTROL}


def masked(text: str) -> str:
    """The text with a question mark for each control character."""
    return text.translate(_MASKED)


def escaped(text: str) -> str:
    r"""The text with `\xNN` for each control character."""
    return text.translate(_ESCAPED)
