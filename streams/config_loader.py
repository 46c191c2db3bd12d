"""Where the configuration comes from: command line, environment, file, defaults, in that order.

The file has two sections: `worker` (process settings, `streams/config.py`) and `detection` (the
detection config, `schemas/config.py`). Every wrong field is named at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from schemas.config import DetectionConfig
from streams.config import Settings, settings_warnings
from streams.config_errors import ConfigError, Problem
from streams.config_layers import CONFIG_VARIABLE, PREFIX, Layers
from streams.config_yaml import MAX_BYTES, Document, read_yaml


class Configuration(NamedTuple):
    """A configuration that holds together, and what should be said aloud of it."""

    settings: Settings
    detection: DetectionConfig
    warnings: tuple[str, ...]


def load(
    file: str | Path | None = None,
    environ: Mapping[str, str] = os.environ,
    options: Mapping[str, object] | None = None,
    required: Sequence[str] = (),
) -> Configuration:
    """The effective configuration; `options` are settings by name (`topics.alerts` by path).

    `file` None takes the file that DRIFTSENTRY_CONFIG names, if any. `required` names settings
    that nobody may leave to their defaults. Raises `ConfigError`, which names every wrong field.
    """
    chosen = file if file is not None else environ.get(CONFIG_VARIABLE) or None
    document = read_file(chosen) if chosen is not None else None
    layers = Layers(document)
    layers.add_environment(environ)
    layers.add_options(options or {})
    settings, detection = layers.validate()
    missing = [name for name in required if name not in settings.model_fields_set]
    if missing:
        raise ConfigError(
            *(
                Problem(
                    f"worker.{name}",
                    "is missing",
                    f"give --{name.replace('_', '-')} or set {PREFIX}{name.upper()}",
                )
                for name in missing
            )
        )
    said = [*settings_warnings(settings), *layers.warnings]
    if settings.source_key is None:
        said.append(
            "there is no source key: the sources of events are dropped; set "
            f"{PREFIX}SOURCE_KEY or {PREFIX}SOURCE_KEY_FILE to keep keyed hashes of them"
        )
    return Configuration(settings, detection, tuple(said))


def read_file(file: str | Path) -> Document:
    """Read a configuration file. Raises `ConfigError`."""
    try:
        with Path(file).open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a file name"
        text = f"cannot read the configuration file: {why}"
        raise ConfigError(Problem("", text, source=str(file))) from None
    return read_yaml(content, str(file))


def check_file(file: str | Path) -> Configuration:
    """Check a file alone, without the environment. Raises `ConfigError`."""
    layers = Layers(read_file(file))
    settings, detection = layers.validate()
    return Configuration(settings, detection, tuple(settings_warnings(settings)))
