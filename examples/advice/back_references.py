# SPDX-License-Identifier: MIT
"""Weak back-references against cycles: trees whose nodes know their parents, made and dropped.

With strong references each tree waits for the collector; with weak ones it is gone with the last
reference to its root. What it costs: an object for each node that has children.
"""

import sys
import weakref

import measure


class Node:
    __slots__ = ("parent", "children", "__weakref__")

    def __init__(self, parent):
        self.parent = parent
        self.children = []


def grow(parent, depth, refer):
    node = Node(parent)
    if depth > 0:
        back = refer(node)
        node.children = [grow(back, depth - 1, refer) for _ in range(3)]
    return node


def trees(refer):
    def work(size):
        kept = [grow(None, 2, refer) for _ in range(size // 10)]
        for _ in range(size):
            grow(None, 2, refer)
        return kept
    return work


VARIANTS = {"strong": trees(lambda node: node), "weak": trees(weakref.ref)}
SIZE = 20_000

if __name__ == "__main__":
    sys.exit(measure.main(VARIANTS))
