"""What need not be kept of a model, where nothing else shows that it is gone. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from schemas.incidents import IncidentData
from schemas.responder_config import IncidentConfig
from schemas.retraining import RetrainingData
from streams.incident_groups import Group
from streams.incident_reasons import Said
from streams.incidents import LongOver, long_over
from streams.responder_ports import Forgotten, Kept
from streams.responder_teller import Telling, digest_of


def forgettable(
    kept: Kept,
    cases: Sequence[tuple[Group, IncidentData]],
    requests: Sequence[RetrainingData],
    tellings: Mapping[str, Telling],
    watermark_ms: int | None,
    config: IncidentConfig,
) -> Forgotten | None:
    """Incidents that are long over, with their requests; None where there are none.

    Those of which topics say all there is, without doubt. And none that a request which is still
    held may be judged by: one of an incident that stays, and began before this one was over for
    `keep_ms`.
    """
    told = []
    for each in long_over(kept.evidence.values(), kept.said, watermark_ms, config):
        keys = _keys(each, requests)
        if all(kept.published.get(key) == digest_of(tellings.get(key)) for key in keys):
            told.append(each)
    held = [each.incident_id for each in requests if each.status == "held"]
    waiting = [case for case in cases if any(case[0].answers_to(name) for name in held)]
    over = _unneeded(told, waiting, config.keep_ms)
    if not over:
        return None
    keys = [key for each in over for key in _keys(each, requests)]
    return Forgotten(
        {key: digest for key in keys if (digest := digest_of(tellings.get(key))) is not None},
        [one.evidence_id for each in over for one in each.group.evidence],
        [one for each in over for one in each.said],
        max(each.incident.last_ms for each in over),
        [each.request_id for one in over for each in _of(one, requests)],
    )


def unknown_for_good(
    said: Iterable[Said],
    groups: Sequence[Group],
    furthest_ms: int | None,
    config: IncidentConfig,
) -> list[Said]:
    """What was said of incidents that are not there, and that nobody waits for any more.

    `furthest_ms` is the event time up to which all was read of the partition that is furthest.
    """
    if furthest_ms is None:
        return []
    return [
        each
        for each in said
        if each.said_ms + config.unknown_ms <= furthest_ms
        and not any(group.answers_to(each.incident_id) for group in groups)
    ]


def _unneeded(
    over: Sequence[LongOver], waiting: Iterable[tuple[Group, IncidentData]], keep_ms: int
) -> list[LongOver]:
    """Whoever stays may need others, which stay then as well."""
    going = list(over)
    while True:
        names = {each.incident.incident_id for each in going}
        starts = [case.start_ms for _, case in waiting if case.incident_id not in names]
        first_ms = min(starts, default=None)
        rest = [
            each
            for each in going
            if first_ms is None or each.incident.last_ms + keep_ms <= first_ms
        ]
        if len(rest) == len(going):
            return rest
        going = rest


def _of(over: LongOver, requests: Iterable[RetrainingData]) -> list[RetrainingData]:
    return [each for each in requests if over.group.answers_to(each.incident_id)]


def _keys(over: LongOver, requests: Iterable[RetrainingData]) -> list[str]:
    return [
        f"incident/{over.incident.incident_id}",
        *(f"retraining/{each.request_id}" for each in _of(over, requests)),
    ]
