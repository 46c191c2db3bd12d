"""Checkpoints and live views in Redis or Valkey.

Keys of a partition (the braces put them into one slot of a cluster):

    {PREFIX:GROUP:TOPIC:PARTITION}:head         hash: up to three manifests and what they reference
    {PREFIX:GROUP:TOPIC:PARTITION}:seg:DIGEST   a segment that a kept manifest references; no expiry
    {PREFIX:GROUP:TOPIC:PARTITION}:new:DIGEST   a segment sent ahead of its manifest; expires
    PREFIX:live:MODEL                           hash: the live view of a model; expires

Segments are sent first, under `new:`. One script then compares, takes the new segments over,
writes the manifest and drops what no manifest references any more: all of it or nothing. A process
that dies in between leaves nothing that does not expire, and a segment in use never gets an expiry.

docs/acl-redis.md lists the commands used; keep it in step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote

import redis
from redis.exceptions import (
    NoScriptError,
    RedisError,
    ResponseError,
)

from schemas.records import TopicPartition
from streams.ports import SaveResult, StoredManifest, StoreError
from streams.redis_connection import connection_pool, in_words
from streams.redis_script import SAVE_SCRIPT
from streams.segments import segment_digest
from streams.store_rules import N_KEPT, VIEW_TTL_S, check_prefix, check_save_arguments

NEW_SEGMENT_TTL_S: Final = 600
"""How long a segment waits for its manifest."""

_SEND_BYTES: Final = 4 * 1024 * 1024
"""Segments are sent in rounds of about this size, so that each is answered within the timeout."""

_FETCH_SEGMENTS: Final = 8

_RESULTS: Final = {1: SaveResult.ACCEPTED, 0: SaveResult.REFUSED, -1: SaveResult.MISSING}


class RedisStore:
    """A `StateStore` in Redis 6 or later, or Valkey; any thread may call it.

    It connects when it is first used, and again after an error.
    """

    def __init__(
        self,
        url: str,
        *,
        group: str,
        prefix: str = "driftsentry",
        timeout_s: float = 2.0,
        connect_timeout_s: float = 1.0,
    ) -> None:
        """`url` is `redis://`, `rediss://` (TLS) or `unix://`; `group` the consumer group.

        Raises `StoreError` for a URL that cannot be one (it is not repeated: it may hold a
        password) and `ValueError` for a prefix that would upset the keys.
        """
        check_prefix(prefix)
        self._prefix = prefix
        self._group = quote(group, safe="")
        self._address, pool = connection_pool(url, timeout_s, connect_timeout_s)
        self._redis = redis.Redis(connection_pool=pool)
        self._script_sha = hashlib.sha1(SAVE_SCRIPT.encode(), usedforsecurity=False).hexdigest()

    @property
    def address(self) -> str:
        """Where the store is, without user and password."""
        return self._address

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"Redis at {self._address}"

    def manifests(self, tp: TopicPartition) -> list[StoredManifest]:
        """The kept manifests of a partition, newest first."""
        with self._telling("reading the checkpoints"):
            head: Mapping[Any, Any] = self._redis.hgetall(self._base(tp) + "head")
        found: list[StoredManifest] = []
        for slot in head.get(b"order", b"").split():
            lineage = head.get(slot + b":lineage", b"").decode("utf-8", "replace")
            offset = head.get(slot + b":offset", b"")
            manifest = head.get(slot + b":manifest")
            # A slot that our script did not write holds no checkpoint.
            if lineage and manifest is not None and offset.isdigit() and len(offset) < 20:
                found.append(StoredManifest(lineage, int(offset), manifest))
        return found

    def segments(self, tp: TopicPartition, digests: Sequence[str]) -> dict[str, bytes]:
        """Those of the segments that are stored."""
        found: dict[str, bytes] = {}
        base = self._base(tp) + "seg:"
        with self._telling("reading the state"):
            for start in range(0, len(digests), _FETCH_SEGMENTS):
                asked = digests[start : start + _FETCH_SEGMENTS]
                contents = self._redis.mget([base + digest for digest in asked])
                found |= {
                    digest: content
                    for digest, content in zip(asked, contents, strict=True)
                    if isinstance(content, bytes)
                }
        return found

    def save(
        self,
        tp: TopicPartition,
        lineage: str,
        parent: str,
        next_offset: int,
        manifest: bytes,
        segments: Mapping[str, bytes],
        referenced: Sequence[str],
    ) -> SaveResult:
        """Compare and set, as `StateStore.save` says."""
        check_save_arguments(lineage, next_offset, segments, referenced)
        base = self._base(tp)
        # Each digest once: the script renames, and a segment is there to be renamed only once.
        digests = tuple(dict.fromkeys(referenced))
        with self._telling("saving a checkpoint"):
            try:
                self._send_ahead(base, segments)
                result = self._run_script(
                    base + "head", lineage, parent, str(next_offset), manifest, N_KEPT, *digests
                )
            except ResponseError:
                # The server answers and has refused (memory is short, most likely): give back
                # what was sent, without waiting for it to expire.
                self._take_back(base, segments)
                raise
        return _RESULTS[result]

    def publish_view(self, model: str, view: Mapping[str, bytes]) -> None:
        """Replace the live view of a model."""
        key = f"{self._prefix}:live:{model}"
        with self._telling("publishing a live view"):
            pipeline = self._redis.pipeline(transaction=True)
            pipeline.delete(key)
            if view:
                pipeline.hset(key, mapping={name: view[name] for name in sorted(view)})
                pipeline.expire(key, VIEW_TTL_S)
            pipeline.execute()

    def live_view(self, model: str) -> dict[str, bytes]:
        """The live view of a model; empty where there is none."""
        with self._telling("reading a live view"):
            view: Mapping[Any, Any] = self._redis.hgetall(f"{self._prefix}:live:{model}")
        return {name.decode("utf-8", "replace"): value for name, value in view.items()}

    def check_policy(self) -> list[str]:
        """Whether the server may throw checkpoints away, and what to do about it."""
        policy: str | None = None
        asks: tuple[Callable[[], Mapping[Any, Any]], ...] = (
            lambda: self._redis.info("memory"),
            lambda: self._redis.config_get("maxmemory-policy"),
        )
        with self._telling("reading the maxmemory-policy"):
            for ask in asks:
                try:
                    answer = ask()
                except ResponseError:
                    # Not allowed, or not offered by this service: ask in the other way.
                    continue
                policy = answer.get("maxmemory_policy") or answer.get("maxmemory-policy")
                if policy is not None:
                    break
        if policy == "noeviction":
            return []
        if policy is None:
            problem = (
                f"Redis at {self._address} does not let us read its maxmemory-policy; see to it"
                " that it is noeviction (or allow the command INFO to this user)."
            )
        else:
            problem = (
                f"Redis at {self._address} has the maxmemory-policy {policy} and may throw"
                " checkpoints away when memory is short; set it to noeviction"
                " (CONFIG SET maxmemory-policy noeviction, and in its configuration file)."
            )
        return [problem]

    def try_out(self, tp: TopicPartition) -> None:
        """Save a checkpoint of a partition that is nobody's, read it and remove it again."""
        digest = segment_digest(b"")
        self.save(tp, "try", "", 0, b"try", {digest: b""}, [digest])
        self.manifests(tp)
        self.segments(tp, [digest])
        base = self._base(tp)
        with self._telling("removing what was tried"):
            self._redis.delete(f"{base}head", f"{base}seg:{digest}")

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
        self._redis.connection_pool.disconnect()

    def _base(self, tp: TopicPartition) -> str:
        return f"{{{self._prefix}:{self._group}:{tp.topic}:{tp.partition}}}:"

    def _send_ahead(self, base: str, segments: Mapping[str, bytes]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        n_bytes = 0
        for n_left, (digest, content) in zip(
            range(len(segments) - 1, -1, -1), segments.items(), strict=True
        ):
            pipeline.set(f"{base}new:{digest}", content, ex=NEW_SEGMENT_TTL_S)
            n_bytes += len(content)
            if n_bytes >= _SEND_BYTES or n_left == 0:
                # redis-py would put the command, and so the state, into the error's text.
                for answer in pipeline.execute(raise_on_error=False):
                    if isinstance(answer, Exception):
                        raise answer
                n_bytes = 0

    def _take_back(self, base: str, segments: Mapping[str, bytes]) -> None:
        try:
            if segments:
                self._redis.delete(*(f"{base}new:{digest}" for digest in segments))
        except RedisError:
            # They expire; the error that brought us here is the one to tell.
            return

    def _run_script(self, head: str, *arguments: str | bytes | int) -> int:
        try:
            return int(self._redis.evalsha(self._script_sha, 1, head, *arguments))
        except NoScriptError:
            return int(self._redis.eval(SAVE_SCRIPT, 1, head, *arguments))

    @contextmanager
    def _telling(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            said = in_words(error)
            raise StoreError(f"Redis at {self._address}, while {doing}: {said}") from error
