-- SPDX-License-Identifier: MIT
-- Run by wrk: which pages are asked for, and the report at the end as one line of JSON.
-- PREFORK_SITE_PAGE is "page" or "kept". Popular pages are asked for often: a power of an even
-- distribution; the seed makes all runs ask for the same pages in the same order.

local apps = tonumber(os.getenv("PREFORK_SITE_APPS"))
local pages = tonumber(os.getenv("PREFORK_SITE_PAGES"))
local page = os.getenv("PREFORK_SITE_PAGE")

function init(args)
  math.randomseed(1)
end

function request()
  local app = math.floor(apps * math.random() ^ 2)
  local number = math.floor(pages * math.random() ^ 4)
  return wrk.format("GET", string.format("/shop_%02d/%s/%d/", app, page, number))
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "errors": {"connect": %d, "read": %d, "write": %d, ' ..
    '"status": %d, "timeout": %d}, "p50_ms": %.3f, "p99_ms": %.3f, "p999_ms": %.3f, "max_ms": %.3f}\n',
    summary.requests, summary.duration / 1e6, errors.connect, errors.read, errors.write,
    errors.status, errors.timeout, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency:percentile(99.9) / 1e3, latency.max / 1e3))
end
