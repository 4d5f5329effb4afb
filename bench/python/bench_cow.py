# SPDX-License-Identifier: MIT
"""Benchmark: how much memory one full collection in a forked child stops sharing with its parent.

This file is responsible for two targets: one full collection over a million containers, nothing frozen, grows a
child's private dirty memory by less than 1 MB; and with 10,000 old rings of garbage interleaved among them, all of
which the collection returns, it grows by as little as possible.

    /usr/bin/python3 bench/python/bench_cow.py
    /usr/bin/python3 bench/python/bench_cow.py --runs 1 --heaps lists

The rings have two or three lists each. `spread`, they are made singly between the live containers, at equal
distances; `grouped`, by a hundred at a time, as one burst of requests would leave them. The parent holds them
by a list, makes everything old with a full collection, freezes the heap where the configuration says so, and
drops the list just before the fork, the collector being disabled: dropping writes into pages that are not
shared yet, and the rings are garbage when the child begins. What has been frozen is no candidate any more, so
gc.freeze cannot return them; the table says so.

Whoever frees an object must write into its page. So the pages in which the garbage itself lies are a floor,
and the table shows it: the pages of the rings' lists, and of the arrays that these lists own. Spread rings lie
in nearly a page each, so there the floor is most of what can be measured, and no collector can win much;
what a collector writes beyond the garbage itself shows with grouped ones.
"""

import ctypes
import gc
import json
import os
import signal
import statistics
import time

import common
import heaps

TARGET_MB = 1.0
GROUP = 100
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
KB_PER_MB = 1024.0

# CPython keeps the collector's head of a container in the 16 bytes before it, and unlinking writes there.
HEAD_BYTES = 16
# PyListObject: reference count, type, size, pointer to the array of items.
LIST_ITEMS_OFFSET = 3 * ctypes.sizeof(ctypes.c_void_p)


def pages_of_rings(rings):
    """The distinct OS pages of the rings' lists, and of lists and arrays; None where arrays cannot be found."""
    lists = set()
    everything = set()
    arrays_known = True
    for members in rings:
        for index, member in enumerate(members):
            address = id(member)
            lists.add((address - HEAD_BYTES) // PAGE_BYTES)
            lists.add(address // PAGE_BYTES)
            items = ctypes.c_void_p.from_address(address + LIST_ITEMS_OFFSET).value
            # Look before trusting the layout: the first item must be the member that we put there.
            if arrays_known and ctypes.c_void_p.from_address(items).value == id(members[index - 1]):
                everything.add(items // PAGE_BYTES)
            else:
                arrays_known = False
    return len(lists), len(lists | everything) if arrays_known else None


def child_collects(report_fd):
    """In the child: one full collection, with the growth of private dirty memory right around it."""
    probe = common.MemoryProbe()
    # The first reading itself copies the few pages that reading needs; only the second one counts.
    probe.private_dirty_kb()
    before_kb = probe.private_dirty_kb()
    start_ns = time.perf_counter_ns()
    returned = gc.collect()
    pause_ns = time.perf_counter_ns() - start_ns
    grown_kb = probe.private_dirty_kb() - before_kb
    report = {"grown_kb": grown_kb, "pause_ms": pause_ns / 1e6, "returned": returned}
    os.write(report_fd, json.dumps(report).encode())


def measure(parameters):
    gc.disable()
    rings = []
    group = parameters["group"]

    def plant(turn):
        rings.extend(heaps.list_ring(2 + (turn + index) % 2) for index in range(group))

    heap = heaps.build(parameters["heap"], "shuffled", parameters["size"], plant, parameters["rings"] // group)
    planted = sum(len(members) for members in rings)
    list_pages, all_pages = pages_of_rings(rings)
    # The lists that name the members are containers too: only the rings themselves shall be garbage later.
    rings = [members[0] for members in rings]
    gc.collect()
    if parameters["configuration"] == "freeze":
        gc.freeze()
    rings.clear()

    report_read, report_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(report_read)
            child_collects(report_write)
            status = 0
        finally:
            os._exit(status)
    os.close(report_write)
    with open(report_read, "rb") as pipe:
        text = pipe.read()
    _, wait_status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(wait_status)
    common.expect(code >= 0, f"the forked child was killed by {common.signal_name(-code)}")
    common.expect(code == 0 and text, f"the forked child ended with status {code}")
    report = json.loads(text)
    if parameters["configuration"] != "freeze":
        common.expect(report["returned"] >= planted,
                      f"the child's collection returned {report['returned']}, but {planted} objects were garbage")
    common.expect(len(heap[0]) == parameters["size"], "the heap changed its size")
    return dict(report, planted=planted, list_pages=list_pages, all_pages=all_pages)


def megabytes(pages):
    return None if pages is None else pages * PAGE_BYTES / (1024 * KB_PER_MB)


def make_row(case, garbage, configuration, runs):
    all_pages = [run["all_pages"] for run in runs]
    return {
        "heap": case, "rings": garbage, "configuration": configuration,
        "grown_mb": common.median_of(runs, "grown_kb") / KB_PER_MB,
        "pause_ms": common.median_of(runs, "pause_ms"),
        "planted": runs[0]["planted"],
        "returned": int(common.median_of(runs, "returned")),
        "list_pages": common.median_of(runs, "list_pages"),
        "all_pages": None if None in all_pages else statistics.median(all_pages),
    }


def print_row(row):
    floor_mb = megabytes(row["all_pages"] if row["all_pages"] is not None else row["list_pages"])
    return [row["heap"], common.LABELS[row["configuration"]],
            common.number(row["grown_mb"], 2), common.number(row["pause_ms"], 1),
            str(row["planted"]), str(row["returned"]), common.number(row["list_pages"], 0),
            common.number(row["all_pages"], 0), common.number(floor_mb, 2)]


def drive():
    parser = common.make_parser("Private dirty memory that one full collection causes in a forked child.",
                                ("stock", "freeze", "neve"))
    parser.add_argument("--size", type=common.positive, default=1_000_000, metavar="N",
                        help="live containers (default 1000000)")
    parser.add_argument("--rings", type=common.positive, default=10_000, metavar="N",
                        help="rings of garbage in the cases that have some (default 10000)")
    parser.add_argument("--heaps", type=common.name_list(heaps.COMPOSITIONS), default=["lists", "mixed"],
                        metavar="LIST", help=f"heaps, of {','.join(heaps.COMPOSITIONS)} (default lists,mixed)")
    options = parser.parse_args()
    common.check_json_file(parser, options)

    cases = {}
    for heap in options.heaps:
        for name, rings, group in (("none", 0, 1), ("spread", options.rings, 1), ("grouped", options.rings, GROUP)):
            cases[f"{heap}, {name}"] = {"heap": heap, "rings": rings, "group": min(group, max(1, rings)),
                                        "size": options.size}
    results, status = common.run_in_turn(options, cases)
    rows = [make_row(case, cases[case]["rings"], configuration, runs)
            for case, reports in results.items() for configuration, runs in reports.items()]

    print(f"bench_cow: one full collection in a forked child, {options.size} containers, medians of {options.runs}")
    print(common.machine_line() + "\n")
    common.print_table(["heap, rings", "configuration", "grown MB", "pause ms", "garbage", "returned", "list pages",
                        "all pages", "floor MB"], [print_row(row) for row in rows], left=2)
    print("\ngrown: growth of the child's private dirty memory by the collection. garbage, returned: objects that\n"
          "were garbage, and what gc.collect() returned. list pages, all pages: distinct pages of the OS in which\n"
          "the garbage lists lie, and with the arrays they own; floor: the latter in MB, which freeing must write.")
    judged = [row["grown_mb"] for row in rows if row["configuration"] == "neve" and not row["rings"]]
    if judged:
        verdict = "met" if max(judged) < TARGET_MB else "missed"
        print(f"Target: Neve, no garbage, less than {TARGET_MB:.0f} MB: {verdict}, worst {max(judged):.2f} MB.")
    common.write_json(options, "bench_cow", rows, results)
    return status


if __name__ == "__main__":
    common.main(measure, drive)
