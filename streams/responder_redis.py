"""The responder's store in Redis or Valkey.

Keys of a model (the braces put them into one slot of a cluster; names are percent-encoded):

    {PREFIX:responder:DEPLOYMENT:MODEL}:kept        hash: version, forgotten_ms, n_said
    {PREFIX:responder:DEPLOYMENT:MODEL}:evidence    hash: evidence id -> what is known of it, JSON
    {PREFIX:responder:DEPLOYMENT:MODEL}:said        hash: what a person said, or where a version
                                                    begins, JSON -> its number
    {PREFIX:responder:DEPLOYMENT:MODEL}:published   hash: incident id -> digest, or ?
    {PREFIX:responder:DEPLOYMENT:MODEL}:flights     hash: "KEY WRITER" -> "MILLISECONDS ALONE"
    {PREFIX:responder:DEPLOYMENT:MODEL}:partitions  hash: the partitions that its evidence names
    {PREFIX:responder:DEPLOYMENT:MODEL}:released    hash: request id -> its number, and the request

and of all: PREFIX:responder:epoch, the store's name; PREFIX:responder:models, a hash with each
DEPLOYMENT:MODEL; PREFIX:responder:watermarks, a hash DEPLOYMENT:PARTITION -> milliseconds;
PREFIX:responder:settled and PREFIX:responder:scanned, hashes PARTITION:LINEAGE -> offset.

Nothing expires by itself: it can be had again from the topics, but only by a rebuild. With every
answer comes the store's name, asked for after what was done: an answer from a server that was
emptied meanwhile is never taken for one of a model of which nothing is known.

docs/acl-redis.md lists the commands used; keep it in step.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import orjson
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from streams.incident_evidence import Evidence
from streams.incident_reasons import Noted
from streams.redis_connection import async_connection_pool, in_words
from streams.responder_ports import (
    AnyFrozen,
    FoldPlace,
    Forgotten,
    IncidentStoreError,
    InputPartition,
    Kept,
    ModelName,
    Read,
    StoreLostError,
    frozen_id,
)
from streams.responder_script import (
    BEGIN_SCRIPT,
    FORGET_SCRIPT,
    RAISE_SCRIPT,
    READ_SCRIPT,
    RELEASE_SCRIPT,
    SETTLE_SCRIPT,
    WRITE_SCRIPT,
    call,
    with_text,
)
from streams.responder_stored import (
    REMEDY,
    evidence_of,
    flights_of,
    fold_field,
    fold_of,
    in_twos,
    model_name,
    model_of,
    number_of,
    partition_name,
    released_of,
    request_of,
    said_of,
    said_text,
    text_of,
    unreadable,
)
from streams.store_breaker import FIRST_S, LONGEST_S
from streams.store_rules import check_prefix

LEASE_MS: Final = 300_000
"""How long a writer has for its records, by the server's clock. A producer gives a record up after
two minutes (Kafka's own `delivery.timeout.ms`); the rest is for a process that stood still. Longer
only means that what a dead one has left is written again later."""

_KINDS: Final = ("kept", "evidence", "said", "published", "flights", "partitions", "released")
_MOST_CACHED: Final = 1_000
_MAX_MS: Final = 1 << 53
"""Numbers in scripts are exact below it."""


class _Known(NamedTuple):
    """What does not change as long as a model has this version."""

    version: int
    evidence: Mapping[str, Evidence]
    said: tuple[Noted, ...]


_NOTHING: Final = _Known(0, MappingProxyType({}), ())


class RedisIncidentStore:
    """An `IncidentStore` in Redis 6 or later, or Valkey, for one event loop.

    It connects when it is first used, and again after an error. A server that does not answer is
    waited for within the timeouts, then the call raises `IncidentStoreError`; the next call waits
    before it asks, longer with every error in a row: whoever tries again at once does not spin.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "driftsentry",
        lease_ms: int = LEASE_MS,
        timeout_s: float = 2.0,
        connect_timeout_s: float = 1.0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`url` is `redis://`, `rediss://` (TLS) or `unix://`.

        Raises `StoreError` for a URL that cannot be one (it is not repeated: it may hold a
        password) and `ValueError` for a prefix that would upset the keys.
        """
        check_prefix(prefix)
        self._prefix: Final = prefix
        self._lease_ms: Final = lease_ms
        self._sleep: Final = sleep
        self._address, pool = async_connection_pool(url, timeout_s, connect_timeout_s)
        self._redis: Final[Any] = Redis.from_pool(pool)
        self._epoch: str | None = None
        self._pause_s = 0.0
        # Evidence is large and seldom changes: what was read last, by model, the latest used last.
        self._cache: Final[OrderedDict[ModelName, _Known]] = OrderedDict()

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"Redis at {self._address}"

    async def start(self, epoch: str) -> str:
        """Name it where it has no name, and expect that name from now on."""
        key = self._key("epoch")
        answers = await self._ask(
            "naming the store", [("SET", key, epoch, "NX"), ("GET", key)], is_checked=False
        )
        if answers[1] is None:
            raise StoreLostError(f"{self.name} is being emptied")
        # What was known of a store by another name says nothing of this one.
        self._cache.clear()
        self._epoch = text_of(answers[1], key)
        return self._epoch

    async def epoch(self) -> str | None:
        """Its name, None where it has none."""
        key = self._key("epoch")
        (answer,) = await self._ask("reading its name", [("GET", key)], is_checked=False)
        return None if answer is None else text_of(answer, key)

    async def wipe(self, epoch: str) -> None:
        """Delete everything, and go by this name.

        The name goes first and comes last: whoever else is at work sees that, and so does the next
        one to start where this one died in between.
        """
        index = self._key("models")
        deleting = "deleting everything"
        await self._ask(deleting, [("DEL", self._key("epoch"))], is_checked=False)
        while True:
            (pairs,) = await self._ask(deleting, [("HGETALL", index)], is_checked=False)
            if not pairs:
                break
            for each in pairs:
                keys = self._keys_of(each.decode("utf-8", "replace"))
                commands = [("DEL", *keys), ("HDEL", index, each)]
                await self._ask(deleting, commands, is_checked=False)
        self._cache.clear()
        self._epoch = epoch
        commands = [
            ("DEL", self._key("watermarks"), self._key("settled"), self._key("scanned")),
            ("SET", self._key("epoch"), epoch),
        ]
        await self._ask(deleting, commands, is_checked=False)

    async def read(self, model: ModelName) -> Kept:
        """All of a model at one moment; evidence comes only where the version is a new one."""
        known = self._cache.get(model, _NOTHING)
        keys = self._keys(model)
        (answer,) = await self._ask(
            "reading evidence", [call(READ_SCRIPT, keys, known.version)], base=keys[0]
        )
        version = number_of(answer[0], keys[0])
        if version < known.version:
            raise self._lost(f"{keys[0]} has an older version than before")
        if version != known.version:
            evidence = evidence_of(model, answer[5], keys[1])
            known = _Known(version, MappingProxyType(evidence), said_of(answer[6], keys[2]))
            if len(evidence) != number_of(answer[7], keys[0]):
                raise self._lost(f"{keys[1]} is not as it was written")
        elif version == 0 and answer[2]:
            raise self._lost(f"{keys[0]} is gone")
        self._keep(model, known)
        published = {
            text_of(key, keys[3]): text_of(digest, keys[3]) for key, digest in in_twos(answer[2])
        }
        flights = flights_of(answer[3], keys[4])
        return Kept(
            version,
            known.evidence,
            known.said,
            published,
            released_of(answer[4], keys[6]),
            flights,
            number_of(answer[1], keys[0]) if answer[1] else None,
        )

    async def write(
        self,
        model: ModelName,
        version: int,
        evidence: Sequence[Evidence],
        said: Sequence[Noted],
    ) -> bool:
        """One script. The model's name is noted first, so that no evidence is without it."""
        keys = self._keys(model)
        words = [said_text(each) for each in said]
        pairs = [part for each in evidence for part in (each.evidence_id, each.dump())]
        partitions = sorted({each.partition for each in evidence})
        answers = await self._ask(
            "writing evidence",
            [
                ("HSET", self._key("models"), model_name(model), 1),
                call(
                    WRITE_SCRIPT,
                    keys,
                    version,
                    len(evidence),
                    len(words),
                    *pairs,
                    *words,
                    *partitions,
                ),
            ],
            base=keys[0],
        )
        written = number_of(answers[1], keys[0])
        known = self._cache.get(model, _NOTHING)
        if written and known.version == version:
            more = {each.evidence_id: each for each in evidence}
            words_now = [*known.said, *(each for each in said if each not in known.said)]
            self._keep(
                model,
                _Known(written, MappingProxyType({**known.evidence, **more}), tuple(words_now)),
            )
        return written > 0

    async def begin(self, model: ModelName, version: int, keys: Sequence[str], writer: str) -> bool:
        """One script; flights end by the server's clock."""
        if any(not key or key.split() != [key] for key in keys):
            raise ValueError("the key of a record has no blanks")
        own = self._keys(model)
        (answer,) = await self._ask(
            "beginning to publish",
            [call(BEGIN_SCRIPT, own, version, self._lease_ms, writer, *keys)],
            base=own[0],
        )
        return bool(answer)

    async def settle(
        self, model: ModelName, digests: Mapping[str, str | None], writer: str
    ) -> None:
        """One script."""
        own = self._keys(model)
        pairs = [part for key, digest in digests.items() for part in (key, digest or "")]
        await self._ask(
            "noting what was published",
            [call(SETTLE_SCRIPT, own, writer, *pairs)],
            base=own[0],
        )

    async def forget(self, model: ModelName, version: int, what: Forgotten) -> bool:
        """One script; which partitions are left is known of this version alone."""
        known = self._cache.get(model, _NOTHING)
        if known.version != version:
            kept = await self.read(model)
            known = _Known(kept.version, kept.evidence, tuple(kept.said))
        if not version or known.version != version:
            return False
        gone = set(what.evidence_ids)
        left = {key: each for key, each in known.evidence.items() if key not in gone}
        keys = self._keys(model)
        (answer,) = await self._ask(
            "forgetting what is long over",
            [
                call(
                    FORGET_SCRIPT,
                    keys,
                    version,
                    "" if what.last_ms is None else what.last_ms,
                    len(what.digests),
                    len(what.evidence_ids),
                    len(what.said),
                    len(what.request_ids),
                    *(part for pair in what.digests.items() for part in pair),
                    *what.evidence_ids,
                    *(said_text(each) for each in what.said),
                    *what.request_ids,
                    *sorted({each.partition for each in left.values()}),
                )
            ],
            base=keys[0],
        )
        forgotten = number_of(answer, keys[0])
        if forgotten:
            words = tuple(each for each in known.said if each not in what.said)
            self._keep(model, _Known(forgotten, MappingProxyType(left), words))
        return forgotten > 0

    async def models(self) -> list[ModelName]:
        """Sorted."""
        key = self._key("models")
        (pairs,) = await self._ask("reading the models", [("HGETALL", key)])
        return sorted(model_of(each, key) for each in pairs)

    async def raise_watermarks(self, watermarks: Mapping[InputPartition, int]) -> None:
        """One script: the greater of each."""
        if any(abs(each) >= _MAX_MS for each in watermarks.values()):
            raise ValueError("a watermark is a time in epoch milliseconds")
        pairs = [
            part
            for each, raised_ms in watermarks.items()
            for part in (partition_name(each), raised_ms)
        ]
        if pairs:
            key = self._key("watermarks")
            await self._ask("raising watermarks", [call(RAISE_SCRIPT, [key], *pairs)], base=key)

    async def watermark(self, model: ModelName) -> int | None:
        """The least of its evidence's partitions."""
        own, key = self._keys(model)[5], self._key("watermarks")
        partitions, raised = await self._ask(
            "reading watermarks", [("HGETALL", own), ("HGETALL", key)]
        )
        known = {name: number_of(value, key) for name, value in raised.items()}
        names = [
            partition_name(InputPartition(model.deployment, number_of(each, own))).encode()
            for each in partitions
        ]
        if not names or any(name not in known for name in names):
            return None
        return min(known[name] for name in names)

    async def furthest(self, deployment: str) -> int | None:
        """The greatest of the deployment's."""
        key = self._key("watermarks")
        (raised,) = await self._ask("reading watermarks", [("HGETALL", key)])
        own = partition_name(InputPartition(deployment, 0))[:-1].encode()
        return max(
            (number_of(value, key) for name, value in raised.items() if name.startswith(own)),
            default=None,
        )

    async def raise_settled(self, offsets: Mapping[FoldPlace, int]) -> None:
        """One script: the greater of each."""
        await self._raise_offsets("settled", offsets)

    async def settled(self) -> Mapping[FoldPlace, int]:
        """All of them."""
        return await self._offsets("settled")

    async def raise_scanned(self, offsets: Mapping[FoldPlace, int]) -> None:
        """One script: the greater of each."""
        await self._raise_offsets("scanned", offsets)

    async def scanned(self) -> Mapping[FoldPlace, int]:
        """All of them."""
        return await self._offsets("scanned")

    async def release(self, model: ModelName, request: AnyFrozen) -> AnyFrozen:
        """One script: the first one of its name stays."""
        released = await self._release(model, request, ("", ""))
        assert released is not None
        return released

    async def release_as_read(
        self, model: ModelName, request: AnyFrozen, read: Read
    ) -> AnyFrozen | None:
        """The same script, if nobody has written or released since."""
        return await self._release(model, request, read)

    async def _release(
        self, model: ModelName, request: AnyFrozen, read: tuple[object, object]
    ) -> AnyFrozen | None:
        keys, text = self._keys(model), orjson.dumps(request.model_dump(mode="json"))
        (answer,) = await self._ask(
            "releasing a request",
            [call(RELEASE_SCRIPT, keys, frozen_id(request), text, *read)],
            base=keys[0],
        )
        if not answer:
            return None
        released = request_of(answer, keys[6])[1]
        if not isinstance(released, type(request)):
            raise unreadable(keys[6], f"{frozen_id(request)} is of another kind")
        return released

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _raise_offsets(self, name: str, offsets: Mapping[FoldPlace, int]) -> None:
        pairs = [part for place, offset in offsets.items() for part in (fold_field(place), offset)]
        if pairs:
            key = self._key(name)
            await self._ask("raising offsets", [call(RAISE_SCRIPT, [key], *pairs)], base=key)

    async def _offsets(self, name: str) -> Mapping[FoldPlace, int]:
        key = self._key(name)
        (pairs,) = await self._ask("reading offsets", [("HGETALL", key)])
        return {fold_of(each, key): number_of(offset, key) for each, offset in pairs.items()}

    def _key(self, kind: str) -> str:
        return f"{self._prefix}:responder:{kind}"

    def _keys(self, model: ModelName) -> list[str]:
        return self._keys_of(model_name(model))

    def _keys_of(self, name: str) -> list[str]:
        return [f"{{{self._key(name)}}}:{kind}" for kind in _KINDS]

    def _keep(self, model: ModelName, known: _Known) -> None:
        self._cache[model] = known
        self._cache.move_to_end(model)
        if len(self._cache) > _MOST_CACHED:
            self._cache.popitem(last=False)

    async def _ask(
        self,
        doing: str,
        commands: Sequence[tuple[Any, ...]],
        *,
        base: str = "",
        is_checked: bool = True,
    ) -> list[Any]:
        """The answers, in one round trip. The store's name is asked for last."""
        if self._pause_s:
            # Spread, so that responders do not come back all at once.
            await self._sleep(self._pause_s * random.uniform(0.75, 1.25))  # noqa: S311 - no secret
        epoch_key = self._key("epoch")
        asked = [*commands, ("GET", epoch_key)] if is_checked else commands
        try:
            answers = await self._send(asked)
        except (RedisError, OSError) as error:
            self._pause_s = min(max(FIRST_S, 2 * self._pause_s), LONGEST_S)
            if "WRONGTYPE" in str(error):
                raise unreadable(
                    base or str(commands[0][1]), "a key holds something else"
                ) from error
            raise IncidentStoreError(f"{self.name}, while {doing}: {in_words(error)}") from error
        self._pause_s = 0.0
        if is_checked:
            name = answers.pop()
            if self._epoch is not None and name != self._epoch.encode():
                raise self._lost(f"{epoch_key} is {'gone' if name is None else 'another one'}")
        return answers

    def _lost(self, why: str) -> StoreLostError:
        return StoreLostError(
            f"{self.name} has lost what responders kept there: {why}. It must have the"
            f" maxmemory-policy noeviction. {REMEDY}"
        )

    async def _send(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for each in commands:
            pipeline.execute_command(*each)
        # redis-py would put the command, and so evidence, into the error's text.
        answers = list(await pipeline.execute(raise_on_error=False))
        for answer in answers:
            if isinstance(answer, NoScriptError):
                # The name was asked for beside it: once more, after the script.
                return await self._send([with_text(each) for each in commands])
            if isinstance(answer, Exception):
                raise answer
        return answers
