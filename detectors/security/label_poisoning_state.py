"""The arrays of the bank of poisoned labels: what they hold, and what a snapshot must be."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import BankState, StateError, require_array
from detectors.drift.lane_table import MAX_N, require_all, require_names, within
from detectors.kernels import label_poisoning as kernel
from detectors.labels.identity import NONE
from detectors.security.label_expectation import (
    LEAST_RATE,
    LEAST_THRESHOLD,
    REFERENCE_LABELS,
    check_expectation,
)

Arrays = dict[str, NDArray[Any]]

LEARNING_ARRAYS: Final = ("learn_score", "learn_pair")
"""In a snapshot the labels of all models that learn, one model after the other."""
_MOST_STATISTIC: Final = 1e12


def initial(n_models: int, n_places: int) -> Arrays:
    """The arrays of a bank that has seen nothing."""
    c, lanes = kernel.N_CLASSES, (n_places, kernel.N_LANES)
    arrays: Arrays = {
        "model_n": np.zeros((n_models, kernel.N_MODEL), np.int64),
        "model_x": np.zeros((n_models, kernel.N_MODEL_X)),
        "class_code": np.zeros((n_models, c), np.int64),
        "learn_score": np.zeros((n_models, REFERENCE_LABELS), np.float32),
        "learn_pair": np.zeros((n_models, REFERENCE_LABELS), np.uint16),
        "cuts": np.zeros((n_models, kernel.N_BINS - 1)),
        "rates": np.zeros((n_models, c, kernel.N_BINS + 1)),
        "shares": np.zeros((n_models, c, c)),
        "hits": np.zeros((n_models, kernel.ANY + 1, kernel.N_GROUPS), np.int64),
        "expected": np.zeros((n_models, c + 1, kernel.N_GROUPS)),
        "base_hits": np.zeros((n_models, kernel.ANY), np.int64),
        "base_expected": np.zeros((n_models, c)),
        "places": np.zeros((n_places, kernel.N_PLACE), np.int64),
        "levels": np.zeros((n_places, kernel.N_PLACE_X)),
        "lanes": np.zeros((*lanes, kernel.N_LANE), np.int64),
        "sums": np.zeros((*lanes, kernel.N_LANE_X)),
        "door": np.zeros((_n_sets(n_places), kernel.DOOR_WAYS, kernel.N_DOOR), np.int64),
        "numbers": np.zeros(kernel.N_NUMBERS, np.int64),
    }
    arrays["numbers"][kernel.REFUSED_LEVEL] = kernel.FIRST_PRESSURE
    for m in range(n_models):
        forget_model(arrays, m)
    empty_places(arrays, np.arange(n_places))
    return arrays


def forget_model(arrays: Arrays, model: int) -> None:
    """A model's slot as it is before its first label; places are left as they are."""
    for name in (
        *("model_n", "model_x", "class_code", *LEARNING_ARRAYS, "cuts"),
        *("hits", "expected", "base_hits", "base_expected", "shares"),
    ):
        arrays[name][model] = 0
    arrays["rates"][model] = LEAST_RATE
    arrays["model_x"][model, [kernel.THRESHOLD, kernel.POOL_THRESHOLD]] = LEAST_THRESHOLD


def empty_places(arrays: Arrays, places: NDArray[np.int64]) -> None:
    """Places that nobody has."""
    for name in ("places", "levels", "lanes", "sums"):
        arrays[name][places] = 0
    arrays["places"][places, kernel.OWNER] = -1
    arrays["lanes"][places, :, kernel.PAIR] = -1
    arrays["lanes"][places, 0, kernel.PAIR] = kernel.ANY


def index_size(n_places: int) -> int:
    """Entries of the index: a power of two, at least twice the places."""
    return 1 << (2 * n_places - 1).bit_length()


def _n_sets(n_places: int) -> int:
    return 1 << (n_places - 1).bit_length()


def saved(arrays: Arrays) -> Arrays:
    """Copies; of the labels of models that learn only those that came."""
    state = {name: array.copy() for name, array in arrays.items() if name not in LEARNING_ARRAYS}
    n_learnt = _n_learnt(arrays["model_n"])
    for name in LEARNING_ARRAYS:
        pieces = [arrays[name][m, :n] for m, n in enumerate(n_learnt.tolist())]
        state[name] = np.concatenate(pieces) if pieces else arrays[name].reshape(-1).copy()
    return state


def restored(state: BankState, n_models: int, n_places: int, others: set[str]) -> Arrays:
    """The arrays of a snapshot. Raises `StateError` where they contradict themselves.

    `others` are the names of arrays that the snapshot has besides.
    """
    arrays = initial(n_models, n_places)
    require_names(state, set(arrays) | others)
    for name, array in arrays.items():
        if name not in LEARNING_ARRAYS:
            arrays[name] = require_array(state, name, array.dtype, array.shape)
    _check_models(arrays)
    _check_places(arrays, n_models)
    _check_table(arrays, n_places)
    n_learnt = _n_learnt(arrays["model_n"])
    for name in LEARNING_ARRAYS:
        kept = require_array(state, name, arrays[name].dtype, (int(n_learnt.sum()),))
        end = 0
        for m, n in enumerate(n_learnt.tolist()):
            arrays[name][m, :n] = kept[end : end + n]
            end += n
    require_all(~np.isinf(arrays["learn_score"]), "a score that is learned from is infinite")
    require_all(arrays["learn_pair"] < 2 * kernel.ANY, "a label that is learned from is no pair")
    return arrays


def _n_learnt(model_n: NDArray[np.int64]) -> NDArray[np.int64]:
    learns = model_n[:, kernel.PHASE] == kernel.LEARNING
    return np.where(learns, model_n[:, kernel.LABELS], 0)


def _check_models(arrays: Arrays) -> None:
    n, x = arrays["model_n"], arrays["model_x"]
    require_all((n >= 0) & (n <= MAX_N), "model_n is out of range")
    for flag in (kernel.PHASE, kernel.TWO_SIDED, kernel.REVIEWED):
        require_all(n[:, flag] <= 1, "a flag of a model is neither on nor off")
    require_all(_n_learnt(n) < REFERENCE_LABELS, "a model learns from more labels than it may")
    require_all(
        n[:, kernel.POOL_HITS] <= n[:, kernel.POOL_SEEN], "a pool has more hits than labels"
    )
    require_all(np.isfinite(x) & (x >= 0.0) & (x <= _MOST_STATISTIC), "model_x is out of range")
    check_expectation(
        arrays["cuts"],
        arrays["rates"],
        arrays["shares"],
        x[:, [kernel.THRESHOLD, kernel.POOL_THRESHOLD]],
    )
    require_all(n[:, kernel.KNOWN] <= kernel.OTHER, "a model has too many classes")
    codes = arrays["class_code"]
    is_known = np.arange(kernel.N_CLASSES) < n[:, kernel.KNOWN, np.newaxis]
    require_all((codes != NONE) == is_known, "class_code does not fit model_n")
    for own in codes:
        there = own[own != NONE]
        require_all(np.array(len(np.unique(there)) == len(there)), "a class has two numbers")
    for name in ("hits", "base_hits"):
        require_all((arrays[name] >= 0) & (arrays[name] <= MAX_N), f"{name} is out of range")
    for name in ("expected", "base_expected"):
        _require_amounts(arrays, name)


def _check_places(arrays: Arrays, n_models: int) -> None:
    places, lanes = arrays["places"], arrays["lanes"]
    owner = places[:, kernel.OWNER]
    require_all((owner >= -1) & (owner < n_models), "a place belongs to a model there is not")
    learns = arrays["model_n"][:, kernel.PHASE] == kernel.LEARNING
    owned = owner[owner >= 0]
    require_all(~learns[owned], "a source of a model that learns has a place")
    counts = np.delete(places, [kernel.OWNER, kernel.WORD_LOW, kernel.WORD_HIGH], axis=1)
    require_all((counts >= 0) & (counts <= MAX_N), "places is out of range")
    clock = arrays["numbers"][kernel.CLOCK]
    require_all(places[:, kernel.LAST] <= clock, "a source was last there in the future")
    pair = lanes[..., kernel.PAIR]
    require_all(pair[:, 0] == kernel.ANY, "a source has no CUSUM of all its labels")
    require_all((pair[:, 1:] >= -1) & (pair[:, 1:] < kernel.ANY), "a CUSUM is of no pair")
    require_all(within(lanes, MAX_N) & (lanes >= -1), "lanes is out of range")
    seen = lanes[..., kernel.LANE_SEEN]
    n_hits = lanes[..., kernel.HITS : kernel.BASE_HITS].sum(axis=-1)
    require_all(n_hits <= seen, "a source has more hits than labels")
    for name in ("levels", "sums"):
        _require_amounts(arrays, name)
    running = arrays["sums"][:, 1:, kernel.STATISTIC] > 0.0
    require_all(running == (pair[:, 1:] >= 0), "a pair has no CUSUM, or a CUSUM no pair")


def _check_table(arrays: Arrays, n_places: int) -> None:
    numbers, door = arrays["numbers"], arrays["door"]
    require_all((numbers >= 0) & (numbers <= MAX_N), "numbers is out of range")
    require_all(numbers[kernel.HAND] < n_places, "the search for a place goes on nowhere")
    require_all(numbers[kernel.REFUSED_LEVEL] >= kernel.FIRST_PRESSURE, "numbers is out of range")
    count, last = door[..., kernel.DOOR_COUNT], door[..., kernel.DOOR_LAST]
    require_all((count >= 0) & (count <= kernel.ADMIT_AFTER), "door is out of range")
    require_all((last >= 0) & (last <= numbers[kernel.CLOCK]), "door is out of range")


def _require_amounts(arrays: Arrays, name: str) -> None:
    array = arrays[name]
    is_fine = np.isfinite(array) & (array >= 0.0) & (array <= _MOST_STATISTIC)
    if not is_fine.all():
        raise StateError(f"{name} is out of range")
