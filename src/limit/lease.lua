-- One bucket, one atomic call: what a site (one run of one gateway) holds, gives back and wants of one key.
-- Not a limiter of its own: who may pass is decided where the tokens are spent. Invariant: level + out <= C, where `out` counts every
-- token granted until its site said spent or returned, or its lease ended; refill is capped at C - out and comes before a report is
-- read, for the report's spends may be a millisecond old.
--
-- KEYS[1] hash: level (units of 1/W token, so that L units come per ms), ts, blocked, epoch, ver, L, B, W, D; for each site
-- "s:<site>" = "seq:out:exp"; if it was ever reset, "reset" = "mark:stay:own"; if a site has declared what was lost, "since".
-- Times are this server's, in ms; no clock of a gateway is believed.
-- epoch = "<time>-<number>" names one life of the bucket, from the moment it was made or reset on. What was said under an epoch whose
-- time is not above `mark` was said before the last reset, and is void. `since` is the time of the oldest epoch whose block or level may
-- live on in this hash: a reset of all keys at or after it holds for the hash, too.
-- ARGV: 1 site, 2 seq, 3 known, 4 held, 5 ret, 6 owed, 7 waiting, 8 cost, 9 want, 10 tau, 11 told, 12 age, 13 left, 14 ver, 15 L, 16 B,
--   17 W, 18 D, 19 reset ("0", or "keep:until:gap"), 20 all (time of the last reset of all keys, 0 = none), 21 brief,
--   22 now (tests; else "")
-- Reply: status (0 ok, 1 blocked, 2 repeated or overtaken, 3 short while leases are out, 4 not reset), grant, kept, lease, level, out,
--   soon, block, epoch, ver, L, B, W, D
local key, site = KEYS[1], 's:' .. ARGV[1]
local arg = {}
for i = 4, 18 do arg[i] = tonumber(ARGV[i]) end
local seq, known = tonumber(ARGV[2]), ARGV[3]
local held, ret, owed, waiting, cost = arg[4], arg[5], arg[6], arg[7], math.max(arg[8], 1)
local want, tau, all, brief = arg[9], arg[10], tonumber(ARGV[20]), tonumber(ARGV[21])
-- A number as Redis keeps it: tostring() would write 1e+15.
local function text(n) return string.format('%.0f', n) end

local now = tonumber(ARGV[22])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

-- When an epoch began.
local function born(name) return tonumber(string.match(name, '^%d+') or '0') end
-- Two lives that begin in the same ms differ by who began them.
local function epoch_at(time)
  local who = tonumber(string.sub(ARGV[1], 1, 6), 16) or 0
  return text(time) .. '-' .. text(who * 2 ^ 29 + seq % 2 ^ 29)
end

-- 1. What is kept, or a full bucket.
local flat, kept_of = redis.call('HGETALL', key), {}
local sites, out = {}, 0
for i = 1, #flat, 2 do
  local name, value = flat[i], flat[i + 1]
  if string.sub(name, 1, 2) == 's:' then
    local s, o, e = string.match(value, '^(%d+):(%d+):(-?%d+)$')
    sites[name] = { seq = tonumber(s), out = tonumber(o), exp = tonumber(e) }
    out = out + tonumber(o)
  else
    kept_of[name] = value
  end
end
local L, B, W, D, ver, level, ts, blocked, epoch
local mark, stay, own = 0, 0, 0
if #flat == 0 then
  ver, L, B, W, D = arg[14], arg[15], arg[16], arg[17], arg[18]
  level, ts, blocked = (L + B) * W, now, 0
  epoch = epoch_at(math.max(now, all + 1))
else
  L, B, W, D = tonumber(kept_of.L), tonumber(kept_of.B), tonumber(kept_of.W), tonumber(kept_of.D)
  ver, level, ts = tonumber(kept_of.ver), tonumber(kept_of.level), tonumber(kept_of.ts)
  blocked, epoch = tonumber(kept_of.blocked), kept_of.epoch
  if kept_of.reset then
    local m, s, o = string.match(kept_of.reset, '^(%d+):(-?%d+):(-?%d+)$')
    mark, stay, own = tonumber(m), tonumber(s), tonumber(o)
  end
end
local C, since = L + B, tonumber(kept_of.since) or born(epoch)

-- 2. A clock that went back: time stands still, nothing ends early and nothing is paid twice.
local moved = now < ts
if moved then
  local back = ts - now
  ts = now
  if blocked > 0 then blocked = blocked - back end
  if stay > 0 then stay = stay - back end
  if own > 0 then own = own - back end
  for _, record in pairs(sites) do record.exp = record.exp - back end
end

local function refill(to)
  -- Longer than it takes to fill a bucket is no more than full; this keeps the product below 2^53.
  local ms = math.min(math.max(to - ts, 0), math.ceil(C * W / L))
  level = math.max(level, math.min((C - out) * W, level + ms * L))
  ts = math.max(ts, to)
end

-- 3. Ended leases are spent, the oldest first: refill knew of each up to its end. Their fields go only where level and ts are written.
local ended = {}
for name, record in pairs(sites) do
  if record.exp <= now then ended[#ended + 1] = name end
end
table.sort(ended, function(a, b)
  if sites[a].exp ~= sites[b].exp then return sites[a].exp < sites[b].exp end
  return a < b
end)
for _, name in ipairs(ended) do
  refill(sites[name].exp)
  out = out - sites[name].out
  sites[name] = nil
end

-- 4. An administrator's reset, of this key or of all; what is out stays counted by the bound of step 9. A new life begins, and the mark
-- stays for as long as some site may remember a block that it lifts. A reset that comes after its time, or too soon, changes nothing.
local mine = sites[site]
local function answer(status, grant, kept, lease, wait)
  local soon = wait or math.max(math.ceil((cost * W - level) / L), 0)
  return { status, grant, kept, math.max(lease, 0), level, out, soon, math.max(blocked - now, 0), epoch, ver, L, B, W, D }
end
local function reset(keep)
  if keep then stay = math.max(stay, now + math.max(keep, D, blocked - now)) end
  mark = math.max(now, all + 1, mark + 1, born(epoch) + 1)
  level, blocked, since, epoch = C * W, 0, mark, epoch_at(mark)
end
if ARGV[19] ~= '0' then
  local keep, till, gap = string.match(ARGV[19], '^(%d+):(%d+):(%d+)$')
  till, gap = tonumber(till), tonumber(gap)
  if till > 0 and now > till then return answer(4, 0, 0, 0, 0) end
  if gap > 0 then
    if own > 0 and now < own + gap then return answer(4, 0, 0, 0, own + gap - now) end
    own = now
    stay = math.max(stay, now + gap)
  end
  reset(tonumber(keep))
elseif all > 0 and since <= all then
  reset()
end
local void = math.max(mark, all)
if void > 0 and born(known) <= void then known = '0' end

-- 5. Refill.
refill(now)

-- 6. The newest limits win, whoever brings them.
if arg[14] > ver then
  ver, L, B, W, D = arg[14], arg[15], arg[16], arg[17], arg[18]
  level = math.max(level + (L + B - C) * W, 0)
  C = L + B
end

-- 7. A call that ran before, or was overtaken: nothing is written.
if mine and seq <= mine.seq then return answer(2, 0, 0, mine.exp - now) end
mine = mine or { out = 0, exp = 0 }

-- 8. The caller remembers a bucket that is lost: the lowest declaration wins, and its leases count again.
if known ~= '0' and known ~= epoch then
  level = math.min(level, arg[11] + math.min(arg[12], math.ceil(C * W / L)) * L)
  if arg[13] > 0 then blocked = math.max(blocked, now + arg[13]) end
  since = math.min(since, born(known))
  out = out - mine.out + held + ret
  mine.out = held + ret
end

-- 9. What was out and is neither held nor returned was spent.
local kept = math.min(held, mine.out)
ret = math.min(ret, mine.out - kept)
out = out - mine.out + kept
level = math.max(math.min(level + (ret - owed) * W, (C - out) * W), 0)

-- 10. Tokens for those who wait, and some ahead: at most half of an even share, so that leases shrink as the bucket empties.
local status, grant = 0, 0
if blocked > now then
  status = 1
else
  grant = math.min(waiting, math.floor(level / W))
  grant = grant - grant % cost
  if grant == waiting then
    local records = sites[site] and 0 or 1
    for _ in pairs(sites) do records = records + 1 end
    grant = grant + math.min(want, math.floor((level - grant * W) / (2 * records * W)))
  else
    -- While somebody else may still admit there is no block. What was granted briefly came before this refusal.
    local admits = kept > 0 and mine.exp > now + brief
    for name, record in pairs(sites) do
      if name ~= site and record.out > 0 and record.exp > now + brief then admits = true end
    end
    if admits then
      status = 3
    elseif D > 0 then
      status, blocked = 1, now + D
    end
  end
end

-- 11. A grant with nothing ahead is spent at once: a long lease for it would only delay refill and blocks.
level, out = level - grant * W, out + grant
if kept + grant <= waiting then tau = math.min(tau, brief) end
local exp = math.max(kept > 0 and mine.exp or 0, now + tau)
sites[site] = { seq = seq, out = kept + grant, exp = exp }
local last = blocked
for _, record in pairs(sites) do last = math.max(last, record.exp) end
redis.call('HSET', key, 'level', text(level), 'ts', text(ts), 'blocked', text(blocked), 'epoch', epoch, 'ver', text(ver),
  'L', text(L), 'B', text(B), 'W', text(W), 'D', text(D),
  site, text(seq) .. ':' .. text(kept + grant) .. ':' .. text(exp))
for name, record in pairs(sites) do
  if moved and name ~= site then
    redis.call('HSET', key, name, text(record.seq) .. ':' .. text(record.out) .. ':' .. text(record.exp))
  end
end
for _, name in ipairs(ended) do
  if name ~= site then redis.call('HDEL', key, name) end
end
if mark > 0 then redis.call('HSET', key, 'reset', text(mark) .. ':' .. text(stay) .. ':' .. text(own)) end
if kept_of.since or since ~= born(epoch) then redis.call('HSET', key, 'since', text(since)) end
local ms = math.max(last - now, 0) + math.ceil((C * W - level) / L)
redis.call('PEXPIRE', key, text(math.max(ms, stay - now) + 1000))
return answer(status, grant, kept, exp - now)
