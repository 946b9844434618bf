-- Read before every other script: where a job is kept, and how a change of it is told.
--
-- aimq:job:<id>         hash, the record; fields as the Job's, absent for a default; besides:
--                       token, until, owner  the claim in force, its lease's end
--                       crashes              claims whose lease ran out
--                       settled              the call that ended the last claim
-- aimq:gone:<id>        empty, of a job that was deleted, until it would have expired
-- aimq:status:<status>  sorted set of ids by time of creation; a job is in one of them
-- aimq:expiry           sorted set of ids by the time from which their files are to be deleted
-- aimq:unpublished      sorted set of ids whose message the broker has not confirmed, by creation
-- aimq:sweeping         sorted set of those being published by a sweep, by its lease's end
-- aimq:changed          sorted set of ids by the tick of their last change
-- aimq:tick             the last tick: server time, but never twice the same and never back
-- aimq:changes          channel with a message after changes
--
-- All times are microseconds of the server's clock, the only one that leases go by. Keys are made
-- here and not declared: a Redis Cluster is not supported. SUMMARY, the fields that a list shows,
-- is put before this file.

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local last_tick = tonumber(redis.call('GET', 'aimq:tick') or 0)
local tick = last_tick
local final = { done = true, failed = true, cancelled = true }

local function key_of(id) return 'aimq:job:' .. id end
local function gone(id) return 'aimq:gone:' .. id end
local function index(status) return 'aimq:status:' .. status end

-- Give the changed job to watches; `from` and `to` are its statuses.
local function changed(id, from, to, created_at)
  if from ~= to then
    redis.call('ZREM', index(from), id)
    redis.call('ZADD', index(to), created_at, id)
  end
  tick = math.max(tick + 1, now)
  redis.call('ZADD', 'aimq:changed', tick, id)
end

-- Call once, after the changes if there are any.
local function notify()
  if tick == last_tick then return end
  redis.call('SET', 'aimq:tick', tick)
  redis.pcall('PUBLISH', 'aimq:changes', '') -- a user without the right: watches read on their own
end

local function published(id)
  redis.call('ZREM', 'aimq:unpublished', id)
  redis.call('ZREM', 'aimq:sweeping', id)
end

-- Fields and values in turn; empty when the record has expired.
local function summary(id)
  local values, pairs = redis.call('HMGET', key_of(id), unpack(SUMMARY)), {}
  for at, value in ipairs(values) do
    if value then
      pairs[#pairs + 1] = SUMMARY[at]
      pairs[#pairs + 1] = value
    end
  end
  return pairs
end
