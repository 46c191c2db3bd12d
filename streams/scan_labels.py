"""Labels in a column of a file: whether they can be used, when they come, and rows as rows.

A label is an event of its own, at the offset after that of the row at which it comes. So offsets
are no rows, and all that is told of them is told in rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final, NamedTuple

from schemas.alerts import AlertData
from schemas.config import DetectionConfig, LabelsConfig, ModelConfig
from schemas.records import Record
from streams.scan_columns import NOTHING, ROLES, Plan, Profile, ScanError, Wishes
from streams.sentences import drift_sentence

MAX_LABEL_DELAY: Final = 1_000_000
"""Rows after which a label may come: its prediction waits in memory."""
MAX_SLICES: Final = 7
"""As in the config of a model."""
_SPARE: Final = 100_000
"""Predictions that are kept beyond those whose labels are still to come."""
_CHUNK: Final = 4_096
_MANY: Final = 50
"""Values of a sample from which on it says that nearly each is another."""


def with_usable_label(
    plan: Plan, profiles: Sequence[Profile], wishes: Wishes, slices: Sequence[str], delay: int
) -> tuple[Plan, bool]:
    """The plan with the labels' slices, and whether its labels can be used.

    A column that was only guessed is left out, with the reason, where it cannot be the label.
    Raises `ScanError` where one that was named cannot.
    """
    name = plan.roles.get("label")
    why = None if name is None else _why_not(name, plan, {own.name: own for own in profiles})
    if name is not None and why is not None:
        if "label" not in plan.guessed:
            raise ScanError(f"{why.what}: {why.remedy}{why.otherwise}")
        left_out = f"no label: {why.what}: {why.remedy}{why.otherwise}"
        plan = replace(plan, left_out={**plan.left_out, name: left_out})
    if name is None or why is not None:
        given = ["--slice"] * bool(slices) + ["--label-delay"] * bool(delay)
        if given:
            raise ScanError(_need_labels(given, name, why, wishes))
        return plan, False
    return _sliced(plan, profiles, wishes, slices), True


class _WhyNot(NamedTuple):
    """Why a column cannot be the label."""

    what: str
    remedy: str
    """What to do."""
    otherwise: str = ""
    """What to do where no labels are needed."""


def _need_labels(given: Sequence[str], name: str | None, why: _WhyNot | None, said: Wishes) -> str:
    """That these options are of no use without labels: why there are none, and what to do."""
    need = f"{' and '.join(given)} need{'' if len(given) > 1 else 's'} labels"
    if name is not None and why is not None:
        return (
            f"{need}, and the column `{name}`, which was taken for them, cannot be used: "
            f"{why.what}. {why.remedy[0].upper()}{why.remedy[1:]}"
        )
    if "label" in said.roles:
        return f"{need}, and `--label {NOTHING}` leaves them out: name their column with --label"
    return f"{need}, and no column looks like them: name their column with --label"


def _why_not(name: str, plan: Plan, profiles: dict[str, Profile]) -> _WhyNot | None:
    """Why a column cannot be the label; None: it can."""
    if "prediction" not in plan.roles:
        return _WhyNot(
            f"labels are compared with predictions, and beside `{name}` no column looks like them",
            "name the column of predictions with --prediction",
        )
    own = plan.roles["prediction"]
    labels, predictions = profiles[name].sample, profiles[own].sample
    texts = [value for value in labels if isinstance(value, str)]
    if len(texts) >= _MANY and len(set(texts)) > 0.9 * len(texts) and _written(predictions):
        return _WhyNot(
            f"the column `{name}` has another text in nearly every row, so that it is no class",
            "name the column of the truth with --label",
            f", or `--label {NOTHING}`",
        )
    first, second = _written(labels), _written(predictions)
    if first and second and first != second:
        return _WhyNot(
            f"the label in `{name}` is {first}, such as {_shown(labels)}, and the prediction in "
            f"`{own}` {second}, such as {_shown(predictions)}, so that none would ever be right",
            "write both in the same way, or name other columns with --label and --prediction",
            f", or leave the label out with `--label {NOTHING}`",
        )
    return None


def _written(sample: Sequence[object]) -> str:
    """How all values of a sample are written; "" where they are none, or not alike."""
    kinds = {_kind(value) for value in sample}
    return kinds.pop() if len(kinds) == 1 else ""


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    # A class `1` is the number 1, however it is written.
    is_number = isinstance(value, str) and value.removeprefix("-").isdecimal()
    return "a number" if is_number else "text"


def _shown(sample: Sequence[object]) -> str:
    return repr(sample[0])[:40]


def _sliced(plan: Plan, profiles: Sequence[Profile], wishes: Wishes, slices: Sequence[str]) -> Plan:
    """The plan with these columns as slices. Raises `ScanError` for one that makes no groups."""
    wanted = tuple(dict.fromkeys(slices))
    if len(wanted) > MAX_SLICES:
        raise ScanError(f"--slice names {len(wanted)} columns: name {MAX_SLICES} at most")
    if wanted and "model_id" in plan.roles:
        raise ScanError(
            "--slice is for a file of one model: with a column of models, name the slices of each "
            "in a file for --config, as detection.model.NAME.slices"
        )
    by_name = {own.name: own for own in profiles}
    for name in wanted:
        if name not in by_name:
            raise ScanError(f"--slice: there is no column `{name}`")
        if name not in plan.features:
            raise ScanError(f"--slice: {_no_feature(name, plan, wishes)}")
        _require_groups(name, by_name[name].sample)
    return replace(plan, slices=wanted, texts=plan.texts | set(wanted))


def _no_feature(name: str, plan: Plan, wishes: Wishes) -> str:
    """Why a column is no feature, which a slice must be, and what to do."""
    if name in wishes.drop:
        return f"--drop leaves the column `{name}` out: give it to one of the two only"
    role = next((role for role, own in plan.roles.items() if own == name), None)
    if role is not None:
        return (
            f"the column `{name}` is the {role.replace('_', ' ')}, and a slice is a feature: name "
            f"another slice, or another column with {ROLES[role]}"
        )
    why = plan.left_out.get(name)
    because = f" ({why})" if why else ""
    return (
        f"the column `{name}` is no feature{because}, and a slice is one: name it among the "
        "features with --features"
    )


def _require_groups(name: str, sample: Sequence[object]) -> None:
    if any(isinstance(value, float) and not value.is_integer() for value in sample):
        raise ScanError(
            f"--slice: the column `{name}` holds numbers with fractions, which make no groups: "
            "write a column of classes, such as `low` and `high`, and name that"
        )
    if len(sample) >= _MANY and len(set(sample)) > 0.9 * len(sample):
        raise ScanError(
            f"--slice: the column `{name}` has another value in nearly every row, which makes no "
            "groups: name a column of few values"
        )


def joins_labels(detection: DetectionConfig | None) -> bool:
    """Whether labels of a column are to be joined: unless a config says that they are not."""
    labels = LabelsConfig() if detection is None else detection.labels
    return labels.enabled or "enabled" not in labels.model_fields_set


def with_labels_joined(
    detection: DetectionConfig, model: str, slices: Sequence[str], n_rows: int, delay: int
) -> DetectionConfig:
    """The config with labels joined, for a file of `n_rows`; what it says itself stays.

    A label comes after so many rows, however much time these take: no prediction expires. Labels
    have shorter references where the file is short, like all signals.
    """
    labels = detection.labels
    fit = {
        "enabled": True,
        "max_delay_ms": 10 * 365 * 86_400_000,
        "max_pending": delay + _SPARE,
        "calibration_labels": min(labels.calibration_labels, max(n_rows // 4, 100)),
        "reference_labels": min(labels.reference_labels, max(n_rows // 4, 80)),
    }
    own = {name: value for name, value in fit.items() if name not in labels.model_fields_set}
    models = detection.model
    if slices:
        of_model = models.get(model, ModelConfig()).model_copy(update={"slices": list(slices)})
        models = models | {model: of_model}
    return detection.model_copy(update={"labels": labels.model_copy(update=own), "model": models})


class LateLabels:
    """Lets each label come so many rows after its prediction's: records of rows in, in order."""

    def __init__(self, delay: int, stride: int) -> None:
        self._delay = delay if stride == 2 else 0
        self._waiting: deque[Record] = deque()

    def taken(self, records: list[Record]) -> list[Record]:
        """What comes with these records."""
        if not self._delay:
            return records
        found: list[Record] = []
        for record in records:
            if record.offset % 2:
                self._waiting.append(self._late(record))
                continue
            while self._waiting and self._waiting[0].offset < record.offset:
                found.append(self._waiting.popleft())
            found.append(record)
        return found

    def rest(self) -> Iterator[list[Record]]:
        """The labels that come after the last row, in their order."""
        while self._waiting:
            some = list(islice(self._waiting, _CHUNK))
            for _ in some:
                self._waiting.popleft()
            yield some

    def _late(self, record: Record) -> Record:
        return record._replace(offset=record.offset + 2 * self._delay)


def in_rows(said: AlertData, row_of: Callable[[int], int]) -> AlertData:
    """The alert with rows in place of offsets, in its message too."""
    signals = [
        each.model_copy(
            update={
                "change_offset": row_of(each.change_offset),
                "found_offset": row_of(each.found_offset),
            }
        )
        for each in said.signals
    ]
    told = said.model_copy(
        update={
            "signals": signals,
            "change_offset": row_of(said.change_offset),
            "trigger_offset": row_of(said.trigger_offset),
            "opened_offset": row_of(said.opened_offset),
        }
    )
    if said.kind == "drift":
        told = told.model_copy(update={"message": drift_sentence(told)})
    return told
