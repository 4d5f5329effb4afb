-- SPDX-License-Identifier: MIT
-- Lua as a peer; graph_work.h says what the work is. Batches are larger than elsewhere: os.clock
-- costs a system call, and a table is dearer than a node in C.
local what, size, seconds, kind = arg[1], tonumber(arg[2]), tonumber(arg[3]), arg[4]
local RING, CHURN_RING, BATCH, WINDOW = 10, 4, 32, 20000

local function ring_new(length, linked)
    local head = {value = 0}
    local last = head
    for _ = 2, length do
        local node = {value = 0}
        last.next = node
        last = node
    end
    last.next = head
    last.other = linked
    return head
end

local function rings(nodes)
    local heads = {}
    collectgarbage("stop")
    local start = os.clock()
    for i = 1, nodes // RING do heads[i] = ring_new(RING) end
    local built = os.clock()
    heads = nil
    collectgarbage("collect")
    local finish = os.clock()
    print("ms", (finish - start) * 1e3)
    print("build_ms", (built - start) * 1e3)
    print("collect_ms", (finish - built) * 1e3)
end

local function churn(live)
    local graph, window, at = {}, {}, 1
    math.randomseed(42)
    for i = 1, live do graph[i] = {value = 0} end
    for i = 1, live do
        graph[i].next = graph[math.random(live)]
        graph[i].other = graph[math.random(live)]
    end
    collectgarbage("collect")
    local start, made, longest = os.clock(), 0, 0
    local before = start
    while before - start < seconds do
        for _ = 1, BATCH do
            local ring = ring_new(CHURN_RING, kind == "linked" and graph[math.random(live)] or nil)
            if kind == "aged" then
                window[at] = ring
                at = at % WINDOW + 1
            end
        end
        made = made + BATCH
        local now = os.clock()
        longest = math.max(longest, now - before)
        before = now
    end
    print("rings_per_s", made / (before - start))
    print("pause_ms", longest * 1e3)
end

local function tree_new(depth)
    if depth == 0 then return {} end
    return {next = tree_new(depth - 1), other = tree_new(depth - 1)}
end

local function tree_count(node)
    if not node.next then return 1 end
    return 1 + tree_count(node.next) + tree_count(node.other)
end

local function trees(depth)
    local start = os.clock()
    local nodes = tree_count(tree_new(depth + 1))
    local long = tree_new(depth)
    for d = 4, depth, 2 do
        for _ = 1, 1 << (depth - d + 4) do nodes = nodes + tree_count(tree_new(d)) end
    end
    nodes = nodes + tree_count(long)
    print("ms", (os.clock() - start) * 1e3)
    print("nodes", nodes)
end

if what == "rings" then rings(size)
elseif what == "churn" then churn(size)
elseif what == "trees" then trees(size)
else os.exit(2) end
for line in io.lines("/proc/self/status") do
    local peak = line:match("^VmHWM:%s*(%d+)")
    if peak then print("peak_kb", peak) end
end
