# SPDX-License-Identifier: MIT
"""Long-lived objects pruned of references that they do not need any more.

A cache of results each of which still refers to what it was computed from; then ten full collections,
which visit all that lives.
"""

import gc
import sys

import measure


class Entry:
    __slots__ = ("name", "size", "source")

    def __init__(self, name):
        self.name = name
        self.source = {"words": [[name, i] for i in range(8)], "line": [1]}
        self.size = len(self.source["words"])


def cache(is_pruned):
    def work(size):
        entries = []
        for i in range(size):
            entry = Entry(f"entry {i}")
            if is_pruned:
                entry.source = None
            entries.append(entry)
        for _ in range(10):
            gc.collect()
    return work


VARIANTS = {"as computed": cache(False), "pruned": cache(True)}
SIZE = 40_000

if __name__ == "__main__":
    sys.exit(measure.main(VARIANTS))
