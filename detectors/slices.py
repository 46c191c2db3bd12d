"""Slices: the features whose categories are groups, and which group each event is in.

A group is a number from 1 on, by the frequency of its category in the reference; 0 is none: the
feature is missing, or its category is not among those that have a group. The groups of an event
stand in one word, eight bits a slice; the last eight say by a hash which slices and groups these
are, since a word may wait for its label longer than its model version keeps its reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

import numpy as np

from detectors.categories import Categories
from detectors.mixing import told_apart
from detectors.monitor import Monitor, model_config
from schemas.batch import I64, ValueKind
from schemas.config import DetectionConfig

MAX_SLICES: Final = 7
"""Of a model version: a word has eight bytes, and one says whose they are."""
MAX_GROUPS: Final = 15
"""Of a configured slice."""
MAX_AUTOMATIC_GROUPS: Final = 8
"""A feature with more categories than this is no slice unless the config names it."""
LEAST_SHARE: Final = 0.01
"""Of the reference's events; a rarer category has no group."""
TAG_AT: Final = 8 * MAX_SLICES
_CATEGORIES: Final = (ValueKind.STRING, ValueKind.BOOLEAN)


def slices_of(config: DetectionConfig, monitor: Monitor) -> list[int]:
    """The features that are slices: those that the config names, then others with few categories.

    A configured one that the reference does not know as a category is left out.
    """
    wanted = model_config(config, monitor.key.model_id).slices
    there = [
        monitor.feature_number[name]
        for name in wanted
        if name in monitor.feature_number and _is_slice(monitor, monitor.feature_number[name])
    ]
    room = min(MAX_SLICES - len(there), config.labels.automatic_slices)
    others = [
        feature
        for feature in range(len(monitor.features))
        if feature not in there
        and _is_slice(monitor, feature)
        and len(monitor.categories[feature].names) <= MAX_AUTOMATIC_GROUPS
        and not monitor.categories[feature].n_other
    ]
    return there + others[: max(room, 0)]


def groups_of(categories: Categories) -> list[int]:
    """The categories, by number, that are groups: that of group g stands at g - 1."""
    least = max(LEAST_SHARE * categories.n, 1.0)
    there = [k for k, n in enumerate(categories.counts) if n >= least]
    return sorted(there, key=lambda k: (-categories.counts[k], categories.names[k]))[:MAX_GROUPS]


def is_configured(config: DetectionConfig, monitor: Monitor, feature: int) -> bool:
    """Whether a person has named this slice."""
    return monitor.features[feature] in model_config(config, monitor.key.model_id).slices


def group_of(words: I64, place: int, tag: int) -> I64:
    """(n,) the groups in one slice, by its place among the monitor's, whose tag this is."""
    group = (words >> (8 * place)) & 0xFF
    own = ((words >> TAG_AT) == tag) & (group <= MAX_GROUPS)
    return np.where(own, group, 0)


def tag_of(monitor: Monitor) -> int:
    """A number from 1 to 127 that follows from the slices and their groups."""
    if not monitor.slice_tag:
        hashed = blake2b(digest_size=8)
        for feature in monitor.slices:
            names = [name for _, name in named_groups(monitor.categories[feature])]
            hashed.update(told_apart([monitor.features[feature], *names]) + b"|")
        monitor.slice_tag = 1 + int.from_bytes(hashed.digest(), "little") % 127
    return monitor.slice_tag


def named_groups(categories: Categories) -> Iterator[tuple[int, str]]:
    """The groups, and the names of their categories."""
    for place, k in enumerate(groups_of(categories)):
        yield place + 1, categories.names[k]


def _is_slice(monitor: Monitor, feature: int) -> bool:
    return monitor.kinds[feature] in _CATEGORIES and len(groups_of(monitor.categories[feature])) > 1
