// SPDX-License-Identifier: MIT

// Go as a peer; graph_work.h says what the work is. Its collector runs beside the program, on the
// one processor that run.py leaves both: its time is in the figures.
package main

import (
	"fmt"
	"math/rand"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
)

const (
	ringLength = 10
	churnRing  = 4
	batch      = 32
	window     = 20000
)

type node struct {
	next, other *node
	value       int
}

func cpuMs() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e6
}

func ringNew(length int, linked *node) *node {
	head := &node{}
	last := head
	for i := 1; i < length; i++ {
		last.next = &node{}
		last = last.next
	}
	last.next, last.other = head, linked
	return head
}

func rings(nodes int) {
	debug.SetGCPercent(-1)
	start := cpuMs()
	heads := make([]*node, nodes/ringLength)
	for i := range heads {
		heads[i] = ringNew(ringLength, nil)
	}
	built := cpuMs()
	runtime.KeepAlive(heads)
	heads = nil
	runtime.GC()
	end := cpuMs()
	fmt.Println("ms", end-start)
	fmt.Println("build_ms", built-start)
	fmt.Println("collect_ms", end-built)
}

var kept []*node

func churn(live int, seconds float64, kind string) {
	random := rand.New(rand.NewSource(42))
	graph := make([]*node, live)
	kept = make([]*node, window)
	at, made := 0, 0
	for i := range graph {
		graph[i] = &node{}
	}
	for _, n := range graph {
		n.next, n.other = graph[random.Intn(live)], graph[random.Intn(live)]
	}
	runtime.GC()
	start := cpuMs()
	before, longest := start, 0.0
	for before-start < seconds*1e3 {
		for i := 0; i < batch; i++ {
			var linked *node
			if kind == "linked" {
				linked = graph[random.Intn(live)]
			}
			ring := ringNew(churnRing, linked)
			if kind == "aged" {
				kept[at] = ring
				at = (at + 1) % window
			}
		}
		made += batch
		now := cpuMs()
		if now-before > longest {
			longest = now - before
		}
		before = now
	}
	runtime.KeepAlive(graph)
	fmt.Println("rings_per_s", float64(made)/(before-start)*1e3)
	fmt.Println("pause_ms", longest)
}

func treeNew(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	return &node{next: treeNew(depth - 1), other: treeNew(depth - 1)}
}

func treeCount(root *node) int {
	if root.next == nil {
		return 1
	}
	return 1 + treeCount(root.next) + treeCount(root.other)
}

func trees(depth int) {
	start := cpuMs()
	nodes := treeCount(treeNew(depth + 1))
	long := treeNew(depth)
	for d := 4; d <= depth; d += 2 {
		for i := 1 << (depth - d + 4); i > 0; i-- {
			nodes += treeCount(treeNew(d))
		}
	}
	nodes += treeCount(long)
	fmt.Println("ms", cpuMs()-start)
	fmt.Println("nodes", nodes)
}

func main() {
	size, _ := strconv.Atoi(os.Args[2])
	switch os.Args[1] {
	case "rings":
		rings(size)
	case "churn":
		seconds, _ := strconv.ParseFloat(os.Args[3], 64)
		churn(size, seconds, os.Args[4])
	case "trees":
		trees(size)
	default:
		os.Exit(2)
	}
	status, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "VmHWM:") {
			fmt.Println("peak_kb", strings.Fields(line)[1])
		}
	}
}
