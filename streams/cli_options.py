"""What the commands share: options that stand for settings, and one clear sentence on an error.

Exit codes: 0 done, 1 something failed while running, 2 wrong usage or configuration, 3 a person has
to decide (the message says between what), 130 interrupted.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from pathlib import Path

    from streams.config import Settings
    from streams.config_loader import Configuration

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_DECISION: Final = 3
EXIT_INTERRUPTED: Final = 130

_SECRETS: Final = "driftsentry.secrets"
Command = TypeVar("Command", bound=Callable[..., Any])
Option = Callable[[Command], Command]


class Failure(click.ClickException):
    """An error as its user sees it: a sentence, what to do, an exit code."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def show(self, file: Any = None) -> None:
        """Print it on stderr."""
        click.echo(f"driftsentry: {self.message}", file=file, err=True)


class Sentences(click.Group):
    """A group of commands whose errors are sentences; `--debug` shows where they come from."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn whatever it raises into a `Failure`, without secrets."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            error.message = _redacted(ctx, error.message)
            raise
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
        except Exception as error:  # whatever it is, a user gets a sentence
            if ctx.params.get("debug"):
                click.echo(_redacted(ctx, traceback.format_exc()), err=True, nl=False)
            raise _failure(ctx, error) from error


def _redacted(ctx: click.Context, text: str) -> str:
    from streams.telemetry import Redaction

    return Redaction(ctx.find_root().meta.get(_SECRETS, ())).text(text)


def _failure(ctx: click.Context, error: Exception) -> Failure:
    from streams.config_errors import ConfigError

    if isinstance(error, ConfigError):
        # It repeats no value that could be a secret, and names fields that sound like one.
        n_problems = len(error.problems)
        title = f"{n_problems} things are wrong with the configuration:\n"
        return Failure((title if n_problems > 1 else "") + str(error), EXIT_USAGE)
    # What Kafka says stands in the error object that its exception carries.
    inner = error.args[0] if error.args else None
    said = None if isinstance(inner, str) else getattr(inner, "str", None)
    text = str(said()) if callable(said) else str(error)
    kind = type(error).__name__
    return Failure(_redacted(ctx, f"{text or 'failed'} ({kind}; --debug shows where)"))


def fail(message: str, exit_code: int = EXIT_FAILED) -> Failure:
    """The exception to raise for an error that the command itself has found."""
    return Failure(message, exit_code)


def not_written(path: Path, error: OSError, exit_code: int = EXIT_FAILED) -> Failure:
    """The exception to raise where the file of `--output` could not be written."""
    from schemas.printable import masked

    text = f"{masked(str(path))} could not be written: {error.strerror or error}"
    return fail(f"{text}; name a file in another place with --output", exit_code)


def _kafka_property(
    _ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not (name and equals):
            raise click.BadParameter("write it as NAME=VALUE")
        found[name] = text
    return found


_CONNECTION: Final[tuple[Option[Any], ...]] = (
    click.option("--config", metavar="FILE", help="YAML file (also DRIFTSENTRY_CONFIG)."),
    click.option("--bootstrap-servers", metavar="HOST:PORT", help="Kafka brokers."),
    click.option(
        "-X",
        "--kafka",
        metavar="NAME=VALUE",
        multiple=True,
        callback=_kafka_property,
        help="A property of librdkafka; may be repeated. Secrets as ${env:NAME} or ${file:/path}.",
    ),
    click.option(
        "--insecure",
        is_flag=True,
        default=None,
        help="Allow an unencrypted connection to brokers on other machines.",
    ),
)
_TOPICS: Final[tuple[Option[Any], ...]] = tuple(
    click.option(f"--{name}-topic", metavar="TOPIC", help=f"Default driftsentry.{name}.")
    for name in (
        "events",
        "alerts",
        "dead-letter",
        "journal",
        "commands",
        "checkpoints",
        "liveness",
        "anomalies",
        "incidents",
        "retraining",
        "rollback",
        "followup",
        "undelivered",
        "audit",
    )
)
_GROUP_NAME: Final[tuple[Option[Any], ...]] = (
    click.option("--group", metavar="NAME", help="Consumer group."),
)
_GROUP: Final[tuple[Option[Any], ...]] = (
    click.option("--redis-url", metavar="URL", help="Where checkpoints are kept."),
    click.option("--redis-prefix", metavar="PREFIX", help="Every key begins with it."),
    *_GROUP_NAME,
    click.option(
        "--mode",
        type=click.Choice(["exactly-once", "at-least-once"]),
        help="Default exactly-once.",
    ),
)
_LONE_GROUP: Final[tuple[Option[Any], ...]] = (
    click.option("--group", metavar="NAME", help="Consumer group of the workers."),
)
_INSTANCE: Final[tuple[Option[Any], ...]] = (
    click.option("--instance", metavar="NAME", help="Stable name of this process."),
)
_LOG: Final[tuple[Option[Any], ...]] = (
    click.option("--log-format", type=click.Choice(["text", "json"]), help="Default text."),
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        help="Default info.",
    ),
)
_WORKER: Final[tuple[Option[Any], ...]] = (
    click.option(
        "--duty",
        type=click.Choice(["drift", "security", "all"]),
        help="Drift, attacks, or both in a process each; default drift.",
    ),
    *_INSTANCE,
    click.option(
        "--start",
        type=click.Choice(["earliest", "latest"]),
        help="Where a new partition begins; default earliest.",
    ),
    click.option(
        "--accept-reset",
        is_flag=True,
        default=None,
        help="Go on after the group's offsets were reset: new lineages begin.",
    ),
    *_LOG,
)


def with_options(options: tuple[Option[Any], ...], command: Command) -> Command:
    """The command with these options, in their order."""
    for option in reversed(options):
        command = option(command)
    return command


def connection_options(command: Command) -> Command:
    """The options of every command that talks to Kafka."""
    return with_options(_CONNECTION + _TOPICS, command)


def worker_options(command: Command) -> Command:
    """The options of a worker, and of what looks at its settings."""
    return with_options(_CONNECTION + _GROUP + _WORKER + _TOPICS, command)


def audit_options(command: Command) -> Command:
    """The options of what looks at what a group of workers has done."""
    return with_options(_CONNECTION + _GROUP + _TOPICS, command)


def trail_options(command: Command) -> Command:
    """The options of an auditor."""
    return with_options(_CONNECTION + _LONE_GROUP + _LOG + _TOPICS, command)


def respond_options(command: Command) -> Command:
    """The options of a responder."""
    return with_options(_CONNECTION + _GROUP + _INSTANCE + _LOG + _TOPICS, command)


def notify_options(command: Command) -> Command:
    """The options of who tells receivers."""
    return with_options(_CONNECTION + _GROUP_NAME + _LOG + _TOPICS, command)


def load_configuration(
    ctx: click.Context, options: Mapping[str, Any], *required: str
) -> Configuration:
    """The effective configuration under these options. Raises `ConfigError`.

    The secrets it refers to are kept from every message and log line of this run.
    """
    from streams.config_loader import load
    from streams.credentials import secret_values
    from streams.telemetry import configure_log

    settings: dict[str, object] = {}
    for name, value in options.items():
        if name.endswith("_topic"):
            settings[f"topics.{name.removesuffix('_topic')}"] = value
        elif name == "kafka":
            settings |= {f"kafka.{key}": text for key, text in value.items()}
        elif name != "config":
            settings[name] = value
    configuration = load(options.get("config"), options=settings, required=required)
    secrets = secret_values(configuration.settings)
    ctx.find_root().meta[_SECRETS] = secrets
    configure_log(configuration.settings.log_format, configuration.settings.log_level, secrets)
    return configuration


def require_answer(settings: Settings) -> None:
    """For a command that ends: raises `Failure`, one sentence, where no broker answers soon."""
    from schemas.printable import masked
    from streams.kafka_clients import ClientConfigError, NoBrokerError, require_broker
    from streams.kafka_properties import read_properties

    try:
        require_broker(settings.bootstrap_servers, read_properties(settings.kafka))
    except NoBrokerError as error:
        raise fail(masked(str(error))) from None
    except ClientConfigError as error:
        raise fail(masked(str(error)), EXIT_USAGE) from None


def say_warnings(configuration: Configuration) -> None:
    """Print what should be said aloud, on stderr."""
    for warning in configuration.warnings:
        click.echo(f"driftsentry: warning: {warning}", err=True)


def finish(exit_code: int) -> None:
    """End the process with this exit code, unless it is 0."""
    if exit_code:
        sys.exit(exit_code)
