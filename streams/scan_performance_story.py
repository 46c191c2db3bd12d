"""How well the models of a scan predict, in words: by chunk of rows, by slice, by probability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from detectors.performance.excess import (
    Losses,
    is_significant,
    loss_by_chance,
    wrong_by_chance,
)
from detectors.performance.groups import GroupMetrics
from detectors.performance.intervals import LEVEL, Measure, quantile
from detectors.slice_counts import MIN_GROUP
from schemas.signal_names import plain
from streams.scan_metrics import interval, metric_lines
from streams.scan_performance import Chunk, Groups, ModelPerformance
from streams.sentences import percent

if TYPE_CHECKING:
    from streams.scan import Scan

MAX_CHUNKS: Final = 30
"""Told on the terminal; of more, some that are evenly spread and the worst one."""
MAX_GROUPS: Final = 12
MAX_MODELS: Final = 5
"""Told on the terminal; the report has all."""
NONE_WORST: Final = "none has more of the errors than chance may give it."
MIN_ROWS: Final = 100
"""Labels from which on it is strange that all or none are as predicted."""


class GroupError(NamedTuple):
    """The errors of one group of a slice."""

    feature: str
    group: str
    error: Measure
    """The share of wrong predictions, or of numbers the mean absolute error."""
    is_number: bool
    of_errors: float
    """Its share of the wrong predictions of all groups of its slice, or of their absolute error."""
    of_rows: float
    by_chance: float
    """How often a group would have so much or more, if all of its slice fared alike."""

    @property
    def name(self) -> str:
        """As `F=V`."""
        return f"{plain(self.feature)}={self.group}"


def label_use(scan: Scan) -> str:
    """What is done with a column of labels."""
    if not scan.has_labels:
        why = scan.plan.left_out.get(scan.plan.roles.get("label", ""), "")
        no, _, reason = why.partition("no label: ")
        if not no and reason:
            return f"left out: {reason}"
        if scan.detection.labels.enabled or "enabled" not in scan.detection.labels.model_fields_set:
            return "left out"
        return "left out: the config says `labels.enabled: false`"
    n = scan.label_delay
    when = f"{n:,} row{'' if n == 1 else 's'} after it" if n else "right after it"
    return f"compared with the prediction, comes {when}"


def group_errors(groups: Groups) -> list[GroupError]:
    """The groups by their share of the errors beyond that of the rows: the worst one first."""
    found: list[GroupError] = []
    for feature, own in groups.slices.items():
        errors = {name: _error_of(of) for name, of in own.groups.items()}
        known = {name: error for name, error in errors.items() if error is not None}
        n_rows = sum(each.n for each in known.values())
        n_wrong = sum(each.value * each.n for each in known.values())
        for name, error in known.items():
            of_errors = error.value * error.n / n_wrong if n_wrong else 0.0
            is_number = own.groups[name].mae is not None
            others = [each for other, each in known.items() if other != name]
            p = _by_chance(error, others, is_number=is_number)
            found.append(
                GroupError(feature, name, error, is_number, of_errors, error.n / n_rows, p)
            )
    return sorted(found, key=lambda each: (each.of_rows - each.of_errors, each.name))


def _error_of(group: GroupMetrics) -> Measure | None:
    """The error of one group; None where no label says it."""
    right = group.accuracy
    if right is None:
        return group.mae
    return Measure(1.0 - right.value, 1.0 - right.high, 1.0 - right.low, right.n)


def worst_group(found: Sequence[GroupError]) -> GroupError | None:
    """The one with most of the errors beyond its share of the rows; None where there is none.

    Only one that chance would not make so: as an alert names it.
    """
    compared = [one for one in found if one.error.n >= MIN_GROUP]
    return next((one for one in compared if is_significant(one.by_chance, len(compared))), None)


def _by_chance(own: Measure, others: Sequence[Measure], *, is_number: bool) -> float:
    """How often a group would have so much of the errors, or so large ones, by chance alone."""
    if is_number:
        z = quantile(LEVEL)
        rest = [_losses(each, z) for each in others]
        return loss_by_chance(
            _losses(own, z),
            Losses(
                sum(each.n for each in rest),
                math.fsum(each.total for each in rest),
                math.fsum(each.squares for each in rest),
            ),
        )
    wrong = [round(each.value * each.n) for each in (own, *others)]
    return wrong_by_chance(wrong[0], own.n, sum(wrong), sum(each.n for each in (own, *others)))


def _losses(mean: Measure, z: float) -> Losses:
    """The sums of a mean absolute error, whose interval reaches z standard errors upwards."""
    total = mean.value * mean.n
    deviation = (mean.high - mean.value) / z
    return Losses(mean.n, total, deviation**2 * mean.n * (mean.n - 1) + total * mean.value)


def measure_name(told: ModelPerformance) -> str:
    """What is measured of a model."""
    return "mean absolute error" if told.is_number else "accuracy"


def group_sentence(worst: GroupError) -> str:
    """The worst group, in words."""
    what = "absolute error" if worst.is_number else "errors"
    error = interval(worst.error, is_number=worst.is_number)
    said = f"mean absolute error {error}" if worst.is_number else f"{error} wrong"
    return (
        f"{worst.name}, with {percent(worst.of_errors)} of the {what} on {percent(worst.of_rows)} "
        f"of the rows: {said}"
    )


def performance_lines(scan: Scan) -> list[str]:
    """Realised and expected performance by chunk, errors by slice, calibration."""
    lines: list[str] = []
    models = scan.performance.models
    for told in models[:MAX_MODELS]:
        lines += ["", *_of_model(told, name_model=len(scan.models) > 1)]
    if len(models) > MAX_MODELS:
        lines += ["", f"And so on for {len(models) - MAX_MODELS} further models: see the report."]
    return lines


def _of_model(told: ModelPerformance, *, name_model: bool) -> list[str]:
    name = f" of {told.model.model_id} {told.model.model_version}" if name_model else ""
    what = measure_name(told)
    head = (
        f"Performance{name} from row {told.first_row:,} on: {what} "
        f"{interval(told.measure, is_number=told.is_number)}, by {_n_labels(told):,} labels."
    )
    lines = [head, *_chunk_lines(told), *metric_lines(told)]
    for groups, when in told_groups(told):
        found = group_errors(groups)
        worst = worst_group(found)
        lines += ["", f"Errors by slice, {when}:"]
        shown = found[:MAX_GROUPS]
        if not shown:
            lines.append("  No group has labels.")
            continue
        width = max(len(one.name) for one in shown)
        lines += [
            f"  {one.name:<{width}}  {interval(one.error, is_number=one.is_number):<24} "
            f"{one.error.n:>7,} rows"
            for one in shown
        ]
        if len(found) > len(shown):
            lines.append(f"  and {len(found) - len(shown)} further groups, in the report")
        lines.append(
            f"  Worst: {NONE_WORST}" if worst is None else f"  Worst: {group_sentence(worst)}."
        )
    sentence = calibration_sentence(told)
    return [*lines, "", sentence] if sentence else lines


def _n_labels(told: ModelPerformance) -> int:
    return 0 if told.total is None else told.total.n_rows


def _chunk_lines(told: ModelPerformance) -> list[str]:
    shown = _spread(told.chunks, told.worst)
    if not shown:
        return []
    rows = [f"{chunk.first:,} to {chunk.stop - 1:,}" for chunk in shown]
    width = max([len("rows"), *map(len, rows)])
    has_estimate = any(chunk.estimate is not None for chunk in told.chunks)
    expected = "expected by the score" if has_estimate else ""
    lines = [f"  {'rows':<{width}}  {'labels':>7}  {measure_name(told):<24}  {expected}".rstrip()]
    for text, chunk in zip(rows, shown, strict=True):
        realised = interval(chunk.realised, is_number=told.is_number)
        estimate = interval(chunk.estimate, is_number=False) if has_estimate else ""
        mark = "  outside what was expected" if chunk.departs else ""
        mark += ", the worst" if chunk is told.worst and mark else ""
        mark = "  the worst" if chunk is told.worst and not mark else mark
        line = f"  {text:<{width}}  {chunk.n_labels:>7,}  {realised:<24}  {estimate:<24}{mark}"
        lines.append(line.rstrip())
    if len(shown) < len(told.chunks):
        lines.append(f"  and {len(told.chunks) - len(shown):,} more, in the report")
    return lines


def _spread(chunks: Sequence[Chunk], worst: Chunk | None) -> list[Chunk]:
    if len(chunks) <= MAX_CHUNKS:
        return list(chunks)
    step = -(-len(chunks) // MAX_CHUNKS)
    return [c for k, c in enumerate(chunks) if k % step == 0 or c is worst]


def told_groups(told: ModelPerformance) -> list[tuple[Groups, str]]:
    """Groups, and of which rows they are: where the model was worst, and at the end."""
    found = []
    if told.worst_groups is not None:
        row = told.worst_groups.row
        found.append(
            (
                told.worst_groups,
                f"by the latest labels up to that of row {row - 1:,}, the worst chunk",
            )
        )
    if told.groups is not None:
        found.append((told.groups, "by the latest labels of the file"))
    return found


def calibration_sentence(told: ModelPerformance) -> str:
    """Whether scores mean what they say; "" where they are no probabilities."""
    found = None if told.total is None else told.total.calibration
    if found is None:
        return ""
    how = (
        "more than chance would do: calibrate the score anew"
        if found.low > 0.0
        else "no more than chance would do"
    )
    return (
        f"Calibration: scores and outcomes are {percent(found.value)} apart on average "
        f"({percent(found.low)} to {percent(found.high)}; by chance {percent(found.by_chance)}), "
        f"{how}."
    )


def performance_quiet_lines(scan: Scan) -> list[str]:
    """What is strange about the labels, and what to do."""
    lines = []
    if scan.has_labels and not scan.performance.models and scan.models:
        lines.append(
            "No label came for a row after the reference: nothing is known of the performance. "
            "Is the column empty there? (--label, --reference)"
        )
    for told in scan.performance.models:
        lines += _strange(scan, told)
    return lines


def _strange(scan: Scan, told: ModelPerformance) -> list[str]:
    label = f"`{scan.plan.roles['label']}`" if scan.has_labels else "the labels"
    own = f"`{scan.plan.roles['prediction']}`" if scan.has_labels else "the predictions"
    lines, total = [], told.total
    assert total is not None
    if total.accuracy is not None and total.accuracy.n >= MIN_ROWS:
        if total.accuracy.value == 0.0:
            lines.append(
                f"No label in {label} equals its prediction in {own}: are they written in the same "
                "way? Numbers that are no classes are compared as numbers with "
                "detection.model.NAME.signals.prediction.kind: number."
            )
        if total.accuracy.value == 1.0:
            lines.append(
                f"Every label in {label} equals its prediction in {own}: is one a copy of the "
                "other? (--label)"
            )
    known_errors = [total, *told.windows.values()]
    if told.is_number and total.n_rows > 1 and all(own.mae is None for own in known_errors):
        lines.append(
            f"{own} holds numbers, and no label in {label} is one, so that no error is known: name "
            "the predicted class with --prediction, its probability with --score."
        )
    if total.n_pooled:
        lines.append(
            f"{total.n_pooled:,} labels or predictions are of classes beyond the first ten, which "
            "share one place: accuracy is exact, precision and recall are not theirs."
        )
    known = set() if told.groups is None else set(told.groups.slices)
    return lines + [
        f"--slice {name} makes no groups: no two of its values have 1 % of the reference's rows "
        "each."
        for name in scan.plan.slices
        if name not in known
    ]
