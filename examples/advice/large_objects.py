# SPDX-License-Identifier: MIT
"""Buffers of 4,096 bytes against the same in pieces of at most 448.

Blocks up to 512 bytes come from pools, of CPython's allocator and of Neve's; larger ones from malloc.
What splitting costs: a header for each piece, a list for all of them, a division for each access.
"""

import sys

import measure

LENGTH = 4096
PIECE = 448


def whole():
    return bytes(LENGTH + len(sys.argv) - 3)    # computed, or the compiler makes one for all


def split():
    return [bytes(min(PIECE, LENGTH - at) + len(sys.argv) - 3) for at in range(0, LENGTH, PIECE)]


def replace(make, read):
    """Keep many, replace every second one again and again, read one in a hundred."""
    def work(size):
        kept = [make() for _ in range(size)]
        for _ in range(4):
            for i in range(0, size, 2):
                kept[i] = make()
        return sum(read(kept[i]) for i in range(0, size, 100))
    return work


VARIANTS = {
    "whole": replace(whole, lambda one: sum(one[i] for i in range(LENGTH))),
    "split": replace(split, lambda one: sum(one[i // PIECE][i % PIECE] for i in range(LENGTH))),
}
SIZE = 20_000

if __name__ == "__main__":
    sys.exit(measure.main(VARIANTS))
