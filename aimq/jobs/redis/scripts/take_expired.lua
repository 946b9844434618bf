-- ARGV: lease, limit. Returns ids.
local ids = redis.call('ZRANGE', 'aimq:expiry', '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do redis.call('ZADD', 'aimq:expiry', now + ARGV[1], id) end
return ids
