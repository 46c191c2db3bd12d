"""What a person says takes effect at a barrier, once, and a replay does it again."""

from __future__ import annotations

import orjson
from click.testing import CliRunner

from schemas.alerts import AlertData
from streams.cli import main
from streams.cloudevents import rfc3339
from tests.delivery.kit import SmallRun, wait_until
from tests.delivery.oracle import expected_outputs, journal_of
from tests.delivery.outputs import check_equal, check_sequences, read_to_end
from tests.delivery.traffic import START_MS
from tests.delivery.verifying import report

MUTED = "m1"
EARLY = "2026-01-01T00:00:00Z"


def say(run: SmallRun, *arguments: str) -> str:
    """The id of a command sent from the command line."""
    topic = ("--commands-topic", run.commands)
    result = CliRunner().invoke(main, [*arguments, *topic, "--bootstrap-servers", run.kafka])
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def alerts_of(run: SmallRun, model: str) -> list[AlertData]:
    """The alerts of changes of a model, in the order of their numbers."""
    values = [message.value() for message in read_to_end(run.kafka, run.topics["alerts"])]
    alerts = [AlertData.model_validate_json(value or b"") for value in values]
    own = (a for a in alerts if a.model_id == model and a.kind == "drift")
    return sorted(own, key=lambda alert: alert.seq)


def wait_obeyed(run: SmallRun, n: int) -> None:
    """Wait until every partition has journaled so many commands."""

    def done() -> bool:
        journal = journal_of(run).values()
        return all(sum(e.command is not None for e in entries) == n for entries in journal)

    wait_until(done, lambda: f"not {n} commands in every partition\n{run.logs()}")


def test_mutes_and_acknowledgements_survive_a_kill_and_the_loss_of_redis(
    small_run: SmallRun,
) -> None:
    run = small_run
    first = run.start()
    run.send(1_000)
    run.wait_done()
    name = say(
        run, "mute", MUTED, "--from", EARLY, "--for", "999d", "--reason", "a test", "--by", "ann"
    )
    wait_obeyed(run, 1)
    n_before = len(alerts_of(run, MUTED))
    run.send(1_000)
    run.wait_committed(1_500)
    first.kill()
    with run.store() as store:
        store.flushdb()

    second = run.start()
    run.send(1_000)
    run.wait_done()
    told = alerts_of(run, MUTED)[n_before:]
    assert {alert.status for alert in told} <= {"resolved"}
    say(run, "withdraw", name)
    wait_obeyed(run, 2)
    run.send(1_000)
    run.wait_done()
    after = alerts_of(run, MUTED)[n_before + len(told) :]
    assert any(alert.status == "opened" for alert in after)
    open_alert = next(alert for alert in after[::-1] if alert.status != "resolved")
    say(run, "acknowledge", open_alert.alert_id, "--by", "ann")
    wait_until(
        lambda: any(alert.acknowledged_by == "ann" for alert in alerts_of(run, MUTED)),
        lambda: f"not acknowledged\n{run.logs()}",
    )
    second.kill()
    third = run.start()
    run.send(400)
    run.wait_done()
    third.stop()

    assert not third.said("state_divergence"), third.log()
    journal = journal_of(run)
    said = [[e.command.order.kind for e in entries if e.command] for entries in journal.values()]
    assert sorted(said) == [["mute", "withdraw"]] * 3 + [["mute", "withdraw", "acknowledge"]]
    found = run.outputs()
    check_sequences(found)
    check_equal(found, expected_outputs(run))
    verdict = report(run)
    assert verdict["exit_code"] == 0, orjson.dumps(verdict)


def test_a_new_partition_hears_what_was_said_before_it_began_and_a_mute_runs_out(
    small_run: SmallRun,
) -> None:
    run = small_run
    say(run, "plan", MUTED, "--from", EARLY, "--until", "2099-01-01T00:00:00Z")
    say(run, "mute", MUTED, "--from", EARLY, "--until", rfc3339(START_MS + 1_500))
    worker = run.start()
    wait_obeyed(run, 2)
    run.send(1_200)
    run.wait_done()
    assert alerts_of(run, MUTED) == []
    run.send(1_200)
    wait_obeyed(run, 3)
    run.wait_done()
    worker.stop()

    alerts = alerts_of(run, MUTED)
    assert alerts
    assert all((alert.planned or "").startswith("planned_change-") for alert in alerts)
    said = [
        [e.command.order.kind for e in entries if e.command] for entries in journal_of(run).values()
    ]
    assert said == [["planned_change", "mute", "run_out"]] * 4
    check_equal(run.outputs(), expected_outputs(run))
