"""What is known at the end of a file of the signals that moved shortly before it.

A detector says where a signal went when it fires, and where its working baseline lies. Between the
two there may be 2,000 rows, and a file may end there.
"""

from __future__ import annotations

from detectors.drift.focus import NAME, FocusBank
from detectors.fold import Fold
from schemas.alerts import AlertData
from schemas.batch import ModelKey
from schemas.findings import Aspect
from streams.evidence import Episode, Since, Watched
from streams.policy import Occasion
from streams.worker import PartitionWorker


def last_records(worker: PartitionWorker) -> list[AlertData]:
    """A record more of each alert with a mean that is known by now; a worker would not tell it.

    It is a function of the worker's state, hence the same for any split into batches.
    """
    now = Occasion(worker.next_offset - 1, 0, max(worker.fold.watermark_ms, 0))
    records = []
    for episode in worker.policy.book.episodes.values():
        if not (episode.revision and episode.is_live):
            continue
        is_news = False
        for watched, known in episode.evidence.items():
            since = _since(worker.fold, episode, watched)
            is_news |= since is not None and known.complete(since)
        if is_news:
            records.append(worker.policy.tell_more(episode, now, lambda: worker.n_alerts))
    return records


def _since(fold: Fold, episode: Episode, watched: Watched) -> Since | None:
    bank = fold.banks.get(NAME)
    slot = fold.catalog.slot_of.get(ModelKey(*episode.model))
    name, aspect = watched
    is_found = NAME in episode.evidence[watched].detectors
    if slot is None or not isinstance(bank, FocusBank) or aspect > Aspect.SPREAD or not is_found:
        return None
    monitor = fold.catalog.monitor(slot)
    if monitor.admitted != episode.admitted:
        return None
    for signal in monitor.signals:
        if signal.lane < 0 or signal.is_cells or monitor.name(signal) != name:
            continue
        moved = bank.moved(signal.lane, aspect)
        if moved is None:
            return None
        effect = moved.mean - signal.reference_z(aspect)
        return Since(effect, signal.raw(moved.mean, aspect), moved.n * monitor.block_of(signal))
    return None
