-- The first argument after "--" selects the load: "same", identical requests; "varied", a different head each time, to
-- defeat caches; "post", a body of 10 KB; "close", a new connection each time; or a number: each connection waits
-- randomly before each request, with that mean in milliseconds.
-- The last line is JSON, because wrk's own report rounds.

function init(args)
  local kind, mean = args[1], tonumber(args[1])
  if kind == "post" then
    wrk.method, wrk.body = "POST", string.rep("x", 10000)
  elseif kind == "close" then
    wrk.headers["Connection"] = "close"
  elseif kind == "varied" then
    wrk.headers["X-Request-Id"] = "@"
  end
  local text = wrk.format()
  request = function() return text end
  if kind == "varied" then
    local at, count = text:find("@", 1, true), 0
    local before, behind = text:sub(1, at - 1), text:sub(at + 1)
    request = function()
      count = count + 1
      return before .. count .. behind
    end
  elseif mean then
    delay = function() return math.random(1, 2 * mean - 1) end
  end
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "bytes": %.0f, "p50": %.6f, "p99": %.6f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, summary.bytes,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    e.connect + e.read + e.write + e.timeout + e.status))
end
