-- What the whole fleet agrees on: a version and L, B, D, and the time of the last reset of all keys. ARGV: 1 L, 2 B, 3 D, 4 the version
-- that the caller knows, 5 "1": the caller starts with values of its own, which win, 6 the last reset of all keys that it knows of,
-- 7 "": none is asked for, else the time in ms until which a new one may be made.
-- Reply: version, L, B, D, the last reset of all keys, 1 if it has just been made.
local key = KEYS[1]
local kept = redis.call('HMGET', key, 'ver', 'L', 'B', 'D', 'all')
local function text(n) return string.format('%.0f', n) end
local ver, L, B, D = tonumber(kept[1] or '0'), tonumber(kept[2] or '0'), tonumber(kept[3] or '0'), tonumber(kept[4] or '0')
local same = kept[2] == ARGV[1] and kept[3] == ARGV[2] and kept[4] == ARGV[3]
if ver == 0 or tonumber(ARGV[4]) > ver or (ARGV[5] == '1' and not same) then
  ver = math.max(ver, tonumber(ARGV[4])) + (same and 0 or 1)
  L, B, D = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
  redis.call('HSET', key, 'ver', text(ver), 'L', ARGV[1], 'B', ARGV[2], 'D', ARGV[3])
end
-- A server that has lost it is told again: it never goes back.
local stored, made = tonumber(kept[5] or '0'), 0
local all = math.max(stored, tonumber(ARGV[6]))
if ARGV[7] ~= '' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  if now <= tonumber(ARGV[7]) then
    all, made = math.max(now, all + 1), 1
  end
end
if all > stored then redis.call('HSET', key, 'all', text(all)) end
return { ver, L, B, D, all, made }
