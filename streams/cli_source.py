"""`driftsentry source`: who holds the key ties a pseudonym to a name, and a name to a pseudonym."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import click

from schemas.printable import masked
from streams.cli_options import (
    EXIT_DECISION,
    EXIT_USAGE,
    connection_options,
    fail,
    load_configuration,
)

if TYPE_CHECKING:
    from streams.config import Settings
    from streams.config_loader import Configuration
    from streams.source_names import NameFinder

_HASH: Final = re.compile("[0-9a-f]{12,32}")


def _hashes(
    _ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(value.lower() for value in values))
    for value in found:
        if _HASH.fullmatch(value) is None:
            raise click.BadParameter(
                f"{value!r} is no pseudonym: it has 32 hex digits, of which 12 will do"
            )
    return found


@click.group()
def source() -> None:
    """Tie the pseudonyms of findings to the names of sources: who holds the key can."""


@source.command("hash")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--config", metavar="FILE", help="YAML file (also DRIFTSENTRY_CONFIG).")
@click.pass_context
def hash_names(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Print the pseudonym of each NAME, as `source` or `label_source` of events has it.

    The id of the key stands on stderr: pseudonyms of two keys do not compare.
    """
    from schemas.source_hash import SourceKey

    key = SourceKey(_key(load_configuration(ctx, options).settings))
    click.echo(f"key {key.fingerprint}", err=True)
    for name in names:
        if not name:
            raise fail("an empty name is no source, and has no pseudonym", EXIT_USAGE)
        if not _is_unicode(name):
            raise fail(f"{masked(name)} is no UTF-8, and so no name of a source", EXIT_USAGE)
        click.echo(f"{key.digest(name).hex()}  {masked(name)}")


@source.command("resolve")
@click.argument("hashes", metavar="PSEUDONYM...", nargs=-1, required=True, callback=_hashes)
@click.option(
    "--names",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Candidates, one a line; - for stdin.",
)
@click.option("--from-topic", is_flag=True, help="Candidates are who sent what the topic has.")
@click.option(
    "--key-id",
    metavar="HEX",
    help="The key the pseudonyms are of, as `user.domain` says it: another one is refused.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, names unchanged.")
@connection_options
@click.pass_context
def resolve(
    ctx: click.Context,
    /,
    hashes: tuple[str, ...],
    names: str | None,
    from_topic: bool,
    key_id: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Print the name behind each PSEUDONYM, of candidates from a list or from the events topic.

    The first 12 digits of one will do, as sentences of findings have them.

    Exit codes: 0 all were found, 1 some were not, 2 wrong usage or configuration, 3 the topic could
    not be read.
    """
    if (names is None) == (not from_topic):
        raise fail("say where the names are: either --names or --from-topic", EXIT_USAGE)
    required = ["bootstrap_servers"] if from_topic else []
    configuration = load_configuration(ctx, options, *required)
    import orjson

    from streams.source_names import NameFinder

    finder = NameFinder(_key(configuration.settings), hashes)
    if key_id is not None and key_id.lower() != finder.fingerprint:
        raise fail(
            f"these pseudonyms are of key {key_id}, and the configured one is {finder.fingerprint}",
            EXIT_USAGE,
        )
    if names is None:
        _look_at_topic(finder, configuration)
    elif n_bad := _look_at_file(finder, names):
        what = "1 line is" if n_bad == 1 else f"{n_bad:,} lines are"
        click.echo(f"driftsentry: {what} no UTF-8, and left out", err=True)
    for each in hashes:
        if (name := finder.found.get(each)) is None:
            continue
        whole = finder.digest(name).hex()
        document = orjson.dumps({"source": whole, "name": name}).decode()
        click.echo(document if as_json else f"{whole}  {masked(name)}")
    missing = [each for each in hashes if each not in finder.found]
    if missing:
        raise fail(
            f"no candidate is {', '.join(missing)} by key {finder.fingerprint}; compare it with "
            "`user.domain` of the finding"
        )


def _is_unicode(name: str) -> bool:
    """Whether there is UTF-8 for it: bytes of an argument that are none stand there as they are."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _key(settings: Settings) -> bytes:
    from streams.credentials import source_key

    key = source_key(settings)
    if key is None:
        raise fail(
            "no source key is configured: set `worker.source_key` to the reference that the "
            "workers have",
            EXIT_USAGE,
        )
    return key


def _look_at_file(finder: NameFinder, path: str) -> int:
    from streams.source_names import look_at_lines

    try:
        with click.open_file(path, "rb") as lines:
            return look_at_lines(finder, lines)
    except OSError as error:
        raise fail(f"could not read the names: {error}", EXIT_USAGE) from None


def _look_at_topic(finder: NameFinder, configuration: Configuration) -> None:
    from confluent_kafka import KafkaException

    from streams.kafka_clients import ClientConfigError, describe, kafka_error
    from streams.opened import answering_reader_of
    from streams.ports import LogError
    from streams.source_names import look_at_topic

    try:
        reader = answering_reader_of(configuration.settings)
        try:
            n_events = look_at_topic(finder, reader, configuration.detection)
        finally:
            reader.close()
    except (LogError, ClientConfigError) as error:
        raise fail(f"could not read the events: {error}", EXIT_DECISION) from error
    except KafkaException as error:
        text = describe(kafka_error(error))
        raise fail(f"could not read the events: {text}", EXIT_DECISION) from error
    click.echo(f"{n_events:,} events looked at", err=True)
