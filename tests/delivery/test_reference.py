"""A reference made of the topic's events and set: at a barrier, once; a replay sets it again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
from click.testing import CliRunner

from detectors.reference_fit import fit_reference
from schemas.batch import ModelKey
from schemas.config import DetectionConfig
from schemas.reference import MAX_REFERENCE_BYTES, parse_reference
from streams.cli import main
from tests.delivery.kit import SmallRun
from tests.delivery.oracle import expected_outputs, journal_of
from tests.delivery.outputs import check_equal, check_sequences
from tests.delivery.test_commands import alerts_of, say, wait_obeyed
from tests.delivery.traffic import Sent, produce
from tests.delivery.verifying import report
from tests.detectors.decoded import Event, decoded
from tests.streams.events import START_MS, label, prediction

MODEL = "m1"


def fit(run: SmallRun, path: Path, *arguments: str) -> None:
    """Make a reference of what the topic holds of the model."""
    result = CliRunner().invoke(
        main,
        [
            *("reference", "fit", "--from-topic", "--model", MODEL, "--out", str(path), *arguments),
            *("--events-topic", run.events, "--bootstrap-servers", run.kafka),
        ],
    )
    assert result.exit_code == 0, result.output


def tool(run: SmallRun, *arguments: str) -> str:
    """What a command prints that looks at the run."""
    topics = ("--events-topic", run.events, "--journal-topic", run.journal)
    checkpoints = ("--checkpoints-topic", run.checkpoints_topic)
    result = CliRunner().invoke(
        main, [*arguments, *topics, *checkpoints, "--bootstrap-servers", run.kafka]
    )
    assert result.exit_code == 0, result.output
    return result.stdout


def wide(path: Path) -> None:
    """One nearly as large as it may be, of a model that sends nothing."""
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(400, 210)).tolist()
    key = ModelKey("wide", "1")
    events = [
        Event(i, {f"feature {j}": x for j, x in enumerate(row)}, key) for i, row in enumerate(rows)
    ]
    canonical = fit_reference(decoded(events), DetectionConfig()).document.canonical()
    assert len(canonical) > 0.8 * MAX_REFERENCE_BYTES
    path.write_bytes(canonical)


def test_a_reference_survives_a_kill_and_the_loss_of_redis(
    small_run: SmallRun, tmp_path: Path
) -> None:
    run, own, large = small_run, tmp_path / "own.json", tmp_path / "large.json"
    first = run.start()
    run.send(1_600)
    run.wait_done()
    fit(run, own, "--events", "300")
    document = parse_reference(own.read_bytes())
    assert (document.model_id, document.n_events) == (MODEL, 300)
    wide(large)
    say(run, "reference", "set", str(large), "--by", "ann")
    say(run, "reference", "set", str(own), "--by", "ann")
    wait_obeyed(run, 2)
    assert any(alert.resolution == "new_reference" for alert in alerts_of(run, MODEL))
    run.send(1_000)
    run.wait_committed(2_100)
    first.kill()
    with run.store() as store:
        store.flushdb()

    second = run.start()
    # Once more the same: nobody does anything.
    say(run, "reference", "set", str(own), "--by", "ann")
    say(run, "reference", "set", str(own), "--version", "2", "--by", "ann")
    wait_obeyed(run, 3)
    run.send(1_000)
    run.wait_done()
    second.stop()

    assert not second.said("state_divergence"), second.log()
    for entries in journal_of(run).values():
        said = [entry.command.order for entry in entries if entry.command is not None]
        assert [order.kind for order in said] == ["reference"] * 3
    shown = tool(run, "reference", "show", document.digest, "--group", run.name)
    n_set = [f"set for {MODEL} {version} in {run.events}" in shown for version in ("1", "2")]
    assert (shown.count(", by ann"), n_set) == (8, [True, True])
    given = ("--redis-url", run.redis_url, "--redis-prefix", run.name, "--alerts-topic")
    budgets = orjson.loads(
        tool(run, "budget", "--group", run.name, "--json", *given, run.topics["alerts"])
    )
    named = {each["model_id"]: each["reference"] for each in budgets["models"]}
    assert named == {"m0": None, "m1": document.digest, "m2": None, "m3": None}
    found = run.outputs()
    check_sequences(found)
    check_equal(found, expected_outputs(run))
    verdict = report(run)
    assert verdict["exit_code"] == 0, orjson.dumps(verdict)


def test_labels_in_the_topic_calibrate_the_score(small_run: SmallRun, tmp_path: Path) -> None:
    run, path = small_run, tmp_path / "own.json"
    features: dict[str, object] = {"x": 1.0}
    predictions = [
        prediction(i, features, model=MODEL, prediction=i % 10 // 5, score=i % 10 / 10)
        for i in range(500)
    ]
    # Right but for each tenth; some come before their predictions, none for the last hundred.
    labels = [
        label(i, int(i % 10 in {4, 5, 6, 7, 8}), model=MODEL, ts=START_MS) for i in range(400)
    ]
    sent = [Sent(MODEL.encode(), value, 1) for value in (*labels[:50], *predictions, *labels[50:])]
    produce(run.kafka, run.events, sent)
    fit(run, path)
    output = parse_reference(path.read_bytes()).output
    assert output is not None
    assert output.counts is not None
    assert (output.score_of, output.classes[output.positive]) == ("positive", "1")
    assert [sum(outcome) for outcome in output.counts] == [200, 200]
    by_score = [each for each in zip(*output.counts, strict=True) if any(each)]
    assert by_score == [(40, 0)] * 4 + [(0, 40)] * 5 + [(40, 0)]
