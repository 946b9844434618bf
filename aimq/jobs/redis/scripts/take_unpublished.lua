-- ARGV: age, lease, limit. Returns {id, record} for each job taken.
local age, lease, limit = unpack(ARGV)
-- Sweeps whose lease ran out: their jobs were old enough already.
for _, id in ipairs(redis.call('ZRANGE', 'aimq:sweeping', '-inf', now, 'BYSCORE',
  'LIMIT', 0, limit)) do
  redis.call('ZREM', 'aimq:sweeping', id)
  redis.call('ZADD', 'aimq:unpublished', 0, id)
end
local taken = {}
for _, id in ipairs(redis.call('ZRANGE', 'aimq:unpublished', '-inf', now - age, 'BYSCORE',
  'LIMIT', 0, limit)) do
  redis.call('ZREM', 'aimq:unpublished', id)
  if redis.call('HGET', key_of(id), 'status') == 'queued' then
    redis.call('ZADD', 'aimq:sweeping', now + lease, id)
    taken[#taken + 1] = { id, redis.call('HGETALL', key_of(id)) }
  end
end
return taken
