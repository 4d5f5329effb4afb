# SPDX-License-Identifier: MIT
"""The workloads of the throughput benchmarks: small programs, mostly of allocation.

Each is a function that performs `count` operations and keeps nothing; WORKLOADS names it and tells how many operations
are about a second's work. Which of them a benchmark runs, and what it times, is the benchmark's own affair.
"""

import collections

# Workloads that keep so many objects before they drop them all cross the young threshold again and again.
BATCH = 5_000


class Node:
    """An instance with a __dict__, of which cycles are made."""

    def __init__(self, peer=None):
        self.peer = peer
        self.number = 1


class Branch:
    """An instance without a __dict__, of which trees are made."""

    __slots__ = ("left", "right")

    def __init__(self, left, right):
        self.left = left
        self.right = right


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


def instances_replaced(count):
    table = [None] * 10_007
    for number in range(count):
        table[number * 31 % 10_007] = Node(number)


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


def trees_of_slots(count):
    def tree(depth):
        return Branch(tree(depth - 1), tree(depth - 1)) if depth else Branch(None, None)
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


def dicts(count):
    table = [None] * 1_009
    for number in range(count):
        row = {"id": number, "name": "row", "next": None}
        if number % 3 == 0:
            row["price"] = row["size"] = row["colour"] = number
        if number % 7 == 0:
            row = {key: value for key, value in row.items() if value is not None}
        table[number * 31 % 1_009] = row


def strings_built(count):
    lines = []
    for number in range(count):
        line = f"{number}: " + str(number * 7) + ", " + "value".rjust(number % 24)
        lines.append(line.strip().upper())
        if len(lines) == 1_000:
            text = "\n".join(lines)
            words = [part for part in text.split("\n") if part.endswith("E")]
            lines = words[:1]


def lists_built(count):
    for number in range(count):
        row = [number, number, number]
        for item in row[:2]:
            row.append(item)
        row = [item for item in row if item is not None] + row[1:]
        row.sort()
        row.pop()


def attribute_loop(count):
    node = Node()
    for _ in range(count):
        node.number += 1
        if node.number > 200:
            node.number = 0


WORKLOADS = {
    # name: (function, operations)
    "cycles of 4 lists": (cycle_of_lists, 800_000),
    "cycles of 4 instances": (cycle_of_instances, 500_000),
    "aged cycles": (aged_cycles, 600_000),
    "linked cycles": (linked_cycles, 1_000_000),
    "instances": (instances, 2_000_000),
    "instances replaced": (instances_replaced, 1_500_000),
    "trees of tuples": (trees_of_tuples, 800),
    "trees of slots": (trees_of_slots, 500),
    "trees of lists": (trees_of_lists, 800),
    "records": (records, 500_000),
    "generators": (generators, 400_000),
    "closures": (closures, 2_000_000),
    "ints": (ints, 6_000_000),
    "floats": (floats, 6_000_000),
    "strings replaced": (strings_replaced, 2_500_000),
    "strings queued": (strings_queued, 4_000_000),
    "dicts": (dicts, 2_000_000),
    "strings built": (strings_built, 1_000_000),
    "lists built": (lists_built, 600_000),
    "attribute loop": (attribute_loop, 5_000_000),
}
