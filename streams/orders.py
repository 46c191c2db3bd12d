"""Mutes and planned changes in force: what a person has said that later alerts depend on.

Pure, and state: commands go in at a barrier, findings are looked up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from schemas.commands import Mute, PlannedChange, Spell
from schemas.findings import Finding
from streams.evidence import Episode, ModelName

MAX_ORDERS: Final = 256
"""In force at once in one partition; for a further one another one gives way."""


class Orders:
    """The mutes and planned changes of one partition, by the command that began each."""

    def __init__(self) -> None:
        self.spells: dict[str, Spell] = {}

    def begin(self, spell: Spell) -> Spell | None:
        """Let one come into force; another one whose time is over for that, if any.

        One of the same name is replaced. Where there are too many, the one that would end first
        ends now.
        """
        given_up: Spell | None = None
        if spell.command_id not in self.spells and len(self.spells) >= MAX_ORDERS:
            first = min(self.spells.values(), key=lambda each: (each.until_ms, each.command_id))
            given_up = self.end(first.command_id)
        self.spells[spell.command_id] = spell
        return given_up

    def end(self, command_id: str) -> Spell | None:
        """Let one end; what it was, if it was in force."""
        return self.spells.pop(command_id, None)

    def run_out(self, watermark_ms: int) -> list[str]:
        """Those whose time is over when the latest event is of `watermark_ms`."""
        return [name for name, spell in self.spells.items() if spell.until_ms <= watermark_ms]

    def is_muted(self, model: ModelName, signal: str, event_time_ms: int | None) -> bool:
        """Whether a mute holds for this signal, at that time or (None) at any."""
        return any(
            isinstance(spell, Mute)
            and (event_time_ms is None or spell.from_ms <= event_time_ms < spell.until_ms)
            for spell in self._of(model, signal)
        )

    def planned(self, finding: Finding) -> str | None:
        """Why what was found is expected; None where it is not."""
        model = finding.model_id, finding.model_version, finding.shard
        for spell in self._of(model, finding.signal):
            if (
                isinstance(spell, PlannedChange)
                and spell.from_ms <= finding.event_time_ms < spell.until_ms
            ):
                return spell.reason or spell.command_id
        return None

    def holds_back(self, episode: Episode) -> bool:
        """Whether every signal of it that is away from its reference is muted."""
        away = [signal for (signal, _), each in episode.evidence.items() if each.is_away]
        return bool(away) and all(self.is_muted(episode.model, each, None) for each in away)

    def _of(self, model: ModelName, signal: str) -> Iterator[Spell]:
        return (spell for spell in self.spells.values() if is_about(spell, model, signal))


def is_about(spell: Spell, model: ModelName, signal: str | None = None) -> bool:
    """Whether it was said of this model version, and of this signal (None: of any)."""
    model_id, model_version, _ = model
    return (
        spell.model_id == model_id
        and spell.model_version in {None, model_version}
        and (signal is None or spell.signal in {None, signal})
    )
