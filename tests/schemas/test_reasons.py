from __future__ import annotations

import re

from schemas.reasons import EXPLANATIONS, Reason


def test_every_reason_has_one_sentence_and_a_remedy() -> None:
    assert list(EXPLANATIONS) == list(Reason)
    for reason, (sentence, remedy) in EXPLANATIONS.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", reason)
        assert re.fullmatch(r"[A-Z][^.]*\.", sentence), sentence
        assert remedy.endswith(".")
