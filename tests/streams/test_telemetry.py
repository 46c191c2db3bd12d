from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from streams.telemetry import Redaction, configure_log

SECRET = "hunter2-the-secret"  # noqa: S105


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def logged(log_format: str, log_level: str = "debug") -> io.StringIO:
    stream = io.StringIO()
    assert log_format in {"text", "json"}
    configure_log("json" if log_format == "json" else "text", log_level, [SECRET], stream)
    return stream


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_secret_reaches_the_log_by_any_way(log_format: str) -> None:
    stream = logged(log_format)
    log = structlog.get_logger("driftsentry")
    log.info(f"connecting with {SECRET}")  # noqa: G004
    log.info("to", url=f"redis://:{SECRET}@h/0", other="redis://user:unknown-password@h/0")
    log.info("with", kafka={"sasl.password": "unknown-password", "list": [SECRET, SECRET.encode()]})
    log.info("and", password="unknown-password", source_key="unknown-password")  # noqa: S106
    log.info("and", error=ValueError(SECRET), **{SECRET: SECRET})
    logging.getLogger("librdkafka").error("sasl.password=unknown-password %s", SECRET)
    try:
        int(SECRET)
    except ValueError:
        log.exception("failed")
    said = stream.getvalue()
    assert SECRET not in said
    assert "unknown-password" not in said
    assert "ValueError" in said
    assert "redis://***@h/0" in said


def test_no_value_of_a_local_variable_stands_in_a_traceback() -> None:
    stream = logged("text")

    def fails() -> None:
        unknown = "a value of a local variable"
        raise ValueError(len(unknown))

    try:
        fails()
    except ValueError:
        structlog.get_logger().exception("failed")
    assert "a value of" not in stream.getvalue().replace('unknown = "a value of a local', "")


def test_json_lines_are_json() -> None:
    stream = logged("json")
    structlog.get_logger().warning("two\nlines", model_id="a\x1b[31m", n=3, share=0.5, none=None)
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert (found["event"], found["level"], found["n"]) == ("two\nlines", "warning", 3)
    assert (found["share"], found["none"]) == (0.5, None)


def test_no_value_can_forge_a_line_or_move_the_cursor() -> None:
    stream = logged("text")
    structlog.get_logger().info("event", model_id="a\n2026 [error] forged\x1b[2J\x9b")
    said = stream.getvalue()
    assert said.count("\n") == 1
    assert "\x1b" not in said
    assert "\x9b" not in said


def test_the_level_holds_for_both_loggers_and_the_last_set_up_counts() -> None:
    logged("text")
    stream = logged("text", "warning")
    structlog.get_logger().info("quiet")
    logging.getLogger("x").info("quiet")
    structlog.get_logger().warning("loud")
    logging.getLogger("x").warning("loud")
    assert "quiet" not in stream.getvalue()
    assert stream.getvalue().count("loud") == 2


@given(st.text(max_size=30), st.text(max_size=30), st.text(min_size=4, max_size=12))
def test_a_known_secret_is_taken_out_of_any_text(before: str, after: str, secret: str) -> None:
    redacted = Redaction([secret]).text(before + secret + after)
    # What is left may form the secret anew only from the mask's own letters.
    assert secret not in redacted or set(secret) & set("*")


def test_a_secret_within_another_is_no_leak() -> None:
    assert Redaction(["abcd", "abcdef"]).text("x abcdef abcd") == "x *** ***"
    assert Redaction(["", "abcd"]).text("x") == "x"
