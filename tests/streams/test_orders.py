"""What a person has said: held back and told later, expected, known."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.alerts import AlertData
from schemas.commands import (
    MAX_COMMAND_BYTES,
    Acknowledge,
    Command,
    CommandError,
    Mute,
    Order,
    PlannedChange,
    RunOut,
    Withdraw,
    read_command,
)
from schemas.config import PolicyConfig
from streams.orders import MAX_ORDERS
from streams.policy import Policy
from tests.streams.policy_kit import decide, finding, policy, settled
from tests.streams.reference_kit import reference, set_reference


def mute(signal: str | None = None, model_version: str | None = None) -> Mute:
    return Mute(
        command_id="c1",
        model_id="m",
        model_version=model_version,
        signal=signal,
        from_ms=40,
        until_ms=100,
        by="ann",
    )


def obey(own: Policy, *orders: Order, offset: int = 20_000) -> list[AlertData]:
    numbers = count(1_000)
    assert all(map(own.concerns, orders))
    return [a for order in orders for a in own.obey(order, offset, 77, lambda: next(numbers))]


def again(own: Policy) -> Policy:
    """The policy from its snapshot."""
    return Policy(PolicyConfig(), "lineage", "deployment", 3, own.snapshot())


def test_what_a_mute_holds_back_is_told_when_it_is_over_and_only_what_is_still_away() -> None:
    own = policy()
    obey(own, mute())
    gone = finding(5_000, signal="feature:y", ts=50)
    assert decide(own, finding(5_000, ts=50), gone) == []
    assert decide(own, settled(9_500, effect=0.01, signal="feature:y", ts=60)) == []

    own = again(own)
    (alert,) = obey(own, RunOut(command_id="c1"))

    assert (alert.revision, alert.status, alert.signal) == (1, "opened", "feature:x")
    assert (alert.trigger_offset, alert.event_time_ms, alert.opened_offset) == (20_000, 77, 10_000)
    assert {each.signal: each.standing for each in alert.signals} == {
        "feature:x": "moved",
        "feature:y": "returned",
    }
    assert not own.orders.spells
    assert [a.revision for a in decide(own, settled(9_700, effect=0.0))] == [2]


def test_an_alert_that_came_and_went_under_a_mute_is_never_told() -> None:
    own = policy()
    obey(own, mute())
    assert decide(own, finding(5_000, ts=50), settled(9_500, effect=0.0, ts=60)) == []
    assert obey(own, RunOut(command_id="c1")) == []


def test_a_mute_holds_for_events_before_its_end_for_its_model_version_and_signal() -> None:
    own = policy()
    obey(own, mute(signal="feature:x", model_version="7"))
    assert decide(own, finding(5_000, ts=99)) == []
    for ts in (39, 100):
        assert decide(policy_with(mute(signal="feature:x")), finding(5_000, ts=ts))
    assert decide(policy_with(mute(signal="feature:z")), finding(5_000, ts=99))
    assert decide(policy_with(mute(model_version="8")), finding(5_000, ts=99))
    # A signal that is not muted opens the alert, and names the others.
    (alert,) = decide(own, finding(5_010, signal="score", effect=0.5, ts=99))
    assert (alert.revision, alert.n_signals, alert.signal) == (1, 2, "feature:x")


def policy_with(*orders: Order) -> Policy:
    own = policy()
    obey(own, *orders)
    return own


def test_updates_are_held_back_the_end_of_an_alert_that_was_told_is_not() -> None:
    own = policy()
    assert len(decide(own, finding(5_000))) == 1
    obey(own, mute())
    assert decide(own, finding(5_010, signal="score", ts=50)) == []
    (update,) = obey(own, Withdraw(command_id="c2", withdraws="c1"))
    assert (update.revision, update.status, update.n_signals) == (2, "updated", 2)
    obey(own, mute())
    ends = [settled(9_500, effect=0.0, signal=s, ts=60) for s in ("feature:x", "score")]
    told = decide(own, *ends)
    assert [a.status for a in told] == ["resolved"]


def test_another_mute_goes_on_holding_back() -> None:
    own = policy_with(mute(), mute().model_copy(update={"command_id": "c9", "until_ms": 900}))
    assert decide(own, finding(5_000, ts=50)) == []
    assert obey(own, RunOut(command_id="c1")) == []
    assert len(obey(own, RunOut(command_id="c9"))) == 1


def test_an_alert_within_a_planned_change_says_that_it_was_expected() -> None:
    planned = PlannedChange(
        command_id="c1", model_id="m", from_ms=10, until_ms=20, reason="new form."
    )
    own = policy_with(planned)
    before, after = (decide(policy_with(planned), finding(5_000, ts=ts)) for ts in (9, 20))
    assert [each[0].planned for each in (before, after)] == [None, None]
    (alert,) = decide(own, finding(5_000, ts=19))
    assert alert.planned == "new form."
    assert alert.message.endswith(". It was expected: new form.")
    (later,) = decide(again(own), finding(5_010, signal="score", ts=30))
    assert (later.revision, later.planned) == (2, "new form.")


def test_an_acknowledged_alert_is_told_of_where_it_gets_worse_and_at_its_end() -> None:
    own = policy()
    (first,) = decide(own, finding(5_000, effect=0.3))
    assert first.severity == "medium"
    known = Acknowledge(command_id="c1", alert_id=first.alert_id, by="ann")
    (said,) = obey(own, known)
    assert (said.revision, said.acknowledged_by, said.status) == (2, "ann", "updated")
    assert said.message.endswith(" Known to ann.")

    own = again(own)
    assert decide(own, finding(5_010, signal="score", effect=0.25)) == []
    (worse,) = decide(own, finding(5_020, signal="feature:y", effect=0.9))
    assert (worse.severity, worse.acknowledged_by) == ("high", "ann")
    ends = [settled(9_500, effect=0.0, signal=s) for s in ("feature:x", "score", "feature:y")]
    assert [a.status for a in decide(own, *ends)] == ["resolved"]
    assert not own.concerns(known)


def test_an_acknowledged_alert_is_told_of_where_data_break_and_are_back() -> None:
    """A retraining waits for what stands in its records, however large what is known already is."""
    own = policy()
    (first,) = decide(own, finding(5_000, effect=3.0))
    obey(own, Acknowledge(command_id="c1", alert_id=first.alert_id, by="ann"))
    own = again(own)
    (broken,) = decide(own, finding(5_010, signal="quality:range", effect=0.1))
    assert [each.signal for each in broken.signals] == ["feature:x", "quality:range"]
    assert (broken.acknowledged_by, broken.severity) == ("ann", "critical")
    own = again(own)
    assert decide(own, finding(5_015, signal="score", effect=0.25)) == []
    (back,) = decide(own, settled(9_500, effect=0.0, signal="quality:range"))
    assert {each.signal: each.standing for each in back.signals}["quality:range"] == "returned"
    (harm,) = decide(own, finding(5_020, signal="calibration", effect=0.1))
    assert "calibration" in [each.signal for each in harm.signals]


def test_what_changes_nothing_here_does_not_concern_it() -> None:
    own = policy()
    assert not own.concerns(Acknowledge(command_id="c1", alert_id="0" * 32))
    assert not own.concerns(Withdraw(command_id="c2", withdraws="c1"))
    assert not own.concerns(RunOut(command_id="c1"))
    obey(own, mute())
    decide(own, finding(5_000, ts=50))
    (held_back,) = own.book.episodes
    assert not own.concerns(Acknowledge(command_id="c1", alert_id=held_back))
    assert own.concerns(Withdraw(command_id="c2", withdraws="c1"))


def test_so_many_orders_are_in_force_at_most_and_the_first_to_end_gives_way() -> None:
    own = policy()
    for number in range(MAX_ORDERS):
        obey(own, mute().model_copy(update={"command_id": f"n{number:03}", "until_ms": 900}))
    ending = mute().model_copy(update={"command_id": "n007", "until_ms": 100})
    obey(own, ending)
    assert decide(own, finding(5_000, ts=50)) == []
    # Another mute goes on holding it back.
    assert obey(own, mute().model_copy(update={"command_id": "new", "until_ms": 800})) == []
    assert len(own.orders.spells) == MAX_ORDERS
    assert "n007" not in own.orders.spells
    assert again(own).orders.spells == own.orders.spells


def test_what_gives_way_tells_what_it_has_held_back() -> None:
    own = policy()
    obey(own, mute())
    assert decide(own, finding(5_000, ts=50)) == []
    others = [
        mute().model_copy(update={"command_id": f"n{n}", "model_id": "other", "until_ms": 900})
        for n in range(MAX_ORDERS)
    ]
    (told,) = obey(own, *others)
    assert (told.status, told.signal) == ("opened", "feature:x")


def test_an_acknowledged_alert_that_opens_again_is_news() -> None:
    own = policy()
    (first,) = decide(own, finding(5_000))
    obey(own, Acknowledge(command_id="c1", alert_id=first.alert_id, by="ann"))
    (resolved,) = decide(own, settled(5_300, effect=0.0))
    assert (resolved.status, resolved.acknowledged_by) == ("resolved", "ann")
    (reopened,) = decide(own, finding(5_500))
    assert (reopened.status, reopened.acknowledged_by) == ("updated", None)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "one JSON object"),
        (b" " * (MAX_COMMAND_BYTES + 1), "one JSON object"),
        (b"{", "the value: Invalid JSON"),
        (b'{"kind": "shout", "command_id": "c"}', "kind"),
        (b'{"kind": "run_out", "command_id": "c"}', "kind"),
        (b'{"kind": "mute", "command_id": "c", "model_id": "m"}', "mute.from_ms"),
        (b'{"kind": "' + b"x" * 5_000 + b'", "command_id": "c"}', r"\.\.\.$"),
        (b'{"kind": "withdraw", "command_id": "c", "withdraws": "a b"}', "withdraw.withdraws"),
        (
            b'{"kind":"planned_change","command_id":"c","model_id":"m","from_ms":2,"until_ms":2}',
            "`until_ms` must lie after",
        ),
    ],
)
def test_what_is_no_command_is_refused_by_the_name_of_the_field(
    value: bytes | None, said: str
) -> None:
    with pytest.raises(CommandError, match=said):
        read_command(value)


ids = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
texts = st.text(max_size=50)
said = {"command_id": ids, "by": texts, "reason": texts}
spell = {
    "model_id": st.text(min_size=1, max_size=20),
    "model_version": st.none() | st.text(min_size=1, max_size=20),
    "signal": st.none() | st.text(min_size=1, max_size=20),
    "from_ms": st.integers(0, 10**13),
    "until_ms": st.integers(10**13 + 1, 10**14),
}
commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(Mute, **said, **spell),
    st.builds(PlannedChange, **said, **spell),
    st.builds(Acknowledge, **said, alert_id=st.from_regex(r"[0-9a-f]{32}", fullmatch=True)),
    st.builds(Withdraw, **said, withdraws=ids),
    st.builds(set_reference, st.builds(reference, seed=st.integers(1, 3)), name=ids),
)


@given(commands)
def test_a_command_is_read_as_it_was_written(command: Command) -> None:
    assert read_command(command.model_dump_json().encode()) == command
