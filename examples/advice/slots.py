# SPDX-License-Identifier: MIT
"""Slots against dicts: many instances with the same four fields, kept."""

import sys

import measure


class Open:
    def __init__(self, i):
        self.a = self.b = self.c = self.d = i


class Slotted:
    __slots__ = ("a", "b", "c", "d")

    def __init__(self, i):
        self.a = self.b = self.c = self.d = i


VARIANTS = {
    "dicts": lambda size: [Open(i) for i in range(size)],
    "slots": lambda size: [Slotted(i) for i in range(size)],
}
SIZE = 300_000

if __name__ == "__main__":
    sys.exit(measure.main(VARIANTS))
