# SPDX-License-Identifier: MIT
"""Runs one variant of a program of this folder and prints what it took, as one line of JSON.

Called by the programs, which run.py starts in an interpreter each.  The collector's time is taken by
gc.callbacks, between "start" and "stop": that works on stock CPython and on Neve alike.
"""

import gc
import json
import sys
import time


def peak_kib():
    """The most memory that this program had; getrusage() would count what ran before the exec."""
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    raise OSError("/proc/self/status has no VmHWM")


class CollectorClock:
    """Adds up the time of all collections."""

    def __init__(self):
        self.total = 0
        self.count = 0
        self.began = 0

    def __call__(self, phase, info):
        if phase == "start":
            self.began = time.process_time_ns()
        else:
            self.total += time.process_time_ns() - self.began
            self.count += 1


def main(variants):
    """`variants` maps names to functions that take the size; the command line is NAME SIZE."""
    if len(sys.argv) != 3 or sys.argv[1] not in variants or not sys.argv[2].isdigit():
        sys.stderr.write(f"usage: {sys.argv[0]} {'|'.join(variants)} SIZE; run.py does so\n")
        return 2
    clock = CollectorClock()
    gc.callbacks.append(clock)
    began = time.process_time_ns()
    variants[sys.argv[1]](int(sys.argv[2]))
    spent = time.process_time_ns() - began
    gc.callbacks.remove(clock)
    print(json.dumps({"time_ms": spent / 1e6, "peak_mib": peak_kib() / 1024,
                      "collector_ms": clock.total / 1e6, "collections": clock.count}))
    return 0
