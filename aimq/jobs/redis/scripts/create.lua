-- ARGV: lifetime, then for each job: id, idempotency digest or '', created_at, status,
--       '1' if published, number of what follows, field, value, field, value, ...
-- Returns for each job false if it was stored, else {id, record} of the one there.
-- A repeated call finds its own jobs.
local lifetime = tonumber(ARGV[1])
local answers = {}
local at = 2
while at <= #ARGV do
  local id, digest, created_at, status = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local is_published, count = ARGV[at + 4] == '1', tonumber(ARGV[at + 5])
  local fields = { unpack(ARGV, at + 6, at + 5 + count) }
  at = at + 6 + count
  local born = math.min(tonumber(created_at), now) -- a client's clock may be ahead
  local expires = born + lifetime
  local made = digest ~= '' and redis.call('GET', 'aimq:once:' .. digest) or id
  if redis.call('EXISTS', key_of(made)) == 1 then
    answers[#answers + 1] = { made, redis.call('HGETALL', key_of(made)) }
  else
    if digest ~= '' then
      redis.call('SET', 'aimq:once:' .. digest, id, 'PX', text(math.floor(lifetime / 1000)))
    end
    redis.call('HSET', key_of(id), unpack(fields))
    redis.call('PEXPIREAT', key_of(id), text(math.floor(expires / 1000)))
    redis.call('ZADD', index(status), created_at, id)
    redis.call('ZADD', 'aimq:expiry', text(expires), id)
    if status == 'queued' and not is_published then
      redis.call('ZADD', 'aimq:unpublished', text(born), id)
    end
    changed(id)
    answers[#answers + 1] = false
  end
end
ring()
return answers
