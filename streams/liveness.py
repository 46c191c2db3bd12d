"""Silence and volume: whether predictions come as the reference lets expect, by the clock.

Pure: counts and a clock's value in, records out. No part of the fold, nor of any state that is
kept: what is learned here ends with the process.

Time is cut into base windows, numbered from the epoch; a tick is the end of one. A model has
windows of its own, the shortest power of two of base windows in which `MIN_EXPECTED` predictions
are to be expected. What lasts is told where it has lasted for longer than chance explains, and for
twice as long as has been usual of late: a model may sleep at night. Traffic is no Poisson process,
and its rate is that of a reference that may be of one afternoon. So a volume is told by a factor
and not by significance, and only of a model that was seen at its usual volume before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from detectors.learning import WEEK_MS
from schemas.batch import ModelKey
from schemas.liveness import Trouble

SILENT_EXPECTED: Final = 50.0
"""Predictions that were to be expected in a silence. Were they independent, no chance of e^-50; of
a service that sends them by tens at once, e^-5."""
SILENT_WINDOWS: Final = 2
"""Base windows that a silence lasts, at least."""
MIN_EXPECTED: Final = 20.0
"""Predictions to be expected in a window in which they are counted."""
FACTOR: Final = 4.0
"""A volume is told of where it is beyond so many times, or below that part, of the expected."""
VOLUME_WINDOWS: Final = 3
"""Windows in a row of the model's own that it is so."""
USUAL_FACTOR: Final = 2
"""What is told has lasted so many times as long as is usual."""
MEMORY_MS: Final = 15 * 86_400_000
"""What was usual is remembered for so long: two weekends lie within it."""
MAX_RUNS: Final = 32
"""Runs that are remembered of each kind, at most."""


class Seen(NamedTuple):
    """One model version, or a shard of it, as the fold has it now."""

    key: ModelKey
    n_events: int
    """Predictions since it was admitted."""
    events_per_week: float
    """Of its reference; 0 where it is not known (yet)."""
    admitted: int
    """The position at which it was: later versions have higher ones."""


class Said(NamedTuple):
    """What there is to tell of one model. Times are numbers of base windows."""

    key: ModelKey
    kind: Trouble
    is_over: bool
    window: int
    """First base window of the model's own window in which this is said."""
    n_windows: int
    """Base windows in the model's own."""
    since: int
    until: int
    n_events: int
    n_expected: float


class Usual:
    """How long a thing is used to last: the second longest run of the recent past.

    What came once may be an outage, and must not blunt what comes after it; what came twice is a
    habit.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._runs: list[tuple[int, int]] = []  # (when it ended, how long it was), in this order

    def note(self, length: int, at: int) -> None:
        """A run of this length has ended."""
        kept: list[tuple[int, int]] = []
        for run in reversed([*self._runs, (at, length)]):
            # One that two later ones outlast can never be the second longest again.
            n_longer = sum(other[1] >= run[1] for other in kept)
            if n_longer < 2 and at - run[0] <= self._memory:
                kept.append(run)
        if len(kept) > MAX_RUNS:
            kept.remove(min(kept, key=lambda run: run[1]))
        self._runs = kept[::-1]

    def length(self, at: int) -> int:
        """How long is usual; 0 where nothing is."""
        lengths = sorted(run[1] for run in self._runs if at - run[0] <= self._memory)
        return lengths[-2] if len(lengths) > 1 else 0


@dataclass(slots=True)
class _Told:
    kind: Trouble
    since: int
    n_events: int


@dataclass(slots=True)
class _Run:
    """Windows in a row of one kind of volume."""

    kind: Trouble | None
    since: int
    n_windows: int = 0
    n_events: int = 0


@dataclass(slots=True)
class _Model:
    n_events: int
    admitted: int
    silences: Usual
    volumes: dict[Trouble, Usual]
    latest: int
    """The tick by which the latest prediction was seen."""
    judged_from: int
    """What can be judged of its silence began here."""
    was_heard: bool = False
    """Whether any prediction has come while it was watched."""
    was_normal: bool = False
    """Whether a window of it held as many as expected."""
    told: _Told | None = None
    per_tick: float = 0.0
    """Predictions to be expected in a base window."""
    size: int = 0
    """Base windows in its own window; 0: its volume is not judged."""
    n_window: int = 0
    is_whole: bool = False
    """Whether all of the current window was seen."""
    run: _Run | None = None


@dataclass(slots=True)
class LivenessWatch:
    """The models of one partition, from when it was taken up. `window_ms` is the base window."""

    window_ms: int
    _tick: int | None = None
    _models: dict[ModelKey, _Model] = field(default_factory=dict)
    _versions: dict[tuple[str, int], list[_Model]] | None = None
    """Those of each model, or of each shard of it, at this tick; None: not asked for."""

    def tick(self, now_ms: int, models: Sequence[Seen], *, is_current: bool) -> list[Said]:
        """What there is to tell at the end of a base window.

        `is_current`: all that was in the log a base window ago is folded. Where it is not, or a
        tick is missing (the process stood still, or the clock was set), nothing can be said of the
        time before.
        """
        at = now_ms // self.window_ms
        if at == self._tick:
            return []
        is_sound = is_current and self._tick is not None and at == self._tick + 1
        is_back = self._tick is not None and at < self._tick
        self._tick = at
        found: list[tuple[Seen, _Model]] = []
        n_new: list[int] = []
        known, self._models = self._models, {}
        for seen in models:
            model = known.get(seen.key) or self._met(seen, at)
            self._models[seen.key] = model
            model.admitted = seen.admitted
            if seen.key not in known:
                continue
            n = seen.n_events - model.n_events
            model.n_events = seen.n_events
            if n < 0 or is_back:
                # It gave way to others and came back, states were dropped, or the clock went back.
                _begin_anew(model, at)
                continue
            found.append((seen, model))
            n_new.append(n)
            self._rate(model, seen.events_per_week)
        self._versions = None
        said: list[Said] = []
        for (seen, model), n in zip(found, n_new, strict=True):
            said += self._judged(seen.key, model, n, at, is_sound=is_sound)
        return said

    def _met(self, seen: Seen, at: int) -> _Model:
        memory = MEMORY_MS // self.window_ms
        volumes: dict[Trouble, Usual] = {
            "low_volume": Usual(memory),
            "high_volume": Usual(memory),
        }
        return _Model(seen.n_events, seen.admitted, Usual(memory), volumes, at, at)

    def _rate(self, model: _Model, events_per_week: float) -> None:
        """Take note of the rate; where it is another one, its windows are others too."""
        per_tick = events_per_week * self.window_ms / WEEK_MS
        if per_tick == model.per_tick:
            return
        model.per_tick, model.is_whole, model.run = per_tick, False, None
        model.size = _size(per_tick, self.window_ms)

    def _is_replaced(self, key: ModelKey, model: _Model, since: int) -> bool:
        """Whether a later version of the model has had predictions since."""
        if self._versions is None:
            self._versions = {}
            for other, its in self._models.items():
                self._versions.setdefault((other.model_id, other.shard), []).append(its)
        return any(
            other.admitted > model.admitted and other.was_heard and other.latest > since
            for other in self._versions[key.model_id, key.shard]
        )

    def _judged(
        self, key: ModelKey, model: _Model, n: int, at: int, *, is_sound: bool
    ) -> list[Said]:
        """Judge the base window that has ended, with `n` predictions of this model."""
        said: list[Said] = []
        if model.told is not None:
            model.told.n_events += n
        if n:
            if model.told is not None and model.told.kind == "silence":
                since = model.told.since
                said.append(self._said(key, model, "silence", since, at - 1, at, 0, is_over=True))
                model.told = None
            if (length := at - 1 - model.judged_from) > 1:
                model.silences.note(length, at)
            model.latest = model.judged_from = at
            model.was_heard = True
        elif not is_sound:
            model.judged_from = at
        elif self._is_silent(model, at) and not self._is_replaced(key, model, model.latest):
            model.told = _Told("silence", model.latest, 0)
            said.append(self._said(key, model, "silence", model.latest, at, at, 0))
        said += self._volume(key, model, n, at, is_sound=is_sound)
        return said

    def _is_silent(self, model: _Model, at: int) -> bool:
        if not model.was_heard or (model.told is not None and model.told.kind == "silence"):
            return False
        # The worker may be behind the log by a base window: that much of it is not sure.
        sure = at - 1 - model.judged_from
        return (
            sure >= SILENT_WINDOWS
            and sure * model.per_tick >= SILENT_EXPECTED
            and sure >= USUAL_FACTOR * model.silences.length(at)
        )

    def _volume(
        self, key: ModelKey, model: _Model, n: int, at: int, *, is_sound: bool
    ) -> list[Said]:
        """Count, and judge the model's own window where it ends here."""
        if not model.size:
            return []
        model.n_window += n
        model.is_whole &= is_sound
        if at % model.size:
            return []
        n_window, is_whole = model.n_window, model.is_whole
        model.n_window, model.is_whole = 0, is_sound
        if not is_whole or n_window == 0:
            # Nothing can be said of it, or it is a matter of silence.
            model.run = None
            return []
        kind = _kind(n_window, model.per_tick * model.size)
        if model.run is None or model.run.kind != kind:
            if model.run is not None and model.run.kind is not None:
                length = model.run.n_windows * model.size
                model.volumes[model.run.kind].note(length, at - model.size)
            model.run = _Run(kind, at - model.size)
        run, told = model.run, model.told
        run.n_windows += 1
        run.n_events += n_window
        if kind is None:
            model.was_normal = True
            if told is None or told.kind == "silence":
                return []
            model.told = None
            n_told = told.n_events - n_window
            until = at - model.size
            return [self._said(key, model, told.kind, told.since, until, at, n_told, is_over=True)]
        length = run.n_windows * model.size
        if (
            not model.was_normal
            or run.n_windows < VOLUME_WINDOWS
            or (told is not None and told.kind == kind)
            or length < USUAL_FACTOR * model.volumes[kind].length(at)
            or (kind == "low_volume" and self._is_replaced(key, model, run.since))
        ):
            return []
        model.told = _Told(kind, run.since, run.n_events)
        return [self._said(key, model, kind, run.since, at, at, run.n_events)]

    def _said(
        self,
        key: ModelKey,
        model: _Model,
        kind: Trouble,
        since: int,
        until: int,
        at: int,
        n_events: int,
        *,
        is_over: bool = False,
    ) -> Said:
        size = model.size or _longest(self.window_ms)
        window = (at - 1) // size * size
        expected = model.per_tick * (until - since)
        return Said(key, kind, is_over, window, size, since, until, n_events, expected)


def _begin_anew(model: _Model, at: int) -> None:
    """Forget what was seen; what is usual stays."""
    model.latest = model.judged_from = at
    model.was_heard = model.is_whole = False
    model.told = model.run = None
    model.n_window = 0


def _kind(n: int, expected: float) -> Trouble | None:
    if n * FACTOR < expected:
        return "low_volume"
    return "high_volume" if n > expected * FACTOR else None


def _longest(window_ms: int) -> int:
    """The largest power of two of base windows within a week; 1 where there is none."""
    return 1 << max(0, (WEEK_MS // window_ms).bit_length() - 1)


def _size(per_tick: float, window_ms: int) -> int:
    """How many base windows a model's own has; 0 where that would be more than a week."""
    size, longest = 1, _longest(window_ms)
    while size * per_tick < MIN_EXPECTED:
        size *= 2
        if size > longest:
            return 0
    return size
