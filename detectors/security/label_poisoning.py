"""The bank of poisoned labels: sources that lie, many that lie together, triggers.

What it asks of each source, and of each pair of classes: do labels disagree with the model more
often than is usual at that confidence, *and* more often than those of all other sources since
then? The second makes honest drift, which moves all, accuse nobody; it also forgives a reference
that was learned from too few labels. What it cannot find: a model's only source, and sources that
give about half of all labels and lie alike.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from detectors.base import BankState, StateError
from detectors.drift.lane_table import require_lanes
from detectors.kernels import label_poisoning as kernel
from detectors.kernels.compile import DONE, FULL
from detectors.labels.identity import NONE, number_codes
from detectors.labels.join import Joined
from detectors.mixing import splitmix64
from detectors.security.backdoor import BackdoorSlices, Slice
from detectors.security.base import Calibration, Suspicion, Technique
from detectors.security.label_expectation import as_kept, checked, expectation
from detectors.security.label_poisoning_state import (
    Arrays,
    empty_places,
    forget_model,
    index_size,
    initial,
    restored,
    saved,
)
from schemas.batch import F64, I32, I64
from schemas.security_config import LabelPoisoningConfig

NAME: Final = "label_poisoning"
VERSION: Final = 1
JITTER: Final = 0.05
"""Thresholds differ by so much between deployments, towards strict or lax."""
POOL_SCORE: Final = 6.0
"""So many standard deviations do sources differ more than chance makes them, where disagreement is
concentrated ..."""
POOL_SPREAD: Final = 0.5
"""... and so much, as standard deviation by mean of their ratios to what was expected."""
POOL_LABELS: Final = 16_384
"""A pool in which nothing was concentrated by then begins anew."""
_ROOM: Final = 64
_GRAIN: Final = 1e6
_MASK: Final = 2**64 - 1


class LabelPoisoning:
    """Watches the joined labels of M models and S sources of labels.

    `state` is an earlier `snapshot()`; raises `StateError` where it does not fit. The places of
    label sources are this bank's own and no others'.
    """

    def __init__(
        self,
        config: LabelPoisoningConfig,
        n_models: int,
        n_places: int,
        salt: int,
        state: BankState | None = None,
    ) -> None:
        self._enabled = config.enabled
        self.n_models, self.n_places = n_models, n_places
        mixed = splitmix64(np.array([salt & _MASK], np.uint64))
        self._salt = int(mixed.view(np.int64)[0])
        self._jitter = 1.0 + JITTER * (2.0 * float(mixed[0]) / 2.0**64 - 1.0)
        if state is None:
            self._arrays: Arrays = initial(n_models, n_places)
            self._slices = BackdoorSlices.empty(n_models, self._salt)
        else:
            self._slices = BackdoorSlices.restored(state, n_models, self._salt)
            names = set(self._slices.snapshot())
            self._arrays = restored(state, n_models, n_places, names)
        self._build_index()

    def update(self, joined: Joined) -> list[Suspicion]:
        """Fold labels. Raises IndexError at an unknown slot, and folds none of them.

        Their `slices` are words of `slice_words`.
        """
        require_lanes(joined.slot, self.n_models)
        return self.fold(joined) if self._enabled and len(joined) else []

    def fold(self, joined: Joined) -> list[Suspicion]:
        """Fold labels whose slots there are, whatever the config says."""
        arrays, n = self._arrays, len(joined)
        slot = np.ascontiguousarray(joined.slot)
        predicted, label = (
            np.ascontiguousarray(code) for code in (joined.predicted_code, joined.label_code)
        )
        score = as_kept(joined.score).astype(np.float64)
        source = np.ascontiguousarray(joined.label_source)
        offset = np.ascontiguousarray(joined.offset)
        time = joined.event_time_ms + joined.delay_ms
        words = np.ascontiguousarray(joined.slices)
        is_hit = (predicted != label).astype(np.int64)
        classes = tuple(np.zeros(n, np.uint8) for _ in range(3))
        cursor = np.zeros(2, np.int64)
        fired = np.zeros((_ROOM, kernel.N_FIRED), np.int64)
        fired_x = np.zeros((_ROOM, kernel.N_FIRED_X))
        found: list[Suspicion] = []
        status = FULL
        while status != DONE:
            start = int(cursor[0])
            status = kernel.watch_labels(
                slot,
                predicted,
                label,
                score,
                source,
                offset,
                time,
                arrays["model_n"],
                arrays["model_x"],
                arrays["class_code"],
                arrays["learn_score"],
                arrays["learn_pair"],
                arrays["cuts"],
                arrays["rates"],
                arrays["shares"],
                arrays["hits"],
                arrays["expected"],
                arrays["base_hits"],
                arrays["base_expected"],
                arrays["places"],
                arrays["levels"],
                arrays["lanes"],
                arrays["sums"],
                self._index,
                arrays["door"],
                arrays["numbers"],
                self._salt,
                self._jitter,
                cursor,
                classes[0],
                classes[1],
                classes[2],
                fired,
                fired_x,
            )
            found += [
                self._of_source(joined, source, time, fired[f], fired_x[f])
                for f in range(int(cursor[1]))
            ]
            cursor[1] = 0
            stop = int(cursor[0])
            self._slices.count(
                slot,
                words,
                offset,
                time,
                (classes[0], classes[1], classes[2]),
                is_hit,
                (start, stop),
                arrays["rates"],
                arrays["shares"],
            )
            if status == kernel.LEARNED:
                self._freeze(int(slot[stop - 1]))
            elif status == kernel.EXAMINE:
                found += self._examine(joined, stop - 1, int(time[stop - 1]))
        return found

    def calibrate(self, model: int, calibration: Calibration, *, reviewed: bool) -> None:
        """Judge a model's labels by this from here on; what was held against sources is dropped.

        `calibration` is as `detectors.security.label_expectation.fit` makes it. Raises `StateError`
        where it cannot be one.
        """
        arrays, classes = checked(calibration)
        self.forget(model)
        self._take(model, arrays, classes, reviewed=reviewed)

    def forget(self, model: int) -> None:
        """The model's slot is given to another one: its labels, sources and slices are gone."""
        require_lanes(np.array([model], np.int32), self.n_models)
        forget_model(self._arrays, model)
        self._slices.forget(model)
        own = np.flatnonzero(self._arrays["places"][:, kernel.OWNER] == model)
        empty_places(self._arrays, own)
        self._build_index()

    def snapshot(self) -> BankState:
        """The whole state; shares no memory with the bank."""
        return {**saved(self._arrays), **self._slices.snapshot()}

    def counts(self) -> dict[str, int]:
        """Label sources: how many got a place, lost it, and were refused since it was last calm."""
        numbers = self._arrays["numbers"]
        return {
            "n_admitted": int(numbers[kernel.ADMITTED]),
            "n_evicted": int(numbers[kernel.EVICTED]),
            "n_refused": int(numbers[kernel.REFUSED]),
        }

    def _build_index(self) -> None:
        self._index: I32 = np.full(index_size(self.n_places), -1, np.int32)
        if kernel.index_givers(self._arrays["places"], self._index, self._salt):
            raise StateError("a source has two places")

    def _freeze(self, model: int) -> None:
        """A model has the labels of its reference."""
        arrays = self._arrays
        classes = arrays["class_code"][model, : arrays["model_n"][model, kernel.KNOWN]]
        usual, codes = checked(
            expectation(classes, arrays["learn_score"][model], arrays["learn_pair"][model])
        )
        for name in ("learn_score", "learn_pair"):
            arrays[name][model] = 0
        self._take(model, usual, codes, reviewed=False)

    def _take(self, model: int, usual: dict[str, F64], codes: I64, *, reviewed: bool) -> None:
        arrays = self._arrays
        own = arrays["model_n"][model]
        own[kernel.PHASE] = kernel.FROZEN
        own[kernel.TWO_SIDED] = int(usual["two_sided"][0])
        own[kernel.REVIEWED] = int(reviewed)
        own[kernel.KNOWN] = len(codes)
        arrays["class_code"][model] = 0
        arrays["class_code"][model, : len(codes)] = codes
        for name in ("cuts", "rates", "shares"):
            arrays[name][model] = usual[name]
        arrays["model_x"][model, [kernel.THRESHOLD, kernel.POOL_THRESHOLD]] = usual["thresholds"]

    def _examine(self, joined: Joined, row: int, time: int) -> list[Suspicion]:
        """Look at a model as a whole, after the label in this row."""
        model = int(joined.slot[row])
        n_labels = int(self._arrays["model_n"][model, kernel.LABELS])
        found = [
            self._of_slice(joined, row, time, each)
            for each in self._slices.look(model, n_labels, kernel.EXAMINE_LABELS)
        ]
        pooled = self._of_pool(joined, row, time)
        return [*found, *pooled]

    def _of_pool(self, joined: Joined, row: int, time: int) -> list[Suspicion]:
        """What the CUSUM of all sources says, where it is not all of them that moved."""
        arrays, model = self._arrays, int(joined.slot[row])
        n, x = arrays["model_n"][model], arrays["model_x"][model]
        statistic = float(x[kernel.POOL_STATISTIC])
        limit = float(x[kernel.POOL_THRESHOLD]) * self._jitter
        if statistic < limit:
            x[kernel.POOL_LEVEL] = 0.0
            return []
        level = float(x[kernel.POOL_LEVEL])
        if not self._is_concentrated(model):
            if n[kernel.POOL_SEEN] >= POOL_LABELS:
                x[[kernel.POOL_STATISTIC, kernel.POOL_LEVEL]] = 0.0
            return []
        if statistic < 2.0 * level:
            return []
        x[kernel.POOL_LEVEL] = statistic
        return [
            Suspicion(
                offset=int(joined.offset[row]),
                event_row=int(joined.event_row[row]),
                model=model,
                source=-1,
                detector=NAME,
                technique=Technique.LABEL_POISONING,
                event_time_ms=time,
                statistic=_rounded(statistic),
                threshold=_rounded(max(limit, 2.0 * level)),
                n_hits=int(n[kernel.POOL_HITS]),
                n_seen=int(n[kernel.POOL_SEEN]),
                first_offset=int(n[kernel.POOL_OFFSET]),
                first_time_ms=int(n[kernel.POOL_TIME]),
                n_expected=_rounded(float(x[kernel.POOL_EXPECTED])),
                is_provisional=not n[kernel.REVIEWED],
                detail=f"all sources: {self._pair(model, self._worst_pair(model))}",
            )
        ]

    def _is_concentrated(self, model: int) -> bool:
        """Whether sources differ more in how often they disagree than honest drift makes them.

        Pearson's chi-square of their disagreements since the pool began, each beside its share of
        what was expected. Its spread under chance alone is that of Poisson counts, which is wider
        than the true one. Labels without a place are one source.
        """
        arrays = self._arrays
        n, x = arrays["model_n"][model], arrays["model_x"][model]
        places = arrays["places"]
        own = (places[:, kernel.OWNER] == model) & (places[:, kernel.OWN_EPOCH] == n[kernel.EPOCH])
        hits = [*places[own, kernel.OWN_HITS].tolist(), int(n[kernel.REST_HITS])]
        expected = [
            *arrays["levels"][own, kernel.OWN_EXPECTED].tolist(),
            float(x[kernel.REST_EXPECTED]),
        ]
        groups = [(o, e) for o, e in zip(hits, expected, strict=True) if e > 0.0]
        if len(groups) < 2:
            return False
        ratio = sum(o for o, _ in groups) / math.fsum(e for _, e in groups)
        if ratio <= 0.0:
            return False
        means = [ratio * e for _, e in groups]
        squares = [(o - mean) ** 2 for (o, _), mean in zip(groups, means, strict=True)]
        chi_square = math.fsum(s / mean for s, mean in zip(squares, means, strict=True))
        free = len(groups) - 1
        spread = math.sqrt(2.0 * free + math.fsum(1.0 / mean for mean in means))
        variance = (math.fsum(squares) - math.fsum(means)) / math.fsum(m * m for m in means)
        return chi_square - free >= POOL_SCORE * spread and variance >= POOL_SPREAD**2

    def _worst_pair(self, model: int) -> int:
        """The pair with most disagreements beyond what was expected since the pool began."""
        arrays, c = self._arrays, kernel.N_CLASSES
        hits = arrays["hits"][model, : kernel.ANY].sum(axis=1) - arrays["base_hits"][model]
        expected = arrays["expected"][model, :c].sum(axis=1) - arrays["base_expected"][model]
        return int(
            np.argmax(hits.reshape(c, c) - expected[:, np.newaxis] * arrays["shares"][model])
        )

    def _of_source(
        self, joined: Joined, source: I64, time: I64, fired: I64, fired_x: F64
    ) -> Suspicion:
        row = int(fired[kernel.ROW])
        model = int(joined.slot[row])
        is_table = fired[kernel.KIND] == kernel.OF_TABLE
        pair = self._pair(model, int(fired[kernel.FIRED_PAIR]))
        words = (int(source[row, 0]) & _MASK, int(source[row, 1]) & _MASK)
        return Suspicion(
            offset=int(joined.offset[row]),
            event_row=int(joined.event_row[row]),
            model=model,
            source=-1,
            detector=NAME,
            technique=Technique.PRESSURE if is_table else Technique.LABEL_POISONING,
            event_time_ms=int(time[row]),
            statistic=_rounded(float(fired_x[kernel.FIRED_STATISTIC])),
            threshold=_rounded(float(fired_x[kernel.FIRED_THRESHOLD])),
            n_hits=int(fired[kernel.FIRED_HITS]),
            n_seen=int(fired[kernel.FIRED_SEEN]),
            first_offset=int(fired[kernel.FIRED_OFFSET]),
            first_time_ms=int(fired[kernel.FIRED_TIME]),
            n_expected=0.0 if is_table else _rounded(float(fired_x[kernel.FIRED_EXPECTED])),
            sources=() if is_table else (words,),
            n_sources=0 if is_table else 1,
            is_provisional=not self._arrays["model_n"][model, kernel.REVIEWED],
            detail="label sources" if is_table else pair,
        )

    def _of_slice(self, joined: Joined, row: int, time: int, found: Slice) -> Suspicion:
        model = int(joined.slot[row])
        n = self._arrays["model_n"][model]
        detail = f"slice {found.feature}={found.code}: labels {self._class(model, found.label)}"
        return Suspicion(
            offset=int(joined.offset[row]),
            event_row=int(joined.event_row[row]),
            model=model,
            source=-1,
            detector=NAME,
            technique=Technique.BACKDOOR,
            event_time_ms=time,
            statistic=found.statistic,
            threshold=found.threshold,
            n_hits=found.hits,
            n_seen=found.n,
            first_offset=found.first_offset,
            first_time_ms=found.first_time_ms,
            n_expected=_rounded(found.expected),
            n_slices=found.n_slices,
            is_provisional=not n[kernel.REVIEWED],
            detail=detail,
        )

    def _pair(self, model: int, pair: int) -> str:
        if pair == kernel.ANY:
            return "any -> any other"
        c = kernel.N_CLASSES
        return f"{self._class(model, pair // c)} -> {self._class(model, pair % c)}"

    def _class(self, model: int, number: int) -> str:
        return class_text(int(self._arrays["class_code"][model, number]))


def build(
    config: LabelPoisoningConfig,
    n_models: int,
    n_places: int,
    salt: int,
    state: BankState | None,
) -> LabelPoisoning:
    """The bank, new or from a snapshot; raises `StateError`."""
    return LabelPoisoning(config, n_models, n_places, salt, state)


def warm() -> None:
    """Compile the kernels, by folding no labels."""
    none, words = np.zeros(0, np.int64), np.zeros((0, 2), np.int64)
    slot, number = np.zeros(0, np.int32), np.zeros(0)
    nothing = Joined(
        *(slot, slot, none, slot, number, none, number, number, none, none, none),
        *(words, words, none, none, none),
    )
    LabelPoisoning(LabelPoisoningConfig(), 1, 1, 0).fold(nothing)


def class_text(code: int) -> str:
    """A class by its code: a whole number as it is written, else the code itself in hex.

    Who has the class names at hand finds them by the code: `detectors.labels.identity.class_names`.
    """
    if code == NONE:
        return "other"
    bits = code ^ int(number_codes(np.zeros(1))[0])
    number = float(np.array([bits], np.int64).view(np.float64)[0])
    if number.is_integer() and abs(number) < 2.0**53:
        return str(int(number))
    return f"#{code & _MASK:016x}"


def _rounded(x: float) -> float:
    """Sums may differ in their last digits between machines; findings may not."""
    return round(x * _GRAIN) / _GRAIN
