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

import gc
import time

import common
import workloads

GROUPS = {
    "cycles": ("cycles of 4 lists", "cycles of 4 instances", "aged cycles", "linked cycles"),
    "counted": ("instances", "trees of tuples", "trees of lists", "records", "generators", "closures"),
    "plain": ("ints", "floats", "strings replaced", "strings queued", "attribute loop"),
}
GROUP_OF = {workload: group for group, names in GROUPS.items() for workload in names}


def collections_so_far():
    return [generation["collections"] for generation in gc.get_stats()]


def measure(parameters):
    function = workloads.WORKLOADS[parameters["workload"]][0]
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
        "peak_rss_mb": common.peak_rss_mb(),
    }


def make_row(workload, reports):
    def figure(configuration, key):
        runs = reports.get(configuration)
        return common.median_of(runs, key) if runs else None

    stock, neve = figure("stock", "ops_per_s"), figure("neve", "ops_per_s")
    sample = (reports.get("stock") or reports.get("neve") or [None])[0]
    return {
        "group": GROUP_OF[workload], "workload": workload,
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
    parser.add_argument("--only-workloads", type=common.name_list(tuple(GROUP_OF)), default=list(GROUP_OF),
                        metavar="LIST", help=f"workloads (default all), of: {', '.join(GROUP_OF)}")
    parser.add_argument("--scale", type=float, default=1.0, metavar="X",
                        help="operations, as a multiple of the default numbers (default 1)")
    options = parser.parse_args()
    if not 0 < options.scale <= 1000:
        parser.error("argument --scale: must be more than 0 and at most 1000")
    common.check_json_file(parser, options)

    cases = {}
    for workload in options.only_workloads:
        operations = max(1, int(workloads.WORKLOADS[workload][1] * options.scale))
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
