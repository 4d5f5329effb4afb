// SPDX-License-Identifier: MIT
// Node as a peer (node --expose-gc); graph_work.h says what the work is. Its young collector
// cannot be switched off: in `rings` it runs while the rings are built.
"use strict";
const [what, word, seconds, kind] = process.argv.slice(2);
const size = Number(word);
const RING = 10, CHURN_RING = 4, BATCH = 32, WINDOW = 20000;

class Node {
    constructor() { this.next = null; this.other = null; this.value = 0; }
}

function cpuMs() {
    const u = process.cpuUsage();
    return (u.user + u.system) / 1e3;
}

function ringNew(length, linked) {
    const head = new Node();
    let last = head;
    for (let i = 1; i < length; i++) {
        last.next = new Node();
        last = last.next;
    }
    last.next = head;
    last.other = linked;
    return head;
}

function rings(nodes) {
    const start = cpuMs();
    let heads = [];
    for (let i = 0; i < nodes / RING; i++) heads.push(ringNew(RING, null));
    const built = cpuMs();
    heads = null;
    gc();
    const end = cpuMs();
    console.log(`ms ${end - start}\nbuild_ms ${built - start}\ncollect_ms ${end - built}`);
}

function churn(live) {
    const graph = [], window = new Array(WINDOW).fill(null);
    let state = 42, at = 0, made = 0, longest = 0;
    const random = () => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return (state >>> 4) % live;
    };
    for (let i = 0; i < live; i++) graph.push(new Node());
    for (const node of graph) {
        node.next = graph[random()];
        node.other = graph[random()];
    }
    gc();
    const start = cpuMs();
    let before = start;
    while (before - start < Number(seconds) * 1e3) {
        for (let i = 0; i < BATCH; i++) {
            const ring = ringNew(CHURN_RING, kind === "linked" ? graph[random()] : null);
            if (kind === "aged") {
                window[at] = ring;
                at = (at + 1) % WINDOW;
            }
        }
        made += BATCH;
        const now = cpuMs();
        longest = Math.max(longest, now - before);
        before = now;
    }
    console.log(`rings_per_s ${made / (before - start) * 1e3}\npause_ms ${longest}`);
}

function treeNew(depth) {
    const root = new Node();
    if (depth > 0) {
        root.next = treeNew(depth - 1);
        root.other = treeNew(depth - 1);
    }
    return root;
}

function treeCount(root) {
    return root.next === null ? 1 : 1 + treeCount(root.next) + treeCount(root.other);
}

function trees(depth) {
    const start = cpuMs();
    let nodes = treeCount(treeNew(depth + 1));
    const long = treeNew(depth);
    for (let d = 4; d <= depth; d += 2) {
        for (let i = 1 << (depth - d + 4); i > 0; i--) nodes += treeCount(treeNew(d));
    }
    nodes += treeCount(long);
    console.log(`ms ${cpuMs() - start}\nnodes ${nodes}`);
}

if (what === "rings") rings(size);
else if (what === "churn") churn(size);
else if (what === "trees") trees(size);
else process.exit(2);
const status = require("fs").readFileSync("/proc/self/status", "utf8");
console.log(`peak_kb ${/VmHWM:\s*(\d+)/.exec(status)[1]}`);
