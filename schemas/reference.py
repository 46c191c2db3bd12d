"""A reference as a document: what a model version's signals are compared with, frozen, by digest.

Made by `driftsentry reference fit`, read by a person, set by a command. Immutable: its identity is
the digest of its canonical bytes. What its arrays mean, `detectors.reference_document` says.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.config import MAX_CATEGORIES
from schemas.documents import canonical_bytes, content_digest, first_problem
from schemas.limits import MAX_FEATURES, MAX_ID_CHARS, MAX_NAME_CHARS, MAX_TS_MS

MAX_REFERENCE_BYTES: Final = 900_000
"""Of a document's canonical bytes: with what a journal record holds besides, it stays below the
1,000,000 that a producer sends by default."""
MAX_EVENTS_PER_WEEK: Final = 1e15
"""A million events within a millisecond, the most that a reference can have seen."""
DIGEST: Final = re.compile(r"[0-9a-f]{32}")

_MAX_NUMBER: Final = 2**31 - 1
_Name = Annotated[str, Field(max_length=MAX_NAME_CHARS)]
_Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
_Time = Annotated[int, Field(ge=0, le=MAX_TS_MS)]
_Number = Annotated[int, Field(ge=-1, le=_MAX_NUMBER)]
_Size = Annotated[int, Field(ge=0, le=_MAX_NUMBER)]


class BadReferenceError(ValueError):
    """A file or a command holds no reference; the message says why."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class EncodedArray(_Part):
    """An array of numbers."""

    dtype: Literal["<f8", "<f4", "<i8", "<i4"] = Field(description="As numpy writes it.")
    shape: Annotated[list[_Size], Field(min_length=1, max_length=2)]
    data: Annotated[str, Field(max_length=MAX_REFERENCE_BYTES)] = Field(
        description="Its bytes in C order, as base64."
    )


class FeatureCategories(_Part):
    """The categories of one feature, and how often each occurred."""

    feature: _Size = Field(description="The feature, by place.")
    names: Annotated[list[_Name], Field(max_length=MAX_CATEGORIES)] = Field(
        description="The categories known by name."
    )
    counts: Annotated[list[_Size], Field(max_length=MAX_CATEGORIES)] = Field(
        description="How often each was there."
    )
    n_other: _Size = Field(description="How often others were.")
    is_full: bool = Field(description="Whether there were more than `max_categories`.")


class ModelOutput(_Part):
    """What a model version predicts and what its score is, frozen with its reference."""

    classes: Annotated[list[_Name], Field(max_length=1_024)] = Field(
        description="The classes by number; none: it predicts numbers."
    )
    positive: Annotated[int, Field(ge=-1, le=1)] = Field(
        description="The number of the positive one of two classes, else -1."
    )
    score_of: Literal["none", "positive", "predicted", "rank"] = Field(
        description="Whose probability the score is taken for, or any number that orders."
    )
    cuts: Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(max_length=1_023)] = (
        Field(description="Between the bins of the score, ascending; none: those of probabilities.")
    )
    counts: (
        Annotated[
            list[Annotated[list[_Size], Field(max_length=1_024)]], Field(min_length=2, max_length=2)
        ]
        | None
    ) = Field(
        default=None,
        description="Of predictions with a label, by bin of the score: rows without the outcome, "
        "and rows with it. It is the positive class, or of more than two classes that the "
        "prediction was right. Null without labels.",
    )

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("`classes` names one twice")
        if (self.positive >= 0) != (len(self.classes) == 2):
            raise ValueError("`positive` is for two classes, and needed there")
        if self.score_of != "none" and not self.classes:
            raise ValueError("`score_of`: what predicts numbers has no score that counts")
        if self.score_of == "positive" and self.positive < 0:
            raise ValueError("`positive` is missing: the score is said to be its probability")
        if any(low > high for low, high in pairwise(self.cuts)):
            raise ValueError("`cuts` are not ascending")
        if self.score_of == "rank" and not self.cuts:
            raise ValueError("`cuts` are missing: a score that orders needs them")
        if self.counts is not None:
            self._check_counts(*self.counts)
        return self

    def _check_counts(self, without: list[int], having: list[int]) -> None:
        if len(without) != len(having) or not without:
            raise ValueError("`counts` are of different numbers of bins, or of none")
        if self.cuts and len(self.cuts) != len(without) - 1:
            raise ValueError("`cuts` are not one fewer than the bins of `counts`")
        if self.score_of == "none":
            raise ValueError("`counts` are of a score, and there is none")

    @property
    def n_labelled(self) -> int:
        """How many predictions with a score had a label."""
        return 0 if self.counts is None else sum(map(sum, self.counts))


class ReferenceDocument(_Part):
    """The reference of one model version, complete."""

    v: Literal[1] = 1
    model_id: _Id = Field(description="The model whose events it was made of.")
    model_version: _Id = Field(description="The version likewise.")
    n_events: Annotated[int, Field(ge=1, le=_MAX_NUMBER)] = Field(
        description="Events that it was made of."
    )
    first_ms: _Time = Field(description="The earliest of their times (`ts`), epoch milliseconds.")
    last_ms: _Time = Field(description="The latest.")
    events_per_week: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = Field(
        description="Their rate by their times; 0: unknown."
    )
    features: Annotated[list[_Name], Field(max_length=MAX_FEATURES)]
    kinds: Annotated[list[_Number], Field(max_length=MAX_FEATURES)] = Field(
        description="The kind of each feature: 0 number, 2 string, 3 boolean, others internal."
    )
    categories: Annotated[list[FeatureCategories], Field(max_length=MAX_FEATURES)] = Field(
        description="Of the features that are categories, what they were."
    )
    classes: Annotated[list[_Name], Field(max_length=1_024)]
    classes_full: bool = Field(description="Whether there were more classes than `max_classes`.")
    prediction_role: Annotated[int, Field(ge=0, le=2)] = Field(
        description="What a prediction is: 0 not known, 1 a number, 2 a class."
    )
    signals: list[Annotated[list[_Number], Field(min_length=6, max_length=6)]] = Field(
        description="Source, index, kind, rule, place in the arrays and category of each signal."
    )
    arrays: Annotated[dict[str, EncodedArray], Field(max_length=64)] = Field(
        description="Scales, quantiles and their normal scores, moments, long-run variances."
    )
    correlated: list[_Size] = Field(
        default_factory=list,
        description="The numeric signals, by place, that the array `correlation` is of.",
    )
    output: ModelOutput | None = Field(
        default=None, description="What is predicted; null where nothing is."
    )

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if self.first_ms > self.last_ms:
            raise ValueError("`first_ms` is after `last_ms`")
        if self.events_per_week > MAX_EVENTS_PER_WEEK:
            raise ValueError(f"`events_per_week` is above {MAX_EVENTS_PER_WEEK:g}")
        return self

    def canonical(self) -> bytes:
        """Its canonical bytes: JSON without blanks, keys sorted."""
        return canonical_bytes(self)

    @property
    def digest(self) -> str:
        """Its identity: the hex blake2b-128 of its canonical bytes."""
        return digest_of(self.canonical())


def digest_of(canonical: bytes) -> str:
    """The identity of the document with these canonical bytes."""
    return content_digest(canonical, b"ds-reference")


def parse_reference(value: bytes) -> ReferenceDocument:
    """The document in these bytes, written in whatever way. Raises `BadReferenceError`."""
    # A file that a person has laid out may be larger than what is sent.
    if len(value) > 4 * MAX_REFERENCE_BYTES:
        raise BadReferenceError(
            f"{len(value):,} bytes are more than a reference has: at most {MAX_REFERENCE_BYTES:,}"
        )
    try:
        document = ReferenceDocument.model_validate_json(value)
    except ValidationError as error:
        raise BadReferenceError(first_problem(error, "the document")) from None
    require_size(document)
    return document


def require_size(document: ReferenceDocument) -> bytes:
    """Its canonical bytes. Raises `BadReferenceError` where they are too many to be sent."""
    canonical = document.canonical()
    if len(canonical) > MAX_REFERENCE_BYTES:
        raise BadReferenceError(
            f"the reference has {len(canonical):,} bytes, {len(document.signals):,} signals, and "
            f"at most {MAX_REFERENCE_BYTES:,} bytes can be set: leave features out"
        )
    return canonical
