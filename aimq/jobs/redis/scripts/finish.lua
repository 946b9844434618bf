-- ARGV: id, a final status, error. Returns the record, or false when there is none.
-- A job that is final already stays as it is.
local id, status = ARGV[1], ARGV[2]
local key = key_of(id)
local was = redis.call('HMGET', key, 'status', 'created_at')
if not was[1] then return false end
if not final[was[1]] then
  redis.call('HDEL', key, 'token', 'until', 'owner')
  redis.call('HSET', key, 'status', status, 'error', ARGV[3], 'finished_at', now)
  published(id)
  changed(id, was[1], status, was[2])
  notify()
end
return redis.call('HGETALL', key)
