"""Text from outside does nothing to a terminal or a log."""

from __future__ import annotations

import unicodedata

from schemas.printable import escaped, masked

TURNS = "\N{RIGHT-TO-LEFT OVERRIDE}\N{FIRST STRONG ISOLATE}\N{RIGHT-TO-LEFT MARK}"


def test_what_controls_a_terminal_or_turns_a_line_is_not_shown_as_it_is() -> None:
    for text in ("\x1b[31m", "\n", "\x9b", "\N{LINE SEPARATOR}", *TURNS):
        assert masked(text).startswith("?")
        assert escaped(text)[0] == "\\"
        assert not any(unicodedata.category(each) in {"Cc", "Cf", "Zl"} for each in masked(text))


def test_letters_of_any_script_stay() -> None:
    text = "température åäö 温度 درجة"
    assert masked(text) == escaped(text) == text
