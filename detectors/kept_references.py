"""The references that people have set, kept for models that are yet to come, or to come back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.base import BankState, StateError, require_array
from detectors.monitor import Monitor
from detectors.monitor_state import StateDocument
from detectors.reference_document import monitor_of
from schemas.batch import ModelKey
from schemas.reference import BadReferenceError, ReferenceDocument, digest_of, parse_reference

MAX_KEPT: Final = 64
"""References that a partition keeps."""
MAX_KEPT_BYTES: Final = 8 * 2**20
"""Of all of them; past either bound the one that was set first is forgotten."""

VersionName = tuple[str, str]
"""Model and version; each shard of it has the same reference."""


class Kept(NamedTuple):
    """One reference, as its canonical bytes."""

    digest: str
    canonical: bytes


class KeptDocument(StateDocument):
    """One of them in a state; its bytes stand in an array."""

    model_id: str
    model_version: str
    digest: str
    n_bytes: int


class KeptReferences(Mapping[VersionName, Kept]):
    """By model version, in the order in which they were set."""

    def __init__(self) -> None:
        self._kept: dict[VersionName, Kept] = {}
        self._n_bytes = 0

    def __getitem__(self, name: VersionName) -> Kept:
        return self._kept[name]

    def __iter__(self) -> Iterator[VersionName]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, name: VersionName, document: ReferenceDocument) -> int:
        """Keep this one, in the place of an earlier one; how many others are forgotten for it."""
        self._forget(name)
        canonical = document.canonical()
        self._kept[name] = Kept(digest_of(canonical), canonical)
        self._n_bytes += len(canonical)
        n_forgotten = 0
        while len(self._kept) > MAX_KEPT or self._n_bytes > MAX_KEPT_BYTES:
            self._forget(next(iter(self._kept)))
            n_forgotten += 1
        return n_forgotten

    def _forget(self, name: VersionName) -> None:
        kept = self._kept.pop(name, None)
        self._n_bytes -= 0 if kept is None else len(kept.canonical)

    def monitor(self, key: ModelKey, admitted: int) -> Monitor | None:
        """A monitor of this model with the reference that is kept for it; None: there is none."""
        kept = self._kept.get((key.model_id, key.model_version))
        return None if kept is None else monitor_of(parse_reference(kept.canonical), key, admitted)

    def documents(self) -> list[dict[str, Any]]:
        """What a state says of them."""
        return [
            KeptDocument(
                model_id=model_id,
                model_version=model_version,
                digest=kept.digest,
                n_bytes=len(kept.canonical),
            ).model_dump()
            for (model_id, model_version), kept in self._kept.items()
        ]

    def array(self) -> NDArray[Any]:
        """Their bytes, one after the other."""
        return np.frombuffer(b"".join(k.canonical for k in self._kept.values()), np.uint8).copy()

    def restore(self, documents: Sequence[KeptDocument], state: BankState) -> None:
        """Fill it from a state. Raises `StateError` where that is none."""
        raw = require_array(state, "references", np.uint8, (None,)).tobytes()
        at = 0
        for each in documents:
            name = each.model_id, each.model_version
            own = raw[at : at + max(each.n_bytes, 0)]
            at += len(own)
            try:
                document = parse_reference(own)
                monitor_of(document, ModelKey(*name))
            except BadReferenceError as error:
                raise StateError(f"a reference that is kept cannot be read: {error}") from None
            if digest_of(own) != each.digest or document.digest != each.digest:
                raise StateError("a reference that is kept is not the one that it should be")
            if name in self._kept or self.keep(name, document):
                raise StateError("more references are kept than can be, or one twice")
        if at != len(raw):
            raise StateError("array 'references' is too long")
