"""The budgets of a file's models, without Kafka and Redis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from streams.budget import ModelBudget, judge_references, model_budgets, observe
from streams.budget_replay import ReplayWish, replay
from streams.past import Past
from streams.scan import ScanOptions, open_scan, run_scan
from streams.scan_events import TP
from streams.scan_story import model_of, opening_lines

N_JUDGED: Final = 200_000
"""Events of each model by which its reference is judged at most, the latest."""


def file_budgets(
    path: Path,
    options: ScanOptions,
    wish: ReplayWish | None,
    *,
    say: Callable[[list[str]], None],
) -> list[ModelBudget]:
    """Fold a file as `driftsentry scan` does; what the budgets of its models come to.

    `wish`: what is to be replayed, if anything. `say` takes what the file was taken for. Raises
    `ScanError`.
    """
    scan, source = open_scan(path, options, purpose="judge a budget by")
    say(opening_lines(scan))
    past = Past(N_JUDGED if wish is None else wish.n_events)
    fold = run_scan(scan, source, on_events=past.take)
    budgets = model_budgets(fold, TP.partition, scan.n_rows)
    of_drift = (alert for alert in scan.alerts if alert.said.kind == "drift")
    observe(budgets, Counter((TP.partition, model_of(alert)) for alert in of_drift))
    judge_references(fold, budgets, past)
    if wish is not None:
        replay(fold, budgets, past, wish)
    return budgets
