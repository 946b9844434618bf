-- ARGV: id. Returns 1 if there was such a job, expired or not, else 0.
local id = ARGV[1]
local left = redis.call('PTTL', key_of(id))
if left > 0 then redis.call('SET', gone(id), '', 'PX', left) end
local there = redis.call('DEL', key_of(id)) + redis.call('ZREM', 'aimq:expiry', id)
if there == 0 then return 0 end
for _, status in ipairs({ 'queued', 'processing', 'retrying', 'done', 'failed', 'cancelled' }) do
  redis.call('ZREM', index(status), id)
end
published(id)
redis.call('ZREM', 'aimq:changed', id)
return 1
