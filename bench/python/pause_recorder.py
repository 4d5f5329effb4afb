# SPDX-License-Identifier: MIT
"""What a measured program of bench_pauses records about itself, in the same way under every configuration.

Pauses are seen three times. From outside the collector, by the program's own loop: it calls a ticker at each small
step, and a gap between two ticks is all the time in which the program did not get on. Beside the loop, by
gc.callbacks, which bracket whatever the collector does, in CPU time of the thread: the machine's other work is not in
it. And on Neve by its own statistics, from the beginning of the process.

Recording makes no objects that the collector tracks: it would count them towards its thresholds.
"""

import array
import gc
import os
import sys
import time

import common

# A gap that is shorter is not kept: a step is some microseconds, and interrupts are among them.
GAP_NS = 100_000
MEMORY_EVERY_NS = 50_000_000
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def make_old():
    """Makes every object old without a collection: no pause of the preparation enters the statistics."""
    gc.freeze()
    gc.unfreeze()


def percentile(values, share):
    """The nearest-rank percentile of a sequence; 0 of none."""
    ordered = sorted(values)
    rank = -int(-len(ordered) * share // 1)
    return ordered[max(0, rank - 1)] if ordered else 0


class Recorder:
    """Records from begin() to finish()."""

    def __init__(self):
        self.gap_at = array.array("q")
        self.gap_ns = array.array("q")
        self.pause_at = array.array("q")
        self.pause_ns = array.array("q")
        self.memory_at = array.array("q")
        self.memory_pages = array.array("q")
        self.statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self.pause_began_ns = None
        self.largest_collected = 0
        self.longest_gap_ns = 0
        self.longest_lap_ns = 0
        self.lap_began_ns = 0
        self.next_memory_ns = 0
        self.zero_ns = 0

    def begin(self, samples_in_callbacks=False):
        """`samples_in_callbacks`: for programs without a loop of ours, memory is read after collections."""
        self.samples_in_callbacks = samples_in_callbacks
        self.collections = [generation["collections"] for generation in gc.get_stats()]
        self.collector = neve_figures()
        gc.callbacks.append(self.on_collection)
        self.cpu_ns = time.process_time_ns()
        self.zero_ns = time.perf_counter_ns()
        self.sample_memory(self.zero_ns)

    def finish(self):
        """Ends the recording; what bench_pauses shows, with the samples in microseconds."""
        wall_ns = time.perf_counter_ns() - self.zero_ns
        cpu_ns = time.process_time_ns() - self.cpu_ns
        gc.callbacks.remove(self.on_collection)
        self.sample_memory(time.perf_counter_ns())
        collections = [generation["collections"] for generation in gc.get_stats()]
        return {
            "wall_s": wall_ns / 1e9,
            "cpu_s": cpu_ns / 1e9,
            "gap_ms": self.longest_gap_ns / 1e6,
            "lap_cpu_ms": self.longest_lap_ns / 1e6,
            "pauses": len(self.pause_ns),
            "pause_max_ms": max(self.pause_ns, default=0) / 1e6,
            "pause_p99_ms": percentile(self.pause_ns, 0.99) / 1e6,
            "collector_s": sum(self.pause_ns) / 1e9,
            "collections": [now - before for now, before in zip(collections, self.collections)],
            "largest_collected": self.largest_collected,
            "peak_mb": common.peak_rss_mb(),
            "threshold": gc.get_threshold()[0],
            "statistics": neve_difference(self.collector, neve_figures()),
            "samples": {
                "gaps": as_microseconds(self.gap_at, self.gap_ns),
                "pauses": as_microseconds(self.pause_at, self.pause_ns),
                "memory": [[at // 1000 for at in self.memory_at],
                           [round(pages * PAGE_BYTES / 2**20, 2) for pages in self.memory_pages]],
            },
        }

    def on_collection(self, phase, info):
        if phase == "start":
            self.pause_began_ns = time.thread_time_ns()
            return
        if self.pause_began_ns is None:
            return
        self.pause_ns.append(time.thread_time_ns() - self.pause_began_ns)
        self.pause_began_ns = None
        now_ns = time.perf_counter_ns()
        self.pause_at.append(now_ns - self.zero_ns)
        if info["collected"] > self.largest_collected:
            self.largest_collected = info["collected"]
        if self.samples_in_callbacks and now_ns >= self.next_memory_ns:
            self.sample_memory(now_ns)

    def sample_memory(self, now_ns):
        self.next_memory_ns = now_ns + MEMORY_EVERY_NS
        self.memory_at.append(now_ns - self.zero_ns)
        self.memory_pages.append(int(os.pread(self.statm, 256, 0).split()[1]))

    def make_ticker(self):
        """The function that the measured loop calls at each small step. It also reads the memory, off the clock."""
        clock = time.perf_counter_ns
        last_ns = clock()

        def tick():
            nonlocal last_ns
            now_ns = clock()
            gap_ns = now_ns - last_ns
            if gap_ns > self.longest_gap_ns:
                self.longest_gap_ns = gap_ns
            if gap_ns > GAP_NS:
                self.gap_at.append(now_ns - self.zero_ns)
                self.gap_ns.append(gap_ns)
            if now_ns >= self.next_memory_ns:
                self.sample_memory(now_ns)
                now_ns = clock()
            last_ns = now_ns
        return tick

    def lap(self):
        """At the end of each request: the CPU time of the longest one is a gap without the machine's other work."""
        now_ns = time.thread_time_ns()
        if self.lap_began_ns and now_ns - self.lap_began_ns > self.longest_lap_ns:
            self.longest_lap_ns = now_ns - self.lap_began_ns
        self.lap_began_ns = now_ns


def as_microseconds(times_ns, values_ns):
    return [[time_ns // 1000 for time_ns in times_ns], [round(value_ns / 1000, 1) for value_ns in values_ns]]


def neve_figures():
    """What Neve's statistics say of its collector, {} on stock."""
    neve = sys.modules.get("neve")
    return neve.stats()["collector"] if neve is not None and neve.is_installed() else {}


def neve_difference(before, after):
    """The statistics of the recorded time; maxima and quantiles are those of the whole process. None on stock."""
    if not after:
        return None
    cycle, cycle_before = after.get("cycle", {}), before.get("cycle", {})
    snapshot, snapshot_before = after.get("snapshot", {}), before.get("snapshot", {})
    return {
        "pause_max_ms": after["pause_max_ns"] / 1e6,
        "pause_p99_ms": after["pause_p99_ns"] / 1e6,
        "pause_total_s": (after["pause_total_ns"] - before["pause_total_ns"]) / 1e9,
        "cycles": cycle.get("cycles", 0) - cycle_before.get("cycles", 0),
        "slices": cycle.get("slices", 0) - cycle_before.get("slices", 0),
        "late_slices": cycle.get("late_slices", 0) - cycle_before.get("late_slices", 0),
        "abandoned": cycle.get("abandoned", 0) - cycle_before.get("abandoned", 0),
        "collected": cycle.get("collected", 0) - cycle_before.get("collected", 0),
        "slice_max_ms": cycle["longest_slice_ns"] / 1e6 if cycle.get("slices") else None,
        "largest_group": cycle["largest_group"] if cycle.get("slices") else None,
        "snapshots": snapshot.get("begun", 0) - snapshot_before.get("begun", 0),
        "snapshots_taken": snapshot.get("taken", 0) - snapshot_before.get("taken", 0),
        "fork_max_ms": snapshot["longest_fork_ns"] / 1e6 if snapshot.get("begun") else None,
    }
