"""Which categories of features are gone, and what to look at then.

By the means before and after of their shares, `feature:X=V`, which every detector tells of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from schemas.alerts import MovedSignal, Vanished
from schemas.signal_names import NEW_CATEGORY, of_feature, plain, plain_value
from streams.evidence import Evidence

MOST_LEFT: Final = 0.02
"""Of its share before: where no more is left a category is gone. The change point is known only
roughly, so that a few values of before it may be counted among those of after it."""
LEAST_EXPECTED: Final = 30.0
"""Of a category so many values are to be expected before their absence says that it is gone: where
none came of so many, less than a tenth of its share is left (95 %)."""
N_NAMED: Final = 3
"""So many are named."""


def vanished(signal: str, known: Evidence) -> Vanished | None:
    """Whether what is known of a signal says that its category is gone, or all but it."""
    if not known.is_share or known.is_departure or not _is_category(signal):
        return None
    if known.before is None or known.after is None:
        return None
    if not known.is_rise:
        return "category" if _is_gone(known.before, known.after, known.n_after) else None
    return "others" if _is_gone(1.0 - known.before, 1.0 - known.after, known.n_after) else None


def _is_category(signal: str) -> bool:
    """Whether it is the share of one category that the reference had."""
    return signal.startswith("feature:") and of_feature(signal)[1] not in (None, NEW_CATEGORY)


def _is_gone(before: float, after: float, n_after: int) -> bool:
    return before * n_after >= LEAST_EXPECTED and after <= MOST_LEFT * before


def vanished_categories(away: Sequence[MovedSignal]) -> str:
    """What to look at where these signals say that categories are gone; "" where none does.

    It is of one feature, that of the first signal that says so.
    """
    first = next((_names(each)[0] for each in away if each.vanished is not None), None)
    if first is None:
        return ""
    own = [e for e in away if e.signal.startswith("feature:") and _names(e)[0] == first]
    gone = [_names(each)[1] for each in own if each.vanished == "category"]
    if gone:
        said = f"{_listed(gone)} of the reference {'has' if len(gone) == 1 else 'have'} vanished"
    else:
        left = next(_names(each)[1] for each in own if each.vanished == "others")
        said = f"nothing but {left} is left, other values of the reference have vanished"
    if any(each.direction == "rose" and of_feature(each.signal)[1] == NEW_CATEGORY for each in own):
        said += ", and there are values that the reference had not (renamed?)"
    return f"what writes {_quoted(first)}: {said}"


def _names(moved: MovedSignal) -> tuple[str, str]:
    """Feature and category, by the names that they have outside."""
    feature, category = of_feature(moved.signal)
    return plain(feature), _quoted(plain_value(category or ""))


def _listed(categories: Sequence[str]) -> str:
    """The first few of them, as one reads them out."""
    names = [*categories[:N_NAMED]]
    if len(categories) > N_NAMED:
        names.append(f"{len(categories) - N_NAMED} more")
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _quoted(name: str) -> str:
    """A name from outside, in quotes where it would not be seen."""
    return name if name.strip() == name and name else f'"{name}"'
