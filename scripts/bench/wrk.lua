-- With a word behind "--": each connection waits a random while before each request, of so many
-- milliseconds in the mean. At the end: one line of JSON, since wrk's own report rounds.

function init(args)
  local mean = tonumber(args[1])
  if mean then
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
