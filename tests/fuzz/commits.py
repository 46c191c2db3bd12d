"""Targets: commit metadata, the journal, and the configuration file."""

from __future__ import annotations

from detectors.fold import Fold
from detectors.security.calibration_document import calibration_of
from detectors.security.fold import SecurityFold
from schemas.calibration import BadCalibrationError
from schemas.commands import (
    CommandError,
    Mute,
    PlannedChange,
    SetCalibration,
    SetReference,
    read_command,
)
from schemas.config import DetectionConfig, PolicyConfig
from schemas.reference import BadReferenceError
from streams.config_errors import ConfigError
from streams.config_loader import check_file
from streams.lineage import (
    JournaledCommand,
    JournalEntry,
    Lineage,
    LineageError,
    Metadata,
    load_journal,
    load_metadata,
)
from streams.policy import Policy
from streams.worker import Detection
from tests.fuzz.target import Target, must, written
from tests.streams.reference_kit import reference, set_reference

LINEAGE = Lineage(deployment="d", topic_id="t", partition=3, start_offset=0)
METADATA = Metadata(
    lineage=LINEAGE,
    generation=1,
    config="c0ffee",
    config_from=0,
    n_events=41,
    n_alerts=2,
    n_dead=1,
    checkpoint=40,
    digest="ab",
    digest_offset=40,
)
ENTRY = JournalEntry(
    kind="lineage",
    lineage=LINEAGE,
    offset=0,
    generation=1,
    config="c0ffee",
    versions={"fold": 1},
    document=DetectionConfig(),
    n_partitions=4,
)
TOKENS = (
    *(b"null", b"true", b"-1", b"1.0", b"18446744073709551616", b"9223372036854775808", b"1e300"),
    *(b'"v":2', b'"kind":"reset"', b'"parent":""', b"\\ud800", b"{}", b"[]", b'"2"', b"NaN"),
)
MUTE = Mute(command_id="c1", model_id="m", from_ms=0, until_ms=5, by="ann", reason="why")
PLAN = PlannedChange(command_id="c2", model_id="m", signal="score", from_ms=1, until_ms=2)
SAID = (
    b'{"kind":"acknowledge","command_id":"c3","alert_id":"0123456789abcdef0123456789abcdef"}',
    b'{"kind":"withdraw","command_id":"c4","withdraws":"c1"}',
)
YAML = b"""worker:
  bootstrap_servers: localhost:9092
  kafka: {linger.ms: 5, sasl.password: "${env:P}"}
  topics: {alerts: a}
  redis_url: redis://:${file:/x}@h:1/0
detection:
  generation: 2
  reference_events: &n 100
  bounds: {max_models: 3}
  detectors: {adwin: {delta: 1e-3, enabled: no}}
  model:
    "fraud.v2": {reference_events: *n, signals: {score: {detectors: [adwin], kind: number}}}
"""


def run_metadata(content: bytes) -> None:
    """`LineageError`, nothing, or metadata that can be written and read again."""
    text = content.decode("utf-8", "replace")
    try:
        metadata = load_metadata(text)
        dumped = None if metadata is None else metadata.dump()
    except LineageError:
        return
    if metadata is None:
        must(not text, "metadata passed over")
    else:
        must(load_metadata(dumped or "") == metadata, "other metadata after writing and reading")
        must(metadata.lineage.id, "a lineage without an identity")


def run_journal(content: bytes) -> None:
    """A line is a record: `LineageError`, or entries that can be written and read again."""
    try:
        entries = load_journal(content.split(b"\n"))
    except LineageError:
        return
    must(load_journal([entry.dump() for entry in entries]) == entries, "other entries")
    for entry in entries:
        must(entry.lineage.id, "a lineage without an identity")
        if entry.document is not None:
            Detection(entry.document, None)


def run_command(content: bytes) -> None:
    """`CommandError` in a sentence, or a command that takes effect, and is journaled whole."""
    try:
        order = read_command(content)
    except CommandError as error:
        must(str(error), "an error without a sentence")
        return
    must(read_command(order.model_dump_json().encode()) == order, "another command")
    if isinstance(order, SetReference):
        fold = Fold(DetectionConfig())
        try:
            fold.set_reference(order.model_id, order.model_version, order.document)
        except BadReferenceError as error:
            must(str(error), "an error without a sentence")
            return
        again = Fold(DetectionConfig(), fold.snapshot())
        name = order.model_id, order.model_version
        must(again.catalog.has_reference(name, order.digest), "another reference after a restart")
    if isinstance(order, SetCalibration):
        watching = SecurityFold(DetectionConfig(), None)
        try:
            calibration = calibration_of(order.document)
        except BadCalibrationError as error:
            must(str(error), "an error without a sentence")
            return
        watching.set_calibration(order.model_id, order.model_version, calibration)
        resumed = SecurityFold(DetectionConfig(), None, watching.snapshot())
        about = order.model_id, order.model_version
        must(resumed.has_calibration(*about, calibration), "another calibration after a restart")
    command = JournaledCommand(number=1, topic_id="t", offset=0, said_ms=0, order=order)
    entry = ENTRY.model_copy(update={"kind": "command", "document": None, "command": command})
    must(load_journal([entry.dump()]) == [entry], "another journal record")
    policy = Policy(PolicyConfig(), "lineage", "deployment", 0)
    must(not policy.obey(order, 5, 7, lambda: 1), "an alert of nothing")
    restored = Policy(PolicyConfig(), "lineage", "deployment", 0, policy.snapshot())
    must(restored.orders.spells == policy.orders.spells, "other orders after a restart")


def run_config(content: bytes) -> None:
    """`ConfigError` that can be shown, or a configuration that can be put into the journal."""
    try:
        configuration = check_file(written(content, "driftsentry.yaml"))
    except ConfigError as error:
        must(error.problems and str(error), "an error without a problem")
        return
    document = configuration.detection.model_dump(mode="json")
    must(DetectionConfig.model_validate(document) == configuration.detection, "another config")
    must(Detection(configuration.detection, None).identity, "a config without an identity")


TARGETS = (
    Target(
        "metadata", run_metadata, lambda: [METADATA.dump().encode(), b"", b"{}", b"null"], TOKENS
    ),
    Target(
        "journal",
        run_journal,
        lambda: [ENTRY.dump(), ENTRY.dump() + b"\n" + ENTRY.dump(), b"{}", b"[1]"],
        (*TOKENS, b"\n", b'"document":{}', b'"versions":{}'),
    ),
    Target(
        "commands",
        run_command,
        lambda: [
            *(each.model_dump_json().encode() for each in (MUTE, PLAN, set_reference(reference()))),
            *SAID,
        ],
        (*TOKENS, b'"kind":"withdraw"', b'"kind":"run_out"', b'"until_ms":', b'"signal":"score"'),
    ),
    Target(
        "config",
        run_config,
        lambda: [YAML, b"", b"detection: {models: listed, model: {m: {}}}", b"worker:\n  - 1\n"],
        (
            *(b"&a ", b"*a", b"!!str ", b"!!int ", b"<<: ", b"|\n", b">-\n", b"%YAML 1.2\n---\n"),
            *(b"\xef\xbb\xbf", b"? ", b"- ", b": ", b"...", b"0x1f", b".inf", b".nan", b"\\uD800"),
            *(b"detection:", b"worker:", b"bounds:", b"kafka:", b"topics:", b"${env:A}", b"1e400"),
        ),
    ),
)
