-- ARGV: ids. Ids of no job are passed over.
for _, id in ipairs(ARGV) do
  if redis.call('EXISTS', key_of(id)) == 1 then redis.call('HSET', key_of(id), 'published', 1) end
  published(id)
end
return {}
