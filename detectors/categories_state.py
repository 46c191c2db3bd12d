"""Categories of features in a document: of a checkpoint, of a reference."""

from __future__ import annotations

from collections.abc import Sequence

from detectors.base import StateError
from detectors.categories import BOOLEANS, NO_CATEGORIES, Categories, Tally
from schemas.batch import I64, ValueKind
from schemas.config import MAX_CATEGORIES
from schemas.limits import MAX_CATEGORY_CHARS
from schemas.reference import FeatureCategories


def documents_of(categories: Sequence[Categories]) -> list[FeatureCategories]:
    """Those of the features that have any, in their order."""
    return [
        FeatureCategories(
            feature=feature,
            names=list(own.names),
            counts=list(own.counts),
            n_other=own.n_other,
            is_full=own.is_full,
        )
        for feature, own in enumerate(categories)
        if own != NO_CATEGORIES
    ]


def read_categories(
    documents: Sequence[FeatureCategories], kinds: Sequence[int]
) -> list[Categories]:
    """Those of each feature again; `kinds` are the features'. Raises `StateError`."""
    found = [NO_CATEGORIES] * len(kinds)
    latest = -1
    for each in documents:
        if not latest < each.feature < len(kinds):
            raise StateError("categories are of no feature, or of one twice")
        latest = each.feature
        names, counts = tuple(each.names), tuple(each.counts)
        is_boolean = kinds[latest] == ValueKind.BOOLEAN
        if not (is_boolean or kinds[latest] == ValueKind.STRING):
            raise StateError("a feature has categories and is none")
        if is_boolean and (names != BOOLEANS or each.n_other or each.is_full):
            raise StateError("a boolean has other categories than false and true")
        if len(counts) != len(names) or min((*counts, each.n_other)) < 0:
            raise StateError("a feature's categories and their counts do not agree")
        _require_names(names)
        found[latest] = Categories(names, counts, each.n_other, each.is_full)
    return found


def read_tallies(
    names: Sequence[Sequence[str]], counts: Sequence[I64], others: I64, n_kind: I64
) -> list[Tally]:
    """The tallies of a reference that is learned, by feature. Raises `StateError`.

    `others` (f, 2): values with names too long, and how many are true; `n_kind` (f, 5).
    """
    found = []
    for own, of_own, (n_long, n_true), kinds in zip(
        names, counts, others.tolist(), n_kind.tolist(), strict=True
    ):
        _require_names(own)
        tally = Tally({name: k for k, name in enumerate(own)}, of_own.tolist(), n_long, n_true)
        if min([n_long, n_true, *tally.counts]) < 0:
            raise StateError("a category has a negative count")
        if (
            sum(tally.counts) + n_long > kinds[ValueKind.STRING]
            or n_true > kinds[ValueKind.BOOLEAN]
        ):
            raise StateError("more categories were seen than values")
        found.append(tally)
    return found


def _require_names(names: Sequence[str]) -> None:
    if len(names) > MAX_CATEGORIES or len(set(names)) < len(names):
        raise StateError("a feature has too many categories, or one twice")
    if any(len(name) > MAX_CATEGORY_CHARS for name in names):
        raise StateError("a category has too long a name")
