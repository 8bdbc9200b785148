-- Periodic synchronization: takes what a node let pass since the last time, tells what is left for all. The level may fall below zero:
-- what was too much is paid back, which is the honest variant of this way.
-- KEYS[1] hash: level, ts (µs), blocked (µs). ARGV: 1 tokens per window, 2 window in ms, 3 capacity, 4 block in s, 5 passed, 6 the node
-- has refused. Reply: level in 1/1000 token, ms of a block left
local rate, window, capacity, block = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local kept = redis.call('HMGET', KEYS[1], 'level', 'ts', 'blocked')
local level, ts, blocked = tonumber(kept[1]) or capacity, tonumber(kept[2]) or now, tonumber(kept[3]) or 0
level = math.min(capacity, level + math.max(now - ts, 0) * rate / (window * 1000)) - tonumber(ARGV[5])
if ARGV[6] == '1' and block > 0 and now >= blocked then blocked = now + block * 1000000 end
redis.call('HSET', KEYS[1], 'level', string.format('%.6f', level), 'ts', string.format('%.0f', now),
  'blocked', string.format('%.0f', blocked))
redis.call('PEXPIRE', KEYS[1], math.ceil((capacity + math.max(-level, 0)) * window / rate) + block * 1000 + 1000)
return { math.floor(level * 1000), math.max(math.ceil((blocked - now) / 1000), 0) }
