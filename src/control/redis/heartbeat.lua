-- Says that this site lives, and counts those that said so within 10 s. ARGV[1]: site. A write, so that a read-only replica and a
-- full server are found out here and not by a request.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - 10000))
redis.call('PEXPIRE', KEYS[1], '20000')
return redis.call('ZCARD', KEYS[1])
