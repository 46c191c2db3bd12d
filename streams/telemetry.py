"""The log: structlog on stderr, as text for people or as JSON, and never a secret in it.

Lines of the standard library's `logging` (librdkafka's among them) go through the same processors.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from schemas.printable import escaped
from streams.kafka_properties import is_secret

_MASK: Final = "***"
_URL_PASSWORD: Final = re.compile(r"([a-z][a-z0-9+.-]*://)[^/@\s]*@", re.IGNORECASE)
_ASSIGNED: Final = re.compile(
    r"((?:password|passwd|secret|passphrase|token)\w*[\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;]+)",
    re.IGNORECASE,
)


class Redaction:
    """Takes secrets out of texts: those it was told, and what looks like one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first: a secret may be part of another.
        self._secrets = sorted(set(secrets) - {""}, key=lambda secret: (-len(secret), secret))

    def text(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, _MASK)
        return _ASSIGNED.sub(rf"\1{_MASK}", _URL_PASSWORD.sub(rf"\1{_MASK}@", text))

    def value(self, value: object, name: str = "") -> object:
        """The value without secrets, whatever it is; under a secret's name nothing is left."""
        if name and value is not None and _is_secret_name(name):
            return _MASK
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {
                self.text(str(key)): self.value(inner, str(key)) for key, inner in value.items()
            }
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            return [self.value(inner) for inner in value]
        return self.text(value if isinstance(value, str) else repr(value))

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Redact every field of a log line."""
        return {self.text(name): self.value(value, name) for name, value in event.items()}


def _is_secret_name(name: str) -> bool:
    # A record's or a table's `key` is none.
    return name != "key" and is_secret(name.replace("_", "."))


def _without_control(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape control characters, so that no value can forge a line or move a terminal's cursor."""
    return {
        name: escaped(value) if isinstance(value, str) and name != "exception" else value
        for name, value in event.items()
    }


def configure_log(
    log_format: Literal["text", "json"] = "text",
    log_level: str = "info",
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Send every log line of this process to `stream` (stderr), redacted."""
    target = sys.stderr if stream is None else stream
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    last: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        Redaction(secrets),
    ]
    if log_format == "json":
        last.append(structlog.processors.JSONRenderer(ensure_ascii=False))
    else:
        # No frames with the values of local variables: one of them may be a secret.
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=target.isatty(), exception_formatter=plain)
        last += [_without_control, renderer]
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last)
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old.formatter, structlog.stdlib.ProcessorFormatter):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(log_level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
