"""From files, variables and options to a configuration; every wrong field by name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from schemas.config import DetectionConfig
from streams.config import Settings
from streams.config_docs import DOCUMENT, with_tables
from streams.config_errors import ConfigError
from streams.config_layers import variables
from streams.config_loader import check_file, load
from streams.config_schema import config_schema
from streams.config_yaml import MAX_BYTES, read_yaml
from streams.detection_check import Found, check_detection, signal_problem
from tests.streams.json_schema import violations

EXAMPLE = Path(__file__).parents[2] / "examples" / "driftsentry.yaml"
SECRET = "hunter2-the-secret-nobody-may-see"  # noqa: S105

WriteYaml = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> WriteYaml:
    def write_yaml(text: str) -> Path:
        path = tmp_path / "driftsentry.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_yaml


def complaints(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check_file(path)
    return [str(problem).removeprefix(f"{path}") for problem in caught.value.problems]


def test_nothing_needs_to_be_said() -> None:
    configuration = load(environ={})
    assert configuration.settings == Settings()
    assert configuration.detection == DetectionConfig()


@pytest.mark.parametrize("text", ["", "# nothing\n", "worker:\n", "worker: {}\ndetection:\n"])
def test_an_empty_file_stands_for_the_defaults(write: WriteYaml, text: str) -> None:
    assert check_file(write(text)).settings == Settings()


def test_options_win_over_variables_over_the_file_over_defaults(write: WriteYaml) -> None:
    path = write(
        "worker: {group: file, redis_prefix: file, instance: file, topics: {alerts: file, events: "
        "file}}"
    )
    environ = {
        "DRIFTSENTRY_CONFIG": str(path),
        "DRIFTSENTRY_REDIS_PREFIX": "variable",
        "DRIFTSENTRY_INSTANCE": "variable",
        "DRIFTSENTRY_ALERTS_TOPIC": "variable",
        "DRIFTSENTRY_START": "",
    }
    options = {"instance": "option", "group": None, "topics.journal": "option"}
    chosen = load(environ=environ, options=options).settings
    assert (chosen.group, chosen.redis_prefix, chosen.instance) == ("file", "variable", "option")
    assert (chosen.topics.events, chosen.topics.alerts) == ("file", "variable")
    assert (chosen.topics.journal, chosen.topics.dead_letter) == (
        "option",
        "driftsentry.dead-letter",
    )
    assert chosen.start == "earliest"
    other = write("worker: {group: other}")
    assert load(other, environ={"DRIFTSENTRY_CONFIG": "/none"}).settings.group == "other"


def test_the_responder_has_a_section_in_the_file(write: WriteYaml) -> None:
    path = write(
        "worker: {responder: {duties: [drift], sweep_s: 2, incidents: {join_ms: 5}, retraining: "
        "{reasons: [harmful_drift, benign_drift], quarantine: act}}}"
    )
    chosen = load(path).settings.responder
    assert chosen.duties == ("drift",)
    assert (chosen.sweep_s, chosen.incidents.join_ms) == (2, 5)
    assert chosen.retraining.reasons == ("harmful_drift", "benign_drift")
    with pytest.raises(ConfigError, match=r"worker\.responder\.retraining\.quarantine"):
        load(write("worker: {responder: {retraining: {quarantine: never}}}"))


def test_every_plain_setting_has_a_variable() -> None:
    values = {
        "DRIFTSENTRY_BOOTSTRAP_SERVERS": "kafka:9092",
        "DRIFTSENTRY_REDIS_URL": "redis://localhost/3",
        "DRIFTSENTRY_GROUP": "g",
        "DRIFTSENTRY_INSTANCE": "i",
        "DRIFTSENTRY_MODE": "at-least-once",
        "DRIFTSENTRY_REDIS_PREFIX": "p",
        "DRIFTSENTRY_INSECURE": "true",
        "DRIFTSENTRY_START": "latest",
        "DRIFTSENTRY_ACCEPT_RESET": "1",
        "DRIFTSENTRY_COMMIT_INTERVAL_MS": "50",
        "DRIFTSENTRY_POLL_RECORDS": "7",
        "DRIFTSENTRY_CHECKPOINT_INTERVAL_S": "1.5",
        "DRIFTSENTRY_CHECKPOINT_EVENTS": "9",
        "DRIFTSENTRY_CHECKPOINT_TOPIC_INTERVAL_S": "0",
        "DRIFTSENTRY_SPOOL_DIR": "/spool",
        "DRIFTSENTRY_MAX_REPLAY_EVENTS": "11",
        "DRIFTSENTRY_TRANSACTION_TIMEOUT_MS": "20000",
        "DRIFTSENTRY_SESSION_TIMEOUT_MS": "6000",
        "DRIFTSENTRY_LOG_FORMAT": "json",
        "DRIFTSENTRY_LOG_LEVEL": "debug",
        "DRIFTSENTRY_EVENTS_TOPIC": "e",
        "DRIFTSENTRY_ALERTS_TOPIC": "a",
        "DRIFTSENTRY_DEAD_LETTER_TOPIC": "d",
        "DRIFTSENTRY_JOURNAL_TOPIC": "j",
        "DRIFTSENTRY_COMMANDS_TOPIC": "o",
        "DRIFTSENTRY_CHECKPOINTS_TOPIC": "c",
        "DRIFTSENTRY_LIVENESS_TOPIC": "l",
        "DRIFTSENTRY_ANOMALIES_TOPIC": "n",
        "DRIFTSENTRY_INCIDENTS_TOPIC": "t",
        "DRIFTSENTRY_RETRAINING_TOPIC": "r",
        "DRIFTSENTRY_ROLLBACK_TOPIC": "b",
        "DRIFTSENTRY_FOLLOWUP_TOPIC": "f",
        "DRIFTSENTRY_UNDELIVERED_TOPIC": "u",
        "DRIFTSENTRY_AUDIT_TOPIC": "trail",
        "DRIFTSENTRY_DUTY": "security",
        "DRIFTSENTRY_LIVENESS_WINDOW_S": "0",
    }
    assert set(values) == set(variables())
    chosen = load(environ=values).settings
    default = Settings()
    for name in Settings.model_fields:
        if name not in {"kafka", "responder", "notify", "source_key", "checkpoint_key"}:
            assert getattr(chosen, name) != getattr(default, name), name


def test_properties_and_keys_come_from_variables_without_their_values() -> None:
    environ = {
        "DRIFTSENTRY_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "DRIFTSENTRY_KAFKA_SASL_PASSWORD": SECRET,
        "DRIFTSENTRY_SOURCE_KEY": SECRET,
        "DRIFTSENTRY_CHECKPOINT_KEY_FILE": "/run/key",
    }
    chosen = load(environ=environ).settings
    assert chosen.kafka == {
        "security.protocol": "SASL_SSL",
        "sasl.password": "${env:DRIFTSENTRY_KAFKA_SASL_PASSWORD}",
    }
    assert chosen.source_key == "${env:DRIFTSENTRY_SOURCE_KEY}"
    assert chosen.checkpoint_key == "${file:/run/key}"
    assert load(environ={"DRIFTSENTRY_REDIS_URL_FILE": "/run/redis"}).settings.redis_url == (
        Settings.model_validate({"redis_url": "${file:/run/redis}"}).redis_url
    )


def test_a_key_from_two_places_is_refused() -> None:
    environ = {"DRIFTSENTRY_SOURCE_KEY": SECRET, "DRIFTSENTRY_SOURCE_KEY_FILE": "/run/key"}
    with pytest.raises(ConfigError, match="set only one of them") as caught:
        load(environ=environ)
    assert SECRET not in str(caught.value)


def test_a_missing_source_key_and_a_mistyped_variable_are_said() -> None:
    said = load(environ={"DRIFTSENTRY_GRUOP": "g", "DRIFTSENTRY_PORT_80_TCP": "x"}).warnings
    assert "DRIFTSENTRY_GRUOP is not known; did you mean DRIFTSENTRY_GROUP?" in said
    assert any("sources of events are dropped" in warning for warning in said)
    assert not any("PORT_80" in warning for warning in said)
    assert load(environ={"DRIFTSENTRY_SOURCE_KEY": SECRET}).warnings == ()


def test_what_is_required_must_be_said() -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ={}, required=("bootstrap_servers", "redis_url"))
    assert [problem.path for problem in caught.value.problems] == [
        "worker.bootstrap_servers",
        "worker.redis_url",
    ]
    assert "give --redis-url or set DRIFTSENTRY_REDIS_URL" in str(caught.value)


def test_every_wrong_field_is_named_at_once(write: WriteYaml) -> None:
    path = write(
        f"""\
worker:
  bootstrap_servers: kafka:9092
  redis_url: redis://:{SECRET}@localhost/0
  mode: exactly_once
  poll_records: "12"
  kafka:
    sasl.password: {SECRET}
    group.id: x
    ssl.key.pem: [{SECRET}]
    sasl.mechansim: PLAIN
  alerts: y
  cooldown_events: 4
  topics: {{journal: driftsentry.events}}
detectoin: {{}}
detection:
  reference_events: 5
  detectors:
    page_hinkly: {{}}
    page_hinkley:
      threshold: -1
      delta: 1e-3
    adwin: {{delta: yes}}
    kswin: {{enabled: true, window_size: 50}}
  model:
    fraud.v2:
      signals:
        amount: {{}}
        features:x: {{}}
        score: {{detectors: [adwn]}}
    3: {{}}
    a: {{}}
    a: {{}}
"""
    )
    found = complaints(path)
    assert SECRET not in "\n".join(found)
    for wanted in [
        (
            ":2: worker.bootstrap_servers: kafka is on another machine and the connection is not "
            "encrypted; set `security.protocol`"
        ),
        ":3: worker.redis_url: a secret stands in the file; write ${env:NAME}",
        (
            ":4: worker.mode: found 'exactly_once', should be 'exactly-once' or 'at-least-once'; "
            "did you mean `exactly-once`?"
        ),
        ":5: worker.poll_records: found '12', should be a valid integer",
        ':7: worker.kafka."sasl.password": a secret stands in the file',
        ':8: worker.kafka."group.id": is set by the worker; use `worker.group`',
        ':9: worker.kafka."ssl.key.pem": a secret stands in the file',
        (
            ':10: worker.kafka."sasl.mechansim": is no property of librdkafka; did you mean '
            "`sasl.mechanism`?"
        ),
        ":11: worker.alerts: unknown field; it belongs under `worker.topics`",
        ":12: worker.cooldown_events: unknown field; it belongs under `detection.policy`",
        ":13: worker.topics.journal: found 'driftsentry.events', which is the events topic too",
        ":14: detectoin: unknown section; did you mean `detection`?",
        ":16: detection.reference_events: found 5, should be greater than or equal to 20",
        ":18: detection.detectors.page_hinkly: unknown field; did you mean `page_hinkley`?",
        ":20: detection.detectors.page_hinkley.threshold: found -1, should be greater than 0",
        ":22: detection.detectors.adwin.delta: found 'yes', should be a valid number",
        (
            ":23: detection.detectors.kswin.seed: found nothing, and KSWIN draws at random; write "
            "`seed: 1`"
        ),
        ":23: detection.detectors.kswin.stat_size: found 30, should be at most half of",
        (
            ':27: detection.model."fraud.v2".signals.amount: is not a signal\'s name; for a '
            "feature write `feature:amount`"
        ),
        (
            ':28: detection.model."fraud.v2".signals.features:x: is not a signal\'s name; did you '
            "mean `feature:x`?"
        ),
        (
            ":29: detection.model.\"fraud.v2\".signals.score.detectors.0: found 'adwn', which is "
            "no detector; did you mean `adwin`?"
        ),
        ':30: detection.model: has a key that is not a string; quote it, as "3":',
        ":32: detection.model.a: is given twice; it stands in line 31 already",
    ]:
        assert any(line.startswith(wanted) for line in found), (wanted, found)


def test_a_wrong_value_is_named_by_where_it_came_from() -> None:
    with pytest.raises(
        ConfigError, match=r"^DRIFTSENTRY_POLL_RECORDS: worker\.poll_records: found"
    ):
        load(environ={"DRIFTSENTRY_POLL_RECORDS": "many"})
    with pytest.raises(ConfigError, match=r"^--dead-letter-topic: worker\.topics\.dead_letter: "):
        load(environ={}, options={"topics.dead_letter": "a b"})
    with pytest.raises(ConfigError, match=r"^--kafka acks: "):
        load(environ={}, options={"kafka.acks": "1"})


@pytest.mark.parametrize(
    ("windows", "words"),
    [
        ("[10000, 1000]", r"windows: found a list, should ascend, each once: `\[1000, 10000\]`"),
        ("[1000, 1000]", r"windows: .* should ascend, each once: `\[1000\]`"),
        ("[105]", r"windows\.0: found 105, should be a multiple of 10"),
        ("[50]", r"windows\.0: found 50, should be greater than or equal to 100"),
        ("[100, 200, 300, 400, 500, 600]", "windows: .* at most 5 items"),
        ("[]", "windows: .* at least 1 item"),
    ],
)
def test_windows_of_labels_that_are_none_are_said(tmp_path: Path, windows: str, words: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"detection: {{labels: {{windows: {windows}}}}}", encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"detection\.labels\.{words}"):
        load(path, environ={})


@pytest.mark.parametrize("text", ["0 per week", "0.00 per day", "1 per weeks", "x", "1e3 per day"])
def test_a_budget_that_is_none_is_said_with_one_that_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f'detection: {{false_alerts: "{text}"}}', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"detection\.false_alerts: .* `1 per week and model`"):
        load(path, environ={})


@pytest.mark.parametrize(
    ("value", "example"),
    [
        ("5", "`5 per week`"),
        ("0.5", "`0.5 per week`"),
        ("0", "`1 per week and model`"),
        ("-2", "`1 per week and model`"),
        ("true", "`1 per week and model`"),
        (".inf", "`1 per week and model`"),
        ("[1]", "`1 per week and model`"),
    ],
)
@pytest.mark.parametrize("of_model", [False, True])
def test_a_budget_without_its_time_is_said_with_one(
    tmp_path: Path, value: str, example: str, of_model: bool
) -> None:
    path = tmp_path / "c.yaml"
    own = f"false_alerts: {value}"
    text = f"model: {{a: {{{own}}}}}" if of_model else own
    path.write_text(f"detection: {{{text}}}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"false_alerts: found .*, should be like") as caught:
        load(path, environ={})
    assert example in str(caught.value)


def test_a_secret_on_the_command_line_is_refused() -> None:
    with pytest.raises(ConfigError, match="a secret stands on the command line") as caught:
        load(environ={}, options={"kafka.sasl.password": SECRET})
    assert SECRET not in str(caught.value)
    said = load(environ={}, options={"redis_url": f"redis://:{SECRET}@localhost/0"}).warnings
    assert any("seen by everybody" in warning for warning in said)
    assert SECRET not in "\n".join(said)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("- a\n", ": should hold the sections"),
        ("just words\n", ": should hold the sections"),
        ("worker: [a]\n", ":1: worker: should be a mapping"),
        ("worker:\n\tgroup: a\n", ":2:1: is not valid YAML"),
        ("worker: {group: a\n", "is not valid YAML"),
        ("worker:\n  group: a\n  group: b\n", ":3: worker.group: is given twice; it stands in"),
        ("a: 1\n---\nb: 2\n", "is not valid YAML"),
        ("worker: !!python/object:os.system {}\n", "has a tag that is not allowed here"),
        ("worker: {group: !!binary aGk=}\n", "has a tag that does not fit"),
        ("worker: {group: !!int x}\n", "has a tag that does not fit"),
        ("worker: {group: 2024-01-01, start: no}\n", "worker.start: found 'no', should be"),
        ("detection: {model: {? [a] : {}}}\n", "has a key that is not a string"),
        ("worker: &a {x: *a}\n", "has an alias within its own anchor"),
        ("worker: " + "[" * 40 + "]" * 40, "is nested too deeply"),
        ('worker: {group: "\\ud800"}\n', "holds half a surrogate pair"),
        ("worker: \x00\n", "is not a YAML text"),
    ],
)
def test_a_file_that_is_no_configuration(write: WriteYaml, text: str, wanted: str) -> None:
    assert any(wanted in line for line in complaints(write(text))), complaints(write(text))


def test_an_alias_bomb_is_refused_quickly(write: WriteYaml) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "unfolds into too many values" in complaints(write("\n".join(lines)))[0]
    many = "a: &a x\nb: [" + ", ".join(["*a"] * 300) + "]"
    assert "too many aliases" in complaints(write(many))[0]


def test_a_few_aliases_are_welcome(write: WriteYaml) -> None:
    path = write("detection: {model: {a: &slow {reference_events: 50}, b: *slow, c: *slow}}\n")
    models = check_file(path).detection.model
    assert {name: model.reference_events for name, model in models.items()} == {
        "a": 50,
        "b": 50,
        "c": 50,
    }


def test_a_file_that_is_too_large_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    assert complaints(path) == [f": has more than {MAX_BYTES} bytes"]
    path.write_bytes(b"\xff\xfe")
    assert complaints(path) == [": is not UTF-8 text"]
    assert "No such file" in complaints(tmp_path / "none.yaml")[0]
    assert "cannot read" in complaints(tmp_path)[0]


@pytest.mark.parametrize("value", ["*hunter2", "!hunter2", "&", "@hunter2", "'hunter2", "%hunter2"])
def test_a_syntax_error_repeats_nothing_of_the_file(write: WriteYaml, value: str) -> None:
    found = complaints(write(f"worker:\n  kafka:\n    sasl.password: {value}\n"))
    assert "hunter2" not in "\n".join(found)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1_000", "1_000"),
        ("010", 10),
        ("0o10", 8),
        ("0x10", 16),
        ("yes", "yes"),
        ("on", "on"),
        ("True", True),
        ("~", None),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("'1'", "1"),
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_values_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert read_yaml(f"- {text}\n".encode(), "x").value == [value]


def read_without_surprise(content: bytes, path: Path) -> None:
    """Load it; ConfigError is an answer, anything else a bug."""
    path.write_bytes(content)
    problems: tuple[object, ...] = ("nothing was wrong",)
    try:
        check_file(path)
    except ConfigError as error:
        problems = error.problems
    assert all(map(str, problems))
    assert problems


YAML_LIKE = st.text(
    st.sampled_from(list("ab:-[]{}&*!|>'\"#%@`,? \n\t0123456789.~\\$=<")), max_size=80
)


@settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.one_of(st.binary(max_size=80), YAML_LIKE.map(str.encode)))
@example(b'"\\UFFFFFFFF"')
@example(b"%YAML 9.9\n---\na")
@example(b"a: " + b"9" * 5000)
@example(b"? ? ? ? a")
@example(b"!!int ''")
@example(b"!!bool x")
@example(b"!!float ''")
@example(b"!!map []")
@example(b"!!seq {}")
@example(b"&a *a")
@example(b"\xef\xbb\xbfworker: {}")
@example(b"a: |99999999999\n b")
def test_arbitrary_bytes_raise_nothing_but_config_error(tmp_path: Path, content: bytes) -> None:
    read_without_surprise(content, tmp_path / "any.yaml")


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["${env:X}", "score", "adwin", "earliest", "a:1", "redis://h/0"]),
)
NAMES = st.one_of(
    st.text(max_size=6),
    st.sampled_from(
        [
            *Settings.model_fields,
            *DetectionConfig.model_fields,
            *("worker", "detection", "events", "score", "feature:x", "signals", "sasl.password"),
            *("security.protocol", "linger.ms", "enabled", "detectors", "kind", "adwin"),
        ]
    ),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=12,
)
SECTIONS = st.fixed_dictionaries(
    {},
    optional={
        "worker": st.one_of(
            TREES, st.dictionaries(st.sampled_from([*Settings.model_fields]), TREES)
        ),
        "detection": st.one_of(
            TREES, st.dictionaries(st.sampled_from([*DetectionConfig.model_fields]), TREES)
        ),
    },
)


@settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.one_of(SECTIONS, TREES))
def test_arbitrary_values_raise_nothing_but_config_error(tmp_path: Path, tree: object) -> None:
    content = yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")
    read_without_surprise(content, tmp_path / "any.yaml")


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.sampled_from([*variables()]), st.text(max_size=12)))
def test_arbitrary_variables_raise_nothing_but_config_error(environ: dict[str, str]) -> None:
    with suppress(ConfigError):
        load(environ=environ | {"DRIFTSENTRY_CONFIG": ""})


SECRET_PLACES = [
    'kafka: {{sasl.password: "{0}"}}',
    'kafka: {{sasl.password: ["{0}"]}}',
    'kafka: {{sasl.password: {{a: "{0}"}}}}',
    'kafka: ["{0}"]',
    'kafka: "{0}"',
    'redis_url: "redis://:{0}@localhost/0"',
    'redis_url: "redis://{0}@localhost/0"',
    'redis_url: "{0}"',
    'redis_url: ["{0}"]',
    'redis_url: "http://x:{0}@h"',
    'source_key: "{0}"',
    'checkpoint_key: ["{0}"]',
    'kafka: {{ssl.key.pem: "{0}", sasl.oauthbearer.config: "secret={0}"}}',
    'redis_password: "{0}"',
    'kafka: {{sasl.password: "{0}${{env:X}}", group.id: x}}',
]


@pytest.mark.parametrize("place", SECRET_PLACES)
def test_no_error_repeats_a_secret(write: WriteYaml, place: str) -> None:
    found = complaints(write("worker:\n  " + place.format(SECRET)))
    assert SECRET not in "\n".join(found)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("score", ""),
        ("prediction", ""),
        ("feature:a:b", ""),
        ("missing:x", ""),
        ("joint:mmd", ""),
        ("joint:missing", ""),
        ("joint:residuals", "those are `joint:residual`"),
        ("joint", "those are `joint:residual`"),
        ("class:", "say which: `class:NAME`"),
        ("feature", "say which: `feature:NAME`"),
        ("scores", "did you mean `score`?"),
        ("missin:x", "did you mean `missing:x`?"),
        ("amount", "for a feature write `feature:amount`"),
        ("xyzzy:q", "signals are `feature:NAME`"),
    ],
)
def test_names_of_signals(name: str, remedy: str) -> None:
    text, found = signal_problem(name)
    assert found.startswith(remedy)
    assert bool(text) == bool(remedy)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("class:x", {}),
        ("missing:x", {}),
        ("joint:missing", {}),
        ("feature:country=DE", {}),
        (r"feature:a\=b=__new__", {}),
        ("feature:x", {"kind": "category"}),
        ("prediction", {"kind": "category"}),
    ],
)
@pytest.mark.parametrize("rhythm", ["day", "week"])
def test_what_never_has_a_rhythm_cannot_be_given_one(
    name: str, own: dict[str, str], rhythm: str
) -> None:
    def found(**signal: str) -> list[Found]:
        model = {"a": {"signals": {name: signal}}}
        return check_detection(DetectionConfig.model_validate({"model": model}))

    ((location, problem),) = found(**own, rhythm=rhythm)
    assert location == ("model", "a", "signals", name, "rhythm")
    assert repr(rhythm) in problem.text
    assert problem.remedy == "take it away"
    # That there is none is true.
    assert found(**own, rhythm="none") == []


@pytest.mark.parametrize(
    "name", ["score", "prediction", "feature:x", r"feature:a\=b", "joint:residual", "joint:mmd"]
)
def test_a_number_may_be_given_a_rhythm(name: str) -> None:
    model = {"a": {"signals": {name: {"rhythm": "week"}}}}
    assert check_detection(DetectionConfig.model_validate({"model": model})) == []


@pytest.mark.parametrize(
    ("detection", "path", "text"),
    [
        ({"models": "listed"}, ("models",), "every event would be refused"),
        (
            {"bounds": {"max_models": 1}, "model": {"a": {}, "b": {}}},
            ("bounds", "max_models"),
            "`model` names 2",
        ),
        (
            {"bounds": {"max_lanes": 1}, "model": {"a": {"signals": {"score": {}, "class:1": {}}}}},
            ("bounds", "max_lanes"),
            "names 2 monitored signals",
        ),
        (
            {
                "bounds": {"max_features": 1},
                "model": {"a": {"signals": {"feature:x": {}, "feature:y": {}}}},
            },
            ("model", "a", "signals"),
            "`bounds.max_features` is 1",
        ),
        ({"model": {"": {}}}, ("model", ""), "not a model's name"),
        (
            {"model": {"a": {"signals": {"score": {"detectors": ["focus", "focus"]}}}}},
            ("model", "a", "signals", "score", "detectors", 1),
            "twice",
        ),
        (
            {"model": {"a": {"signals": {"score": {"detectors": []}}}}},
            ("model", "a", "signals", "score", "detectors"),
            "names no detector",
        ),
        (
            {"model": {"a": {"signals": {"score": {"detectors": ["focus"], "monitor": False}}}}},
            ("model", "a", "signals", "score", "detectors"),
            "leaves nothing",
        ),
        (
            {"model": {"a": {"signals": {"score": {"kind": "category"}}}}},
            ("model", "a", "signals", "score", "kind"),
            "have a kind",
        ),
        (
            {
                "detectors": {"adwin": {"enabled": False}},
                "model": {"a": {"signals": {"score": {"detectors": ["adwin"]}}}},
            },
            ("model", "a", "signals", "score", "detectors", 0),
            "switched off",
        ),
    ],
)
def test_contradictions_of_the_detection_config(
    detection: dict[str, object], path: tuple[str | int, ...], text: str
) -> None:
    ((location, problem),) = check_detection(DetectionConfig.model_validate(detection))
    assert location == path
    assert text in problem.text
    assert problem.remedy or problem.path


def test_the_example_is_a_configuration_and_shows_most_of_it() -> None:
    configuration = check_file(EXAMPLE)
    assert configuration.settings.instance == "worker-0"
    assert "credit-risk" in configuration.detection.model


def test_the_schema_refuses_what_the_loader_refuses(write: WriteYaml) -> None:
    schema = config_schema()
    text = EXAMPLE.read_text(encoding="utf-8")
    value = yaml.safe_load(text)
    assert list(violations(value, schema, schema)) == []
    for old, new in (
        ("generation: 1", "generatoin: 1"),
        ("mode: exactly-once", "mode: exactly_once"),
        ("threshold: 131", "threshold: -131"),
        ("feature:amount:", "amount:"),
        ("[page_hinkley]", "[page_hinkly]"),
        ("checkpoint_events: 200000", "checkpoint_events: many"),
    ):
        assert old in text
        wrong = text.replace(old, new)
        assert list(violations(yaml.safe_load(wrong), schema, schema)), new
        with pytest.raises(ConfigError):
            check_file(write(wrong))


def test_the_documentation_lists_every_field_as_it_is() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert with_tables(text) == text, "run `python -m streams.config_docs`"
    for name in (*Settings.model_fields, *DetectionConfig.model_fields):
        assert f"`{name}`" in text or f"detection.{name}" in text or f"worker.{name}" in text
