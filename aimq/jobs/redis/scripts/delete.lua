-- ARGV: ids. Returns for each 1 if it was there, expired or not, else 0.
local answers = {}
for at, id in ipairs(ARGV) do
  local left = redis.call('PTTL', key_of(id))
  if left > 0 then redis.call('SET', gone(id), '', 'PX', left) end
  local there = redis.call('DEL', key_of(id)) + redis.call('ZREM', 'aimq:expiry', id)
  if there > 0 then
    for _, status in ipairs({ 'queued', 'processing', 'retrying', 'done', 'failed', 'cancelled' }) do
      redis.call('ZREM', index(status), id)
    end
    published(id)
    redis.call('ZREM', 'aimq:changed', id)
  end
  answers[at] = math.min(there, 1)
end
return answers
