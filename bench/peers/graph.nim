# SPDX-License-Identifier: MIT
# Nim as a peer, with ORC; graph_work.h says what the work is.
import std/[os, strutils, times, random]

const
  Ring = 10
  ChurnRing = 4
  Batch = 32
  Window = 20000

type Node = ref object
  next, other: Node
  value: int

proc ringNew(length: int, linked: Node): Node =
  result = Node()
  var last = result
  for i in 1 ..< length:
    let node = Node()
    last.next = node
    last = node
  last.next = result
  last.other = linked

proc rings(nodes: int) =
  GC_disableOrc()
  let start = cpuTime()
  var heads = newSeq[Node](nodes div Ring)
  for head in heads.mitems: head = ringNew(Ring, nil)
  let built = cpuTime()
  heads = @[]
  let dropped = cpuTime()
  GC_fullCollect()
  let finish = cpuTime()
  echo "ms ", (finish - start) * 1e3
  echo "build_ms ", (built - start) * 1e3
  echo "drop_ms ", (dropped - built) * 1e3
  echo "collect_ms ", (finish - dropped) * 1e3

proc churn(live: int, seconds: float, kind: string) =
  var
    graph = newSeq[Node](live)
    window = newSeq[Node](Window)
    at, made = 0
  randomize(42)
  for node in graph.mitems: node = Node()
  for node in graph:
    node.next = graph[rand(live - 1)]
    node.other = graph[rand(live - 1)]
  GC_fullCollect()
  let start = cpuTime()
  var before = start
  var longest = 0.0
  while before - start < seconds:
    for i in 0 ..< Batch:
      let ring = ringNew(ChurnRing, if kind == "linked": graph[rand(live - 1)] else: nil)
      if kind == "aged":
        window[at] = ring
        at = (at + 1) mod Window
    made += Batch
    let now = cpuTime()
    longest = max(longest, now - before)
    before = now
  echo "rings_per_s ", made.float / (before - start)
  echo "pause_ms ", longest * 1e3

proc treeNew(depth: int): Node =
  result = Node()
  if depth > 0:
    result.next = treeNew(depth - 1)
    result.other = treeNew(depth - 1)

proc treeCount(root: Node): int =
  if root.next == nil: 1 else: 1 + treeCount(root.next) + treeCount(root.other)

proc trees(depth: int) =
  let start = cpuTime()
  var nodes = treeCount(treeNew(depth + 1))
  let long = treeNew(depth)
  for d in countup(4, depth, 2):
    for i in 1 .. 1 shl (depth - d + 4):
      nodes += treeCount(treeNew(d))
  nodes += treeCount(long)
  echo "ms ", (cpuTime() - start) * 1e3
  echo "nodes ", nodes

let words = commandLineParams()
case words[0]
of "rings": rings(parseInt(words[1]))
of "churn": churn(parseInt(words[1]), parseFloat(words[2]), words[3])
of "trees": trees(parseInt(words[1]))
else: quit(2)
for line in lines("/proc/self/status"):
  if line.startsWith("VmHWM:"): echo "peak_kb ", line.splitWhitespace()[1]
