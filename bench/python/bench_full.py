# SPDX-License-Identifier: MIT
"""Benchmark: how long a full collection of a large live heap takes.

This file is responsible for the target "a full collection of 1M live containers, with 1,000 planted rings that it
must reclaim, takes at most 1/5 of stock's time, in memory order and shuffled" (heaps.py tells the orders).

    /usr/bin/python3 bench/python/bench_full.py
    /usr/bin/python3 bench/python/bench_full.py --runs 1 --size 100000

Three kinds of collection are timed, each as the wall time around gc.collect():

    rings    old garbage in 1,000 rings of three objects among the live ones; every ring must be reclaimed
    steady   no garbage at all, the median of three in a row
    half     half of the heap is garbage, in rings of two lists; finding it is little of that work, taking it
             apart is most of it, so no collector can win much here
"""

import gc
import statistics
import time
import weakref

import common
import heaps

TARGET_RATIO = 0.2

CASES = {
    f"{composition}, {order}": {"kind": "live", "composition": composition, "order": order}
    for composition in heaps.COMPOSITIONS for order in heaps.ORDERS
    if (composition, order) != ("strings", "relinked")
}
HALF_CASE = "lists, half garbage"
CASES[HALF_CASE] = {"kind": "half"}


def timed_collect():
    start_ns = time.perf_counter_ns()
    returned = gc.collect()
    return (time.perf_counter_ns() - start_ns) / 1e6, returned


def measure_live(parameters):
    held = []
    watches = []

    def plant(_):
        member = heaps.watched_ring()
        held.append(member)
        watches.append(weakref.ref(member))

    heap = heaps.build(parameters["composition"], parameters["order"], parameters["size"], plant,
                       parameters["rings"])
    gc.collect()
    held.clear()
    rings_ms, returned = timed_collect()
    planted = parameters["rings"] * heaps.WATCHED_RING_OBJECTS
    alive = sum(watch() is not None for watch in watches)
    common.expect(returned >= planted, f"gc.collect() returned {returned}, but {planted} objects were planted")
    common.expect(alive == 0, f"{alive} of {len(watches)} planted rings survived the collection")
    steady_ms = []
    for _ in range(3):
        milliseconds, returned = timed_collect()
        steady_ms.append(milliseconds)
        common.expect(returned == 0, f"a collection without garbage returned {returned}")
    common.expect(len(heap[0]) == parameters["size"], "the heap changed its size")
    return {"rings_ms": rings_ms, "steady_ms": statistics.median(steady_ms)}


def measure_half(parameters):
    held = []
    pairs = parameters["size"] // 4
    heap = heaps.build("lists", "memory", parameters["size"] // 2,
                       lambda _: held.append(heaps.list_ring(2)[0]), pairs)
    gc.collect()
    held.clear()
    half_ms, returned = timed_collect()
    common.expect(returned >= 2 * pairs, f"gc.collect() returned {returned}, but {2 * pairs} objects were garbage")
    common.expect(len(heap[0]) == parameters["size"] // 2, "the heap changed its size")
    return {"half_ms": half_ms}


def measure(parameters):
    gc.disable()
    if parameters["kind"] == "half":
        return measure_half(parameters)
    return measure_live(parameters)


def make_row(case, figure, reports):
    """One line of the table: the medians of both configurations and their ratio, None where not measured."""
    values = {configuration: common.median_of(runs, figure) if runs else None
              for configuration, runs in reports.items()}
    stock, neve = values.get("stock"), values.get("neve")
    quotient = common.ratio(neve, stock) if stock and neve else None
    return {"heap": case, "collection": figure.removesuffix("_ms"), "stock_ms": stock, "neve_ms": neve,
            "ratio": quotient}


def drive():
    parser = common.make_parser("Duration of a full collection of a large live heap.")
    parser.add_argument("--size", type=common.positive, default=1_000_000, metavar="N",
                        help="live containers (default 1000000)")
    parser.add_argument("--rings", type=common.positive, default=1000, metavar="N",
                        help="planted rings (default 1000)")
    options = parser.parse_args()
    common.check_json_file(parser, options)

    cases = {case: dict(parameters, size=options.size, rings=options.rings) for case, parameters in CASES.items()}
    results, status = common.run_in_turn(options, cases)
    rows = []
    for case, reports in results.items():
        figures = ("half_ms",) if case == HALF_CASE else ("rings_ms", "steady_ms")
        rows += [make_row(case, figure, reports) for figure in figures]

    print(f"bench_full: full collection of {options.size} containers, {options.rings} planted rings, "
          f"medians of {options.runs}")
    print(common.machine_line() + "\n")
    common.print_table(
        ["heap", "collection", "stock ms", "Neve ms", "Neve/stock"],
        [[row["heap"], row["collection"], common.number(row["stock_ms"], 1), common.number(row["neve_ms"], 1),
          common.number(row["ratio"], 3)] for row in rows])
    print("\nMilliseconds of one gc.collect(). rings: with the planted rings, all reclaimed. steady: without\n"
          "garbage. half: half of the containers are garbage, and are taken apart within that time.")
    judged = [row["ratio"] for row in rows if row["collection"] == "rings" and row["ratio"] is not None]
    if judged:
        verdict = "met" if max(judged) <= TARGET_RATIO else "missed"
        print(f"Target: at most {TARGET_RATIO} of stock's time with the planted rings: {verdict}, "
              f"worst {max(judged):.3f}.")
    common.write_json(options, "bench_full", rows, results)
    return status


if __name__ == "__main__":
    common.main(measure, drive)
