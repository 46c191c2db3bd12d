"""A calibration as a document: by what the clients of a model version are judged, by digest.

Made by `driftsentry security calibrate` of traffic that people believe benign, read by a person,
set by a command. Immutable: its identity is the digest of its canonical bytes. What its arrays
mean, `detectors.security.calibration_document` says.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.documents import canonical_bytes, content_digest, first_problem
from schemas.limits import MAX_FEATURES, MAX_ID_CHARS, MAX_NAME_CHARS, MAX_TS_MS
from schemas.reference import MAX_REFERENCE_BYTES

MAX_CALIBRATION_BYTES: Final = MAX_REFERENCE_BYTES
"""Of a document's canonical bytes, for the same reason."""
MAX_KINDS: Final = 8
"""Kinds of client, with that of clients of no kind."""
MAX_KIND_CHARS: Final = 256
MAX_WHY_CHARS: Final = 300

_MAX_NUMBER: Final = 2**31 - 1
_MAX_DETECTORS: Final = 32
_MAX_ARRAYS: Final = 32
_MOST_OF_AXIS: Final = 4_096
_Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
_Time = Annotated[int, Field(ge=0, le=MAX_TS_MS)]
_Count = Annotated[int, Field(ge=1, le=_MAX_NUMBER)]
_Float = Annotated[float, Field(allow_inf_nan=False)]
_Detector = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class BadCalibrationError(ValueError):
    """A file or a command holds no calibration; the message says which field, and why."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class EncodedNumbers(_Part):
    """An array of doubles."""

    shape: Annotated[
        list[Annotated[int, Field(ge=0, le=_MOST_OF_AXIS)]], Field(min_length=1, max_length=4)
    ]
    data: Annotated[str, Field(max_length=MAX_CALIBRATION_BYTES)] = Field(
        description="Its little-endian bytes in C order, as base64."
    )


class PopulationDocument(_Part):
    """What rows are scaled by; f features."""

    features: Annotated[
        list[Annotated[str, Field(max_length=MAX_NAME_CHARS)]], Field(max_length=MAX_FEATURES)
    ] = Field(description="In the order of their names.")
    is_category: Annotated[list[bool], Field(max_length=MAX_FEATURES)] = Field(
        description="Of each feature."
    )
    centre: Annotated[list[_Float], Field(max_length=MAX_FEATURES)] = Field(
        description="The median of a number; 0 of a category."
    )
    scale: Annotated[list[Annotated[_Float, Field(gt=0.0)]], Field(max_length=MAX_FEATURES)] = (
        Field(description="The robust standard deviation of a number; 1 of a category.")
    )
    classes: Annotated[
        list[Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]], Field(max_length=16)
    ] = Field(description="Codes of the predicted classes; none: the model predicts numbers.")
    output: Annotated[int, Field(ge=0, le=7)] = Field(
        description="What answers are: 1 two classes, 2 the score is a probability, 4 and it alone "
        "says the class; added up."
    )
    n_rows: _Count = Field(description="Rows that it was made of.")

    @model_validator(mode="after")
    def _is_of_its_features(self) -> Self:
        n = len(self.features)
        for name in ("is_category", "centre", "scale"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"`{name}` has another length than `features`")
        return self


class KindDocument(_Part):
    """Thresholds for one kind of client."""

    kind: Annotated[str, Field(max_length=MAX_KIND_CHARS)] = Field(
        description="Its name in `security.kinds` of the config; empty: clients of no kind."
    )
    n_rows: _Count = Field(description="Rows that it was made of.")
    n_sources: _Count = Field(description="How many clients sent them; those without a name are 1.")
    first_ms: _Time = Field(description="The earliest of their times (`ts`), epoch milliseconds.")
    last_ms: _Time = Field(description="The latest.")
    detectors: Annotated[
        dict[
            _Detector,
            Annotated[
                dict[Annotated[str, Field(max_length=64)], EncodedNumbers],
                Field(max_length=_MAX_ARRAYS),
            ],
        ],
        Field(max_length=_MAX_DETECTORS),
    ] = Field(description="The arrays of each detector, by its name and theirs.")
    missing: Annotated[
        dict[_Detector, Annotated[str, Field(max_length=MAX_WHY_CHARS)]],
        Field(max_length=_MAX_DETECTORS),
    ] = Field(
        default_factory=dict,
        description="Detectors for which the rows were too few, and how many they need.",
    )

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if self.first_ms > self.last_ms:
            raise ValueError("`first_ms` is after `last_ms`")
        if self.n_sources > self.n_rows:
            raise ValueError("`n_sources` is more than `n_rows`")
        if both := sorted(self.detectors.keys() & self.missing.keys()):
            raise ValueError(f"`missing` names {both[0]}, which `detectors` has")
        return self


class CalibrationDocument(_Part):
    """The calibration of one model version, complete."""

    v: Literal[1] = 1
    model_id: _Id = Field(description="The model whose events it was made of.")
    model_version: _Id = Field(description="The version likewise.")
    is_salted: bool = Field(
        description="Whether thresholds hold under one source key alone, since categories, or more "
        "features than there are columns, are hashed with it."
    )
    source_key: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = Field(
        default=None,
        description="Fingerprint of that key; null: there was none, or nothing depends on it.",
    )
    versions: Annotated[
        dict[_Detector, Annotated[int, Field(ge=1, le=_MAX_NUMBER)]],
        Field(max_length=_MAX_DETECTORS),
    ] = Field(description="The version of each detector that has thresholds here.")
    population: PopulationDocument
    kinds: Annotated[list[KindDocument], Field(min_length=1, max_length=MAX_KINDS)] = Field(
        description="By kind of client, in the order of their names."
    )

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        names = [each.kind for each in self.kinds]
        if names != sorted(set(names)):
            raise ValueError("`kinds` names one twice, or they are out of order")
        if self.source_key is not None and not self.is_salted:
            raise ValueError("`source_key` is of a calibration that depends on it alone")
        used = {name for each in self.kinds for name in each.detectors}
        if self.versions.keys() != used:
            raise ValueError("`versions` are not those of the detectors in `kinds`")
        if not used:
            raise ValueError("`kinds` has thresholds for no detector")
        return self

    def canonical(self) -> bytes:
        """Its canonical bytes: JSON without blanks, keys sorted."""
        return canonical_bytes(self)

    @property
    def digest(self) -> str:
        """Its identity: the hex blake2b-128 of its canonical bytes."""
        return calibration_digest(self.canonical())


def calibration_digest(canonical: bytes) -> str:
    """The identity of the document with these canonical bytes."""
    return content_digest(canonical, b"ds-calibration")


def parse_calibration(value: bytes) -> CalibrationDocument:
    """The document in these bytes, written in whatever way. Raises `BadCalibrationError`."""
    # A file that a person has laid out may be larger than what is sent.
    if len(value) > 4 * MAX_CALIBRATION_BYTES:
        raise BadCalibrationError(
            f"{len(value):,} bytes are more than a calibration has: at most "
            f"{MAX_CALIBRATION_BYTES:,}"
        )
    try:
        document = CalibrationDocument.model_validate_json(value)
    except ValidationError as error:
        raise BadCalibrationError(first_problem(error, "the document")) from None
    require_calibration_size(document)
    return document


def require_calibration_size(document: CalibrationDocument) -> bytes:
    """Its canonical bytes. Raises `BadCalibrationError` where they are too many to be sent."""
    canonical = document.canonical()
    if len(canonical) > MAX_CALIBRATION_BYTES:
        raise BadCalibrationError(
            f"the calibration has {len(canonical):,} bytes, {len(document.kinds)} kinds of client, "
            f"and at most {MAX_CALIBRATION_BYTES:,} bytes can be set: leave kinds out"
        )
    return canonical
