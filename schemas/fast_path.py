"""Which template reads a record: learned from records that went the slow way, key by key.

Nothing here is part of a result: a template gives the same columns as the slow way or no answer, so
what is known here decides how long an answer takes and nothing else. All of it is bounded, and none
of it can be made to cost much more than the slow way does: few records are looked at, templates are
compiled at a bounded rate, and a key whose records mostly miss is left alone for a while, each time
for longer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, Final, NamedTuple, cast

import msgspec
import orjson

from schemas.opened import Opening
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
WINDOW: Final = 64
"""Tries after which a key's misses are judged."""
NAP_RECORDS: Final = 8_192
"""A key that missed more than it hit rests for so many records, then for twice as many, ..."""
MAX_NAPS: Final = 10

_Decoder = msgspec.json.Decoder[Any]
_decode: Final[Callable[[_Decoder | None, bytes | None], Any]] = cast(
    "Any", msgspec.json.Decoder.decode
)
_WHY: Final = (
    ("Object contains unknown", "unknown_name"),
    ("Object missing", "missing_name"),
    ("Expected", "other_type"),
    ("Invalid", "other_type"),
    ("Number out of range", "other_type"),
)


class Route:
    """What is known of one key."""

    __slots__ = ("asleep_until", "n_missed", "n_naps", "n_slow", "n_tried", "templates", "why")

    def __init__(self) -> None:
        self.templates: list[Template] = []
        """In the order in which they are tried."""
        self.asleep_until = -1
        """The key rests until so many records have come; -1: it does not rest."""
        self.n_naps = 0
        self.n_tried = 0
        """Records tried since the misses were last judged."""
        self.n_missed = 0
        self.n_slow = 0
        """All records that were tried in vain."""
        self.why = ""

    def rests(self, n_records: int) -> bool:
        """Judge the misses of a window; whether the key is to rest now."""
        if self.n_tried < WINDOW:
            return False
        mostly_missed = 2 * self.n_missed > self.n_tried
        self.n_tried = self.n_missed = 0
        if not mostly_missed:
            self.n_naps = 0
            return False
        self.asleep_until = n_records + (NAP_RECORDS << self.n_naps)
        self.n_naps = min(self.n_naps + 1, MAX_NAPS)
        return True


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
        self._decoder_of: dict[bytes | None, _Decoder | None] = {}
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
        errors = _decode_each(opening, decoders, values, max_bytes)
        if errors:
            self._judge(keys, values, opening, errors)
        n_slow = n - opening.n_taken()
        if not n_slow:
            return opening, []
        self.n_slow["untried"] += n_slow
        taken = {i for group in opening.groups() for i in group.index}
        return opening, [i for i in range(n) if i not in taken]

    def learn(
        self, keys: Sequence[bytes | None], values: Sequence[bytes | None], slow: Sequence[int]
    ) -> None:
        """Look at a few of the records at the indices `slow`, which no template took."""
        if self._credit < 1:
            return
        for i in slow[:: -(-len(slow) // LOOKS_A_CHUNK)]:
            route = self._routes.get(keys[i])
            if route is not None and route.asleep_until >= 0 and route.n_naps > 1:
                continue
            try:
                layout = layout_of(orjson.loads(values[i] or b""))
            except (ValueError, RecursionError):
                layout = "malformed"
            self._see(keys[i], layout)

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
            route = self._routes.get(key, self._guess)
            event, template = _try_others(route, values[i])
            if template is not None:
                opening.take([(i, event)])
                latest[key] = template
                continue
            n_missed[key] += 1
            route.n_slow += 1
            route.why = why
            self.n_slow[why] += 1
            self.n_slow["untried"] -= 1  # the caller counts all
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


def _decode_each(
    opening: Opening,
    decoders: Sequence[_Decoder | None],
    values: Sequence[bytes | None],
    max_bytes: int,
) -> list[tuple[int, str]]:
    """Open each value with its decoder; (index, why) of those that were refused.

    Not tried is what has no decoder, and a value that is missing or too long.
    """
    index: Sequence[int] = range(len(values))
    if None in decoders or None in values or max(map(len, cast("list[bytes]", values))) > max_bytes:
        index = [
            i
            for i, (decoder, value) in enumerate(zip(decoders, values, strict=True))
            if decoder is not None and value is not None and len(value) <= max_bytes
        ]
        decoders, values = [decoders[i] for i in index], [values[i] for i in index]
    errors: list[tuple[int, str]] = []
    n_before = opening.n_taken()
    decoded = map(_decode, decoders, values)
    numbered = zip(index, decoded, strict=False)
    while True:
        try:
            # What came before an error is kept, and the iterators go on behind it.
            opening.take(numbered)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            at = opening.n_taken() - n_before + len(errors)
            errors.append((index[at], _why(error)))
        else:
            return errors


def _try_others(route: Route, value: bytes | None) -> tuple[Any, Template | None]:
    """The event by a template of its key that was not tried first; None: none takes it."""
    for template in route.templates[1:]:
        try:
            return template.decoder.decode(value or b""), template
        except (msgspec.MsgspecError, ValueError, RecursionError):
            continue
    return None, None


def _why(error: Exception) -> str:
    """The reason of a refusal in a word."""
    said = str(error)
    return next((why for start, why in _WHY if said.startswith(start)), "malformed")
