-- Append packs of entries to a channel's stream and move its published position, in one step. Guards I1, I2 and I4.
-- KEYS: stream, published (hash), lease, guard (hash)
-- ARGV: holder, expected last id, new state, number of packs, id and bytes of each, guard fields to remove
-- Answers OK, LEASE (another holder), or LOST (Redis does not hold what the caller published last).
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return 'LEASE' end
local last = redis.call('HGET', KEYS[2], 'last') or ''
if last ~= ARGV[2] then return 'LOST' end
if last ~= '' and redis.call('EXISTS', KEYS[1]) == 0 then return 'LOST' end
local count = tonumber(ARGV[4])
local written = tonumber(redis.call('HGET', KEYS[2], 'written') or '0')
local at = 5
for _ = 1, count do
  written = written + #ARGV[at + 1] + 100
  redis.call('XADD', KEYS[1], ARGV[at], 'e', ARGV[at + 1], 'w', string.format('%.0f', written))
  last = ARGV[at]
  at = at + 2
end
redis.call('HSET', KEYS[2], 'last', last, 'state', ARGV[3], 'written', string.format('%.0f', written))
for first = at, #ARGV, 1000 do
  redis.call('HDEL', KEYS[4], unpack(ARGV, first, math.min(first + 999, #ARGV)))
end
return 'OK'
