"""The one script that writes a checkpoint in Redis: compare, take over, set, drop, or nothing."""

from __future__ import annotations

from typing import Final

# KEYS: head. ARGV: lineage, parent, offset (decimal), manifest, number of manifests kept, digests.
# Every other key has the same hash tag and follows from the head's name: segments to drop are known
# only here. Offsets are compared as decimal text, since Lua's numbers end at 2 to the 53rd.
# The manifest is the first write: where memory is short it is refused before anything has changed.
SAVE_SCRIPT: Final = """
local head = KEYS[1]
local base = string.sub(head, 1, -5)
local lineage, parent, offset, manifest = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local n_kept = tonumber(ARGV[5])

local order = {}
for slot in string.gmatch(redis.call('HGET', head, 'order') or '', '%d') do
  order[#order + 1] = slot
end

local replaces_newest = false
if order[1] then
  local newest = redis.call('HMGET', head, order[1] .. ':lineage', order[1] .. ':offset')
  local refused = false
  if newest[1] == lineage then
    local stored = newest[2] or '0'
    refused = #stored > #offset or (#stored == #offset and stored > offset)
    replaces_newest = stored == offset
  elseif newest[1] then
    refused = newest[1] ~= parent
  end
  if refused then
    for i = 6, #ARGV do redis.call('DEL', base .. 'new:' .. ARGV[i]) end
    return 0
  end
end

local is_new, keep = {}, {}
for i = 6, #ARGV do
  local digest = ARGV[i]
  if redis.call('EXISTS', base .. 'new:' .. digest) == 1 then
    is_new[#is_new + 1] = digest
  elseif redis.call('EXISTS', base .. 'seg:' .. digest) == 0 then
    return -1
  end
  keep[digest] = true
end

local slot
if replaces_newest then
  slot = table.remove(order, 1)
elseif #order >= n_kept then
  slot = table.remove(order)
else
  local taken = {}
  for _, other in ipairs(order) do taken[other] = true end
  local free = 0
  while taken[tostring(free)] do free = free + 1 end
  slot = tostring(free)
end
local dropped = redis.call('HGET', head, slot .. ':segments') or ''
for _, other in ipairs(order) do
  local segments = redis.call('HGET', head, other .. ':segments') or ''
  for digest in string.gmatch(segments, '%x+') do keep[digest] = true end
end
table.insert(order, 1, slot)

redis.call('HSET', head, slot .. ':lineage', lineage, slot .. ':offset', offset,
  slot .. ':manifest', manifest, slot .. ':segments', table.concat(ARGV, ' ', 6),
  'order', table.concat(order, ' '))
for _, digest in ipairs(is_new) do
  redis.call('RENAME', base .. 'new:' .. digest, base .. 'seg:' .. digest)
  redis.call('PERSIST', base .. 'seg:' .. digest)
end
for digest in string.gmatch(dropped, '%x+') do
  if not keep[digest] then redis.call('DEL', base .. 'seg:' .. digest) end
end
return 1
"""
