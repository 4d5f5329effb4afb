# SPDX-License-Identifier: MIT
"""The live heaps of the benchmarks, and the rings of garbage that are planted in them.

A heap is a list of containers, each referring to one other container of it. In *memory* order it is listed as
it was allocated and each container refers to the one before it; in *shuffled* order it is listed at random and
each refers to a random earlier one, which defeats caches and prefetching, as old programs do. *Relinked* is
shuffled, but held by an object younger than all of it: stock's collector then finds the heap unreachable at first, puts
it back in the order of the references, and walks its own list of objects in shuffled order from then on.

Rings are made while the heap is built, evenly spread over it, so that they lie among live objects.
"""

import random

COMPOSITIONS = ("lists", "mixed", "strings")
ORDERS = ("memory", "shuffled", "relinked")


class Record:
    """An instance with a __dict__."""

    def __init__(self, peer, number):
        self.peer = peer
        self.number = number


class Slotted:
    """An instance without a __dict__."""

    __slots__ = ("peer",)

    def __init__(self, peer):
        self.peer = peer


class RingMember:
    """A member of a ring that can be watched through a weak reference."""

    __slots__ = ("next", "__weakref__")


def build(composition, order, count, plant=None, plants=0):
    """Returns a heap of `count` containers in a holder, a list of one: the caller must hold nothing else of it.

    `plant(i)` is called for i in range(plants), evenly spread between the allocations of the heap. Compositions:
    `lists` (each holds one other list), `mixed` (six container types in turn), `strings` (lists that hold four
    distinct strings each besides, so that most edges lead to leaves).
    """
    rng = random.Random(1)
    draw = rng.random
    shuffled = order != "memory"
    every = max(1, count // plants) if plants else count + 1
    planted = 0
    width = int("8")  # Not a literal: the compiler would fold ' ' * 8 into one shared string.
    holder = []
    nodes = [[]]
    if order != "relinked":
        holder.append(nodes)
    instances = []
    while len(nodes) < count:
        number = len(nodes)
        if number % every == 0 and planted < plants:
            plant(planted)
            planted += 1
        peer = nodes[int(draw() * number)] if shuffled else nodes[-1]
        if composition == "lists":
            node = [peer]
        elif composition == "strings":
            node = [peer, " " * width, " " * width, " " * width, " " * width]
        else:
            kind = number % 6
            if kind == 0:
                node = [peer, number]
            elif kind == 1:
                node = {"peer": peer, "number": number}
            elif kind == 2:
                node = (number, peer)
            elif kind == 3:
                node = Record(peer, number)
                instances.append(node)
            elif kind == 4:
                node = Slotted(peer)
                instances.append(node)
            elif not instances:
                node = [peer]
            else:
                # Only instances are hashable here, so a set refers to one of them.
                node = {instances[int(draw() * len(instances))] if shuffled else instances[-1]}
        nodes.append(node)
    while planted < plants:
        plant(planted)
        planted += 1
    if shuffled:
        rng.shuffle(nodes)
    return holder if order != "relinked" else [nodes]


def watched_ring():
    """A ring of three objects: a member that takes weak references, and two lists. Returns the member."""
    member = RingMember()
    member.next = [[member]]
    return member


WATCHED_RING_OBJECTS = 3


def list_ring(size):
    """A ring of `size` lists; returns its members."""
    members = [[] for _ in range(size)]
    for index, member in enumerate(members):
        member.append(members[index - 1])
    return members
