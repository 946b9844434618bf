-- ARGV: lease, then for each claim: id, token. Returns 1 for each that holds, else 0.
local answers = {}
for at = 2, #ARGV, 2 do
  local key = key_of(ARGV[at])
  local holds = redis.call('HGET', key, 'token') == ARGV[at + 1]
  if holds then redis.call('HSET', key, 'until', now + ARGV[1]) end
  answers[#answers + 1] = holds and 1 or 0
end
return answers
