# SPDX-License-Identifier: MIT
"""Benchmark: how much memory a forked child stops sharing with its parent, by what the child does.

This file is responsible for these targets of a child on the foundation's heap (16,000 lists and 640,000 distinct
strings of their size class, made in turn):

    a full collection                   at most what it costs after gc.freeze, plus 64 kB
    the same, 1% of the heap garbage    at most twice the pages of the OS in which the garbage lies
    a million allocations and frees,    at most what the same work costs with no heap to inherit,
    on a heap with holes                plus 500 kB

    /usr/bin/python3 bench/python/bench_fork.py
    /usr/bin/python3 bench/python/bench_fork.py --runs 1 --work collect,garbage

`garbage`: every hundredth list holds itself and its strings and is dropped before the fork, with the collector
off; all was old when it died. `allocate`: every tenth string is dropped before the fork; the child makes and drops
a million strings and lists, 20,000 of which it holds at a time. `read`: looks at every list and string.
`free`: drops every second list and string. Growth is that of the child's private dirty memory around the work.
"""

import ctypes
import gc
import json
import os

import common

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
LISTS = 16_000
STRINGS_PER_LIST = 40
KEEP = 20_000
WORKS = ("collect", "garbage", "allocate", "read", "free")
FREEZE_PLUS_KB = 64
ALLOCATE_PLUS_KB = 500

# CPython keeps the collector's head of a container in the 16 bytes before it.
HEAD_BYTES = 16
# PyListObject: reference count, type, size, pointer to the array of items.
LIST_ITEMS_OFFSET = 3 * ctypes.sizeof(ctypes.c_void_p)


def build(count, with_garbage):
    """Lists and strings in turn; and the lists, with their strings, that are to be garbage."""
    # The width is known only at run time: the compiler would fold a literal ' ' * 8 into one shared string.
    width = int("8")
    lists, strings, doomed = [], [], []
    for number in range(count):
        made = []
        lists.append(made)
        mine = [" " * width for _ in range(STRINGS_PER_LIST)]
        if with_garbage and number % 100 == 99:
            made.extend(mine)
            made.append(made)
            doomed.append(lists.pop())
        else:
            strings.extend(mine)
    return lists, strings, doomed


def pages_of(doomed):
    """The distinct pages of the OS in which the doomed lists lie, with their arrays and strings."""
    pages = set()

    def add(address, size):
        pages.update(range(address // PAGE_BYTES, (address + size - 1) // PAGE_BYTES + 1))

    for made in doomed:
        add(id(made) - HEAD_BYTES, HEAD_BYTES + made.__sizeof__() - 8 * len(made))
        add(ctypes.c_void_p.from_address(id(made) + LIST_ITEMS_OFFSET).value, 8 * len(made))
        for item in made[:-1]:
            add(id(item), item.__sizeof__())
    return len(pages)


def allocate_much():
    held = [None] * KEEP
    width = 1
    for number in range(1_000_000):
        at = number * 7919 % KEEP
        width = width % 200 + 1
        held[at] = [number] if number % 4 == 0 else "x" * width
    return held


def child_works(work, lists, strings, report_fd):
    """In the child: the work, with the growth of private dirty memory right around it."""
    probe = common.MemoryProbe()
    # The first reading itself copies the few pages that reading needs; only the second one counts.
    probe.private_dirty_kb()
    before_kb = probe.private_dirty_kb()
    result = 0
    if work in ("collect", "garbage"):
        result = gc.collect()
    elif work == "allocate":
        held = allocate_much()
        result = len(held)
    elif work == "read":
        for made in lists:
            result += len(made)
        for text in strings:
            result += len(text)
    elif work == "free":
        del lists[::2], strings[::2]
    grown_kb = probe.private_dirty_kb() - before_kb
    os.write(report_fd, json.dumps({"grown_kb": grown_kb, "result": result}).encode())


def in_child(work, lists, strings):
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            child_works(work, lists, strings, write_fd)
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
    gc.disable()
    work = parameters["work"]
    alone_kb = in_child(work, [], [])["grown_kb"] if work == "allocate" else None
    lists, strings, doomed = build(parameters["lists"], work == "garbage")
    if work == "allocate":
        del strings[::10]
    pages = pages_of(doomed)
    garbage = len(doomed)
    gc.collect()
    if parameters["configuration"] == "freeze":
        gc.freeze()
    doomed.clear()
    report = in_child(work, lists, strings)
    if work == "garbage" and parameters["configuration"] != "freeze":
        common.expect(report["result"] >= garbage,
                      f"the collection returned {report['result']}, but {garbage} lists were garbage")
    return {"grown_kb": report["grown_kb"], "garbage_kb": pages * PAGE_BYTES // 1024, "alone_kb": alone_kb}


def floor_of(work, runs):
    """What the child had to write or needed for itself, as far as it is known, in kB."""
    key = {"garbage": "garbage_kb", "allocate": "alone_kb"}.get(work)
    return common.median_of(runs, key) if key else None


def verdict(work, grown_kb, floor_kb, frozen_kb):
    """The row of Neve against its target; None if there is none."""
    if work == "collect" and frozen_kb is not None:
        limit = frozen_kb + FREEZE_PLUS_KB
    elif work == "garbage":
        limit = 2 * floor_kb
    elif work == "allocate":
        limit = floor_kb + ALLOCATE_PLUS_KB
    else:
        return None
    return f"{work}: {grown_kb:.0f} kB, at most {limit:.0f}: {'met' if grown_kb <= limit else 'missed'}"


def drive():
    parser = common.make_parser("Private dirty memory that work in a forked child causes.",
                                ("stock", "freeze", "neve"))
    parser.add_argument("--lists", type=common.positive, default=LISTS, metavar="N",
                        help=f"lists, each with {STRINGS_PER_LIST} strings (default {LISTS})")
    parser.add_argument("--work", type=common.name_list(WORKS), default=list(WORKS), metavar="LIST",
                        help=f"what the child does, of {','.join(WORKS)} (default all)")
    options = parser.parse_args()
    common.check_json_file(parser, options)
    cases = {work: {"work": work, "lists": options.lists} for work in options.work}
    results, status = common.run_in_turn(options, cases)

    rows, verdicts = [], []
    for work, reports in results.items():
        grown = {name: common.median_of(runs, "grown_kb") for name, runs in reports.items() if runs}
        for name, runs in reports.items():
            if not runs:
                continue
            floor_kb = floor_of(work, runs)
            rows.append({"work": work, "configuration": name, "grown_kb": grown[name], "floor_kb": floor_kb})
            if name == "neve":
                verdicts.append(verdict(work, grown[name], floor_kb, grown.get("freeze")))
    print(f"bench_fork: a forked child on {options.lists} lists and {options.lists * STRINGS_PER_LIST} strings, "
          f"medians of {options.runs}")
    print(common.machine_line() + "\n")
    common.print_table(["the child's work", "configuration", "grown kB", "floor kB"],
                       [[row["work"], common.LABELS[row["configuration"]], common.number(row["grown_kb"], 0),
                         common.number(row["floor_kb"], 0)] for row in rows], left=2)
    print("\ngrown: growth of the child's private dirty memory. floor: of garbage, the pages in which it lies, of\n"
          "allocating, what the same work takes in a child with no heap. gc.freeze collects no garbage.")
    for line in filter(None, verdicts):
        print(f"Target, Neve, {line}.")
    common.write_json(options, "bench_fork", rows, results)
    return status


if __name__ == "__main__":
    common.main(measure, drive)
