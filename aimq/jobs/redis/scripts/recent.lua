-- ARGV: limit, then the statuses wanted. Returns {id, summary} for each job, newest first.
-- Ids of records that have expired are dropped from the index on the way, so that it is read again.
local limit = tonumber(ARGV[1])
local found
for _ = 1, 5 do
  local entries = {}
  for at = 2, #ARGV do
    local page = redis.call('ZRANGE', index(ARGV[at]), 0, limit - 1, 'REV', 'WITHSCORES')
    for i = 1, #page, 2 do
      entries[#entries + 1] = { page[i], tonumber(page[i + 1]), ARGV[at] }
    end
  end
  table.sort(entries, function(a, b)
    if a[2] ~= b[2] then return a[2] > b[2] end
    return a[1] > b[1]
  end)
  local dropped = false
  found = {}
  for _, entry in ipairs(entries) do
    if #found == limit then break end
    local record = summary(entry[1])
    if record[1] then
      found[#found + 1] = { entry[1], record }
    else
      redis.call('ZREM', index(entry[3]), entry[1])
      dropped = true
    end
  end
  if not dropped then break end
end
return found
