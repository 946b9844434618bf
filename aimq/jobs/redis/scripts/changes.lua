-- ARGV: tick, limit. Returns {tick of the last change told of, {id, summary}, ...} for the jobs
-- changed after the given tick, in the order of their changes.
local page = redis.call('ZRANGE', 'aimq:changed', '(' .. ARGV[1], '+inf', 'BYSCORE',
  'LIMIT', 0, ARGV[2], 'WITHSCORES')
local answer = { page[#page] or ARGV[1] }
for i = 1, #page, 2 do answer[#answer + 1] = { page[i], summary(page[i]) } end
return answer
