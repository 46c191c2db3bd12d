"""Judges the columns of a chunk: as a whole where that is enough, value by value where not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Final, NamedTuple

from schemas.batch import I64, ModelKey
from schemas.codes import Codes, Seen
from schemas.columns import Transposed, event_times
from schemas.field_rules import FieldRule, Json
from schemas.rules import RULES, fault_of_place

Place = tuple[bytes | None, str, str, int]
"""Record key, model_id, model_version (a label's is "") and shard (-1: none)."""


_NAMES_BUT_TS: Final = {
    kind: frozenset(rule.name for rule in rules) - {"ts"} for kind, rules in RULES.items()
}


class Judged(NamedTuple):
    """The columns of events of one type, and what was found out about them."""

    kind: str
    fields: Transposed
    seen: Seen | None
    """The shapes of `features`; None for labels."""
    times: I64 | None
    """Of `ts`; None where a value of it has a fault."""
    model: list[int] | None
    """None where something is bad."""
    bad: set[int]
    """The indices of the events that are refused."""


class Judge:
    """Knows the models of one poll, and which are taken at all."""

    __slots__ = ("listed", "places")

    def __init__(self, listed: frozenset[str] | None) -> None:
        self.listed = listed
        self.places: Codes[Place] = Codes()

    def models(self) -> list[ModelKey]:
        """The models, in the order of their codes."""
        return [ModelKey(*place[1:]) for place in self.places.of]

    def judge(
        self,
        kind: str,
        keys: Sequence[bytes | None],
        fields: Transposed,
        seen: Seen | None,
        *,
        is_opened: bool = False,
    ) -> Judged:
        """Judge the columns of one or more events; `seen` is None where `features` has a fault.

        `is_opened`: a template has read them, and judged all that an event says but `ts`.

        An event of a model that was let in before in this poll need not have key, id and version
        judged again: they are equal to some that are right. A shard must (true equals 1).
        """
        times = event_times(fields.column.get("ts"))
        model = self._known_models(kind, keys, fields)
        sound = set(_NAMES_BUT_TS[kind]) if is_opened else set()
        if model is not None:
            sound |= {"model_id", "model_version"}
        if times is not None:
            sound.add("ts")
        if seen is not None:
            sound.add("features")
        bad: set[int] = set()
        for rule in RULES[kind]:
            column = fields.column.get(rule.name)
            if rule.name not in sound and not _is_accepted(rule, column):
                bad |= _refused(rule, column, len(keys))
        if model is None and not bad:
            one = _one_place(kind, keys, fields)
            places = list(_places(kind, keys, fields)) if one is None else [one]
            misplaced = set(filter(self._is_misplaced, dict.fromkeys(places)))
            if one is not None:
                places *= len(keys)
            if misplaced:
                bad = {i for i, place in enumerate(places) if place in misplaced}
            elif one is not None:
                model = [self.places.code(one)] * len(keys)
            else:
                model = self.places.column(places)
        return Judged(kind, fields, seen, times, model, bad)

    def _known_models(
        self, kind: str, keys: Sequence[bytes | None], fields: Transposed
    ) -> list[int] | None:
        """The model of each event, if all have come before in this poll."""
        try:
            if kind == "prediction" and "" in fields.column["model_version"]:
                return None  # the place of a label, which excuses no prediction
            one = _one_place(kind, keys, fields)
            if one is not None:
                return [self.places.of[one]] * len(keys)
            return list(map(self.places.of.__getitem__, _places(kind, keys, fields)))
        except (KeyError, TypeError):  # TypeError: a list or an object, which has no hash
            return None

    def _is_misplaced(self, place: Place) -> bool:
        if place in self.places.of:
            return False
        key, model_id, _, shard = place
        return fault_of_place(key, model_id, None if shard < 0 else shard, self.listed) is not None


def _one_place(kind: str, keys: Sequence[bytes | None], fields: Transposed) -> Place | None:
    """The place of all events, where they have the same.

    Very often there is one model only, and comparing is cheaper than hashing.
    """
    column, n = fields.column, len(keys)
    names = ("model_id", "model_version") if kind == "prediction" else ("model_id",)
    if keys.count(keys[0]) != n or "shard" in column or any(name not in column for name in names):
        return None
    if any(column[name].count(column[name][0]) != n for name in names):
        return None
    return next(iter(_places(kind, keys, fields)))


def _places(kind: str, keys: Sequence[bytes | None], fields: Transposed) -> Iterable[Place]:
    column, n = fields.column, len(keys)
    nothing: list[Json] = [None] * n
    shards = column.get("shard")
    return zip(
        keys,
        column.get("model_id", nothing),
        column.get("model_version", nothing) if kind == "prediction" else repeat("", n),
        repeat(-1, n) if shards is None else [-1 if s is None else s for s in shards],
        strict=True,
    )


def _is_accepted(rule: FieldRule, column: list[Json] | None) -> bool:
    """Whether a column is free of faults, as far as can be seen of it as a whole."""
    if column is None:
        return not rule.required
    if rule.quick(column):
        return True
    return not rule.required and rule.quick([value for value in column if value is not None])


def _refused(rule: FieldRule, column: list[Json] | None, n: int) -> set[int]:
    """The indices of the values that `rule` refuses."""
    if column is None:
        return set(range(n))
    return {
        i
        for i, value in enumerate(column)
        if (rule.required if value is None else rule.fault(value) is not None)
    }
