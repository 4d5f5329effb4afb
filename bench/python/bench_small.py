# SPDX-License-Identifier: MIT
"""Benchmark: programs that do little but allocate small objects, in operations per second of CPU time.

This file is responsible for the target "allocation-heavy programs run at least as fast as on CPython's own allocator,
by the geometric mean of their throughputs, aim 5% faster; their peak of resident memory is at most 1.05 of stock's".
The real programs that count into the same mean have a benchmark of their own.

    /usr/bin/python3 bench/python/bench_small.py
    /usr/bin/python3 bench/python/bench_small.py --runs 2 --only-workloads records,dicts

Neve is switched on by `python -m neve`, whose module `runpy` and what it imports take memory of their own, and once
more by `NEVE=1` in the environment, as servers are.

Each child repeats its workload in short pieces and reports the least and the median CPU time of a piece. Other load
can only add to a piece's time, so the least of all pieces of all runs is the figure that is compared; the medians
stand beside it to show how far they agree. The collector runs as it does by default.
"""

import gc
import math
import statistics
import time

import common
import workloads

TARGET = 1.0
AIM = 1.05
TARGET_RSS = 1.05

NAMES = ("trees of tuples", "trees of slots", "instances", "instances replaced", "dicts", "strings built",
         "strings replaced", "lists built", "records")
# A piece is this part of the operations that take about a second.
PIECE = 1 / 12


def measure(parameters):
    function = workloads.WORKLOADS[parameters["workload"]][0]
    count = parameters["operations"]
    start_mb = common.peak_rss_mb()
    # One piece ahead: the interpreter specialises its bytecode, and pools and arenas are set up.
    function(count)
    seconds = []
    for _ in range(parameters["pieces"]):
        gc.collect()
        start_ns = time.process_time_ns()
        function(count)
        seconds.append((time.process_time_ns() - start_ns) / 1e9)
    return {
        "least_ops_per_s": count / min(seconds),
        "median_ops_per_s": count / statistics.median(seconds),
        "start_rss_mb": start_mb,
        "peak_rss_mb": common.peak_rss_mb(),
    }


def make_row(workload, reports, configuration):
    """Stock beside one configuration of Neve."""
    row = {"workload": workload, "configuration": configuration}
    for side, runs in (("stock", reports.get("stock")), ("neve", reports.get(configuration))):
        row[f"{side}_best"] = max(run["least_ops_per_s"] for run in runs) if runs else None
        row[f"{side}_median"] = common.median_of(runs, "median_ops_per_s") if runs else None
        row[f"{side}_start_mb"] = common.median_of(runs, "start_rss_mb") if runs else None
        row[f"{side}_peak_mb"] = common.median_of(runs, "peak_rss_mb") if runs else None
    for figure in ("best", "median", "peak_mb"):
        stock, neve = row[f"stock_{figure}"], row[f"neve_{figure}"]
        row[f"{figure}_ratio"] = neve / stock if stock and neve else None
    return row


def geometric_mean(values):
    return math.exp(statistics.fmean(math.log(value) for value in values))


def print_verdict(rows):
    """The two targets, and every row that alone would miss one, the worst first."""
    judged = [row for row in rows if row["best_ratio"] is not None]
    if not judged:
        return
    mean = geometric_mean([row["best_ratio"] for row in judged])
    by_median = geometric_mean([row["median_ratio"] for row in judged])
    verdict = "missed" if mean < TARGET else "met" if mean < AIM else "met, and the aim"
    print(f"Throughput, geometric mean of {len(judged)}: {mean:.3f} (by medians {by_median:.3f}); "
          f"target {TARGET:.2f}, aim {AIM:.2f}: {verdict}.")
    worst = max(judged, key=lambda row: row["peak_mb_ratio"])
    peak = geometric_mean([row["peak_mb_ratio"] for row in judged])
    verdict = "met" if worst["peak_mb_ratio"] <= TARGET_RSS else "missed"
    start_stock, start_neve = (statistics.median(row[f"{configuration}_start_mb"] for row in judged)
                               for configuration in ("stock", "neve"))
    print(f"Peak memory, geometric mean: {peak:.3f}; worst: {worst['peak_mb_ratio']:.3f} ({worst['workload']}); "
          f"target for each {TARGET_RSS:.2f}: {verdict}. Before the first operation: {start_stock:.1f} and "
          f"{start_neve:.1f} MB, {start_neve / start_stock:.3f}.")
    slow = sorted((row for row in judged if row["best_ratio"] < TARGET), key=lambda row: row["best_ratio"])
    large = sorted((row for row in judged if row["peak_mb_ratio"] > TARGET_RSS),
                   key=lambda row: -row["peak_mb_ratio"])
    print("Slower than stock: " + (", ".join(f"{row['workload']} {row['best_ratio']:.3f}" for row in slow) or "none"))
    print("Over the memory: " + (", ".join(f"{row['workload']} {row['peak_mb_ratio']:.3f}" for row in large)
                                 or "none"))


def kops(value):
    return "-" if value is None else f"{value / 1000:,.2f}"


def drive():
    parser = common.make_parser("Throughput and peak memory of programs that allocate small objects.",
                                ("stock", "neve", "variable"))
    parser.add_argument("--only-workloads", type=common.name_list(NAMES), default=list(NAMES), metavar="LIST",
                        help=f"workloads (default all), of: {', '.join(NAMES)}")
    parser.add_argument("--pieces", type=common.positive, default=15, metavar="N",
                        help="timed repeats in each run (default 15)")
    options = parser.parse_args()
    common.check_json_file(parser, options)

    cases = {}
    for workload in options.only_workloads:
        operations = max(1, int(workloads.WORKLOADS[workload][1] * PIECE))
        cases[workload] = {"workload": workload, "operations": operations, "pieces": options.pieces}
    results, status = common.run_in_turn(options, cases)
    rows = []
    print(f"bench_small: small objects, least CPU time of {options.runs} runs of {options.pieces} pieces")
    print(common.machine_line())
    for configuration in [name for name in options.configurations if name != "stock"]:
        own = [make_row(workload, reports, configuration) for workload, reports in results.items()]
        rows += own
        label = common.LABELS[configuration]
        print()
        common.print_table(
            ["workload", "stock kops/s", f"{label} kops/s", "ratio", "by medians", "stock MB", f"{label} MB", "ratio"],
            [[row["workload"], kops(row["stock_best"]), kops(row["neve_best"]), common.number(row["best_ratio"], 3),
              common.number(row["median_ratio"], 3), common.number(row["stock_peak_mb"], 1),
              common.number(row["neve_peak_mb"], 1), common.number(row["peak_mb_ratio"], 3)] for row in own])
        print_verdict(own)
    print("\nkops/s: thousand operations per second of CPU time; above 1 Neve is faster. MB: peak resident memory;\n"
          "above 1 Neve needs more.")
    common.write_json(options, "bench_small", rows, results)
    return status


if __name__ == "__main__":
    common.main(measure, drive)
