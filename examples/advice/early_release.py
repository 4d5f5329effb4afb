# SPDX-License-Identifier: MIT
"""Early release: a local variable keeps what it holds until its function returns.

Three steps that each need the result of the step before, and nothing older.
"""

import sys

import measure


def read(size):
    return [[i, f"row {i}"] for i in range(size)]


def select(rows):
    return [[i, i * 2, str(i)] for i, _ in rows]


def total(some):
    return [[a + b, c] for a, b, c in some]


def held(size):
    rows = read(size)
    some = select(rows)
    return total(some)


def released(size):
    rows = read(size)
    some = select(rows)
    del rows
    return total(some)


VARIANTS = {"held": held, "released": released}
SIZE = 200_000

if __name__ == "__main__":
    sys.exit(measure.main(VARIANTS))
