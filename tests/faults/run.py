"""The long form: every fault, many times, on three real brokers; a table of what came of it.

`python -m tests.faults.run --kills 200 --zombies 50 --seed 1`, or `make faults`. Each fault has a
deployment and a topic of its own, audited and compared with an undisturbed worker at the end. With
`--docs` the table is written into docs/delivery.md; `--json` prints one JSON object as the last
line. The exit code is 1 where anything was not as it should be.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np
import orjson

from tests.faults.audit import Verdict, audit, compared_with_undisturbed
from tests.faults.deployment import Deployment, Site, new_site
from tests.faults.faults import DUTY_OF, FAULTS
from tests.kit.pages import DOCS
from tools.docs_tables import table

PAGE: Final = DOCS / "delivery.md"
_BEGIN: Final = "<!-- table faults: begin -->\n"
_END: Final = "\n<!-- table faults: end -->"
_SAID_EVERY_S: Final = 10.0
_HEAD: Final = (
    "fault", "times", "events", "records out", "lost", "duplicated", "out of place", "seed",
    "recovery p50", "p99",
)  # fmt: skip


@dataclass(slots=True)
class Row:
    """What came of one kind of fault; `problem` is what the verdict has no number for."""

    fault: str
    seed: int
    n_events: int = 0
    recovery_s: list[float] = field(default_factory=list)
    n_outputs: int = 0
    n_lost: int = 0
    n_duplicated: int = 0
    n_out_of_place: int = 0
    n_restarts: int = 0
    """Workers that ended by themselves with exit code 1 and were started again."""
    problem: str = ""

    def judge(self, *verdicts: Verdict) -> None:
        """Take over the worst that was found."""
        self.n_outputs = max(verdict.n_outputs for verdict in verdicts)
        self.n_lost = max(verdict.n_lost for verdict in verdicts)
        self.n_duplicated = max(verdict.n_duplicated for verdict in verdicts)
        self.n_out_of_place = max(verdict.n_out_of_place for verdict in verdicts)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was wrong."""
        return not (
            self.n_lost or self.n_duplicated or self.n_out_of_place or self.problem
        ) and bool(self.n_outputs)

    def percentile_s(self, percent: float) -> float:
        """Seconds to recover that so many of a hundred did not exceed; nearest rank."""
        if not self.recovery_s:
            return float("nan")
        return float(np.percentile(self.recovery_s, percent, method="inverted_cdf"))

    def cells(self) -> list[str]:
        """The row of the table."""
        return [
            self.fault,
            f"{len(self.recovery_s):,}",
            f"{self.n_events:,}",
            f"{self.n_outputs:,}",
            str(self.n_lost),
            str(self.n_duplicated),
            str(self.n_out_of_place) + (" (!)" if self.problem else ""),
            str(self.seed),
            f"{self.percentile_s(50):.1f} s",
            f"{self.percentile_s(99):.1f} s",
        ]


def times(n_kills: int, n_zombies: int, n_others: int) -> dict[str, int]:
    """How often each fault is to happen; brokers take half a minute each to come back."""
    wanted = dict.fromkeys(FAULTS, n_others)
    wanted["worker killed"] = n_kills
    wanted["worker a zombie"] = n_zombies
    wanted["security worker killed"] = max(1, n_kills // 4)
    wanted["broker killed"] = max(1, n_others // 2)
    wanted["brokers rolled"] = max(1, n_others // 2)
    return wanted


def suffer(site: Site, name: str, n_times: int, seed: int) -> Row:
    """Do it so many times to a deployment of its own, and judge that."""
    row = Row(name, seed)
    # A generator of its own for each fault: `--only` does the same as the whole run does.
    rng = np.random.default_rng([seed, list(FAULTS).index(name)])
    with Deployment(site, duty=DUTY_OF.get(name, "drift")) as run:
        try:
            run.begin()
            _repeat(run, row, n_times, rng)
            row.judge(audit(run), compared_with_undisturbed(run))
        except Exception:  # noqa: BLE001 - whatever it is, the other faults are to be tried as well
            row.problem = traceback.format_exc()
        row.n_events = run.feed.n_sent
        row.n_restarts = run.n_ended
    return row


def _repeat(run: Deployment, row: Row, n_times: int, rng: np.random.Generator) -> None:
    say_s = 0.0
    while len(row.recovery_s) < n_times:
        row.recovery_s += FAULTS[row.fault](run, rng)
        if time.monotonic() >= say_s:
            n_done, last_s = len(row.recovery_s), row.recovery_s[-1]
            _say(f"{row.fault}: {n_done} of {n_times}, recovered in {last_s:.1f} s")
            say_s = time.monotonic() + _SAID_EVERY_S


def rows_table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    return table(_HEAD, [row.cells() for row in rows])


def write_docs(rows: Sequence[Row], command: str) -> None:
    """Put the table and its command in their place. Raises `ValueError` where there is none."""
    text = PAGE.read_text("utf-8")
    before, found, rest = text.partition(_BEGIN)
    _, closed, after = rest.partition(_END)
    if not found or not closed:
        raise ValueError(f"{PAGE.name} has no place for the table faults")
    inner = f"\n{rows_table(rows)}\n\nWritten by `{command}`.\n"
    PAGE.write_text(before + _BEGIN + inner + _END + after, "utf-8")


def result(rows: Sequence[Row], seed: int) -> Mapping[str, object]:
    """What `--json` prints."""
    return {
        "benchmark": "faults",
        "seed": seed,
        "n_faults": sum(len(row.recovery_s) for row in rows),
        "is_clean": all(row.is_clean for row in rows),
        "rows": [
            {
                **{name: value for name, value in asdict(row).items() if name != "recovery_s"},
                "n_times": len(row.recovery_s),
                "recovery_p50_s": row.percentile_s(50) if row.recovery_s else None,
                "recovery_p99_s": row.percentile_s(99) if row.recovery_s else None,
            }
            for row in rows
        ],
    }


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.run", description=__doc__)
    parser.add_argument(
        "--kills",
        type=int,
        default=200,
        help="kill -9 of workers; of those of the security duty a quarter",
    )
    parser.add_argument("--zombies", type=int, default=50, help="workers stopped and woken up")
    parser.add_argument("--others", type=int, default=8, help="of each other fault")
    parser.add_argument("--seed", type=int, default=1, help="of victims and moments")
    parser.add_argument("--only", choices=list(FAULTS), action="append", help="this fault alone")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/delivery.md")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    asked = parser.parse_args(arguments)
    wanted = times(asked.kills, asked.zombies, asked.others)
    rows: list[Row] = []
    start_s = time.monotonic()
    _say("starting three brokers and a Valkey")
    with new_site() as site:
        for name in asked.only or FAULTS:
            row = suffer(site, name, wanted[name], asked.seed)
            rows.append(row)
            said = "all as it should be" if row.is_clean else "NOT AS IT SHOULD BE"
            _say(f"{name}: {len(row.recovery_s)} times, {row.n_events:,} events: {said}")
            if row.problem:
                _say(row.problem)
    print(rows_table(rows))
    minutes = (time.monotonic() - start_s) / 60
    n_wrong = sum(not row.is_clean for row in rows)
    print(
        f"{sum(len(row.recovery_s) for row in rows)} faults in {minutes:.0f} minutes: "
        + (f"{n_wrong} kinds were not survived" if n_wrong else "nothing lost, nothing twice")
    )
    if asked.docs and not n_wrong:
        counts = f"--kills {asked.kills} --zombies {asked.zombies} --others {asked.others}"
        write_docs(rows, f"python -m tests.faults.run {counts} --seed {asked.seed} --docs")
    if asked.json:
        print(orjson.dumps(result(rows, asked.seed)).decode())
    return 1 if n_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
