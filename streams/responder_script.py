"""The scripts by which responders share evidence in Redis: each is done whole, or not at all.

Keys of a model, in this order: kept, evidence, said, published, flights, partitions, released. All
are hashes and have one hash tag. The first write of a script takes memory: where that is short it
is refused before anything has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

# ARGV: the version that the caller knows. Evidence and what was said come where that is another.
# A flight is the field "KEY WRITER" with "MILLISECONDS ALONE": when it ends by this server's clock.
READ_SCRIPT: Final = """
local kept = redis.call('HMGET', KEYS[1], 'version', 'forgotten_ms', 'n_evidence')
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local flights = {}
local stored = redis.call('HGETALL', KEYS[5])
for i = 1, #stored, 2 do
  local ends_ms = tonumber(string.match(stored[i + 1], '^%d+')) or now_ms
  flights[#flights + 1] = stored[i]
  flights[#flights + 1] = stored[i + 1]
  flights[#flights + 1] = ends_ms <= now_ms and 1 or 0
end
local version = kept[1] or '0'
local found = {version, kept[2] or '', redis.call('HGETALL', KEYS[4]), flights,
  redis.call('HGETALL', KEYS[7])}
if version ~= ARGV[1] then
  found[6] = redis.call('HGETALL', KEYS[2])
  found[7] = redis.call('HGETALL', KEYS[3])
  found[8] = kept[3] or '0'
end
return found
"""

# ARGV: version, number of evidence, number of things said, id and value of evidence, things said,
# partitions. A first version is the time in microseconds: it never comes again, not even after the
# store was emptied, so that what somebody read before that is of no version of now.
WRITE_SCRIPT: Final = """
local version = redis.call('HGET', KEYS[1], 'version') or '0'
if version ~= ARGV[1] then return '0' end
if version == '0' then
  local time = redis.call('TIME')
  redis.call('HSET', KEYS[1], 'version', time[1] .. string.format('%06d', time[2]))
else
  redis.call('HINCRBY', KEYS[1], 'version', 1)
end
local at = 4
for _ = 1, tonumber(ARGV[2]) do
  redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
  at = at + 2
end
for _ = 1, tonumber(ARGV[3]) do
  if not redis.call('HGET', KEYS[3], ARGV[at]) then
    redis.call('HSET', KEYS[3], ARGV[at], redis.call('HINCRBY', KEYS[1], 'n_said', 1))
  end
  at = at + 1
end
for i = at, #ARGV do redis.call('HSET', KEYS[6], ARGV[i], 1) end
redis.call('HSET', KEYS[1], 'n_evidence', redis.call('HLEN', KEYS[2]))
return redis.call('HGET', KEYS[1], 'version')
"""

# ARGV: version, how long a flight lasts in milliseconds, writer, keys. The same twice is as once:
# a client may send it again that has had no answer.
BEGIN_SCRIPT: Final = """
if redis.call('HGET', KEYS[1], 'version') ~= ARGV[1] then return 0 end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local writer = ARGV[3]
local alone = {}
for i = 4, #ARGV do
  redis.call('HSET', KEYS[4], ARGV[i], '?')
  alone[ARGV[i]] = 1
end
local flights = redis.call('HGETALL', KEYS[5])
for i = 1, #flights, 2 do
  local key, other = string.match(flights[i], '^(%S*) (.*)$')
  local ends_ms, is_alone = string.match(flights[i + 1], '^(%d+) (%d)$')
  if not ends_ms or tonumber(ends_ms) <= now_ms then
    redis.call('HDEL', KEYS[5], flights[i])
  elseif key and alone[key] then
    if other ~= writer then
      alone[key] = 0
      redis.call('HSET', KEYS[5], flights[i], ends_ms .. ' 0')
    elseif is_alone == '0' then
      alone[key] = 0
    end
  end
end
local ends_ms = string.format('%.0f', now_ms + tonumber(ARGV[2]))
for i = 4, #ARGV do
  redis.call('HSET', KEYS[5], ARGV[i] .. ' ' .. writer, ends_ms .. ' ' .. alone[ARGV[i]])
end
return 1
"""

# ARGV: writer, then key and digest, which is empty for a key that is gone.
SETTLE_SCRIPT: Final = """
local writer = ARGV[1]
local digests = {}
for i = 2, #ARGV, 2 do digests[ARGV[i]] = ARGV[i + 1] end
local flights = redis.call('HGETALL', KEYS[5])
for i = 1, #flights, 2 do
  local key, other = string.match(flights[i], '^(%S*) (.*)$')
  if other == writer then
    local digest = digests[key]
    if digest and string.match(flights[i + 1], '^%d+ 1$') then
      if digest == '' then
        redis.call('HDEL', KEYS[4], key)
      else
        redis.call('HSET', KEYS[4], key, digest)
      end
    end
    redis.call('HDEL', KEYS[5], flights[i])
  end
end
return 1
"""

# ARGV: version, event time of the last word, numbers of records, of evidence, of things said and of
# requests, then key and digest of records, ids of evidence, things said, ids of requests, and the
# partitions that are left.
FORGET_SCRIPT: Final = """
if redis.call('HGET', KEYS[1], 'version') ~= ARGV[1] then return '0' end
local at = 7
for _ = 1, tonumber(ARGV[3]) do
  if redis.call('HGET', KEYS[4], ARGV[at]) ~= ARGV[at + 1] then return '0' end
  at = at + 2
end
redis.call('HINCRBY', KEYS[1], 'version', 1)
local before_ms = redis.call('HGET', KEYS[1], 'forgotten_ms')
if ARGV[2] ~= '' and (not before_ms or tonumber(before_ms) < tonumber(ARGV[2])) then
  redis.call('HSET', KEYS[1], 'forgotten_ms', ARGV[2])
end
at = 7
for _ = 1, tonumber(ARGV[3]) do
  redis.call('HDEL', KEYS[4], ARGV[at])
  at = at + 2
end
for _ = 1, tonumber(ARGV[4]) do
  redis.call('HDEL', KEYS[2], ARGV[at])
  at = at + 1
end
for _ = 1, tonumber(ARGV[5]) do
  redis.call('HDEL', KEYS[3], ARGV[at])
  at = at + 1
end
for _ = 1, tonumber(ARGV[6]) do
  redis.call('HDEL', KEYS[7], ARGV[at])
  at = at + 1
end
redis.call('DEL', KEYS[6])
for i = at, #ARGV do redis.call('HSET', KEYS[6], ARGV[i], 1) end
redis.call('HSET', KEYS[1], 'n_evidence', redis.call('HLEN', KEYS[2]))
return redis.call('HGET', KEYS[1], 'version')
"""

# ARGV: id of a request, the request, and for which version of the model and number of what was
# released before, or nothing. The first one stays; its number comes before it.
RELEASE_SCRIPT: Final = """
local before = redis.call('HGET', KEYS[7], ARGV[1])
if before then return before end
if ARGV[3] ~= '' then
  local version = redis.call('HGET', KEYS[1], 'version') or '0'
  if version ~= ARGV[3] or redis.call('HLEN', KEYS[7]) ~= tonumber(ARGV[4]) then return '' end
end
local number = redis.call('HINCRBY', KEYS[1], 'n_released', 1)
redis.call('HSET', KEYS[7], ARGV[1], number .. ' ' .. ARGV[2])
return redis.call('HGET', KEYS[7], ARGV[1])
"""

# KEYS: the watermarks. ARGV: partition and milliseconds. None goes back.
RAISE_SCRIPT: Final = """
for i = 1, #ARGV, 2 do
  local before_ms = tonumber(redis.call('HGET', KEYS[1], ARGV[i]))
  if not before_ms or before_ms < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return 1
"""

_SHA: Final = {
    text: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    for text in (
        READ_SCRIPT,
        WRITE_SCRIPT,
        BEGIN_SCRIPT,
        SETTLE_SCRIPT,
        FORGET_SCRIPT,
        RELEASE_SCRIPT,
        RAISE_SCRIPT,
    )
}
_TEXT: Final = {sha: text for text, sha in _SHA.items()}


def call(script: str, keys: Sequence[str], *arguments: object) -> tuple[Any, ...]:
    """The command that runs a script which the server knows."""
    return ("EVALSHA", _SHA[script], len(keys), *keys, *arguments)


def with_text(command: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same command for a server that does not know the script; others as they are."""
    if command[0] != "EVALSHA":
        return command
    return ("EVAL", _TEXT[command[1]], *command[2:])
