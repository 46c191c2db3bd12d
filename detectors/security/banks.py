"""The security banks of one partition: which there are, and what they judge by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import numpy as np

from detectors.base import BankState, part_of
from detectors.labels.join import Joined
from detectors.security.base import (
    N_KINDS,
    LabelSecurityBank,
    SecurityBank,
    SecurityRows,
    Suspicion,
)
from detectors.security.calibration import ModelCalibration
from detectors.security.data_breaks import DataBreaksBank
from detectors.security.registry import LABEL_SECURITY_REGISTRY, SECURITY_REGISTRY
from schemas.batch import I32
from schemas.config import DetectionConfig
from schemas.source_hash import SourceKey

Words = tuple[int, int]
"""The keyed hash of a source."""
NO_KIND: Final = ""
_MOST: Final = 2**31 - 1


class SecurityBanks(Mapping[str, SecurityBank]):
    """One bank of each detector that is enabled, by name, in the order of the registry.

    `state` is that of all banks, by name; raises `StateError` where it does not fit.
    """

    def __init__(
        self, config: DetectionConfig, salt: int, state: Mapping[str, BankState] | None = None
    ) -> None:
        self._salt = salt
        self._banks: dict[str, SecurityBank] = {}
        self.of_labels: dict[str, LabelSecurityBank] = {}
        """Those that see joined labels; none where labels are not joined."""
        self.n_held = 0
        """Suspicions held back since this was built; no part of the state."""
        self._config = config
        for name in _enabled(config):
            self._banks[name] = self._build(name, None if state is None else part_of(state, name))
        for name in _enabled_of_labels(config):
            self.of_labels[name] = self._build_of_labels(
                name, None if state is None else part_of(state, name)
            )

    def __getitem__(self, name: str) -> SecurityBank:
        return self._banks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._banks)

    def __len__(self) -> int:
        return len(self._banks)

    def _build(self, name: str, state: BankState | None) -> SecurityBank:
        spec, own = SECURITY_REGISTRY[name], self._config.security
        detector = getattr(own.detectors, name)
        return spec.build(detector, own.max_models, own.max_sources, self._salt, state)

    def _build_of_labels(self, name: str, state: BankState | None) -> LabelSecurityBank:
        spec, own = LABEL_SECURITY_REGISTRY[name], self._config.security
        detector = getattr(own.detectors, name)
        return spec.build(detector, own.max_models, own.max_sources, self._salt, state)

    def update(self, rows: SecurityRows) -> list[Suspicion]:
        """Advance all of them; what they suspect, in no particular order.

        What is found of rows that broke with the data is held back, and counted in `n_held`.
        """
        of_breaks: DataBreaksBank | None = None
        found: list[Suspicion] = []
        for bank in self._banks.values():
            if isinstance(bank, DataBreaksBank):
                of_breaks = bank
            else:
                found += bank.update(rows)
        if of_breaks is None:
            return found
        sifted = of_breaks.sift(rows, found)
        self.n_held += sifted.n_held
        return sifted.said

    def update_labels(self, joined: Joined) -> list[Suspicion]:
        """The same of those that see joined labels."""
        return [suspicion for bank in self.of_labels.values() for suspicion in bank.update(joined)]

    def standing(self) -> I32:
        """(S,) what all of them together hold against each place."""
        total = np.zeros(self._config.security.max_sources, np.int64)
        for bank in self._banks.values():
            total += np.maximum(bank.standing(), 0)
        return np.minimum(total, _MOST).astype(np.int32)

    def forget(self, slot: int) -> None:
        """The slot is given to another model, or its model begins anew."""
        for bank in self._banks.values():
            bank.forget(slot)
        for of_labels in self.of_labels.values():
            of_labels.forget(slot)

    def calibrate(self, slot: int, calibration: ModelCalibration) -> None:
        """Let them judge the slot's model by this from here on."""
        for name, bank in self._banks.items():
            self._calibrate(name, bank, slot, calibration)

    def _calibrate(
        self,
        name: str,
        bank: SecurityBank,
        slot: int,
        calibration: ModelCalibration,
        *,
        only_kinds: bool = False,
    ) -> None:
        own = calibration.of(name)
        if not own:
            return
        given = [own[kind] for kind in _with_a_say(own, self._config)]
        strictest = given[0] if len(given) == 1 else SECURITY_REGISTRY[name].strictest(given)
        if not only_kinds:
            bank.calibrate(slot, 0, strictest, reviewed=calibration.is_reviewed)
        if not calibration.is_reviewed:
            return
        # All of them, so that a number that had another name before is not judged by that.
        numbers = {number: kind for kind, number in kind_numbers(self._config).items()}
        for number in range(1, N_KINDS):
            of_kind = own.get(numbers[number], strictest) if number in numbers else strictest
            bank.calibrate(slot, number, of_kind, reviewed=True)

    def reconfigure(
        self,
        config: DetectionConfig,
        calibrations: Mapping[int, ModelCalibration],
        *,
        begin_anew: bool,
    ) -> None:
        """Go on under another config; a detector whose parameters changed begins anew.

        `calibrations` are those in force, by slot; `begin_anew`: all of them have to.
        """
        before, self._config = self._config, config
        kept, self._banks = self._banks, {}
        is_same_kinds = kind_numbers(before) == kind_numbers(config)
        for name in _enabled(config):
            is_kept = not begin_anew and name in kept and _is_same(name, before, config)
            self._banks[name] = kept[name] if is_kept else self._build(name, None)
            for slot, calibration in sorted(calibrations.items()):
                bank, own = self._banks[name], calibration.of(name)
                # Where the strictest are others now, who was judged by them begins anew.
                is_same = is_kept and _with_a_say(own, before) == _with_a_say(own, config)
                if not (is_same and is_same_kinds):
                    self._calibrate(name, bank, slot, calibration, only_kinds=is_same)
        of_labels, self.of_labels = self.of_labels, {}
        for name in _enabled_of_labels(config):
            is_kept = not begin_anew and name in of_labels and _is_same(name, before, config)
            self.of_labels[name] = of_labels[name] if is_kept else self._build_of_labels(name, None)

    def snapshot(self) -> dict[str, BankState]:
        """The state of all of them, by name."""
        parts = {name: bank.snapshot() for name, bank in self._banks.items()}
        return parts | {name: bank.snapshot() for name, bank in self.of_labels.items()}


def _with_a_say(kinds: Iterable[str], config: DetectionConfig) -> list[str]:
    """Of which of these kinds the strictest is chosen: those that anybody is of, in their order.

    A kind of which the config names no source judges nobody, whom an attacker could pass for. Where
    no other is left all of them have a say.
    """
    given = list(kinds)
    own = [kind for kind in given if kind == NO_KIND or config.security.kinds.get(kind)]
    return own or given


def kind_numbers(config: DetectionConfig) -> dict[str, int]:
    """The number of each kind of client that the config names: 1 and more, by their names."""
    return {kind: number + 1 for number, kind in enumerate(sorted(config.security.kinds))}


def kinds_by_words(config: DetectionConfig, source_key: SourceKey | None) -> dict[Words, str]:
    """The kind of each source that the config names, by its hash; none where there is no key.

    Who is said to be of two kinds is of none: it is judged by what is strictest.
    """
    if source_key is None:
        return {}
    found: dict[Words, str] = {}
    for kind, names in sorted(config.security.kinds.items()):
        for low, high in source_key.words([*names]).tolist():
            found[low, high] = kind if found.get((low, high), kind) == kind else NO_KIND
    return found


def _enabled(config: DetectionConfig) -> list[str]:
    detectors = config.security.detectors
    return [name for name in SECURITY_REGISTRY if getattr(detectors, name).enabled]


def _enabled_of_labels(config: DetectionConfig) -> list[str]:
    detectors = config.security.detectors
    if not config.labels.enabled:
        return []
    return [name for name in LABEL_SECURITY_REGISTRY if getattr(detectors, name).enabled]


def _is_same(name: str, before: DetectionConfig, after: DetectionConfig) -> bool:
    old, new = before.security.detectors, after.security.detectors
    return bool(getattr(old, name) == getattr(new, name))
