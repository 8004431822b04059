-- wrk sends the requests that auth-load signed, each once, and stops when there are no more.
-- Prints a line of JSON when it is done.
local requests, at = {}, 0

function init(args)
	local f = assert(io.open(args[1], "rb"))
	for r in f:read("*a"):gmatch(".-\r\n\r\n") do
		requests[#requests + 1] = r
	end
	f:close()
end

function request()
	if at == #requests then
		wrk.thread:stop()
		return requests[at]
	end
	at = at + 1
	return requests[at]
end

function done(summary, latency)
	local e = summary.errors
	io.write(string.format('{"requests": %d, "seconds": %.3f, "p50_us": %d, "p99_us": %d, "refused": %d, "broken": %d}\n',
		summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99), e.status,
		e.connect + e.read + e.write + e.timeout))
end
