-- The fleet's limits: a version and L, B, D. ARGV: 1 L, 2 B, 3 D, 4 the version that the caller knows, 5 "1": the caller starts with
-- values of its own, which win. Reply: version, L, B, D.
local key = KEYS[1]
local kept = redis.call('HMGET', key, 'ver', 'L', 'B', 'D')
local ver = tonumber(kept[1] or '0')
local same = kept[2] == ARGV[1] and kept[3] == ARGV[2] and kept[4] == ARGV[3]
if ver == 0 or tonumber(ARGV[4]) > ver or (ARGV[5] == '1' and not same) then
  ver = math.max(ver, tonumber(ARGV[4])) + (same and 0 or 1)
  redis.call('HSET', key, 'ver', string.format('%.0f', ver), 'L', ARGV[1], 'B', ARGV[2], 'D', ARGV[3])
  return { ver, tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]) }
end
return { ver, tonumber(kept[2]), tonumber(kept[3]), tonumber(kept[4]) }
