-- wrk's requests: the targets in the file named after `--`, one after the other, written out beforehand so that
-- choosing the next one costs a table look-up. At the end one line for the bench to read.

local requests = {}
local last = 0

function init(args)
    for target in io.lines(args[1]) do
        requests[#requests + 1] = wrk.format("GET", target)
    end
end

function request()
    last = last % #requests + 1
    return requests[last]
end

function done(summary, latency)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    io.write(string.format("bench requests=%d failed=%d seconds=%.6f p50=%.1f p99=%.1f\n", summary.requests, failed,
        summary.duration / 1e6, latency:percentile(50), latency:percentile(99)))
end
