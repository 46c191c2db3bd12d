"""The mutants: what rule, where it stands, and the words that turn it off.

`rule` numbers what can go wrong, as the table in docs/testing.md explains it. A mutant without a
test is hunted by the simulation.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Mutant(NamedTuple):
    """A change of one function (or text): `old` stands in it once."""

    rule: int
    name: str
    where: str
    """`module:function` or `module:Class.method`, where it is looked up."""
    old: str
    new: str
    test: str = ""
    seed: int = 0
    """Where the hunt begins: this seed has caught it before, after many that had not."""


_RUNNER: Final = "streams.runner:Runner."
_CHECKPOINTS: Final = "streams.checkpoints:Checkpoints."
_DRIFT: Final = "streams.duties:DriftWork."
_WORKER: Final = "streams.worker:PartitionWorker."
_RECOVERY: Final = "streams.recovery:"
_RULES: Final = "tests/streams/test_taking_up.py::"
_RUNS: Final = "tests/streams/test_runner.py::"
_STORE: Final = "tests/streams/test_store_contract.py::"
_SPARES: Final = "tests/streams/test_spares.py::"
_EPOCHS: Final = "tests/streams/test_kafka_epochs.py::"
_LOG: Final = "tests/streams/test_kafka_log.py::"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        1,
        "commits are not fenced",
        "streams.memory_log:MemoryLog.require_membership",
        "if self._member is None or not self._group().is_current(self._member):",
        "if self._member is None:",
        seed=5,
    ),
    Mutant(
        1,
        "unknown outcome: sent again",
        _RUNNER + "_publish",
        "self._drop_all(error)\n            return False",
        "self.commits.reopen()",
        seed=25,
    ),
    Mutant(
        1,
        "an aborted commit is forgotten",
        _RUNNER + "_publish",
        "self.clock.sleep(min(0.02 * 2**attempt, 1.0))",
        "return True",
        seed=41,
    ),
    Mutant(
        1,
        "older checkpoints accepted, memory",
        "streams.memory_store:MemoryStore.save",
        "if newest.next_offset > next_offset:",
        "if False:",
        _STORE + "test_a_zombie_with_an_older_offset_is_refused",
    ),
    Mutant(
        1,
        "older checkpoints accepted, Redis",
        "streams.redis_store:SAVE_SCRIPT",
        "refused = #stored > #offset or (#stored == #offset and stored > offset)",
        "refused = false",
        _STORE + "test_a_zombie_with_an_older_offset_is_refused",
    ),
    Mutant(
        1,
        "any lineage accepted, memory",
        "streams.memory_store:MemoryStore.save",
        "elif newest.lineage != parent:",
        "elif False:",
        _STORE + "test_a_new_lineage_must_name_the_one_it_replaces",
    ),
    Mutant(
        1,
        "any lineage accepted, Redis",
        "streams.redis_store:SAVE_SCRIPT",
        "refused = newest[1] ~= parent",
        "refused = false",
        _STORE + "test_a_new_lineage_must_name_the_one_it_replaces",
    ),
    Mutant(
        2,
        "checkpoint before the commit",
        _CHECKPOINTS + "save",
        "at_commit = held.recovered is None and worker.next_offset == held.committed",
        "at_commit = held.recovered is None",
    ),
    Mutant(
        2,
        "checkpoint ahead is not noticed",
        _RECOVERY + "_contradiction",
        "if saved and max(saved) > committed.offset:",
        "if False:",
        _RUNS + "test_an_offset_that_moved_back_stops_the_worker_until_it_is_accepted",
    ),
    Mutant(
        2,
        "checkpoint ahead is loaded",
        _RECOVERY + "_resume",
        "end = committed + 1 if before is None else min(before, committed + 1)",
        "end = 1 << 62 if before is None else before",
        _SPARES + "test_one_that_is_ahead_of_the_commit_or_older_than_the_log_is_not_taken",
    ),
    Mutant(
        3,
        "journal ahead is not noticed",
        _RECOVERY + "_contradiction",
        "if known and max(known) > committed.offset:",
        "if False:",
        _RULES + "test_an_offset_before_the_journals_stops_the_worker",
    ),
    Mutant(
        3,
        "lost offset, journal not asked",
        _RECOVERY + "_uncommitted",
        "if last is not None:",
        "if False:",
        _RUNS + "test_a_lost_offset_and_a_topic_made_again_stop_the_worker",
    ),
    Mutant(
        3,
        "lost offset, store not asked",
        _RECOVERY + "_uncommitted",
        "if case.manifests:",
        "if False:",
        _RULES + "test_a_lost_offset_and_a_lost_journal_stop_the_worker",
    ),
    Mutant(
        3,
        "moved while taking up: stops",
        _RECOVERY + "_reset",
        "if (None if now is None else now.offset) != offset:",
        "if False:",
        _RULES + "test_a_commit_of_another_while_a_partition_is_taken_up_is_no_contradiction",
    ),
    Mutant(
        4,
        "silent cold start",
        _RECOVERY + "_from_start",
        "worker.switches, worker.source_key = switches, case.detection.key",
        "worker.next_offset = committed",
    ),
    Mutant(
        5,
        "goes on without its log",
        _RECOVERY + "_gap",
        "if lineage.start_offset >= case.watermarks.low:",
        "if True:",
        seed=12,
    ),
    Mutant(
        5,
        "checkpoint older than the log",
        _RECOVERY + "_from_checkpoint",
        "if stored.next_offset < case.watermarks.low:",
        "if False:",
        seed=105,
    ),
    Mutant(
        6,
        "the topic of checkpoints is not read",
        "streams.checkpoint_sources:Sources.candidates",
        "if self.spares.topic is not None:",
        "if False:",
        _SPARES + "test_a_state_the_store_has_lost_comes_from_elsewhere",
    ),
    Mutant(
        6,
        "the store before a spool that is further",
        "streams.checkpoint_sources:Sources.candidates",
        "yield from sorted(near, key=lambda one: one[1].next_offset, reverse=True)",
        "yield from near",
        _SPARES + "test_the_further_one_of_store_and_spool_is_taken_and_then_the_spool_is_emptied",
    ),
    Mutant(
        7,
        "leader epochs not compared",
        "streams.kafka_epochs:LeaderEpochs.compare",
        "if found is not None and found != epoch:",
        "if False:",
        _EPOCHS + "test_another_epoch_before_the_commit_is_another_log",
    ),
    Mutant(
        7,
        "a record that is gone is passed over",
        "streams.kafka_epochs:LeaderEpochs.compare",
        "if offsets[at] != offset - 1:",
        "if False:",
        _EPOCHS + "test_a_record_that_is_gone_is_noticed_between_two_runs_too",
    ),
    Mutant(
        7,
        "topic made again not noticed",
        _RECOVERY + "_contradiction",
        "if lineage.topic_id != case.topic_id:",
        "if False:",
        _RULES + "test_a_topic_made_again_stops_the_worker",
    ),
    Mutant(
        7,
        "end of the log not looked at",
        _RECOVERY + "_contradiction",
        "if committed.offset > case.watermarks.high:",
        "if False:",
        _RULES + "test_an_offset_beyond_the_end_stops_the_worker",
    ),
    Mutant(
        8,
        "keeps what it does not own",
        _RUNNER + "on_lost",
        "self.held.pop(tp, None)",
        "self.held.get(tp)",
    ),
    Mutant(
        8,
        "old records fold again",
        "streams.kafka_log:KafkaLog._of_partition",
        "if offsets[0] < expected:",
        "if False:",
        _LOG + "test_what_was_delivered_before_is_dropped",
    ),
    Mutant(
        8,
        "records of moved partitions fold",
        "streams.kafka_log:KafkaLog._of_partition",
        "if tp in self._moved:",
        "if False:",
        _LOG + "test_what_came_in_the_call_in_which_its_partition_moved_is_read_again",
    ),
    Mutant(
        9,
        "a replay saves nothing on its way",
        _CHECKPOINTS + "save",
        "replaying = held.recovered is not None and worker.next_offset < held.committed",
        "replaying = False",
        _RULES + "test_a_replay_that_is_interrupted_again_and_again_arrives",
    ),
    Mutant(
        10,
        "wall clock in an output",
        "streams.worker:_record_time_ms",
        "return int(events.record_time_ms[np.searchsorted(events.offset, offset)])",
        "import time; return time.time_ns() // 1_000_000",
    ),
    Mutant(
        12,
        "one finding a batch",
        _DRIFT + "process",
        "said = self.fold.process(events)",
        "said = self.fold.process(events)[:1]",
    ),
    Mutant(
        12,
        "cooldown ends with the batch",
        _DRIFT + "process",
        "said = self.fold.process(events)",
        "said = self.fold.process(events); self.policy.open.clear()",
    ),
    Mutant(
        13,
        "findings in any order",
        _DRIFT + "process",
        "said = self.fold.process(events)",
        "import random; said = sorted(self.fold.process(events), key=lambda _: random.random())",
    ),
    Mutant(
        14,
        "config by the wall clock",
        _RECOVERY + "detection_then",
        "if identity == detection.identity:",
        "if True:",
    ),
    Mutant(
        14,
        "journal ignored from the start",
        _RECOVERY + "_from_start",
        "worker.switches, worker.source_key = switches, case.detection.key",
        "pass",
        seed=5,
    ),
    Mutant(
        14,
        "journal ignored from a checkpoint",
        _RECOVERY + "_from_checkpoint",
        'if (entry.kind == "config" and entry.generation > checkpoint.generation)',
        "if False",
        seed=33,
    ),
    Mutant(
        14,
        "switches at a checkpoint by offset",
        _RECOVERY + "_from_checkpoint",
        "entry.generation > checkpoint.generation",
        "entry.offset > checkpoint.next_offset",
        _RULES + "test_a_config_that_switches_beside_a_checkpoint_switches_in_the_replay",
    ),
    Mutant(
        14,
        "switch without a journal record",
        _RUNNER + "_journal",
        "self._publish(outputs, offsets)",
        "self._publish([], offsets)",
    ),
    Mutant(
        14,
        "a command without a journal record",
        _RUNNER + "_obey",
        "self._journal(tp, held, entries)",
        "self._publish(held.worker.take_outputs(), {})",
    ),
    Mutant(
        14,
        "commands ignored from a checkpoint",
        _RECOVERY + "_from_checkpoint",
        "or (entry.command is not None and entry.command.number > n_commands)",
        "",
    ),
    Mutant(
        14,
        "commands done again after a checkpoint",
        _RECOVERY + "_from_checkpoint",
        "entry.command.number > n_commands",
        "True",
        seed=533,
    ),
    Mutant(
        14,
        "commands heard again",
        "streams.obedience:Obedience._new",
        "record.offset <= offset",
        "False",
    ),
    Mutant(
        14,
        "a reference set only where it was heard",
        _WORKER + "obey",
        "for told in self.work.obey(",
        "for told in [] if not tells else self.work.obey(",
    ),
    Mutant(
        25,
        "a replayed command is told again",
        _WORKER + "_reach",
        "tells=self.tells_again",
        "tells=True",
    ),
    Mutant(
        14,
        "down to a lower generation",
        "streams.runner:next_detection",
        "if mine.config.generation > theirs.config.generation:",
        "if mine.config.generation != theirs.config.generation:",
        seed=8,
    ),
    Mutant(
        14,
        "same generation, other content",
        "streams.runner:next_detection",
        "if mine.config.generation < theirs.config.generation:",
        "if mine.config.generation <= theirs.config.generation:",
        _RUNS + "test_the_same_generation_with_other_content_is_refused_by_name",
    ),
    Mutant(
        15,
        "a state of other algorithms is taken",
        _RECOVERY + "_from_checkpoint",
        "require_versions(checkpoint, state_versions(case.detection.duty))",
        "pass",
        _SPARES + "test_a_checkpoint_without_what_a_worker_needs_is_refused",
    ),
    Mutant(
        17,
        "goes on when it is fenced",
        _RUNNER + "_publish",
        "except (FencedError, RefusedError):\n            raise",
        "except FencedError:\n            self.commits.reopen()",
        seed=5,
    ),
    Mutant(
        18,
        "producer not opened again",
        _RUNNER + "_drop_all",
        "if isinstance(error, IndeterminateError):",
        "if False:",
        seed=21,
    ),
    Mutant(
        19,
        "an added partition begins as any other",
        _RECOVERY + "_uncommitted",
        "if not added:",
        "if True:",
        _RULES + "test_an_added_partition_begins_with_its_first_record_and_says_why",
    ),
    Mutant(
        20,
        "commit without metadata is foreign",
        _RECOVERY + "recover",
        "lineage = last if metadata is None else metadata.lineage",
        "lineage = None if metadata is None else metadata.lineage",
        _RULES + "test_a_commit_without_metadata_stops_the_worker",
    ),
    Mutant(
        25,
        "alerts of a replay published",
        _WORKER + "_fold",
        "tells=told.offset >= self.live_from",
        "tells=True",
        seed=8,
    ),
    Mutant(
        25,
        "dead letters of a replay published",
        _WORKER + "_dead_letter",
        'if reject.offset < self.live_from or self.lineage.duty != "drift":',
        "if False:",
        seed=3,
    ),
    Mutant(
        26,
        "digest not compared",
        "streams.runner:check_replay",
        "if worker.watched_digests and metadata.digest not in worker.watched_digests:",
        "if False:",
        _RULES + "test_a_state_that_is_not_the_committed_one_is_noticed",
    ),
    Mutant(
        26,
        "counters not compared",
        "streams.runner:check_replay",
        "if getattr(mine, name) != getattr(metadata, name)",
        "if False",
        _RULES + "test_counters_that_are_not_the_committed_ones_are_noticed",
    ),
    Mutant(
        27,
        "checkpoint of another lineage",
        _RECOVERY + "_resume",
        "if stored.lineage != lineage.id or stored.next_offset >= end:",
        "if stored.next_offset >= end:",
        _RULES + "test_a_checkpoint_of_the_lineage_before_is_left_alone",
    ),
)
