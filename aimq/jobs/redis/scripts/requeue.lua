-- ARGV: id. Returns the record, or false when there is none. Only a failed job is changed.
local id = ARGV[1]
local key = key_of(id)
local was = redis.call('HMGET', key, 'status', 'created_at')
if not was[1] then return false end
if was[1] == 'failed' then
  redis.call('HDEL', key, 'attempts', 'crashes', 'error', 'finished_at')
  redis.call('HSET', key, 'status', 'queued', 'published', 1)
  changed(id, 'failed', 'queued', was[2])
  notify()
end
return redis.call('HGETALL', key)
