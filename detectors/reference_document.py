"""From a monitor whose reference is complete to a document, and back."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from detectors.base import StateError, require_array
from detectors.categories_state import documents_of
from detectors.kernels.observe import (
    KIND_LEARNING,
    SOURCE_CLASS,
    SOURCE_OTHER,
    SOURCE_PREDICTION,
    SOURCE_SCORE,
)
from detectors.monitor import (
    PREDICTION_CLASS,
    PREDICTION_LEARNING,
    PREDICTION_NUMBER,
    Monitor,
)
from detectors.monitor_state import MonitorDocument, MonitorReader, snapshot_monitors
from schemas.batch import F64, ModelKey
from schemas.reference import (
    BadReferenceError,
    EncodedArray,
    ReferenceDocument,
    require_size,
)

_CORRELATION: Final = "correlation"
_NOTHING: Final = snapshot_monitors([])[1]
_ARRAYS: Final = frozenset(
    name
    for name in _NOTHING
    if name == "scale" or name.startswith(("ranks_", "rhythm_", "joint_", "limits_", "typical_"))
)
"""Those that a complete reference has; the others are of references that are still learned."""
_LIMITS: Final = frozenset(name for name in _ARRAYS if name.startswith("limits_"))
_TYPICAL: Final = frozenset(name for name in _ARRAYS if name.startswith("typical_"))
"""Those that a document of an earlier release may lack, all of one kind or none."""
_OF_ROLE: Final = {
    SOURCE_PREDICTION: PREDICTION_NUMBER,
    SOURCE_CLASS: PREDICTION_CLASS,
    SOURCE_OTHER: PREDICTION_CLASS,
}


def document_of(
    monitor: Monitor,
    *,
    n_events: int,
    times_ms: tuple[int, int],
    correlation: Mapping[tuple[int, int], float],
) -> ReferenceDocument:
    """What is frozen of this monitor, made of so many events between these times.

    `correlation` is by the places of two of its signals, the lesser first. A feature that is still
    learned is left out. Raises `BadReferenceError` where the document is too large.
    """
    frozen = Monitor(monitor.key)
    frozen.take_features(monitor)
    frozen.classes = list(monitor.classes)
    place: dict[int, int] = {}
    for at, signal in enumerate(monitor.signals):
        if signal.is_outcome:
            continue
        index = signal.index
        if signal.is_input:
            index = frozen.feature_number[monitor.features[index]]
        place[at] = len(frozen.signals)
        frozen.signals.append(replace(signal, index=index, lane=-1))
    frozen.take_joint(monitor)
    (numbers,), arrays = snapshot_monitors([frozen])
    correlated = sorted({place[at] for pair in correlation for at in pair})
    pairs = {(place[a], place[b]): value for (a, b), value in correlation.items()}
    upper = [pairs.get((a, b), 0.0) for i, a in enumerate(correlated) for b in correlated[i + 1 :]]
    own: dict[str, NDArray[Any]] = {name: arrays[name] for name in sorted(_ARRAYS)}
    own[_CORRELATION] = np.array(upper, np.float32)
    document = ReferenceDocument(
        model_id=monitor.key.model_id,
        model_version=monitor.key.model_version,
        n_events=n_events,
        first_ms=times_ms[0],
        last_ms=times_ms[1],
        events_per_week=monitor.events_per_week,
        features=frozen.features,
        kinds=frozen.kinds,
        categories=documents_of(frozen.categories),
        classes=frozen.classes,
        classes_full=monitor.classes_full,
        prediction_role=monitor.prediction_role,
        # A document has no lanes.
        signals=[[*row[:4], *row[5:]] for row in numbers["signals"]],
        arrays={name: _encoded(array) for name, array in own.items()},
        correlated=correlated,
        output=monitor.output,
    )
    require_size(document)
    return document


def monitor_of(document: ReferenceDocument, key: ModelKey, admitted: int = 0) -> Monitor:
    """A monitor of this model that has this reference; its signals have no lanes yet.

    Raises `BadReferenceError` where the document contradicts itself.
    """
    try:
        return _monitor_of(document, key, admitted)
    except (StateError, ValidationError) as error:
        raise BadReferenceError(f"the reference contradicts itself: {error}") from None


def correlation_of(document: ReferenceDocument) -> F64:
    """(k, k) correlation of the normal scores of the signals in `correlated`.

    Raises `BadReferenceError`.
    """
    k = len(document.correlated)
    try:
        own = {n: _decoded(n, array) for n, array in document.arrays.items() if n == _CORRELATION}
        upper = require_array(own, _CORRELATION, np.float32, (k * (k - 1) // 2,))
    except StateError as error:
        raise BadReferenceError(f"the reference contradicts itself: {error}") from None
    if not (np.abs(upper) <= 1.0).all():
        raise BadReferenceError("the reference has a correlation beyond 1")
    matrix = np.eye(k)
    matrix[np.triu_indices(k, 1)] = upper
    return matrix + np.triu(matrix, 1).T


def _monitor_of(document: ReferenceDocument, key: ModelKey, admitted: int) -> Monitor:
    names = document.arrays.keys()
    may_lack = _LIMITS | _TYPICAL
    is_whole = all(names & group in (group, set()) for group in (_LIMITS, _TYPICAL))
    if names | may_lack != _ARRAYS | {_CORRELATION} or not is_whole:
        raise StateError("its arrays are not those that a reference has")
    places = document.correlated
    if sorted(set(places)) != places or (places and places[-1] >= len(document.signals)):
        raise StateError("`correlated` names a signal twice, or one that does not exist")
    correlation_of(document)
    arrays = {name: _decoded(name, document.arrays[name]) for name in _ARRAYS & names}
    reader = MonitorReader({**_NOTHING, **arrays})
    role = document.prediction_role
    sources = {row[0] for row in document.signals}
    monitor = reader.monitor(
        MonitorDocument(
            model_id=key.model_id,
            model_version=key.model_version,
            shard=key.shard,
            features=list(document.features),
            kinds=list(document.kinds),
            categories=list(document.categories),
            classes=list(document.classes),
            prediction_role=role,
            full=[False, document.classes_full, False],
            awaits=[SOURCE_SCORE not in sources, role == PREDICTION_LEARNING],
            admitted=admitted,
            first_event=0,
            events_per_week=document.events_per_week,
            reference=document.digest,
            joint=reader.joints.n > 0,
            slices=[],
            sampled=[],
            n_outcomes=0,
            n_limits=reader.limits.n,
            n_typical=reader.typical.n,
            output=document.output,
            signals=[[*row[:4], -1, *row[4:]] for row in document.signals],
            cohorts=[],
        )
    )
    reader.finish()
    if KIND_LEARNING in monitor.kinds:
        raise StateError("a feature has no kind")
    if any(_OF_ROLE.get(source, role) != role for source in sources):
        raise StateError("its signals are not those of such a prediction")
    if len({(s.source, s.index, s.category) for s in monitor.signals}) < len(monitor.signals):
        raise StateError("a signal is there twice")
    return monitor


def _encoded(array: NDArray[Any]) -> EncodedArray:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return EncodedArray(
        dtype=cast("Any", little.dtype.str),
        shape=list(little.shape),
        data=b64encode(little.tobytes()).decode(),
    )


def _decoded(name: str, encoded: EncodedArray) -> NDArray[Any]:
    try:
        raw = b64decode(encoded.data, validate=True)
        return np.frombuffer(raw, np.dtype(encoded.dtype)).reshape(encoded.shape)
    except (binascii.Error, ValueError) as error:
        raise StateError(f"array {name!r} cannot be read: {error}") from None
