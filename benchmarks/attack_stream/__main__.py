"""A recorded attack, one query in fifty of the traffic, through a real Kafka and a real worker.

    DRIFTSENTRY_ATTACKS=DIRECTORY python -m benchmarks.attack_stream
        [--finding FILE] [--quick] [--json]

The way of a user: `driftsentry security calibrate` makes a calibration of benign rows that come
earlier and stand nowhere else, `driftsentry security set` sends it, `driftsentry worker` with the
duty `security` folds the topic, and a `read_committed` consumer reads `driftsentry.anomalies`. Each
victim of HopSkipJump on `elec` is a model of its own, with honest clients of its own around one
attacker. It comes twice: judged by a calibration of independent rows, and by one that also has a
kind of client whose rows come in the order of time, though nobody in this traffic is of it.

Said is after how many of the attacker's queries it is named, how many honest clients are, and the
same of the same fold of the same traffic without Kafka. `--finding` writes the first finding that
names an attacker, as it stands on the topic.

Without the folder of recordings it says so and takes the small data set that benchmarks.attacks
makes, with its walk along the boundary.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from benchmarks.attack_stream.cases import (
    SETTING,
    VERSION,
    Case,
    Outcome,
    as_events,
    cases,
    folded_here,
)
from benchmarks.attack_stream.topic import committed_records, n_in_force, send
from benchmarks.attacks.duels import MOST_QUERIES, N_BEFORE
from benchmarks.attacks.recordings import VARIABLE, DataSet, NoRecordingsError, folder
from benchmarks.attacks.traffic import ATTACKER, KEY, KEY_TEXT, N_HONEST, name_of
from benchmarks.kit.report import FigureTable, parser, publish, without_infinite
from benchmarks.kit.servers import Servers, servers
from benchmarks.kit.worker_process import Progress, worker_process
from schemas.anomalies import AnomalyData
from streams.config import Topics
from streams.process_guard import GuardedProcess

N_PARTITIONS: Final = 4
GROUP: Final = "attack-stream"
PATIENCE_S: Final = 300.0
_ENVIRONMENT: Final = {"DRIFTSENTRY_SOURCE_KEY": KEY_TEXT}


class Named(NamedTuple):
    """One record that accuses sources of a model."""

    value: bytes
    said: AnomalyData
    names: tuple[str, ...]
    """The sources, as events name them."""
    n_queries: int
    """Of the attacker, up to the event that it was told for."""


@dataclass(slots=True)
class Story:
    """What was said of one victim's model, in the order of the topic."""

    case: Case
    in_process: Outcome
    """Of the same fold of the same traffic without Kafka."""
    offsets: list[int] = field(default_factory=list)
    """Of its events, in their order."""
    accusing: list[Named] = field(default_factory=list)
    n_exposures: int = 0
    """Records that rank a source and accuse nobody."""

    def n_queries_at(self, offset: int) -> int:
        """Of the attacker, up to an offset of the model's partition."""
        n_events = int(np.searchsorted(self.offsets, offset, side="right"))
        return int(self.case.traffic.is_attack[:n_events].sum())

    @property
    def first(self) -> Named | None:
        """The first record that names the attacker, after its first query."""
        attacker = name_of(ATTACKER)
        found = (one for one in self.accusing if attacker in one.names and one.n_queries)
        return next(found, None)

    @property
    def outcome(self) -> Outcome:
        """After how many queries it was, and who else was accused."""
        named = {name for one in self.accusing for name in one.names}
        n_queries = self.first.n_queries if self.first else math.inf
        return Outcome(n_queries, sorted(named - {name_of(ATTACKER)}))


def command(*arguments: str) -> None:
    """Run `driftsentry` with these arguments. Raises RuntimeError with what it said."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("DRIFTSENTRY_")}
    done = subprocess.run(
        [sys.executable, "-m", "streams", *arguments],
        env={**inherited, **_ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"driftsentry {' '.join(arguments)} failed:\n{done.stderr}")


def calibrate(known: DataSet, kinds: tuple[str, ...], directory: Path) -> Path:
    """The calibration of these kinds of client, made by the command."""
    files = {}
    for kind in kinds:
        rows = known.timed[0] if kind and known.timed else known.calibration
        files[kind] = directory / f"benign-{kind or 'all'}.jsonl"
        files[kind].write_bytes(b"\n".join(as_events(rows, known.name)) + b"\n")
    out = directory / f"calibration-{len(kinds)}.json"
    options = [f"--kind={kind}={file}" for kind, file in files.items() if kind]
    command(
        *("security", "calibrate", "--model", known.name, "--version", VERSION),
        *("--out", str(out), *options, str(files[""])),
    )
    return out


def read_findings(site: Servers, topics: Topics, stories: Mapping[str, Story]) -> None:
    """Sort what the topic holds by model, and say who is meant."""
    clients = {
        name_of(number)
        for story in stories.values()
        for number in np.unique(story.case.traffic.source).tolist()
    }
    names = {KEY.digest(name).hex(): name for name in clients}
    for value in committed_records(site, topics.anomalies):
        said = AnomalyData.model_validate_json(value)
        assert said.resources, "it is about a model"
        story = stories[said.resources[0].name]
        if said.unmapped.is_exposure:
            story.n_exposures += 1
            continue
        named = tuple(names[each] for each in said.unmapped.quarantine.sources)
        n_queries = story.n_queries_at(said.unmapped.trigger_offset)
        story.accusing.append(Named(value, said, named, n_queries))


def run(site: Servers, known: DataSet, found: list[Case]) -> list[Story]:
    """Calibrate, set, send, and read what comes. Raises RuntimeError."""
    topics = Topics()
    stories: dict[str, Story] = {}
    site.make_topics(topics.events, topics.dead_letter, topics.anomalies, n_partitions=N_PARTITIONS)
    site.make_topics(topics.journal, topics.commands, n_partitions=1)
    with tempfile.TemporaryDirectory(prefix="driftsentry-attack-stream-") as directory:
        documents = {
            kinds: calibrate(known, kinds, Path(directory))
            for kinds in sorted({case.kinds for case in found})
        }
        for case in found:
            document = documents[case.kinds]
            stories[case.model_id] = Story(case, folded_here(document, case.traffic))
            command(
                *("security", "set", str(document), "--model", case.model_id),
                *("--bootstrap-servers", site.kafka, "--reason", "reviewed"),
            )
    progress = Progress(site, topics, f"{GROUP}.security", N_PARTITIONS)
    environment = _ENVIRONMENT | {"DRIFTSENTRY_DUTY": "security"}
    try:
        with worker_process(site, topics, GROUP, {}, environment) as worker:
            n_orders = len(stories) * N_PARTITIONS
            _wait(worker, "take up the calibrations", lambda: n_in_force(site, topics) >= n_orders)
            offsets = send(
                site,
                topics.events,
                {case.model_id: as_events(case.traffic, case.model_id) for case in found},
            )
            n_events = sum(len(case.traffic) for case in found)
            _wait(worker, "fold everything", lambda: progress.n_committed() >= n_events)
    finally:
        progress.close()
    for model_id, story in stories.items():
        story.offsets = offsets[model_id]
    read_findings(site, topics, stories)
    return list(stories.values())


def _wait(worker: GuardedProcess, what: str, is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_so():
        if not worker.is_running() or time.monotonic() > deadline_s:
            raise RuntimeError(f"the worker did not {what}:\n{worker.log_text()[-2_000:]}")
        time.sleep(0.5)


def table_of(stories: list[Story], attack: str) -> FigureTable:
    """A row for each victim."""
    rows = []
    for story in stories:
        first, case, own, alone = story.first, story.case, story.outcome, story.in_process
        rows.append(
            (
                case.model_id,
                f"{len(case.kinds)}",
                _queries(own),
                _queries(alone),
                f"{int(case.traffic.is_attack.sum()):,}",
                f"{len(case.traffic):,}",
                first.said.unmapped.detectors[0] if first else "-",
                f"{first.said.severity}, {first.said.confidence}" if first else "-",
                f"{len({one.said.finding_info.uid for one in story.accusing}):,}",
                f"{len(own.honest)} of {N_HONEST}",
                f"{len(alone.honest)} of {N_HONEST}",
            )
        )
    columns = (
        *("victim", "kinds", "queries until named", "without Kafka", "of", "events", "by"),
        *("severity, confidence", "anomalies", "honest ones named", "without Kafka"),
    )
    title = (
        f"{attack}, one query in {round(1 / SETTING.share)} events, of one source, through Kafka "
        f"into driftsentry.anomalies; kinds of client in the calibration that was set; {N_BEFORE} "
        f"benign events before, at most {MOST_QUERIES} queries"
    )
    return FigureTable("stream", title, columns, rows)


def _queries(outcome: Outcome) -> str:
    return f"{outcome.n_queries:,.0f}" if math.isfinite(outcome.n_queries) else "-"


def figures_of(story: Story) -> dict[str, Any]:
    """The same as numbers, with the finding."""
    first = story.first
    return {
        "model_id": story.case.model_id,
        "kinds": story.case.kinds,
        "stream": story.outcome._asdict(),
        "in_process": story.in_process._asdict(),
        "n_attack": int(story.case.traffic.is_attack.sum()),
        "n_events": len(story.case.traffic),
        "n_accusing_records": len(story.accusing),
        "n_exposure_records": story.n_exposures,
        "honest_named_by": sorted(
            {
                f"{each.said.unmapped.detectors}: {each.said.unmapped.details}"
                for each in story.accusing
                if {*each.names} - {name_of(ATTACKER)}
            }
        ),
        "finding": None if first is None else orjson.loads(first.value),
    }


def main() -> None:
    """Run, print the table, and with --json the same figures as the last line."""
    options_parser = parser("attack_stream", __doc__)
    options_parser.add_argument("--finding", type=Path, help="write the first finding there")
    options = options_parser.parse_args()
    not_run, path = [], None
    if not options.quick:
        try:
            path = folder()
        except NoRecordingsError as error:
            not_run.append(f"{error}: {VARIABLE} must name them; data that it makes stand in")
    known, attack, found = cases(path, quick=options.quick)
    with servers() as site:
        stories = run(site, known, found)
    firsts = [story.first for story in stories]
    shown = next((one for one in firsts if one is not None), None)
    if shown is not None and options.finding is not None:
        document = orjson.dumps(
            orjson.loads(shown.value), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        )
        options.finding.write_bytes(document)
    figures = {"victims": [figures_of(story) for story in stories]}
    publish(
        "attack_stream", [table_of(stories, attack)], without_infinite(figures), options, not_run
    )


if __name__ == "__main__":
    main()
