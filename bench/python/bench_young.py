# SPDX-License-Identifier: MIT
"""Benchmark: throughput of programs that allocate much and collect often.

This file is responsible for what Neve costs or saves where it matters least to pauses and most to speed: young
objects, made and dropped at once, with the interpreter's default thresholds.

    /usr/bin/python3 bench/python/bench_young.py
    /usr/bin/python3 bench/python/bench_young.py --runs 1 --only-workloads generators,ints

There are three groups of workloads. In `cycles` the garbage is cyclic: young, aged (it lives for a while first) and
linked (it points into a large live graph, which collectors that search from the garbage outwards do badly at).
In `counted` nothing is cyclic, so that collections, where the table shows any, find nothing
and are pure cost. In `plain` hardly anything is a container: what shows there is the allocator and the price of
its hook. Some of these rows are expected to be losing ones.
"""

import collections
import gc
import resource
import time

import common

# Counted workloads that keep so many objects before they drop them all cross the young threshold again and again.
BATCH = 5_000


class Node:
    """An instance with a __dict__, of which cycles are made."""

    def __init__(self, peer=None):
        self.peer = peer
        self.number = 1


# --- workloads: each performs `count` operations -----------------------------------------------------------


def cycle_of_lists(count):
    for _ in range(count):
        a, b, c, d = [], [], [], []
        a.append(b)
        b.append(c)
        c.append(d)
        d.append(a)


def cycle_of_instances(count):
    for _ in range(count):
        a = Node()
        a.peer = Node(Node(Node(a)))


def aged_cycles(count):
    queue = collections.deque(maxlen=20_000)
    for _ in range(count):
        a = [None]
        a[0] = {"back": a}
        queue.append(a)


def linked_cycles(count):
    live = [[None, {"number": number}] for number in range(100_000)]
    for number, entry in enumerate(live):
        entry[0] = live[number * 7919 % len(live)]
    for number in range(count):
        a = [live[number * 31 % len(live)]]
        a.append({"back": a})


def instances(count):
    for number in range(count):
        node = Node(number)
        node.extra = node.number


def trees_of_tuples(count):
    def tree(depth):
        return (tree(depth - 1), tree(depth - 1)) if depth else ([], [])
    for _ in range(count):
        tree(11)


def trees_of_lists(count):
    def tree(depth):
        return [tree(depth - 1), tree(depth - 1)] if depth else []
    for _ in range(count):
        tree(11)


def records(count):
    batch = []
    for number in range(count):
        row = {"id": number, "tags": [number, number], "at": (number, [number])}
        row["more"] = [row["tags"], {"id": number}]
        batch.append(row)
        if len(batch) == BATCH:
            batch = []


def generators(count):
    def numbers(limit):
        for number in range(limit):
            yield [number]
    batch = []
    for _ in range(count):
        generator = numbers(5)
        next(generator)
        batch.append(generator)
        if len(batch) == BATCH:
            for generator in batch:
                for _ in generator:
                    pass
            batch = []


def closures(count):
    def make(value):
        return lambda: value
    for number in range(count):
        make([number])()


def ints(count):
    total = 1 << 40
    for number in range(count):
        total = total + number
    return total


def floats(count):
    value = 1.0
    for _ in range(count):
        value = value * 0.5 + 1.0
    return value


def strings_replaced(count):
    width = int("40")
    table = [""] * 10_007
    for number in range(count):
        table[number * 31 % 10_007] = "x" * (width + number % 64)


def strings_queued(count):
    queue = collections.deque(maxlen=100_000)
    width = int("48")
    for _ in range(count):
        queue.append(b"x" * width)


def attribute_loop(count):
    node = Node()
    for _ in range(count):
        node.number += 1
        if node.number > 200:
            node.number = 0


WORKLOADS = {
    # name: (group, function, operations)
    "cycles of 4 lists": ("cycles", cycle_of_lists, 800_000),
    "cycles of 4 instances": ("cycles", cycle_of_instances, 500_000),
    "aged cycles": ("cycles", aged_cycles, 600_000),
    "linked cycles": ("cycles", linked_cycles, 1_000_000),
    "instances": ("counted", instances, 2_000_000),
    "trees of tuples": ("counted", trees_of_tuples, 800),
    "trees of lists": ("counted", trees_of_lists, 800),
    "records": ("counted", records, 500_000),
    "generators": ("counted", generators, 400_000),
    "closures": ("counted", closures, 2_000_000),
    "ints": ("plain", ints, 6_000_000),
    "floats": ("plain", floats, 6_000_000),
    "strings replaced": ("plain", strings_replaced, 2_500_000),
    "strings queued": ("plain", strings_queued, 4_000_000),
    "attribute loop": ("plain", attribute_loop, 5_000_000),
}


def collections_so_far():
    return [generation["collections"] for generation in gc.get_stats()]


def measure(parameters):
    function = WORKLOADS[parameters["workload"]][1]
    count = parameters["operations"]
    # A little of the same first: the interpreter specialises its bytecode, and pools are set up.
    function(max(1, count // 50))
    gc.collect()
    before = collections_so_far()
    start_ns = time.perf_counter_ns()
    function(count)
    seconds = (time.perf_counter_ns() - start_ns) / 1e9
    after = collections_so_far()
    return {
        "seconds": seconds,
        "ops_per_s": count / seconds,
        "collections": [now - then for now, then in zip(after, before)],
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def make_row(workload, reports):
    def figure(configuration, key):
        runs = reports.get(configuration)
        return common.median_of(runs, key) if runs else None

    stock, neve = figure("stock", "ops_per_s"), figure("neve", "ops_per_s")
    sample = (reports.get("stock") or reports.get("neve") or [None])[0]
    return {
        "group": WORKLOADS[workload][0], "workload": workload,
        "stock_ops_per_s": stock, "neve_ops_per_s": neve,
        "ratio": common.ratio(neve, stock) if stock and neve else None,
        "stock_peak_mb": figure("stock", "peak_rss_mb"), "neve_peak_mb": figure("neve", "peak_rss_mb"),
        "collections": sample["collections"] if sample else None,
    }


def thousands(value):
    """Three or more digits of a number of operations, in thousands."""
    if value is None:
        return "-"
    value /= 1000
    return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f}"


def drive():
    parser = common.make_parser("Throughput of programs that allocate much and collect often.")
    parser.add_argument("--only-workloads", type=common.name_list(tuple(WORKLOADS)), default=list(WORKLOADS),
                        metavar="LIST", help=f"workloads (default all), of: {', '.join(WORKLOADS)}")
    parser.add_argument("--scale", type=float, default=1.0, metavar="X",
                        help="operations, as a multiple of the default numbers (default 1)")
    options = parser.parse_args()
    if not 0 < options.scale <= 1000:
        parser.error("argument --scale: must be more than 0 and at most 1000")
    common.check_json_file(parser, options)

    cases = {}
    for workload in options.only_workloads:
        operations = max(1, int(WORKLOADS[workload][2] * options.scale))
        cases[workload] = {"workload": workload, "operations": operations}
    results, status = common.run_in_turn(options, cases)
    rows = [make_row(workload, reports) for workload, reports in results.items()]

    print(f"bench_young: throughput under young churn, medians of {options.runs}")
    print(common.machine_line() + "\n")
    common.print_table(
        ["group", "workload", "stock kops/s", "Neve kops/s", "Neve/stock", "stock MB", "Neve MB", "collections"],
        [[row["group"], row["workload"], thousands(row["stock_ops_per_s"]), thousands(row["neve_ops_per_s"]),
          common.number(row["ratio"], 3), common.number(row["stock_peak_mb"], 1),
          common.number(row["neve_peak_mb"], 1), "/".join(map(str, row["collections"] or ["-"]))] for row in rows],
        left=2)
    print("\nkops/s: thousand operations per second; Neve/stock above 1 means that Neve is faster. MB: peak resident\n"
          "memory. collections: of the young, middle and old generation during the measurement (on stock, if run).")
    common.write_json(options, "bench_young", rows, results)
    return status


if __name__ == "__main__":
    common.main(measure, drive)
