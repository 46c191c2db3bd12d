"""What an Alertmanager is told: an alert for each open incident and each request. Pure.

Alertmanager knows an alert by its labels, so they say what does not change: whose it is. Severity
and reason are labels too, since people route by them; where one changes the alert under the old
labels ends as the new one begins. Source: Alertmanager API v2, `POST /api/v2/alerts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

from schemas.printable import escaped
from streams.cloudevents import rfc3339
from streams.notify_config import AlertmanagerSettings
from streams.notify_news import News, is_wanted

STAYS: Final = 4
"""An alert that is not sent again ends after so many intervals, as Prometheus has it."""
RESOLVED_FOR_S: Final = 900.0
"""What has ended is sent again for so long: an instance may have been away."""
_MAX_TEXT: Final = 4_000
_MAX_LABEL: Final = 500

Alert = Mapping[str, Any]
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Standing:
    """An alert under its labels: since when, and, where it has ended, until when."""

    labels: Labels
    annotations: Labels
    generator_url: str | None
    start_ms: int
    end_ms: int | None
    forget_ms: int | None
    """From when on it is not sent any more; None while it stands."""


class AlertBook:
    """The alerts that stand, by incident or request: the latest record of each is what counts."""

    def __init__(self, settings: AlertmanagerSettings) -> None:
        self._settings: Final = settings
        self._standing: dict[tuple[str, str], _Standing] = {}
        self._ended: dict[Labels, _Standing] = {}

    def hear(self, news: News, written_ms: int, now_ms: int) -> None:
        """Take in a record that was written at `written_ms`, by the clock of who wrote it."""
        key = (news.about, news.id)
        before = self._standing.pop(key, None)
        after = self._alert(news, written_ms, now_ms)
        if before is not None and (after is None or after.labels != before.labels):
            end_ms = now_ms + int(1000 * RESOLVED_FOR_S)
            self._ended[before.labels] = replace(before, end_ms=now_ms, forget_ms=end_ms)
        if after is not None:
            self._ended.pop(after.labels, None)
            self._standing[key] = after

    def alerts(self, now_ms: int) -> list[Alert]:
        """What to send now: what stands, until some intervals from now, and what has ended."""
        for key, each in list(self._standing.items()):
            if each.end_ms is not None and each.end_ms <= now_ms:
                self._ended[each.labels] = self._standing.pop(key)
        self._ended = {
            labels: each
            for labels, each in self._ended.items()
            if each.forget_ms is not None and each.forget_ms > now_ms
        }
        until_ms = now_ms + int(1000 * STAYS * self._settings.resend_s)
        everything = [*self._standing.values(), *self._ended.values()]
        return [
            _as_sent(each, now_ms, min(until_ms, each.end_ms or until_ms)) for each in everything
        ]

    def __len__(self) -> int:
        """How many stand."""
        return len(self._standing)

    def _alert(self, news: News, written_ms: int, now_ms: int) -> _Standing | None:
        """The alert that follows from a record, standing or ended; None where there is none."""
        form = news.alert
        if form is None or not is_wanted(news, self._settings):
            return None
        end_ms = forget_ms = None
        if form.is_announcement:
            end_ms = written_ms + int(1000 * self._settings.released_for_s)
            forget_ms = end_ms + int(1000 * RESOLVED_FOR_S)
        elif not news.is_open:
            end_ms = min(news.end_ms or now_ms, now_ms)
            # From when it was written: after a restart old ends are not told again.
            forget_ms = written_ms + int(1000 * RESOLVED_FOR_S)
        generator = self._settings.generator_url
        return _Standing(
            labels=_texts(
                {
                    "alertname": form.name,
                    "severity": form.severity,
                    "reason": news.reason or "",
                    "deployment": news.deployment,
                    "model": news.model_id,
                    form.id_label: news.id,
                },
                _MAX_LABEL,
            ),
            annotations=_texts(
                {"summary": news.message, "description": news.because, "status": news.status},
                _MAX_TEXT,
            ),
            generator_url=(
                None if generator is None else generator.replace("{id}", quote(news.id, safe=""))
            ),
            start_ms=written_ms if news.start_ms is None else news.start_ms,
            end_ms=end_ms,
            forget_ms=forget_ms,
        )


def _texts(texts: Mapping[str, str], longest: int) -> Labels:
    """Without what is empty, as Alertmanager has it; names come from events."""
    return tuple((name, escaped(text)[:longest]) for name, text in sorted(texts.items()) if text)


def _as_sent(alert: _Standing, now_ms: int, end_ms: int) -> Alert:
    # A producer's clock may be ahead of ours: what begins after its end would be refused.
    start_ms = min(alert.start_ms, now_ms, end_ms)
    sent: dict[str, Any] = {
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": rfc3339(start_ms),
        "endsAt": rfc3339(end_ms),
    }
    if alert.generator_url is not None:
        sent["generatorURL"] = alert.generator_url
    return sent
