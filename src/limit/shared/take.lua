-- Takes a token from each of several buckets, or from none of them. A bucket is its tokens and when they were counted.
-- KEYS: the buckets. ARGV, for each: tokens a second, the most it holds, and 1 where it only counts what it would refuse.
-- Answers, for each: 1 if it had a token, whole tokens left, microseconds until there is a token (0 if it had one) and
-- until it is full.
local function micros(tokens, rate)
  -- What takes longer than 285 years takes 285 years: numbers stay whole.
  return math.ceil(math.min(tokens * 1000000 / rate, 9e15))
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local held, answer, refused = {}, {}, false
for i, key in ipairs(KEYS) do
  local rate, burst = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1])
  local tokens = burst
  local kept = redis.call('GET', key)
  if kept then
    local left, at = string.match(kept, '^(%S+) (%S+)$')
    -- A clock that went back drips nothing, and takes nothing away.
    tokens = math.min(burst, tonumber(left) + math.max(0, now - tonumber(at)) * rate / 1000000)
  end
  -- Sums of fractions come out a hair short of a whole token.
  local enough = tokens >= 1 - 1e-6
  held[i] = enough and math.max(0, tokens - 1) or nil
  refused = refused or (not enough and ARGV[3 * i] ~= '1')
  local left = enough and held[i] or tokens
  answer[#answer + 1] = enough and 1 or 0
  answer[#answer + 1] = math.floor(left + 1e-6)
  answer[#answer + 1] = enough and 0 or micros(1 - tokens, rate)
  answer[#answer + 1] = micros(burst - left, rate)
end
if not refused then
  for i, key in ipairs(KEYS) do
    if held[i] then
      -- Full buckets need not be kept; a hundred years are as good as ever.
      local expires = math.min(answer[4 * i] / 1000 + 1000, 3153600000000)
      redis.call('SET', key, string.format('%.17g %.0f', held[i], now), 'PX', string.format('%.0f', expires))
    end
  end
end
return answer
