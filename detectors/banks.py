"""The banks of one partition: which there are, what they watch, what they are told of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from detectors.base import BankState, DetectorBank, DetectorSpec, StateError
from detectors.budget import arl0_of_detector, enabled_detectors
from detectors.catalog import Catalog
from detectors.drift.ranks import LaneReference
from detectors.monitor import Monitor, signal_config
from detectors.registry import REGISTRY
from detectors.signals import Signal
from schemas.batch import I32, Batch
from schemas.config import DetectionConfig
from schemas.findings import Firing


class Banks(Mapping[str, DetectorBank]):
    """One bank of each detector that is enabled, by name, in the order of the registry.

    `state` is that of all banks, by name; raises `StateError` where it does not fit.
    """

    def __init__(self, catalog: Catalog, state: Mapping[str, BankState] | None = None) -> None:
        self._catalog = catalog
        self._banks: dict[str, DetectorBank] = {}
        for name, spec in REGISTRY.items():
            bank_config = getattr(catalog.config.detectors, name)
            if not bank_config.enabled:
                continue
            if state is not None and name not in state:
                raise StateError(f"the state has no part {name!r}")
            own = None if state is None else state[name]
            self._banks[name] = spec.build(bank_config, catalog.lanes.n_lanes, own)

    def __getitem__(self, name: str) -> DetectorBank:
        return self._banks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._banks)

    def __len__(self) -> int:
        return len(self._banks)

    def update(self, batch: Batch, without_rhythm: Batch) -> list[Firing]:
        """Advance all of them; what fired, in no particular order.

        What is for people to read comes of the batch, what looks for changes of the other one.
        """
        return [
            firing
            for name, bank in self._banks.items()
            for firing in bank.update(batch if REGISTRY[name].keeps_rhythm else without_rhythm)
        ]

    def take_fresh_lanes(self) -> None:
        """Put freshly given lanes into their initial state in every bank, on or off by config."""
        fresh = self._catalog.take_fresh_lanes()
        if not fresh:
            return
        lanes = np.array(sorted(fresh), np.int32)
        for bank in self._banks.values():
            bank.resize(self._catalog.lanes.n_lanes)
            bank.reset(lanes)
        self._teach(self._banks.values(), lanes, set(fresh.values()))
        self._switch(lanes, set(fresh.values()))

    def begin_anew(self) -> None:
        """Let every detector forget what it has seen and begin after its reference."""
        lanes = np.arange(self._catalog.lanes.n_lanes, dtype=np.int32)
        slots = set(self._catalog.slot_of.values())
        for bank in self._banks.values():
            bank.reset(lanes)
        self._teach(self._banks.values(), lanes, slots)
        self._switch(lanes, slots)

    def reconfigure(self, before: DetectionConfig) -> None:
        """Go on under the catalog's config. A detector whose parameters changed begins anew."""
        config, lanes = self._catalog.config, self._catalog.lanes.n_lanes
        is_same_budget = stated_budget(before) == stated_budget(config)
        kept: dict[str, DetectorBank] = {}
        new: list[DetectorBank] = []
        for name, spec in REGISTRY.items():
            bank_config = getattr(config.detectors, name)
            if not bank_config.enabled:
                continue
            is_same = bank_config == getattr(before.detectors, name)
            if name in self._banks and is_same and (is_same_budget or not spec.has_budget):
                kept[name] = self._banks[name]
            else:
                kept[name] = spec.build(bank_config, lanes, None)
                new.append(kept[name])
        self._banks = kept
        everything = np.arange(lanes, dtype=np.int32)
        slots = set(self._catalog.slot_of.values())
        self._teach(new, everything, slots)
        self.take_fresh_lanes()
        self._switch(everything, slots)

    def _teach(self, banks: Collection[DetectorBank], lanes: I32, slots: set[int]) -> None:
        """Tell these banks what the references of these lanes, which are those slots', held."""
        wanted = set(lanes.tolist())
        taught: list[int] = []
        references: list[LaneReference] = []
        for monitor in self._monitors(slots):
            # The others share with those that came.
            others: dict[float, list[int]] = {}
            for signal in monitor.signals:
                arl0 = arl0_of_detector(self._catalog.config, monitor, signal)
                if signal.lane not in wanted and signal.lane >= 0:
                    others.setdefault(arl0, []).append(signal.lane)
                elif signal.lane in wanted and signal.ranks is not None:
                    taught.append(signal.lane)
                    references.append(LaneReference(signal.ranks, arl0))
            for arl0, their_lanes in others.items():
                for bank in banks:
                    bank.set_arl0(np.array(their_lanes, np.int32), arl0)
        for bank in banks:
            bank.learn(np.array(taught, np.int32), references)

    def _switch(self, lanes: I32, slots: set[int]) -> None:
        """Let each bank watch these lanes, but those that the config takes away from it."""
        wanted = set(lanes.tolist())
        off: dict[str, list[int]] = {name: [] for name in self._banks}
        for monitor in self._monitors(slots):
            config = signal_config(self._catalog.config, monitor)
            for signal in monitor.signals:
                only = monitor.config_of(signal, config).detectors
                if signal.lane not in wanted:
                    continue
                for name in self._banks:
                    if not _watches(REGISTRY[name], signal, only):
                        off[name].append(signal.lane)
        for name, bank in self._banks.items():
            bank.set_enabled(lanes, True)
            bank.set_enabled(np.array(sorted(off[name]), np.int32), False)

    def _monitors(self, slots: set[int]) -> Iterator[Monitor]:
        """Those of the slots that are not empty by now."""
        for slot in sorted(slots):
            monitor = self._catalog.slots[slot]
            if monitor is not None:
                yield monitor


def _watches(spec: DetectorSpec, signal: Signal, only: Collection[str] | None) -> bool:
    """Whether a detector watches a signal; `only` are those that the config names for it."""
    if signal.is_cells and not spec.watches_cells:
        return False
    if spec.watches_errors_only and not (only is None and signal.is_error):
        return only is not None and spec.name in only and signal.is_share
    return only is None or spec.name in only


def stated_budget(config: DetectionConfig) -> object:
    """What of a config says how many false alarms are accepted of a detector that has a budget."""
    own = {
        name: (model.false_alerts, model.arl0)
        for name, model in config.model.items()
        if model.false_alerts is not None or model.arl0 is not None
    }
    sharing = [spec.name for spec in enabled_detectors(config) if spec.has_budget]
    return config.false_alerts, config.arl0, own, sharing
