"""What an audit says at its end: the differences, one sentence, or one JSON object. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.printable import masked
from streams.audit_observed import OUTPUTS_OF, OutputDuty
from streams.audit_verdict import Difference, Verdict
from streams.duties import Duty

EXIT_VERIFIED: Final = 0
EXIT_DIFFERENT: Final = 1
EXIT_UNVERIFIED: Final = 3
NOUNS: Final[Mapping[OutputDuty, str]] = {
    "alerts": "alert",
    "dead_letter": "dead letter",
    "anomalies": "anomaly",
}
"""What a record of each topic is called."""


@dataclass(slots=True)
class Report:
    """The verdict over all partitions that were asked for, of one duty."""

    group: str
    topic: str
    exactly_once: bool
    from_checkpoint: bool
    verdict: Verdict
    duty: Duty = "drift"
    n_partitions: int = 0
    """Partitions with a fold that was compared."""
    not_begun: list[int] = field(default_factory=list)
    """Partitions of which neither a commit nor the journal knows anything."""
    foreign: list[tuple[str, str, int]] = field(default_factory=list)
    """Records on the output topics of other folds: deployment, lineage, how many."""
    has_begun: bool = True
    """False: the duty's group has committed nothing, and its journal knows nothing."""
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 all verified, 1 differences found, 3 not all of it could be verified."""
        if self.verdict.n_differences:
            return EXIT_DIFFERENT
        return EXIT_UNVERIFIED if self._unverified() else EXIT_VERIFIED

    def sentence(self) -> str:
        """The one sentence at the end."""
        return masked(self._sentence())

    def _sentence(self) -> str:
        n_kinds = self.verdict.n_differences
        looked_at = (
            f"{_count(self.verdict.n_events, 'event')} in {_count(self.n_partitions, 'partition')}"
        )
        if n_kinds:
            kinds = ", ".join(f"{n:,} {kind.value}" for kind, n in n_kinds.items())
            text = f"Differences found in {looked_at}: {kinds}"
            return text + ("; and not all could be verified." if self._unverified() else ".")
        equal = self.verdict.n_equal
        outputs = " and ".join(_count(equal[each], NOUNS[each]) for each in OUTPUTS_OF[self.duty])
        if self._unverified():
            return (
                f"Could not verify all: {looked_at} were folded again and no difference was found "
                f"in {outputs}, but {self._unverified()[0]}."
            )
        since = "from the oldest checkpoint" if self.from_checkpoint else "from the start"
        times = "exactly once"
        if not self.exactly_once:
            times = f"at least once ({_count(self.verdict.n_repeats, 'allowed repeat')})"
        return (
            f"Verified {looked_at} {since} to the committed offsets: each of {outputs} is there "
            f"{times}, as the fold says."
        )

    def lines(self) -> Iterator[str]:
        """What comes before the sentence: differences, what was not verified, notes."""
        for each in sorted(self.verdict.examples, key=lambda e: (e.kind, e.partition, e.seq)):
            yield _line(each)
        for kind, n in self.verdict.n_differences.items():
            n_shown = sum(each.kind == kind for each in self.verdict.examples)
            if n > n_shown:
                yield f"{kind.value}: and {n - n_shown:,} more"
        yield from (f"not verified: {masked(text)}" for text in self._unverified())
        yield from (f"note: {masked(text)}" for text in self._notes())

    def as_json(self) -> dict[str, Any]:
        """Everything, as an object of plain values."""
        verdict = self.verdict
        return {
            "duty": self.duty,
            "exit_code": self.exit_code,
            "sentence": self.sentence(),
            "group": self.group,
            "topic": self.topic,
            "exactly_once": self.exactly_once,
            "from": "checkpoint" if self.from_checkpoint else "earliest",
            "n_partitions": self.n_partitions,
            "n_events": verdict.n_events,
            "n_equal": {each: verdict.n_equal[each] for each in OUTPUTS_OF[self.duty]},
            "n_repeats": verdict.n_repeats,
            "n_later": verdict.n_later,
            "n_only_numbered": verdict.n_only_numbered,
            "n_expired": verdict.n_expired,
            "n_beyond_end": verdict.n_beyond_end,
            "differences": {kind.value: n for kind, n in verdict.n_differences.items()},
            "examples": [each.as_json() for each in verdict.examples],
            "not_verified": self._unverified(),
            "notes": self._notes(),
            "foreign": [
                {"deployment": deployment, "lineage": lineage, "n_records": n}
                for deployment, lineage, n in self.foreign
            ],
            "seconds": round(self.seconds, 3),
        }

    def _unverified(self) -> list[str]:
        said = list(self.verdict.unverified)
        if n_expired := self.verdict.n_expired:
            said.append(
                f"{_count(n_expired, 'record')} that the fold says may have been removed by the "
                "retention of the output topics"
            )
        if not self.n_partitions and not said:
            said.append(
                f"the group {self.group} has committed nothing on {self.topic}: there is nothing "
                "to verify"
            )
        return said

    def _notes(self) -> list[str]:
        verdict = self.verdict
        said = list(verdict.notes)
        if self.not_begun and self.n_partitions:
            numbers = ", ".join(map(str, self.not_begun))
            said.append(
                f"no fold has begun on {_count(len(self.not_begun), 'partition')}: {numbers}"
            )
        if verdict.n_later:
            said.append(
                f"{_count(verdict.n_later, 'record')} were published meanwhile: not compared"
            )
        if verdict.n_only_numbered:
            said.append(
                f"of {_count(verdict.n_only_numbered, 'record')} only the numbers were looked at, "
                "not the content"
            )
        if verdict.n_beyond_end:
            said.append(
                f"{_count(verdict.n_beyond_end, 'record')} after the last one seen of a lineage "
                "whose end is not known are not asked for"
            )
        for deployment, lineage, n in self.foreign:
            name = f"deployment {deployment or '?'}, lineage {lineage[:12] or '?'}"
            said.append(f"{_count(n, 'record')} of another fold on the output topics: {name}")
        return said


def _line(each: Difference) -> str:
    what = "" if each.duty is None else NOUNS[each.duty]
    parts = [f"partition {each.partition}", f"lineage {each.lineage[:12]}"]
    if each.input_offset >= 0:
        parts.append(f"input offset {each.input_offset}")
    if each.position is not None:
        parts.append(f"at {each.position.partition}:{each.position.offset} of the output topic")
    name = " ".join(filter(None, (what, f"seq {each.seq}" if each.seq else "", each.ce_id)))
    return masked(
        f"{each.kind.value}: {name + ': ' if name else ''}{each.detail} ({', '.join(parts)})"
    )


def _count(n: int, noun: str) -> str:
    plural = f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"
    return f"{n:,} {noun if n == 1 else plural}"


def exit_code_of(reports: Sequence[Report]) -> int:
    """Differences in any of them count before what could not be verified."""
    codes = {report.exit_code for report in reports}
    return next(
        (each for each in (EXIT_DIFFERENT, EXIT_UNVERIFIED) if each in codes), EXIT_VERIFIED
    )


def all_lines(reports: Sequence[Report]) -> Iterator[str]:
    """What is printed: of each duty its lines and its sentence, under its name where they are two.

    What was verified comes first, so that the last line says what is wrong, if anything is.
    """
    order = [EXIT_VERIFIED, EXIT_UNVERIFIED, EXIT_DIFFERENT]
    for report in sorted(reports, key=lambda each: order.index(each.exit_code)):
        name = f"{report.duty}: " if len(reports) > 1 else ""
        yield from (f"{name}{text}" for text in (*report.lines(), report.sentence()))


def all_as_json(reports: Sequence[Report]) -> dict[str, Any]:
    """Everything, as an object of plain values."""
    return {
        "exit_code": exit_code_of(reports),
        "duties": [report.as_json() for report in reports],
    }
