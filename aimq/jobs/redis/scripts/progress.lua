-- ARGV: id, token, rows_done, rows_failed, rows_total or ''. Returns 1 if the claim holds, else 0.
local key = key_of(ARGV[1])
if redis.call('HGET', key, 'token') ~= ARGV[2] then return 0 end
redis.call('HSET', key, 'rows_done', ARGV[3], 'rows_failed', ARGV[4], 'rows_total', ARGV[5])
if ARGV[5] == '' then redis.call('HDEL', key, 'rows_total') end
changed(ARGV[1])
notify()
return 1
