# SPDX-License-Identifier: MIT
"""Fewer globals: a global name is looked up in a dict, a local one is a place in the frame."""

import sys

import measure

limit = total = i = 0


def with_globals(size):
    global limit, total, i
    limit, total, i = size, 0, 0
    while i < limit:
        total = total + i
        i = i + 1


def with_locals(size):
    limit, total, i = size, 0, 0
    while i < limit:
        total = total + i
        i = i + 1


VARIANTS = {"globals": with_globals, "locals": with_locals}
SIZE = 5_000_000

if __name__ == "__main__":
    sys.exit(measure.main(VARIANTS))
