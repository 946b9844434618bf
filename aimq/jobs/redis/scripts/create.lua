-- ARGV: lifetime, then for each job: id, idempotency digest or '', created_at, status,
--       1 if published, number of what follows, field, value, field, value, ...
-- Returns for each job false if it was stored, else {id, record} of the one there.
-- A repeated call finds its own jobs.
local lifetime = tonumber(ARGV[1])
local answers = {}
local at = 2
while at <= #ARGV do
  local id, digest, created_at, status, is_published, count = unpack(ARGV, at, at + 5)
  local fields = { unpack(ARGV, at + 6, at + 5 + count) }
  at = at + 6 + count
  local once = 'aimq:once:' .. digest
  local made = digest ~= '' and redis.call('GET', once) or id
  if redis.call('EXISTS', key_of(made)) == 1 then
    answers[#answers + 1] = { made, redis.call('HGETALL', key_of(made)) }
  else
    local born = math.min(tonumber(created_at), now) -- a client's clock may be ahead
    if digest ~= '' then redis.call('SET', once, id, 'PX', math.floor(lifetime / 1000)) end
    redis.call('HSET', key_of(id), unpack(fields))
    redis.call('PEXPIREAT', key_of(id), math.floor((born + lifetime) / 1000))
    redis.call('ZADD', 'aimq:expiry', born + lifetime, id)
    if status == 'queued' and is_published == '0' then
      redis.call('ZADD', 'aimq:unpublished', born, id)
    end
    changed(id, '', status, created_at)
    answers[#answers + 1] = false
  end
end
notify()
return answers
