"""What stands in the tables for names: 64 bits that follow from the name alone.

So a state needs no table of names, and what was kept under a model version is its own whatever slot
the version has by then. They are no secrets: whoever may name models may name any.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import numpy as np

from detectors.mixing import told_apart
from schemas.batch import F64, I64, Decoded, ModelKey, PredictionKind

NONE: Final = 0
"""The code of no value at all."""
_NAN_BITS: Final = 0x7FF8_0000_0000_0001
"""No number has these bits, so that no number's code is NONE."""
_INTEGER: Final = re.compile("0|-?[1-9][0-9]*", re.ASCII)
_KEPT: Final = 16_384
_PERSON: Final = b"drift.label"


@lru_cache(_KEPT)
def model_id_code(key: ModelKey) -> int:
    """Of the model, all its versions: what goes into the key of the join; one for each shard."""
    return _digest("model", key.model_id, str(key.shard))


@lru_cache(_KEPT)
def version_code(key: ModelKey) -> int:
    """Of the model version, or of one shard of it."""
    return _digest("version", key.model_id, str(key.shard), key.model_version)


def value_codes(events: Decoded) -> I64:
    """(n,) what each event predicts, or its label says; equal values, equal codes, NONE for none.

    Classes are equal by their names, so that `"1"` is the integer 1, and numbers by their values,
    so that 1.0 is it too; `true` is none of them. Integers that one double stands for are one.
    """
    codes = number_codes(events.prediction)
    kind = events.prediction_kind
    codes[kind == PredictionKind.ABSENT] = NONE
    named = (kind == PredictionKind.STRING) | (kind == PredictionKind.BOOLEAN)
    if named.any():
        used, place = np.unique(events.predicted_class[named], return_inverse=True)
        of_class = [class_code(events.classes[k]) for k in used.tolist()]
        codes[named] = np.array(of_class, np.int64)[place.reshape(-1)]
    return codes


def class_names(events: Decoded) -> dict[int, str]:
    """The class of each code among what these events predict, or their labels say.

    Of a number the way in which a whole one is written, and else as Python writes it.
    """
    kind = events.prediction_kind
    names: dict[int, str] = {}
    is_number = (kind == PredictionKind.NUMBER) | (kind == PredictionKind.INTEGER)
    for number in np.unique(events.prediction[is_number]).tolist():
        name = str(int(number)) if number.is_integer() else str(number)
        names[int(number_codes(np.array([number]))[0])] = name
    named = (kind == PredictionKind.STRING) | (kind == PredictionKind.BOOLEAN)
    for code in np.unique(events.predicted_class[named]).tolist():
        names[class_code(events.classes[code])] = events.classes[code]
    return names


@lru_cache(_KEPT)
def class_code(name: str) -> int:
    """The code of the class with this name."""
    if _INTEGER.fullmatch(name):
        return int(number_codes(np.array([float(int(name))]))[0])
    return _digest("class", name)


def number_codes(numbers: F64) -> I64:
    """The codes of numbers, 0.0 and -0.0 being one."""
    codes: I64 = (numbers + 0.0).view(np.int64) ^ _NAN_BITS
    return codes


def _digest(*texts: str) -> int:
    """64 bits, never NONE; that the pieces are told apart, each has its length before it."""
    hashed = blake2b(told_apart(texts), digest_size=8, person=_PERSON)
    return int.from_bytes(hashed.digest(), "little", signed=True) or 1
