"""States of the performance banks that no fold has left are refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from detectors.base import StateError
from detectors.kernels.performance import ABSOLUTE, BRIER, CLASSES, LOG_LOSS, RIGHT, ROWS, SCORED
from detectors.performance.labelled import LabelledPerformance
from detectors.performance.outputs import ScoreOf, Shape, Task
from detectors.performance.unlabelled import UnlabelledPerformance
from tests.detectors.damage import Arrays, cut
from tests.detectors.joined import (
    N_SLOTS,
    SHAPE,
    WINDOWS,
    labelled,
    random_rows,
    unlabelled,
    without_labels,
)


def put(name: str, at: tuple[int, ...], number: float) -> Callable[[Arrays], None]:
    """One number of an array is another."""

    def change(state: Arrays) -> None:
        state[name][at] = number

    return change


def more(name: str, at: tuple[int, ...], number: float = 1) -> Callable[[Arrays], None]:
    """One number of an array is larger by so much."""

    def change(state: Arrays) -> None:
        state[name][at] += number

    return change


def drop(name: str) -> Callable[[Arrays], None]:
    """An array is not there."""

    def change(state: Arrays) -> None:
        del state[name]

    return change


OUTPUT_DAMAGE = {
    "missing": (drop("task"), "the state has arrays"),
    "short": (cut("cuts"), "array 'cuts' has shape"),
    "task": (put("task", (0,), 9), "task is unknown"),
    "score of": (put("score_of", (0,), 9), "score_of is unknown"),
    "no positive": (put("positive", (0,), -1), "positive does not fit task"),
    "positive of many": (put("positive", (4,), 1), "positive does not fit task"),
    "positive beyond": (put("positive", (0,), SHAPE.max_classes), "positive is out of range"),
    "score of a number": (put("score_of", (6,), ScoreOf.RANK), "score_of does not fit task"),
    "positive score": (put("score_of", (4,), ScoreOf.POSITIVE), "score_of does not fit task"),
    "cut": (put("cuts", (2, 3), np.nan), "cuts is not finite"),
    "order": (put("cuts", (2, 3), 9.0), "cuts is not ascending"),
}


def refused(change: Callable[[Arrays], None], words: str, *, scores: bool) -> None:
    rows = random_rows(np.random.default_rng(31), 600)
    if scores:
        bank = unlabelled()
        bank.update(without_labels(rows))
        state = bank.snapshot()
        UnlabelledPerformance(SHAPE, N_SLOTS, state)
        change(state)
        with pytest.raises(StateError, match=words):
            UnlabelledPerformance(SHAPE, N_SLOTS, state)
        return
    told = labelled()
    told.update(rows)
    state = told.snapshot()
    LabelledPerformance(SHAPE, WINDOWS, N_SLOTS, state)
    change(state)
    with pytest.raises(StateError, match=words):
        LabelledPerformance(SHAPE, WINDOWS, N_SLOTS, state)


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("name", OUTPUT_DAMAGE)
def test_outputs_that_no_declaration_made(name: str, scores: bool) -> None:
    change, words = OUTPUT_DAMAGE[name]
    refused(change, words, scores=scores)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("counts", (0, ROWS), -1), "a number of rows is out of range"),
        (put("counts", (0, ROWS), 2**53 + 1), "a number of rows is out of range"),
        (more("counts", (0, ROWS)), "block_counts does not fit counts"),
        (more("block_counts", (0, 1, ROWS)), "block_counts does not fit counts"),
        (put("counts", (0, CLASSES), 10_000), "counts is out of range"),
        (put("counts", (0, RIGHT), 10_000), "counts is out of range"),
        (more("counts", (0, CLASSES), -1), "confusion does not fit counts"),
        (more("counts", (0, SCORED), -1), "histogram is out of range|histogram does not fit"),
        (put("confusion", (0, 0, 1), -1), "confusion is out of range"),
        (more("confusion", (0, 0, 1)), "confusion does not fit counts"),
        (more("block_confusion", (0, 1, 0, 1)), "block_confusion does not fit counts"),
        (put("histogram", (0, 0, 1), -1), "histogram is out of range"),
        (more("block_histogram", (0, 1, 0, 1)), "block_histogram does not fit counts"),
        (put("task", (0,), Task.MULTICLASS), "positive does not fit task"),
        (put("score_of", (4,), ScoreOf.NONE), "counts does not fit score_of"),
        (put("task", (6,), Task.UNKNOWN), "counts does not fit task"),
        (put("sums", (0, LOG_LOSS), np.nan), "sums is out of range"),
        (put("sums", (0, LOG_LOSS), 1e9), "sums is out of range"),
        (put("sums", (0, BRIER), -1.0), "sums is out of range"),
        (put("sums", (6, ABSOLUTE), 1e70), "sums is out of range"),
        (put("block_sums", (6, 0, ABSOLUTE), np.inf), "block_sums is out of range"),
        (put("score_sums", (0, 3), 1e6), "score_sums is out of range"),
        (put("block_score_sums", (0, 1, 3), -1.0), "block_score_sums is out of range"),
        (put("times", (0, 0), 2**62), "times is wrong"),
        (put("since", (0, 1), -1), "since is out of range"),
        (put("since", (0, 1), 10_000), "since is out of range"),
        (put("since", (0, 1), 1), "block_counts does not fit counts"),
        (more("block_counts", (0, 25, ROWS)), "block_counts does not fit counts"),
        (more("block_histogram", (0, 25, 0, 1)), "block_histogram is out of range"),
        (put("windows", (1,), 40), "the state has windows .10, 40, 200., expected .10, 30, 200."),
        (drop("windows"), "the state has no array 'windows'"),
        (put("block_times", (0, 0, 1), -(2**62)), "block_times is wrong"),
    ],
)
def test_tallies_that_no_rows_made(change: Callable[[Arrays], None], words: str) -> None:
    refused(change, words, scores=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("rows", (0,), -1), "a number of rows is out of range"),
        (put("rows", (0,), 0), "refused is out of range|block_cells does not fit rows"),
        (put("refused", (0,), 10_000), "refused is out of range"),
        (put("refused", (0,), -1), "refused is out of range"),
        (put("reference", (0, 1, 3), -1), "reference is out of range"),
        (put("reference", (3, 1, 3), 1), "reference does not fit score_of"),
        (put("block_cells", (0, 1, 1, 3), -1), "block_cells is out of range"),
        (put("block_cells", (0, 1, 1, 3), 1000), "block_cells does not fit rows"),
        (put("score_of", (4,), ScoreOf.NONE), "block_cells does not fit score_of"),
        (put("block_times", (0, 0, 1), -(2**62)), "block_times is wrong"),
    ],
)
def test_cells_that_no_predictions_made(change: Callable[[Arrays], None], words: str) -> None:
    refused(change, words, scores=True)


def test_a_prediction_of_a_negative_class_among_several_is_refused() -> None:
    def turned(state: Arrays) -> None:
        cells = state["block_cells"]
        cells[4] = cells[4, :, ::-1]

    refused(turned, "block_cells does not fit task", scores=True)


def test_another_shape_is_refused_and_memory_is_that_of_the_slots() -> None:
    bank = labelled()
    sizes = {name: array.nbytes for name, array in bank.snapshot().items()}
    bank.update(random_rows(np.random.default_rng(32), 5_000))
    state = bank.snapshot()
    assert {name: array.nbytes for name, array in state.items()} == sizes
    with pytest.raises(StateError, match="has shape"):
        LabelledPerformance(Shape(max_classes=3, n_bins=32), WINDOWS, N_SLOTS, state)
    state["windows"][1] = 40
    with pytest.raises(StateError, match="block_counts does not fit counts"):
        LabelledPerformance(SHAPE, (10, 40, 200), N_SLOTS, state)
    state["sums"][:] = 0.0
    assert bank.total(6).sum_of(ABSOLUTE) > 0.0
