"""What the commands share that make, show and set a document, such as a reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import click

from schemas.printable import masked
from streams.cli_commands import send
from streams.cli_options import EXIT_USAGE, fail, require_answer

if TYPE_CHECKING:
    from pydantic import BaseModel

    from streams.config import Settings

OUT: Final = click.Path(dir_okay=False, path_type=Path)
as_json_option: Final = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object."
)


class SetDocument(Protocol):
    """One that is set for a model version, by its digest."""

    @property
    def model_id(self) -> str:
        """The model it was made of."""
        ...

    @property
    def model_version(self) -> str:
        """The version it was made of."""
        ...

    @property
    def digest(self) -> str:
        """Its identity."""
        ...

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """It as JSON has it."""
        ...


Document = TypeVar("Document")


def read_document(
    file: Path, parse: Callable[[bytes], Document], bad: type[ValueError], what: str, maker: str
) -> Document:
    """The document in a file, of which `parse` raises `bad`; `maker` is the command that makes one.

    Fails with a sentence.
    """
    try:
        return parse(file.read_bytes())
    except OSError as error:
        raise fail(f"{file} cannot be read: {error.strerror}", EXIT_USAGE) from None
    except bad as error:
        said = f"{file} holds no {what}: {error}. `{maker}` makes one"
        raise fail(masked(said), EXIT_USAGE) from None


def write_document(document: BaseModel, path: Path, what: str) -> None:
    """Write it as people read it. Fails with a sentence."""
    import orjson

    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    try:
        path.write_bytes(orjson.dumps(document.model_dump(mode="json"), option=options))
    except OSError as error:
        raise fail(
            f"the {what} cannot be written to {path} ({error.strerror}): choose another place "
            "with --out"
        ) from None


def set_document(
    ctx: click.Context,
    kind: str,
    document: SetDocument,
    model: str | None,
    version: str | None,
    options: dict[str, Any],
) -> None:
    """Send the command that sets it, for its own model version unless others are named."""
    model_id = model or document.model_id
    said: dict[str, object] = {
        "kind": kind,
        "model_id": model_id,
        "digest": document.digest,
        "document": document.model_dump(mode="json"),
    }
    options["model_version"] = version or document.model_version
    send(ctx, said, model_id, options)


@contextmanager
def brokers(settings: Settings) -> Iterator[None]:
    """Failures of what is asked of brokers here, as sentences."""
    from confluent_kafka import KafkaException

    from streams.kafka_clients import ClientConfigError, describe, kafka_error
    from streams.lineage import LineageError
    from streams.ports import LogError

    require_answer(settings)
    try:
        yield
    except (LogError, ClientConfigError, LineageError) as error:
        raise fail(masked(str(error))) from error
    except KafkaException as error:
        raise fail(
            f"no broker answers at {settings.bootstrap_servers}: {describe(kafka_error(error))}"
        ) from error
