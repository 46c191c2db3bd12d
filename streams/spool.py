"""The spool: the newest checkpoint of each partition on this machine's disk, while Redis is down.

One file per group and partition, replaced as a whole: written aside, synced, renamed, the directory
synced. It survives the process and a power cut, not the machine. Whoever may write to the directory
can change the state, unless checkpoints are signed; so files are readable by their owner alone, and
links are not followed.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

import structlog

from schemas.records import TopicPartition
from streams.bundle import Bundle, ReadRange, bundle_pieces, open_bundle
from streams.ports import StoredManifest, StoreError
from streams.segments import CheckpointError
from streams.store_rules import check_save_arguments
from streams.topics import journal_key

log = structlog.get_logger(__name__)

MAX_FILES: Final = 1_024
"""More partitions than one worker has. The files that were not written for longest go first."""

_SUFFIX: Final = ".checkpoint"
_ASIDE: Final = ".writing"
_ABANDONED_S: Final = 3_600.0


class Spool:
    """A `SparePlace` in a directory; any thread may call it, and several processes."""

    def __init__(self, directory: Path, *, group: str) -> None:
        """The directory is made where it is missing. Raises `StoreError`."""
        self.name: Final = f"the spool {directory}"
        self._directory = directory
        self._group = group
        self._lock = threading.Lock()
        with self._telling("opening it"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(f"{directory} cannot be read and written by this user")
            for path in directory.glob(f"*{_ASIDE}"):
                # Of a process that died while it wrote.
                with suppress(FileNotFoundError):
                    if time.time() - path.lstat().st_mtime > _ABANDONED_S:
                        path.unlink()

    def path(self, tp: TopicPartition) -> Path:
        """The file of a partition: readable for a person, and for no two partitions the same."""
        digest = hashlib.blake2b(journal_key(self._group, tp), digest_size=12).hexdigest()
        topic = re.sub(r"[^A-Za-z0-9_-]", "_", tp.topic)[:100]
        return self._directory / f"{topic}-{tp.partition}-{digest}{_SUFFIX}"

    def manifests(self, tp: TopicPartition) -> list[StoredManifest]:
        """The manifest of the partition's file, if there is one that can be read."""
        with self._telling("reading"), self._opened(tp) as found:
            return [] if found is None else [found[0].stored]

    def segments(self, tp: TopicPartition, digests: Sequence[str]) -> dict[str, bytes]:
        """Those of the segments that the file holds."""
        with self._telling("reading"), self._opened(tp) as found:
            return {} if found is None else found[0].segments(found[1], digests)

    def keep(
        self,
        tp: TopicPartition,
        lineage: str,
        next_offset: int,
        manifest: bytes,
        segments: Mapping[str, bytes],
    ) -> None:
        """Replace the partition's file."""
        check_save_arguments(lineage, next_offset, segments, segments)
        path = self.path(tp)
        with self._lock, self._telling("writing"):
            pieces = bundle_pieces(lineage, next_offset, manifest, segments)
            # Readable by its owner alone, and a name that nobody else has.
            descriptor, aside = tempfile.mkstemp(_ASIDE, path.name, self._directory)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.writelines(pieces)
                    file.flush()
                    os.fsync(file.fileno())
                Path(aside).replace(path)
            except BaseException:
                with suppress(OSError):
                    Path(aside).unlink()
                raise
            self._sync_directory()
            self._make_room()

    def drop(self, tp: TopicPartition) -> None:
        """Remove the partition's file."""
        with self._lock, self._telling("removing"):
            self.path(tp).unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing to close; the files stay."""

    @contextmanager
    def _opened(self, tp: TopicPartition) -> Iterator[tuple[Bundle, ReadRange] | None]:
        """The partition's file; None where there is none, or none that can be made out."""
        try:
            descriptor = os.open(self.path(tp), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            yield None
            return
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(f"{self.path(tp)} is no file")

            def read(start: int, length: int) -> bytes:
                return _read(file, start, length)

            try:
                bundle = open_bundle(read, status.st_size)
            except CheckpointError as error:
                log.warning(
                    "spooled checkpoint refused", file=str(self.path(tp)), reason=str(error)
                )
                yield None
                return
            yield bundle, read

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _make_room(self) -> None:
        paths = list(self._directory.glob(f"*{_SUFFIX}"))
        if len(paths) > MAX_FILES:
            for path in sorted(paths, key=_written_s)[: len(paths) - MAX_FILES]:
                path.unlink(missing_ok=True)

    @contextmanager
    def _telling(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (OSError, CheckpointError) as error:
            raise StoreError(f"{self.name}, while {doing}: {error}") from error


def _read(file: IO[bytes], start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


def _written_s(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0
