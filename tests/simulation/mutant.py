"""What a mutant is: a rule, where it stands, and the words that turn it off."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """A change of one function (or text): `old` stands in it once."""

    rule: int
    name: str
    where: str
    """`module:function` or `module:Class.method`, where it is looked up."""
    old: str
    new: str
    test: str = ""
    seed: int = 0
    """Where the hunt begins: this seed has caught it before, after many that had not."""
