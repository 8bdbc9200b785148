-- A token bucket in Redis that every request asks, as common gateways have it.
-- KEYS[1] hash: level, ts (µs), blocked (µs). ARGV: 1 tokens per window, 2 window in ms, 3 capacity, 4 block in s. Reply: 1 passes, 0 not
local rate, window, capacity, block = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local kept = redis.call('HMGET', KEYS[1], 'level', 'ts', 'blocked')
local level, ts, blocked = tonumber(kept[1]) or capacity, tonumber(kept[2]) or now, tonumber(kept[3]) or 0
level = math.min(capacity, level + math.max(now - ts, 0) * rate / (window * 1000))
local passes = 0
if now >= blocked then
  if level >= 1 then
    level, passes = level - 1, 1
  else
    blocked = now + block * 1000000
  end
end
redis.call('HSET', KEYS[1], 'level', string.format('%.6f', level), 'ts', string.format('%.0f', now),
  'blocked', string.format('%.0f', blocked))
redis.call('PEXPIRE', KEYS[1], math.ceil(capacity * window / rate) + block * 1000 + 1000)
return passes
