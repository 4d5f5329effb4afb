# SPDX-License-Identifier: MIT
"""Benchmark: what a forked child dirties that only reads what its parent has built.

This file is responsible for the target of neve.prefork() on CPython 3.12 and later: under 100 kB for a child that
reads every list, dict, tuple, attribute and string of a heap of a million containers and 640,000 strings.

    /usr/bin/python3 bench/python/bench_prefork_read.py
    build/pythons/3.13/usr/bin/python3.13 bench/python/bench_prefork_read.py --runs 1
    /usr/bin/python3 bench/python/bench_prefork_read.py --containers 100000 --only neve,prefork

The parent reads a hundredth of it before the fork, as a server that is warmed up: the reading function's code is
specialised then. Growth is that of the child's private dirty memory around the reading. `heap` is the parent's
resident memory less that of an interpreter with nothing built; `took` how long freezing took.
"""

import gc
import json
import os
import time

import common

CONTAINERS = 1_000_000
TARGET_KB = 100


class Record:
    """An instance with attributes."""

    def __init__(self, number, peer):
        self.number = number
        self.text = f"record {number}"
        self.peer = peer


def build(containers):
    """Groups of a list, a dict, a record, a tuple and a list in it; 3.2 strings of its own to a group."""
    heap = []
    peer = None
    for number in range(containers // 5):
        inner = [f"inner {number}", number << 20] if number % 5 == 0 else [number << 20]
        record = Record(number, peer)
        peer = [record, f"list {number}"]
        heap.append((peer, {"name": f"name {number}", "size": number << 10}, (record, inner)))
    return heap


def read_all(heap):
    total = 0
    for peer, table, (record, inner) in heap:
        for item in peer:
            total += item is record
        for key, value in table.items():
            total += len(key) + (hash(value) & 1)
        total += record.number + len(record.text)
        if record.peer is not None:
            total += len(record.peer[1])
        total += len(table["name"]) + len(peer[1])
        for item in inner:
            total += hash(item) & 1
    return total


def resident_kb():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def freeze_for(configuration):
    """What the configuration does before the fork; returns the seconds, and the report of neve.prefork()."""
    start = time.process_time()
    report = None
    if configuration == "freeze":
        gc.freeze()
    elif configuration == "prefork":
        import neve
        report = neve.prefork()
    return time.process_time() - start, report


def in_child(heap):
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            gc.disable()
            probe = common.MemoryProbe()
            # The first reading itself copies the few pages that reading needs; only the second one counts.
            probe.private_dirty_kb()
            before_kb = probe.private_dirty_kb()
            total = read_all(heap)
            grown_kb = probe.private_dirty_kb() - before_kb
            os.write(write_fd, json.dumps([grown_kb, total]).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(write_fd)
    with open(read_fd, "rb") as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    common.expect(status == 0 and text, f"the forked child ended with status {status}")
    return json.loads(text)


def measure(parameters):
    empty_kb = resident_kb()
    heap = build(parameters["containers"])
    heap_kb = resident_kb() - empty_kb
    warm = heap[:max(100, len(heap) // 100)]
    for _ in range(3):
        read_all(warm)
    gc.collect()
    seconds, report = freeze_for(parameters["configuration"])
    grown_kb, total = in_child(heap)
    common.expect(total == read_all(heap), "the child has not read what the parent has built")
    return {"grown_kb": grown_kb, "heap_kb": heap_kb, "freeze_s": seconds, "report": report}


def drive():
    parser = common.make_parser("Private dirty memory of a forked child that only reads.",
                                ("stock", "freeze", "neve", "prefork"), runs=3)
    parser.add_argument("--containers", type=common.positive, default=CONTAINERS, metavar="N",
                        help=f"containers that the parent builds (default {CONTAINERS})")
    options = parser.parse_args()
    common.check_json_file(parser, options)
    results, status = common.run_in_turn(options, {"read": {"containers": options.containers}})
    rows = [{"configuration": name, "grown_kb": common.median_of(runs, "grown_kb"),
             "heap_kb": common.median_of(runs, "heap_kb"), "freeze_s": common.median_of(runs, "freeze_s"),
             "report": runs[-1]["report"]}
            for name, runs in results["read"].items() if runs]
    print(f"bench_prefork_read: a forked child reads {options.containers} containers and their strings, "
          f"medians of {options.runs}")
    print(common.machine_line() + "\n")
    common.print_table(["configuration", "grown kB", "heap MB", "took s"],
                       [[common.LABELS[row["configuration"]], common.number(row["grown_kb"], 0),
                         common.number(row["heap_kb"] / 1024, 0), common.number(row["freeze_s"], 2)]
                        for row in rows])
    for row in rows:
        if row["configuration"] != "prefork":
            continue
        report = row["report"]
        mortal = ", ".join(f"{count} {reason}" for reason, count in report["mortal"].items() if count)
        print(f"\nprefork: {report['frozen']} frozen, {report['immortal']} immortal; mortal: {mortal or 'none'}")
        if report["writes_counts"]:
            print("This version has no immortal objects: reading writes counts.")
        elif options.containers == CONTAINERS:
            met = "met" if row["grown_kb"] < TARGET_KB else "missed"
            print(f"Target, Neve + prefork: {row['grown_kb']:.0f} kB, under {TARGET_KB}: {met}.")
    common.write_json(options, "bench_prefork_read", rows, results)
    return status


if __name__ == "__main__":
    common.main(measure, drive)
