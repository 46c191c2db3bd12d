"""From a calibration to a document, and back: whoever reads one gets what every detector takes."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np

from detectors.base import StateError
from detectors.security.base import MAX_DIMS, Calibration
from detectors.security.calibration import ModelCalibration, check_arrays
from detectors.security.population import Population
from detectors.security.registry import SECURITY_REGISTRY
from schemas.batch import F64
from schemas.calibration import (
    MAX_WHY_CHARS,
    BadCalibrationError,
    CalibrationDocument,
    EncodedNumbers,
    KindDocument,
    PopulationDocument,
    require_calibration_size,
)

_DOUBLE: Final = np.dtype("<f8")


@dataclass(frozen=True, slots=True)
class KindFit:
    """What was made of the rows of one kind of client."""

    n_rows: int
    n_sources: int
    times_ms: tuple[int, int]
    """The earliest and the latest event time."""
    detectors: Mapping[str, Calibration]
    missing: Mapping[str, str]
    """Detectors for which the rows were too few, and why."""


def is_salted(population: Population) -> bool:
    """Whether what is made of rows scaled by this depends on the salt.

    A category is a salted hash; and where features share columns, the salt says which do.
    """
    return bool(population.is_category.any()) or len(population.features) > MAX_DIMS


def is_of_this_release(document: CalibrationDocument) -> bool:
    """Whether its detectors are those there are: one of another release is not to be judged."""
    return all(
        name in SECURITY_REGISTRY and SECURITY_REGISTRY[name].version == version
        for name, version in document.versions.items()
    )


def document_of(
    model_id: str,
    model_version: str,
    population: Population,
    kinds: Mapping[str, KindFit],
    source_key: str | None,
) -> CalibrationDocument:
    """The document of what was fitted under the source key with this fingerprint.

    Raises `BadCalibrationError` where it is too large to be set, or no detector has thresholds.
    """
    used = sorted({name for each in kinds.values() for name in each.detectors})
    if not used:
        whys = [why for each in kinds.values() for why in each.missing.values()]
        raise BadCalibrationError(f"the rows do for no detector: {'; '.join(dict.fromkeys(whys))}")
    salted = is_salted(population)
    document = CalibrationDocument(
        model_id=model_id,
        model_version=model_version,
        is_salted=salted,
        source_key=source_key if salted else None,
        versions={name: SECURITY_REGISTRY[name].version for name in used},
        population=PopulationDocument(
            features=list(population.features),
            is_category=population.is_category.tolist(),
            centre=population.centre.tolist(),
            scale=population.scale.tolist(),
            classes=population.classes.tolist(),
            output=population.output,
            n_rows=population.n_rows,
        ),
        kinds=[
            KindDocument(
                kind=kind,
                n_rows=own.n_rows,
                n_sources=own.n_sources,
                first_ms=own.times_ms[0],
                last_ms=own.times_ms[1],
                detectors={
                    name: {array: _encoded(values) for array, values in sorted(arrays.items())}
                    for name, arrays in sorted(own.detectors.items())
                },
                missing={name: why[:MAX_WHY_CHARS] for name, why in sorted(own.missing.items())},
            )
            for kind, own in sorted(kinds.items())
        ],
    )
    require_calibration_size(document)
    return document


def calibration_of(document: CalibrationDocument) -> ModelCalibration:
    """What the security duty judges by under this document.

    Raises `BadCalibrationError`, which names the field that no detector could take.
    """
    for name, version in sorted(document.versions.items()):
        spec = SECURITY_REGISTRY.get(name)
        if spec is None:
            raise BadCalibrationError(f"versions.{name}: there is no such detector")
        if spec.version != version:
            raise BadCalibrationError(
                f"versions.{name}: it was made for version {version} and this release has "
                f"{spec.version}: calibrate again"
            )
    own = document.population
    population = Population(
        features=tuple(own.features),
        is_category=np.array(own.is_category, np.bool_),
        centre=np.array(own.centre, np.float64),
        scale=np.array(own.scale, np.float64),
        classes=np.array(own.classes, np.int64),
        output=own.output,
        n_rows=own.n_rows,
    )
    try:
        population.check()
    except StateError as error:
        raise BadCalibrationError(f"population: {error}") from None
    if document.is_salted != is_salted(population):
        raise BadCalibrationError(
            "is_salted: it must be true where there are categories, or more than "
            f"{MAX_DIMS} features, and nowhere else"
        )
    calibration = ModelCalibration(
        population,
        {
            kind.kind: {
                detector: {
                    name: _decoded(f"kinds.{kind.kind}.detectors.{detector}.{name}", array)
                    for name, array in arrays.items()
                }
                for detector, arrays in kind.detectors.items()
            }
            for kind in document.kinds
        },
        is_reviewed=True,
    )
    for kind, of_detectors in calibration.kinds.items():
        for detector, arrays in of_detectors.items():
            try:
                check_arrays(detector, arrays)
            except StateError as error:
                raise BadCalibrationError(f"kinds.{kind}.detectors.{detector}: {error}") from None
    try:
        calibration.check()
    except StateError as error:
        raise BadCalibrationError(f"kinds: {error}") from None
    return calibration


def _encoded(array: F64) -> EncodedNumbers:
    little = np.ascontiguousarray(array, _DOUBLE)
    return EncodedNumbers(
        shape=list(little.shape), data=b64encode(little.tobytes()).decode("ascii")
    )


def _decoded(place: str, encoded: EncodedNumbers) -> F64:
    try:
        raw = b64decode(encoded.data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadCalibrationError(f"{place}: its data is no base64: {error}") from None
    # Before it is reshaped: a shape may multiply to more than there is.
    if len(raw) != _DOUBLE.itemsize * prod(encoded.shape):
        raise BadCalibrationError(
            f"{place}: {len(raw)} bytes are not the numbers of the shape {encoded.shape}"
        )
    array = np.frombuffer(raw, _DOUBLE).astype(np.float64).reshape(encoded.shape)
    if not np.isfinite(array).all():
        raise BadCalibrationError(f"{place}: a number is not finite")
    return array
