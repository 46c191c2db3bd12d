"""Which template reads a record: learned from records that went the slow way, key by key.

Nothing here is part of a result: a template gives the same columns as the slow way or no answer, so
what is known here decides how long an answer takes and nothing else. All of it is bounded, and none
of it can be made to cost much more than the slow way does: few records are looked at, templates are
compiled at a bounded rate, and a key whose records mostly miss is left alone for a while, each time
for longer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import repeat
from typing import Final, NamedTuple

import orjson

from schemas.arrow_mark import is_arrow
from schemas.opened import Opening
from schemas.records import Record
from schemas.routes import Decoder, Route, decode_each, try_others
from schemas.templates import SHARED, Compiled, Layout, Template, layout_of

MAX_ROUTES: Final = 4_096
"""Keys that have templates; the one that was learned first gives way."""
MAX_CANDIDATES: Final = 1_024
"""Keys without a template that were looked at; all are forgotten when they are more."""
TEMPLATES_A_ROUTE: Final = 4
LOOKS_A_CHUNK: Final = 4
"""Records of a chunk on the slow way that are looked at, to learn from them."""
RECORDS_A_COMPILATION: Final = 2_048
"""Compiling takes as long as decoding some 50 events: at one for so many records it is 3 %."""
MAX_CREDIT: Final = 64.0
"""Compilations that may be made at once, where a worker begins."""


class _Candidate(NamedTuple):
    """A key without a template: the layout it was last seen with, or why it has none."""

    layout: Layout | str
    n_seen: int


class SlowModel(NamedTuple):
    """A record key whose events went the slow way."""

    key: bytes
    n_slow: int
    """Events that were tried or looked at in vain; while it rests they are not counted."""
    why: str
    """The latest reason."""
    is_resting: bool


class FastPath:
    """The templates of one partition's keys, and how well they serve."""

    def __init__(self, compiled: Compiled = SHARED) -> None:
        self.compiled = compiled
        self.n_records = 0
        self.n_slow: Counter[str] = Counter()
        """Records that went the slow way, by reason; `untried`: their key has no template now."""
        self._routes: dict[bytes | None, Route] = {}
        self._candidates: dict[bytes | None, _Candidate] = {}
        self._guess = Route()
        """For keys without a route: what was learned last may fit them too."""
        self._decoder_of: dict[bytes | None, Decoder | None] = {}
        """The first decoder of every key with a route; None: the key rests."""
        self._credit = MAX_CREDIT
        self._wake_at = -1

    def decode(
        self, keys: Sequence[bytes | None], values: Sequence[bytes | None], max_bytes: int
    ) -> tuple[Opening, list[int]]:
        """The events of those records that a template takes, and the indices of the others."""
        n = len(keys)
        self.n_records += n
        self._credit = min(MAX_CREDIT, self._credit + n / RECORDS_A_COMPILATION)
        if 0 <= self._wake_at <= self.n_records:
            self._wake()
        is_awake = self._guess.templates and self._guess.asleep_until < 0
        otherwise = self._guess.templates[0].decoder if is_awake else None
        decoders = list(map(self._decoder_of.get, keys, repeat(otherwise)))
        opening = Opening(self.compiled)
        errors = decode_each(opening, decoders, values, max_bytes)
        if errors:
            self._judge(keys, values, opening, errors)
        n_slow = n - opening.n_taken()
        if not n_slow:
            return opening, []
        taken = {i for group in opening.groups() for i in group.index}
        return opening, [i for i in range(n) if i not in taken]

    def learn(self, records: Sequence[Record]) -> None:
        """Count JSON records that no template has taken, and look at a few of them."""
        self.n_slow["untried"] += len(records)
        if self._credit < 1:
            return
        for record in records[:: -(-len(records) // LOOKS_A_CHUNK)]:
            route = self._routes.get(record.key)
            if route is not None and route.asleep_until >= 0 and route.n_naps > 1:
                continue
            try:
                layout = layout_of(orjson.loads(record.value or b""))
            except (ValueError, RecursionError):
                layout = "malformed"
            self._see(record.key, layout)

    def slow_models(self, n: int) -> list[SlowModel]:
        """The n keys with the most events that went the slow way."""
        keys = self._routes.keys() | self._candidates.keys()
        slow = list(map(self.slow_model, keys))
        known = [model for model in slow if model is not None]
        return sorted(known, key=lambda model: (-model.n_slow, model.key))[:n]

    def slow_model(self, key: bytes | None) -> SlowModel | None:
        """What is known of one key; None where nothing speaks against its events."""
        route = self._routes.get(key)
        if route is not None and route.n_slow:
            return SlowModel(key or b"", route.n_slow, route.why, route.asleep_until >= 0)
        seen = self._candidates.get(key)
        if seen is not None and isinstance(seen.layout, str):
            return SlowModel(key or b"", seen.n_seen, seen.layout, False)
        return None

    def _see(self, key: bytes | None, layout: Layout | str) -> None:
        """Learn a layout that was compiled before, or that comes from its key a second time."""
        seen = self._candidates.get(key, _Candidate("", 0))
        template = None if isinstance(layout, str) else self.compiled.get(layout)
        if template is None and _is_again(layout, seen.layout):
            assert isinstance(layout, Layout)
            assert isinstance(seen.layout, Layout)
            template = self.compiled.template(
                Layout(layout.names, layout.categories | seen.layout.categories)
            )
            self._credit -= 1
            if template is None:
                layout = "no_room"
        if template is None:
            if key in self._routes and isinstance(layout, str):
                return  # its misses are counted there
            if len(self._candidates) >= MAX_CANDIDATES:
                self._candidates.clear()
            self._candidates[key] = _Candidate(layout, seen.n_seen + 1)
            return
        self._candidates.pop(key, None)
        self._add(key, template)

    def _add(self, key: bytes | None, template: Template) -> None:
        route = self._routes.get(key)
        if route is None:
            if len(self._routes) >= MAX_ROUTES:
                oldest = next(iter(self._routes))
                del self._routes[oldest], self._decoder_of[oldest]
            route = self._routes[key] = Route()
        # Of two that differ only in what may be a category, the new one takes more.
        names = template.layout.names
        others = [other for other in route.templates if other.layout.names != names]
        route.templates = [template, *others][:TEMPLATES_A_ROUTE]
        self._decoder_of[key] = None if route.asleep_until >= 0 else template.decoder
        self._guess.templates = [template]

    def _judge(
        self,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        opening: Opening,
        errors: list[tuple[int, str]],
    ) -> None:
        """Try the other templates of keys that missed; let those rest that mostly miss."""
        n_missed: Counter[bytes | None] = Counter()
        latest: dict[bytes | None, Template] = {}
        for i, why in errors:
            key = keys[i]
            if is_arrow(values[i]):
                continue
            route = self._routes.get(key, self._guess)
            event, template = try_others(route, values[i])
            if template is not None:
                opening.take([(i, event)])
                latest[key] = template
                continue
            n_missed[key] += 1
            route.n_slow += 1
            route.why = why
            self.n_slow[why] += 1
            self.n_slow["untried"] -= 1  # `learn` counts all
        for key, template in latest.items():
            route = self._routes[key]  # there is but one to guess
            route.templates.remove(template)
            route.templates.insert(0, template)
            self._decoder_of[key] = template.decoder
        touched = {self._routes.get(key, self._guess) for key in n_missed}
        for key, n in Counter(keys).items():
            route = self._routes.get(key, self._guess)
            if route in touched:
                route.n_tried += n
                route.n_missed += n_missed[key]
        for key in n_missed:
            route = self._routes.get(key, self._guess)
            if route.rests(self.n_records):
                if key in self._routes:
                    self._decoder_of[key] = None
                wake_at = self._wake_at if self._wake_at >= 0 else route.asleep_until
                self._wake_at = min(wake_at, route.asleep_until)

    def _wake(self) -> None:
        """Try those again that have rested long enough."""
        later = []
        for key, route in (*self._routes.items(), (None, self._guess)):
            if route.asleep_until > self.n_records:
                later.append(route.asleep_until)
            elif route.asleep_until >= 0:
                route.asleep_until = -1
                if route is not self._guess:
                    self._decoder_of[key] = route.templates[0].decoder
        self._wake_at = min(later, default=-1)


def _is_again(layout: Layout | str, before: Layout | str) -> bool:
    """Whether two layouts are those of the same features."""
    return not isinstance(layout, str) and layout[:1] == before[:1]
