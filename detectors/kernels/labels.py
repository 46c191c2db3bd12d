"""The join of labels with predictions, row by row in the order of the log.

Both kinds of rows are kept in tables of the same form: rows of 64-bit words (n, WORDS), numbered
from the beginning of the log for good; the first that the array holds has the number BASE. Doubles
stand there by their bits. An index leads from keys to rows: open addressing with linear probing,
never more than half full, its places from a mix of key and seed.
"""

from __future__ import annotations

from typing import Final

from numba import types

from detectors.kernels.compile import I32, I64, I64_2D, U8_IN, kernel, part
from schemas.batch import I32 as I32A
from schemas.batch import I64 as I64A
from schemas.batch import U8 as U8A

I64_2D_IN: Final = types.Array(types.int64, 2, "C", readonly=True)

# The words of a row: those of both kinds, then a prediction's own, then a label's own.
KEY, TIME, SEEN, VALUE, CODE, SOURCE_LOW, SOURCE_HIGH = range(7)
VERSION, SCORE, SLICES = 7, 8, 9
OFFSET, EVENT_ROW, TAKEN = 7, 8, 9
WORDS: Final = 10
"""Of a row as it comes, and as it is kept for good."""
ANSWER = 10
"""Beside a prediction: the code of its label, 0 while it has none."""

IGNORED, PREDICTION, LABEL = range(3)
"""What a row of the poll is to the join."""

BASE, HEAD, TAIL, SEED = range(4)
"""Where a table stands: number of the array's first row, of the oldest that is kept, and of the
next one; and the seed of its index."""
EXPIRED, N_LIVE = 4, 5
"""Of predictions: the number of the oldest that is not expired. Of labels: how many still wait."""

MAX_DELAY, FORGET_AFTER, MAX_PENDING, MAX_EARLY_MS, MAX_EARLY = range(5)

COUNTERS: Final = (
    "n_joined_labels",
    "n_early_labels",
    "n_duplicate_labels",
    "n_conflicting_labels",
    "n_expired_labels",
    "n_unknown_labels",
    "n_dropped_labels",
    "n_repeated_predictions",
    "n_expired_predictions",
    "n_unlabelled_predictions",
    "n_dropped_predictions",
)
"""What is counted, in the order of `counts`; docs/labels.md has the rules."""
JOINED, EARLY, DUPLICATE, CONFLICTING, EXPIRED_LABEL, UNKNOWN, DROPPED_LABEL = range(7)
REPEATED, EXPIRED_PREDICTION, UNLABELLED, DROPPED_PREDICTION = range(7, 11)

# Of splitmix64 (Steele, Lea and Flood 2014), as signed numbers.
_M1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_M2 = 0x94D049BB133111EB - (1 << 64)


@part
def _place(key: int, seed: int, mask: int) -> int:
    """Where the search for a key begins."""
    x = key ^ seed
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * _M1
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * _M2
    return (x ^ ((x >> 31) & 0x1FFFFFFFF)) & mask


@part
def _find(key: int, words: I64A, at: I64A, index: I64A) -> int:
    """The place of a key in the index; where it is not there, -1 less the place for it."""
    mask = len(index) - 1
    place = _place(key, at[SEED], mask)
    while index[place] != 0:
        if words[index[place] - 1 - at[BASE], KEY] == key:
            return place
        place = (place + 1) & mask
    return -1 - place


@part
def _remove(row: int, words: I64A, at: I64A, index: I64A) -> None:
    """Take a row out of the index; those behind it move up, so that no search ends too soon."""
    mask = len(index) - 1
    hole = _find(words[row - at[BASE], KEY], words, at, index)
    place = (hole + 1) & mask
    while index[place] != 0:
        home = _place(words[index[place] - 1 - at[BASE], KEY], at[SEED], mask)
        if ((place - home) & mask) >= ((place - hole) & mask):
            index[hole] = index[place]
            hole = place
        place = (place + 1) & mask
    index[hole] = 0


@part
def _append(given: I64A, i: int, words: I64A, at: I64A, index: I64A) -> int:
    """Keep row i of `given`, whose key is not there; its number."""
    place = -1 - _find(given[i, KEY], words, at, index)
    row = int(at[TAIL])
    for word in range(given.shape[1]):
        words[row - at[BASE], word] = given[i, word]
    index[place] = row + 1
    at[TAIL] += 1
    return row


@part
def _expire(
    now: int,
    i: int,
    first: int,
    words: I64A,
    at: I64A,
    index: I64A,
    limits: I64A,
    counts: I64A,
    expired_row: I32A,
) -> None:
    """Let predictions expire at row i, and then be forgotten, by the time that it is."""
    while at[EXPIRED] < at[TAIL]:
        row = at[EXPIRED] - at[BASE]
        if now - words[row, SEEN] <= limits[MAX_DELAY]:
            break
        counts[EXPIRED_PREDICTION] += 1
        if words[row, ANSWER] == 0:
            counts[UNLABELLED] += 1
        expired_row[at[EXPIRED] - first] = i
        at[EXPIRED] += 1
    while at[HEAD] < at[EXPIRED]:
        if now - words[at[HEAD] - at[BASE], SEEN] <= limits[FORGET_AFTER]:
            break
        _remove(at[HEAD], words, at, index)
        at[HEAD] += 1


@part
def _drop_predictions(
    room: int, first: int, words: I64A, at: I64A, index: I64A, counts: I64A, expired_row: I32A
) -> None:
    """Drop the oldest predictions until no more than `room` are kept."""
    while at[TAIL] - at[HEAD] > room:
        _remove(at[HEAD], words, at, index)
        if at[EXPIRED] == at[HEAD]:
            if words[at[HEAD] - at[BASE], ANSWER] == 0:
                counts[DROPPED_PREDICTION] += 1
            # Nobody will know whether its label comes.
            expired_row[at[EXPIRED] - first] = -1
            at[EXPIRED] += 1
        at[HEAD] += 1


@part
def _give_up(now: int, words: I64A, at: I64A, index: I64A, limits: I64A, counts: I64A) -> None:
    """Let labels go that have waited too long, and rows of those that wait no more."""
    while at[HEAD] < at[TAIL]:
        row = at[HEAD] - at[BASE]
        if words[row, TAKEN] == 0:
            if now - words[row, SEEN] <= limits[MAX_EARLY_MS]:
                break
            _remove(at[HEAD], words, at, index)
            at[N_LIVE] -= 1
            counts[UNKNOWN] += 1
        at[HEAD] += 1


@part
def _drop_labels(room: int, words: I64A, at: I64A, index: I64A, counts: I64A) -> None:
    """Drop the labels that have waited longest until no more than `room` wait."""
    while at[N_LIVE] > room:
        if words[at[HEAD] - at[BASE], TAKEN] == 0:
            _remove(at[HEAD], words, at, index)
            at[N_LIVE] -= 1
            counts[DROPPED_LABEL] += 1
        at[HEAD] += 1


@kernel(
    *(U8_IN, I64_2D_IN, I64),
    *(I64_2D, I64, I64, I64_2D, I64, I64_2D, I64, I64),
    *(I64, I32, I64, I64, I32, I32),
)
def join(
    what: U8A,
    given: I64A,
    limits: I64A,
    pending: I64A,
    pending_at: I64A,
    pending_index: I64A,
    answers: I64A,
    answers_at: I64A,
    early: I64A,
    early_at: I64A,
    early_index: I64A,
    counts: I64A,
    joined_row: I32A,
    joined_prediction: I64A,
    joined_label: I64A,
    expired_row: I32A,
    kept_row: I32A,
) -> int:
    """Advance both tables over the rows of a stretch; returns how many labels were joined.

    `what` (n,) says what each row is, `given` (n, WORDS) holds it as a table keeps it; its SEEN is
    the latest event time up to and with that row, and ascends. `pending` (:, WORDS + 1) has the
    answers beside the predictions; `answers` (:, 2) has them in the order in which they came:
    number of the prediction, code. The arrays have room for n rows more.
    Of join k: `joined_row` is the row that made the pair complete, `joined_prediction` where in
    `pending` the prediction stands, and `joined_label` where in `early` the label does, -1 where it
    is the row itself.
    Of the kth prediction that is no longer waited for, counted from the oldest that was before,
    `expired_row` is the row at which its time was over, -1 where it gave way to others. It has room
    for n more than there are.
    `kept_row` (n,) holds the rows of the predictions that are kept from now on, as many as TAIL has
    gone up by: they have the numbers up to it.
    """
    first = pending_at[EXPIRED]
    _drop_predictions(
        limits[MAX_PENDING], first, pending, pending_at, pending_index, counts, expired_row
    )
    _drop_labels(limits[MAX_EARLY], early, early_at, early_index, counts)
    n_joined, n_kept = 0, 0
    for i in range(len(what)):
        now = given[i, SEEN]
        _expire(now, i, first, pending, pending_at, pending_index, limits, counts, expired_row)
        _give_up(now, early, early_at, early_index, limits, counts)
        if what[i] == IGNORED:
            continue
        known = _find(given[i, KEY], pending, pending_at, pending_index)
        row = pending_index[known] - 1 if known >= 0 else -1
        waiting = -1
        if known < 0:
            place = _find(given[i, KEY], early, early_at, early_index)
            waiting = early_index[place] - 1 if place >= 0 else -1
        if what[i] == PREDICTION:
            if known >= 0:
                counts[REPEATED] += 1
                continue
            _drop_predictions(
                limits[MAX_PENDING] - 1,
                first,
                pending,
                pending_at,
                pending_index,
                counts,
                expired_row,
            )
            row = _append(given, i, pending, pending_at, pending_index)
            kept_row[n_kept] = i
            n_kept += 1
            pending[row - pending_at[BASE], ANSWER] = 0
            if waiting < 0:
                continue
            _remove(waiting, early, early_at, early_index)
            early_at[N_LIVE] -= 1
            early[waiting - early_at[BASE], TAKEN] = 1
            code = early[waiting - early_at[BASE], CODE]
            joined_label[n_joined] = waiting - early_at[BASE]
        elif known < 0:
            if waiting >= 0:
                same = early[waiting - early_at[BASE], CODE] == given[i, CODE]
                counts[DUPLICATE if same else CONFLICTING] += 1
                continue
            _drop_labels(limits[MAX_EARLY] - 1, early, early_at, early_index, counts)
            waiting = _append(given, i, early, early_at, early_index)
            early_at[N_LIVE] += 1
            counts[EARLY] += 1
            continue
        else:
            known_code = pending[row - pending_at[BASE], ANSWER]
            if row < pending_at[EXPIRED]:
                counts[EXPIRED_LABEL] += 1
                continue
            if known_code != 0:
                counts[DUPLICATE if known_code == given[i, CODE] else CONFLICTING] += 1
                continue
            code = given[i, CODE]
            joined_label[n_joined] = -1
        pending[row - pending_at[BASE], ANSWER] = code
        answers[answers_at[TAIL] - answers_at[BASE], 0] = row
        answers[answers_at[TAIL] - answers_at[BASE], 1] = code
        answers_at[TAIL] += 1
        joined_row[n_joined] = i
        joined_prediction[n_joined] = row - pending_at[BASE]
        counts[JOINED] += 1
        n_joined += 1
    while answers_at[HEAD] < answers_at[TAIL]:
        if answers[answers_at[HEAD] - answers_at[BASE], 0] >= pending_at[HEAD]:
            break
        answers_at[HEAD] += 1
    return n_joined


@kernel(I64_2D_IN, I64, types.int64, I64)
def index_rows(words: I64A, at: I64A, out: int, index: I64A) -> int:
    """Fill an empty index with the rows from HEAD to TAIL, but those whose word `out` is not 0.

    `out` is -1 where all belong there. Returns how many keys are there a second time.
    """
    n_twice = 0
    for row in range(at[HEAD], at[TAIL]):
        if out >= 0 and words[row - at[BASE], out] != 0:
            continue
        place = _find(words[row - at[BASE], KEY], words, at, index)
        if place >= 0:
            n_twice += 1
        else:
            index[-1 - place] = row + 1
    return n_twice
