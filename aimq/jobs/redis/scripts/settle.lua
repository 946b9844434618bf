-- ARGV: the call's own id, then for each outcome: id, token, status, number of what follows,
--       field, value, field, value, ... Returns 1 for each claim that held, else 0.
-- A repeated call finds its own id and gets the same answers.
local answers = {}
local at = 2
while at <= #ARGV do
  local id, token, status, count = unpack(ARGV, at, at + 3)
  local key, mark = key_of(id), ARGV[1] .. at
  local was = redis.call('HMGET', key, 'token', 'settled', 'status', 'created_at')
  local held = was[1] == token
  if held then
    redis.call('HDEL', key, 'token', 'until', 'owner', 'error')
    redis.call('HSET', key, 'status', status, 'settled', mark, unpack(ARGV, at + 4, at + 3 + count))
    if final[status] then redis.call('HSET', key, 'finished_at', now) end
    changed(id, was[3], status, was[4])
  end
  answers[#answers + 1] = (held or was[2] == mark) and 1 or 0
  at = at + 4 + count
end
notify()
return answers
