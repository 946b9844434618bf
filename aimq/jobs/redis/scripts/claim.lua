-- ARGV: owner, lease, then for each job: id, token.
-- Returns for each {'unknown'}, {'final'}, {'held', time left} or {'claimed', crashes, record}.
-- A repeated call knows its tokens again and gets the same claims.
local owner, lease = ARGV[1], tonumber(ARGV[2])
local answers = {}
for at = 3, #ARGV, 2 do
  local id, token = ARGV[at], ARGV[at + 1]
  local key = key_of(id)
  local was = redis.call('HMGET', key, 'status', 'token', 'until', 'crashes', 'attempts',
    'created_at', 'started_at', 'published')
  local status, held_until, crashes = was[1], tonumber(was[3] or 0), tonumber(was[4] or 0)
  local answer
  if not status then
    answer = { redis.call('EXISTS', gone(id)) == 1 and 'final' or 'unknown' }
  elseif final[status] then
    answer = { 'final' }
  elseif was[2] ~= token and held_until > now then
    answer = { 'held', held_until - now }
  else
    if was[2] ~= token then
      if was[2] then crashes = crashes + 1 end
      redis.call('HSET', key, 'status', 'processing', 'token', token, 'until', now + lease,
        'owner', owner, 'crashes', crashes, 'attempts', (was[5] or 0) + 1,
        'started_at', was[7] or now, 'published', 1)
      redis.call('HDEL', key, 'error')
      if not was[8] then published(id) end -- the claim's holder has its message
      changed(id, status, 'processing', was[6])
    end
    answer = { 'claimed', crashes, redis.call('HGETALL', key) }
  end
  answers[#answers + 1] = answer
end
notify()
return answers
