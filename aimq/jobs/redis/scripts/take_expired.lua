-- ARGV: lease, limit. Returns ids.
local ids = redis.call('ZRANGE', 'aimq:expiry', '-inf', text(now), 'BYSCORE',
  'LIMIT', 0, tonumber(ARGV[2]))
for _, id in ipairs(ids) do
  redis.call('ZADD', 'aimq:expiry', text(now + tonumber(ARGV[1])), id)
end
return ids
