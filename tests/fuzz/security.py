"""Targets: the security duty's state, as a checkpoint holds it, and calibrations that people set.

An honest state or document is changed entry by entry; what is taken, the fold must be able to live
with. The kernels are compiled with bounds checks, as for the drift duty's state.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from functools import lru_cache
from itertools import count
from typing import Any

import numpy as np
import orjson

from detectors.base import StateError
from detectors.security.calibration_document import calibration_of
from schemas.batch import Decoded
from schemas.calibration import BadCalibrationError, CalibrationDocument, parse_calibration
from schemas.config import DetectionConfig
from streams.duties import SecurityWork
from tests.fuzz.states import State, edit_array, edit_document
from tests.fuzz.target import Choices, Target, must
from tests.streams.calibration_kit import KEY, attack, benign, calibration, decoded, set_calibration

CONFIG = DetectionConfig.model_validate({
    "labels": {"enabled": True, "max_pending": 30, "max_early": 4},
    "security": {
        "learn_events": 200,
        "max_models": 2,
        "max_sources": 16,
        "admit_after": 1,
        "quiet_events": 1_024,
        "detectors": {
            "neighbours": {"probing": {"flips": 2, "near": 2}},
            "provenance": {"members": 2, "capacity": 256},
        },
    },
})  # fmt: skip
N_LEARNED, N_ATTACK = 220, 120
SMALL = ("neighbours", "provenance", "volume")
"""Detectors whose arrays let a whole document be an input."""


@lru_cache(maxsize=3)
def events(start: int, stop: int) -> Decoded:
    """Some of the events of a model: first clients, from `N_LEARNED` on somebody who searches."""
    stream = benign(N_LEARNED, seed=7) + attack(N_ATTACK, N_LEARNED)
    return decoded(stream[start:stop])


def work_of(parts: State | None = None) -> SecurityWork:
    return SecurityWork(CONFIG, KEY, "lineage", 0, parts)


def advance(work: SecurityWork, start: int, stop: int) -> None:
    """Fold these events; what is told can be written."""
    numbers = count(1)
    for told in work.process(events(start, stop), lambda: next(numbers)):
        told.output("anomalies", 1)


@lru_cache(maxsize=3)
def honest(moment: int) -> State:
    """While it learns; with an attack found; judging by a calibration that was set."""
    work = work_of()
    if moment == 2:
        work.obey(set_calibration(calibration()), 0, 0, lambda: 1)
    advance(work, 0, (100, 300, 300)[moment])
    return {name: dict(part) for name, part in work.parts().items()}


def edited(choices: Choices) -> State:
    """An honest state with up to six edits."""
    state = {name: dict(part) for name, part in honest(choices.below(3)).items()}
    for _ in range(6):
        if not choices.left:
            break
        part = state[choices.one_of(sorted(state))]
        if not part:
            continue
        name = choices.one_of(sorted(part))
        if choices.below(16) == 15:
            del part[name]
        elif part[name].ndim and part[name].dtype.kind in "fiub":
            with np.errstate(all="ignore"):
                part[name] = edit_array(choices, part[name])
    return state


def run_state(content: bytes) -> None:
    """`StateError`, or a duty that goes on, whose state can be written and is taken again."""
    try:
        work = work_of(edited(Choices(content)))
    except StateError:
        return
    with np.errstate(all="ignore"):
        advance(work, 300, 340)
        again = work_of({name: dict(part) for name, part in work.parts().items()})
        advance(again, 200, 240)


@lru_cache(maxsize=1)
def small() -> CalibrationDocument:
    """A calibration of few detectors."""
    document = calibration()
    kinds = [
        kind.model_copy(update={"detectors": {name: kind.detectors[name] for name in SMALL}})
        for kind in document.kinds
    ]
    versions = {name: document.versions[name] for name in SMALL}
    return document.model_copy(update={"kinds": kinds, "versions": versions})


def edit_numbers(choices: Choices, raw: bytes) -> bytes:
    """A calibration with one of the numbers of one of its detectors replaced."""
    document: Any = orjson.loads(raw)
    detectors: Any = choices.one_of(document["kinds"])["detectors"]
    arrays: Any = detectors[choices.one_of(sorted(detectors))]
    encoded = arrays[choices.one_of(sorted(arrays))]
    array = np.frombuffer(b64decode(encoded["data"])).reshape(encoded["shape"])
    with np.errstate(all="ignore"):
        array = np.ascontiguousarray(edit_array(choices, array), np.float64)
    encoded["shape"], encoded["data"] = list(array.shape), b64encode(array.tobytes()).decode()
    return orjson.dumps(document)


def run_calibration(content: bytes) -> None:
    """`BadCalibrationError`, or thresholds that clients are judged by, and kept in the state."""
    choices = Choices(content)
    match choices.below(3):
        case 0:
            raw = choices.take(4_096)
        case 1:
            raw = edit_numbers(choices, calibration().canonical())
        case _:
            raw = calibration().canonical()
            for _ in range(choices.below(4)):
                raw = edit_document(choices, raw)
    try:
        document = parse_calibration(raw)
        made = calibration_of(document)
    except BadCalibrationError as error:
        must(str(error), "an error without a sentence")
        return
    must(parse_calibration(document.canonical()) == document, "another document once written")
    work = work_of()
    work.fold.set_calibration("m", "1", made)
    with np.errstate(all="ignore"):
        advance(work, 200, 300)
        again = work_of({name: dict(part) for name, part in work.parts().items()})
    must(again.fold.has_calibration("m", "1", made), "another calibration after a restart")


TARGETS = (
    Target(
        "security",
        run_state,
        lambda: [b"\x01", b"", *(bytes([i, j, 0, 0, 9]) for i in range(3) for j in range(9))],
    ),
    Target(
        "calibration",
        run_calibration,
        lambda: [
            b"\x00" + small().canonical(),
            *(bytes([1, 0, i, j, 7, 0, 3]) for i in range(5) for j in range(6)),
            *(bytes([2, 1, i, i, 3]) for i in range(9)),
            b"\x00{}",
            b"\x00" + b"[" * 999,
        ],
        (
            *(b"null", b"true", b"-1", b"1e400", b'"shape":[', b'"data":""', b"[4096,4096]"),
            *(b'"is_salted":true', b'"kind":""', b'"missing":{', b'"versions":{}', b"AAAAAAAA8D8="),
        ),
    ),
)
