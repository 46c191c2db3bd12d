"""`${env:NAME}` and `${file:/path}`: values that stand elsewhere, so that a config holds no secret.

References are read late, when a client is made. A file that holds a secret must be readable by
its owner alone; one that belongs to root may also be readable by its group (as PostgreSQL has it,
and as Kubernetes mounts secrets for a process that is not root).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from typing import Final

from streams.config_errors import ConfigError, Problem

_REFERENCE: Final = re.compile(r"\$\{(env|file):([^${}]+)\}")
_MAX_FILE_BYTES: Final = 65_536
MIN_KEY_BYTES: Final = 16
"""A key shorter than this could be guessed."""


def has_reference(text: str) -> bool:
    """Whether a value holds `${...}` anywhere."""
    return "${" in text


def is_reference(text: str) -> bool:
    """Whether a value is one reference and nothing else."""
    return _REFERENCE.fullmatch(text) is not None


def without_references(text: str) -> str:
    """The value with each reference replaced by a harmless word."""
    return _REFERENCE.sub("reference", text)


def reference_problem(text: str) -> str:
    """What is wrong with the form of the references in a value; "" where nothing is."""
    if "${" not in _REFERENCE.sub("", text):
        return ""
    return "holds `${` that begins neither `${env:NAME}` nor `${file:/path}`"


def expand(
    text: str,
    path: str,
    environ: Mapping[str, str] = os.environ,
    encode: Callable[[str], str] = str,
) -> str:
    """The value with its references read; `encode` is applied to each of them.

    Raises `ConfigError` that names `path` and what could not be read, never a value.
    """
    return _REFERENCE.sub(lambda match: encode(_read(match[1], match[2], path, environ)), text)


def _read(kind: str, name: str, path: str, environ: Mapping[str, str]) -> str:
    if kind == "file":
        try:
            return read_secret_file(name, path).decode()
        except UnicodeDecodeError:
            raise ConfigError(Problem(path, f"the file {name} is not UTF-8 text")) from None
    value = environ.get(name, "")
    if not value:
        text = f"refers to the environment variable {name}, which is not set"
        raise ConfigError(Problem(path, text, f"set {name} for this process"))
    return value


def read_secret_file(name: str, path: str) -> bytes:
    """The content of a secret's file, without the line end at its end.

    Raises `ConfigError` where it cannot be read, is no plain file, is empty or above 64 KiB, or
    may be read by others than its owner.
    """
    try:
        # Not blocking: a named pipe would keep the process waiting for a writer.
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            # Of the open file, not of the name: that could be another file a moment later.
            _check_status(os.fstat(descriptor), name, path)
            content = os.read(descriptor, _MAX_FILE_BYTES + 1)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a file name"
        raise ConfigError(Problem(path, f"cannot read the file {name}: {why}")) from None
    if len(content) > _MAX_FILE_BYTES:
        raise ConfigError(Problem(path, f"the file {name} is larger than {_MAX_FILE_BYTES} bytes"))
    content = content.rstrip(b"\r\n")
    if not content:
        raise ConfigError(Problem(path, f"the file {name} is empty"))
    return content


def _check_status(status: os.stat_result, name: str, path: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(Problem(path, f"{name} is not a plain file"))
    allowed = stat.S_IRWXU | (stat.S_IRGRP if status.st_uid == 0 else 0)
    if stat.S_IMODE(status.st_mode) & ~allowed:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        text = f"the file {name} has mode {mode}: others than its owner can use it"
        raise ConfigError(Problem(path, text, f"run `chmod 600 {name}`"))


def read_key(reference: str, path: str, environ: Mapping[str, str] = os.environ) -> bytes:
    """The bytes of a key; a key's file may hold any bytes, a variable text.

    Raises `ConfigError` where it cannot be read or has fewer than 16 bytes.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ConfigError(Problem(path, "is not a reference", "write ${env:NAME} or ${file:/path}"))
    kind, name = match.groups()
    if kind == "file":
        key = read_secret_file(name, path)
    else:
        key = _read(kind, name, path, environ).encode()
    if len(key) < MIN_KEY_BYTES:
        text = f"the key has {len(key)} bytes, at least {MIN_KEY_BYTES} are needed"
        raise ConfigError(Problem(path, text, "make one with `openssl rand -hex 32`"))
    return key
