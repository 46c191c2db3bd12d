"""Who is watched, as a part of a checkpoint: a JSON document for the names, arrays for numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from pydantic import ValidationError

from detectors.base import BankState, StateError, require_array
from detectors.mixing import splitmix64
from detectors.monitor_state import StateDocument
from detectors.security.calibration import KeptCalibrations, ModelCalibration
from detectors.security.models import NEVER, ModelSlots
from detectors.security.packing import PACKED, Packer, Unpacker
from detectors.security.population import (
    FIELDS,
    MAX_LEARNED_VALUES,
    Learning,
    Population,
    Rows,
)
from detectors.security.populations import Populations
from schemas.batch import ModelKey, ValueKind
from schemas.limits import MAX_FEATURES, MAX_ID_CHARS, MAX_SHARD

_TOO_LARGE: Final = 2**62
"""Larger than any number or count that is reached."""
_MAX_EVENTS: Final = 100_000
"""The highest `learn_events` of a config."""


class _PopulationDocument(StateDocument):
    features: list[str]
    n_classes: int
    output: int
    n_rows: int


class _ArrayDocument(StateDocument):
    """One array of a calibration."""

    kind: str
    detector: str
    name: str
    shape: list[int]


class _CalibrationDocument(StateDocument):
    population: _PopulationDocument
    is_reviewed: bool
    kinds: list[str]
    arrays: list[_ArrayDocument]


class _LearningDocument(StateDocument):
    features: list[str]
    n_rows: int
    n_values: int
    n_kept: int


class _ModelDocument(StateDocument):
    model_id: str
    model_version: str
    shard: int
    learning: _LearningDocument | None
    """None: it has a calibration."""
    calibration: _CalibrationDocument | None


class _KeptDocument(StateDocument):
    model_id: str
    model_version: str
    calibration: _CalibrationDocument


class _Document(StateDocument):
    salt: int
    """That of the salt which cannot be told from it: hashes of another one mean nothing."""
    slots: list[_ModelDocument | None]
    kept: list[_KeptDocument]


@dataclass(frozen=True, slots=True)
class Watched:
    """The models that are watched, and what is known of them."""

    models: ModelSlots
    populations: Populations
    calibrations: dict[int, ModelCalibration]
    """In force, by slot."""
    kept: KeptCalibrations


def snapshot_watched(watched: Watched, salt: int, numbers: Iterable[int]) -> BankState:
    """The models, and the fold's counters, as arrays."""
    packer = Packer()
    models = watched.models
    slots: list[dict[str, Any] | None] = [None] * len(models)
    for slot in models.taken():
        key = models.key(slot)
        learning = watched.populations.learning.get(slot)
        calibration = watched.calibrations.get(slot)
        slots[slot] = {
            **key._asdict(),
            "learning": None if learning is None else _write_learning(learning, packer),
            "calibration": None if calibration is None else _write(calibration, packer),
        }
    kept = [
        {
            "model_id": model_id,
            "model_version": version,
            "calibration": _write(calibration, packer),
        }
        for (model_id, version), calibration in watched.kept.items()
    ]
    document = {"salt": _told(salt), "slots": slots, "kept": kept}
    return {
        **packer.arrays(),
        "document": np.frombuffer(orjson.dumps(document), np.uint8).copy(),
        "numbers": np.array(list(numbers), np.int64),
        "last_seen": models.last_seen.copy(),
        "n_events": models.n_events.copy(),
    }


def numbers_of(state: BankState, n: int) -> list[int]:
    """The fold's counters of a snapshot, n of them. Raises `StateError` where they are none."""
    numbers: list[int] = require_array(state, "numbers", np.int64, (n,)).tolist()
    if min(numbers) < 0 or max(numbers) >= _TOO_LARGE:
        raise StateError("a counter is negative, or larger than any that was counted")
    return numbers


def kept_in(state: BankState, n_numbers: int) -> KeptCalibrations:
    """The calibrations that people had set, of a snapshot under whatever source key.

    Raises `StateError` where it is none.
    """
    n_slots = len(require_array(state, "last_seen", np.int64, (None,)))
    watched = Watched(ModelSlots(n_slots, 0), Populations(n_slots, 0), {}, KeptCalibrations())
    restore_watched(watched, None, state, n_numbers)
    return watched.kept


def restore_watched(
    watched: Watched, salt: int | None, state: BankState, n_numbers: int
) -> list[int]:
    """Fill it, empty so far, from a snapshot; returns the fold's counters, that of events first.

    `salt` None: of whatever source key. Raises `StateError` where the snapshot contradicts itself:
    its bytes come from a store that others may write to.
    """
    try:
        raw = require_array(state, "document", np.uint8, (None,)).tobytes()
        document = _Document.model_validate(orjson.loads(raw))
    except (orjson.JSONDecodeError, ValidationError) as error:
        raise StateError(f"the document of the models is not one: {error}") from None
    if salt is not None and document.salt != _told(salt):
        raise StateError("the state belongs to another source key")
    models = watched.models
    if len(document.slots) != len(models):
        raise StateError("the state has another number of models than the config allows")
    numbers = numbers_of(state, n_numbers)
    last_seen = require_array(state, "last_seen", np.int64, (len(models),))
    n_events = require_array(state, "n_events", np.int64, (len(models),))
    unpacker = Unpacker(state)
    for slot, each in enumerate(document.slots):
        if each is None:
            if last_seen[slot] != NEVER or n_events[slot]:
                raise StateError("a slot that nobody has was seen")
            continue
        key = _key(each.model_id, each.model_version, each.shard)
        if key in models.slot_of:
            raise StateError("a model has two slots")
        if not (0 <= last_seen[slot] < numbers[0] and 0 <= n_events[slot] <= numbers[0]):
            raise StateError("a model was seen at an event that is yet to come")
        if (each.learning is None) == (each.calibration is None):
            raise StateError("a model learns what it has learned, or does not")
        models.give(slot, key, int(last_seen[slot]))
        if each.learning is not None:
            watched.populations.learning[slot] = _read_learning(each.learning, unpacker)
        elif each.calibration is not None:
            watched.calibrations[slot] = _read(each.calibration, unpacker)
            watched.populations.set(slot, watched.calibrations[slot].population)
    models.n_events[:] = n_events
    for of_kept in document.kept:
        name = _key(of_kept.model_id, of_kept.model_version, -1)[:2]
        calibration = _read(of_kept.calibration, unpacker)
        if name in watched.kept or watched.kept.keep(name, calibration):
            raise StateError("more calibrations are kept than can be, or one twice")
    unpacker.finish()
    if state.keys() - {*PACKED, "document", "numbers", "last_seen", "n_events"}:
        raise StateError("the state of the models has an array too many")
    return numbers


def _told(salt: int) -> int:
    """What a state says of the salt that it belongs to; 63 bits."""
    mixed = splitmix64(splitmix64(np.array([salt ^ 0x5EC5A17], np.uint64)) + np.uint64(salt))
    return int(mixed[0] >> np.uint64(1))


def _key(model_id: str, model_version: str, shard: int) -> ModelKey:
    if max(len(model_id), len(model_version)) > MAX_ID_CHARS or not -1 <= shard <= MAX_SHARD:
        raise StateError("a model has a name that cannot be")
    return ModelKey(model_id, model_version, shard)


def _write(calibration: ModelCalibration, packer: Packer) -> dict[str, Any]:
    population = calibration.population
    packer.add(population.is_category.astype(np.uint8))
    for array in (population.centre, population.scale, population.classes):
        packer.add(array)
    arrays = []
    for kind, of_detectors in calibration.kinds.items():
        for detector, own in of_detectors.items():
            for name, array in own.items():
                packer.add(np.ascontiguousarray(array))
                shape = list(array.shape)
                arrays.append({"kind": kind, "detector": detector, "name": name, "shape": shape})
    return {
        "population": {
            "features": population.features,
            "n_classes": len(population.classes),
            "output": population.output,
            "n_rows": population.n_rows,
        },
        "is_reviewed": calibration.is_reviewed,
        "kinds": list(calibration.kinds),
        "arrays": arrays,
    }


def _read(document: _CalibrationDocument, unpacker: Unpacker) -> ModelCalibration:
    own = document.population
    f = len(own.features)
    is_category = unpacker.take(np.uint8, f)
    if (is_category > 1).any():
        raise StateError("a feature is neither a number nor a category")
    population = Population(
        features=tuple(own.features),
        is_category=is_category.astype(np.bool_),
        centre=unpacker.take(np.float64, f),
        scale=unpacker.take(np.float64, f),
        classes=unpacker.take(np.int64, own.n_classes),
        output=own.output,
        n_rows=own.n_rows,
    )
    kinds: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in document.kinds}
    for each in document.arrays:
        if each.kind not in kinds:
            raise StateError("an array of a calibration is for no kind of client")
        arrays = kinds[each.kind].setdefault(each.detector, {})
        if each.name in arrays:
            raise StateError("a calibration has an array twice")
        arrays[each.name] = unpacker.take(np.float64, *each.shape)
    if len(kinds) != len(document.kinds):
        raise StateError("a calibration has a kind of client twice")
    calibration = ModelCalibration(population, kinds, document.is_reviewed)
    calibration.check()
    return calibration


def _write_learning(learning: Learning, packer: Packer) -> dict[str, Any]:
    rows = learning.rows()
    for name, _, _ in FIELDS:
        packer.add(np.ascontiguousarray(getattr(rows, name)))
    return {
        "features": list(learning.features),
        "n_rows": learning.n_rows,
        "n_values": learning.n_values,
        "n_kept": len(rows.word),
    }


def _read_learning(document: _LearningDocument, unpacker: Unpacker) -> Learning:
    n, v = document.n_rows, document.n_kept
    if not (0 <= n <= _MAX_EVENTS and 0 <= v <= document.n_values):
        raise StateError("a model has learned more than there can be")
    if document.n_values >= MAX_LEARNED_VALUES + MAX_FEATURES:
        raise StateError("a model has learned more values than there is room for")
    arrays: Mapping[str, Any] = {
        name: unpacker.take(dtype, *((n, 2) if name == "source" else (v if of_values else n,)))
        for name, dtype, of_values in FIELDS
    }
    rows = Rows(**arrays)
    features = {name: index for index, name in enumerate(document.features)}
    if len(features) < len(document.features) or len(features) > MAX_FEATURES:
        raise StateError("features that are learned are too many, or one is there twice")
    if v and not (rows.feature.min() >= 0 and rows.feature.max() < len(features)):
        raise StateError("a value that is learned belongs to no feature")
    if (rows.length < 0).any() or int(rows.length.sum(dtype=np.int64)) != v:
        raise StateError("the values that are learned do not fit their rows")
    known = (ValueKind.NUMBER, ValueKind.STRING, ValueKind.BOOLEAN)
    if not np.isin(rows.kind, known).all() or (rows.is_number > 1).any():
        raise StateError("a value that is learned is of no kind")
    is_number = rows.kind == ValueKind.NUMBER
    if not np.isfinite(rows.word.view(np.float64)[is_number]).all() or np.isinf(rows.score).any():
        raise StateError("a number that is learned is not finite")
    return Learning(features, [rows], n, document.n_values)
