"""What Redis does with episodes, each in one step: the scripts.

Keys of an agent, `as:{<agent>}:episodes:…`: `all` orders members by time, a member being its arrival (16 digits) and
its line, so that equal times keep their order and the newest are read by one plain command; `type:<type>` orders
arrivals by time; `types` counts by type; `arrived` numbers arrivals; `pending` orders the arrivals that the archive
lacks; `leaving` keeps members that left `all` before they were archived; `lost` counts those that were never archived.
Over the limit, the oldest episode of the most frequent type leaves: a flood of ticks pushes out ticks and not the one
open escrow. Lifetimes are an eighth longer than asked, so that they need not be renewed with each episode.

When an agent is forgotten, its arrivals go on at the number of its new life, so that each tells of which life it is;
what the archive gave in an earlier life is refused.
"""

from __future__ import annotations

# KEYS everywhere: all, types, arrived, pending, leaving, lost. Keys by type are built, in the agent's own slot.
_FIND = """
local function find(arrival, at)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], at, at)) do
    if string.sub(member, 1, 16) == arrival then return member end
  end
end
"""
_FIND_ID = """
local function find_id(id, at)
  local from, to = at, at
  if at == '' then from, to = '-inf', '+inf' end
  for _, member in ipairs(redis.call('ZREVRANGEBYSCORE', KEYS[1], to, from)) do
    if string.find(member, id, 1, true) then return member, true end
  end
  for _, member in ipairs(redis.call('HVALS', KEYS[5])) do
    if string.find(member, id, 1, true) then return member, false end
  end
end
"""
# All lifetimes are renewed together, so the shortest of `all` and `pending` tells when that is due.
_LIVES = """
local function lives(key, ttl)
  if redis.call('TTL', key) < ttl then redis.call('EXPIRE', key, math.ceil(ttl * 9 / 8)) end
end
local function all_live(ttl)
  for at = 1, 4 do lives(KEYS[at], ttl) end
  local prefix = string.sub(KEYS[1], 1, -4) .. 'type:'
  for _, kind in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do lives(prefix .. kind, ttl) end
end
"""

# ARGV: prefix of types, type, id, time, line, how many are kept, time to live, oldest
# time, most that wait for the archive (0: there is none). 1 when it is kept, and 2 more when it is the agent's first.
# What is too much or too old is swept out at every sixteenth, so up to 15 more than asked are there.
RECORD = (
    """
local call, kind, at, ttl, waiting = redis.call, ARGV[2], ARGV[4], tonumber(ARGV[7]), tonumber(ARGV[9])
local number = call('INCR', KEYS[3])
local arrival = string.format('%016d', number)
local typed = ARGV[1] .. kind
call('ZADD', KEYS[1], at, arrival .. ARGV[5])
call('ZADD', typed, at, arrival)
if call('ZINCRBY', KEYS[2], 1, kind) == '1' then call('EXPIRE', typed, math.ceil(ttl * 9 / 8)) end
local told = KEYS[1]
if waiting > 0 then
  told = KEYS[4]
  call('ZADD', told, at, arrival)
end
if number % 16 ~= 0 and call('TTL', told) >= ttl then return 1 end
"""
    + _LIVES
    + _FIND
    + """
local prefix = ARGV[1]
all_live(ttl)
local function drop(kind, gone, member)
  redis.call('ZREM', prefix .. kind, gone)
  if tonumber(redis.call('ZINCRBY', KEYS[2], -1, kind)) <= 0 then redis.call('ZREM', KEYS[2], kind) end
  if not member then return end
  redis.call('ZREM', KEYS[1], member)
  if redis.call('ZSCORE', KEYS[4], gone) then
    redis.call('HSET', KEYS[5], gone, member)
    lives(KEYS[5], ttl)
  end
end
local function drop_member(member)
  drop(string.match(member, '^%d+%[%d+,"[^"]*","[^"]*","([^"]*)"') or '', string.sub(member, 1, 16), member)
end
for _, old in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[8], 'LIMIT', 0, 100)) do
  drop_member(old)
end
local kept = 1
local over = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[6])
while over > 0 do
  local largest = redis.call('ZREVRANGE', KEYS[2], 0, 0)[1]
  local oldest = largest and redis.call('ZRANGE', prefix .. largest, 0, 0, 'WITHSCORES') or {}
  if oldest[1] then
    drop(largest, oldest[1], find(oldest[1], oldest[2]))
    if oldest[1] == arrival then kept = 0 end
  else
    if largest then redis.call('ZREM', KEYS[2], largest) end
    drop_member(redis.call('ZRANGE', KEYS[1], 0, 0)[1])
  end
  over = over - 1
end
while waiting > 0 and redis.call('ZCARD', KEYS[4]) > waiting do
  local gone = redis.call('ZPOPMIN', KEYS[4])[1]
  if redis.call('HDEL', KEYS[5], gone) == 1 then
    redis.call('INCR', KEYS[6])
    lives(KEYS[6], ttl)
  end
end
return kept + (number == 1 and 2 or 0)
"""
)

# As RECORD, for what Redis may have already; then 1. One ARGV more: the first arrival of the agent's next life; 0 when
# that has begun.
RECORD_AGAIN = (
    _FIND_ID
    + """
if tonumber(redis.call('GET', KEYS[3]) or 0) >= tonumber(ARGV[10]) then return 0 end
if find_id(ARGV[3], ARGV[4]) then return 1 end
"""
    + RECORD
)

# ARGV: key of the type, how many, from, to. The newest lines of one type.
OF_TYPE = (
    _FIND
    + """
local found = redis.call('ZREVRANGEBYSCORE', ARGV[1], ARGV[4], ARGV[3], 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local members = {}
for at = 1, #found, 2 do
  local member = find(found[at], found[at + 1])
  if member then members[#members + 1] = member end
end
return members
"""
)

# ARGV: prefix of types, from. Counts by type, and the first and the last time.
SUMMARIZE = """
local answer = {}
for _, kind in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local count = redis.call('ZCOUNT', ARGV[1] .. kind, ARGV[2], '+inf')
  if count > 0 then answer[#answer + 1] = kind; answer[#answer + 1] = count end
end
local first = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[2], '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local last = redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', ARGV[2], 'WITHSCORES', 'LIMIT', 0, 1)
return {answer, first[2] or '', last[2] or ''}
"""

# ARGV: from, how many. Arrivals that wait for the archive with their times, and the member of each ('' when gone).
PENDING = (
    _FIND
    + """
local found = redis.call('ZRANGEBYSCORE', KEYS[4], ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local answer = {}
for at = 1, #found, 2 do
  answer[#answer + 1] = found[at]
  answer[#answer + 1] = found[at + 1]
  answer[#answer + 1] = redis.call('HGET', KEYS[5], found[at]) or find(found[at], found[at + 1]) or ''
end
return answer
"""
)

# ARGV: arrival, time and revision of what the archive has now. One that was changed meanwhile waits on.
ARCHIVED = (
    _FIND
    + """
for at = 1, #ARGV, 3 do
  local member = redis.call('HGET', KEYS[5], ARGV[at]) or find(ARGV[at], ARGV[at + 1])
  if not member or string.match(member, ',(%d+)%]$') == ARGV[at + 2] then
    redis.call('ZREM', KEYS[4], ARGV[at])
    redis.call('HDEL', KEYS[5], ARGV[at])
  end
end
"""
)

# ARGV: id, time or ''. The member, or nil.
GET = _FIND_ID + "return (find_id(ARGV[1], ARGV[2]))"

# ARGV: id, time, the line as it was read, the new line, whether there is an archive, time to live.
UPDATE = (
    _FIND_ID
    + _LIVES
    + """
local member, stays = find_id(ARGV[1], ARGV[2])
if not member then return -1 end
if string.sub(member, 17) ~= ARGV[3] then return 0 end
local arrival = string.sub(member, 1, 16)
if stays then
  redis.call('ZREM', KEYS[1], member)
  redis.call('ZADD', KEYS[1], ARGV[2], arrival .. ARGV[4])
else
  redis.call('HSET', KEYS[5], arrival, arrival .. ARGV[4])
end
if ARGV[5] == '1' then redis.call('ZADD', KEYS[4], ARGV[2], arrival) end
all_live(tonumber(ARGV[6]))
return 1
"""
)

# ARGV: first arrival of the life. How many members are of an earlier one.
OF_BEFORE = """
local left = 0
for _, members in ipairs({redis.call('ZRANGE', KEYS[1], 0, -1), redis.call('HVALS', KEYS[5])}) do
  for _, member in ipairs(members) do
    if string.sub(member, 1, 16) < ARGV[1] then left = left + 1 end
  end
end
return left
"""

# ARGV: prefix of types, first arrival of the life that begins, the first 12 digits of the last id to go or '' for any
# id, time to live. Removes what arrived in an earlier life; how many that were. With an id given, Redis was away when
# the agent was forgotten, or lost its number since: what is younger than that is of the new life.
FORGET = """
local call, first, last = redis.call, ARGV[2], ARGV[3]
if last ~= '' and tonumber(call('GET', KEYS[3]) or 0) >= tonumber(first) then return 0 end
local function goes(member)
  if string.sub(member, 1, 16) >= first then return false end
  local id = string.match(member, '^%d+%[%d+,"[^"]*","(%x*)"') or ''
  return last == '' or string.sub(id, 1, 12) <= last
end
local removed = 0
for _, member in ipairs(call('ZRANGE', KEYS[1], 0, -1)) do
  if goes(member) then
    local arrival = string.sub(member, 1, 16)
    local kind = string.match(member, '^%d+%[%d+,"[^"]*","[^"]*","([^"]*)"') or ''
    call('ZREM', KEYS[1], member)
    call('ZREM', KEYS[4], arrival)
    if call('ZREM', ARGV[1] .. kind, arrival) == 1 and tonumber(call('ZINCRBY', KEYS[2], -1, kind)) <= 0 then
      call('ZREM', KEYS[2], kind)
    end
    removed = removed + 1
  end
end
for _, member in ipairs(call('HVALS', KEYS[5])) do
  if goes(member) then
    call('ZREM', KEYS[4], string.sub(member, 1, 16))
    call('HDEL', KEYS[5], string.sub(member, 1, 16))
    removed = removed + 1
  end
end
if tonumber(call('GET', KEYS[3]) or 0) < tonumber(first) then
  call('SET', KEYS[3], string.format('%.0f', tonumber(first)), 'EX', ARGV[4])
end
return removed
"""
