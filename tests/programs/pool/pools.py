# SPDX-License-Identifier: MIT
"""The program: pools of processes by one start method, with results in an order that is fixed.

    pools.py fork|forkserver|spawn

Every task notes that a worker ran it; some leave cyclic garbage behind and one kind collects it.
"""

import collections
import concurrent.futures
import gc
import multiprocessing
import multiprocessing.shared_memory
import os
import random
import sys
import weakref

import witness

# What a parent builds before it forks, and its children read.
TABLE = {number: (str(number), [number, number * number], {"half": number / 2})
         for number in range(20_000)}


class Node:
    """A member of a ring."""

    def __init__(self, value):
        self.value = value
        self.next = self.previous = None


def ring(size):
    """A ring of nodes, each referring to both neighbours; returns the first."""
    nodes = [Node(number) for number in range(size)]
    for left, right in zip(nodes, nodes[1:] + nodes[:1]):
        left.next, right.previous = right, left
    return nodes[0]


def records(seed):
    """Builds records that refer to one another, and returns a digest of them; the records are
    garbage."""
    rng = random.Random(seed)
    made = []
    for number in range(2_000):
        record = {"number": number, "name": f"record {seed}.{number}", "peers": []}
        if made:
            peer = rng.choice(made)
            record["peers"].append(peer)
            peer["peers"].append(record)
        made.append(record)
    return seed, sum(len(record["peers"]) * record["number"] for record in made)


def lookup(keys):
    witness.note("lookup")
    return [TABLE[key][1][1] for key in keys]


def collect(size):
    """Makes rings, drops them, and collects: how many are left."""
    watched = []
    for _ in range(5):
        first = ring(size)
        watched.append(weakref.ref(first))
    del first
    gc.collect()
    witness.note("collect")
    return size, sum(watch() is not None for watch in watched)


def fail(number):
    if number % 3 == 0:
        raise ValueError(f"{number} is a multiple of three", number)
    return number


def meet(barrier):
    """Waits for another worker, so that two of them have run a task."""
    barrier.wait(60)
    witness.note("meet")
    return True


def tally(queue, text):
    queue.put(collections.Counter(text.split()))


def share(name, offset):
    block = multiprocessing.shared_memory.SharedMemory(name)
    block.buf[offset] = offset * 2
    block.close()


def run(context):
    print("records", [digest for _, digest in context.Pool(2).map(records, range(30))])
    with context.Pool(2, maxtasksperchild=4) as pool:
        print("imap", list(pool.imap(lookup, ([n, n + 1] for n in range(0, 60, 2)), chunksize=3)))
        print("unordered", sorted(pool.imap_unordered(collect, range(1, 40))))
        print("starmap", pool.starmap(pow, [(2, 10), (3, 5)]))
        outcomes = [pool.apply_async(fail, (number,)) for number in range(7)]
        for outcome in outcomes:
            try:
                print("value", outcome.get(60))
            except ValueError as error:
                print("error", error.args, type(error.__cause__).__name__)
    with context.Manager() as manager, context.Pool(2) as pool:
        barrier = manager.Barrier(2)
        print("met", pool.map(meet, [barrier, barrier], chunksize=1))
        shared = manager.dict()
        shared["list"] = manager.list(range(5))
        shared["list"].append("end")
        print("manager", list(shared["list"]), sorted(shared.keys()))
    queue = context.Queue()
    tellers = [context.Process(target=tally, args=(queue, "a b a " * n)) for n in range(1, 4)]
    for teller in tellers:
        teller.start()
    total = sum((queue.get(timeout=60) for _ in tellers), collections.Counter())
    for teller in tellers:
        teller.join(60)
    print("tally", sorted(total.items()), [teller.exitcode for teller in tellers])
    block = multiprocessing.shared_memory.SharedMemory(create=True, size=64)
    try:
        sharers = [context.Process(target=share, args=(block.name, n)) for n in (3, 5)]
        for sharer in sharers:
            sharer.start()
        for sharer in sharers:
            sharer.join(60)
        print("shared", bytes(block.buf[:8]), [sharer.exitcode for sharer in sharers])
    finally:
        block.close()
        block.unlink()
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        print("executor", [d for _, d in executor.map(records, range(100, 110), chunksize=2)])
        try:
            executor.submit(fail, 9).result(60)
        except ValueError as error:
            print("executor error", error)
    # A killed worker of an executor breaks it, and a pool starts another one: both must notice.
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        try:
            executor.submit(os._exit, 3).result(60)
        except concurrent.futures.process.BrokenProcessPool:
            print("broken")


if __name__ == "__main__":
    run(multiprocessing.get_context(sys.argv[1]))
    gc.collect()
    print("garbage", gc.garbage, "children", len(multiprocessing.active_children()))
    witness.note("main")
