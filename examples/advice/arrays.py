# SPDX-License-Identifier: MIT
"""Typed arrays against lists: a list refers to an object for each number, an array holds it."""

import array
import sys

import measure


def rows(make):
    """A table: many rows of a hundred numbers, which are all read once."""
    def work(size):
        table = [make(i * 0.5 for i in range(100)) for _ in range(size // 100)]
        return sum(sum(row) for row in table)
    return work


VARIANTS = {
    "lists": rows(list),
    "arrays": rows(lambda items: array.array("d", items)),
}
SIZE = 2_000_000

if __name__ == "__main__":
    sys.exit(measure.main(VARIANTS))
