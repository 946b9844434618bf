-- ARGV: limit, then the statuses wanted. Returns {id, summary} for each job, newest first. Expired
-- records are older than all others: where they begin, the list ends.
local limit = tonumber(ARGV[1])
local entries, found = {}, {}
if limit == 0 then return found end
for at = 2, #ARGV do
  local page = redis.call('ZRANGE', index(ARGV[at]), 0, limit - 1, 'REV', 'WITHSCORES')
  for i = 1, #page, 2 do entries[#entries + 1] = { page[i], tonumber(page[i + 1]) } end
end
table.sort(entries, function(a, b)
  if a[2] ~= b[2] then return a[2] > b[2] end
  return a[1] > b[1]
end)
for i = 1, math.min(limit, #entries) do
  local record = summary(entries[i][1])
  if #record > 0 then found[#found + 1] = { entries[i][1], record } end
end
return found
