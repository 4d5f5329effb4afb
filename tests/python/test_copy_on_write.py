# SPDX-License-Identifier: MIT
"""What a full collection in a forked child writes into inherited memory: nearly nothing."""

import json

import pytest

PROGRAM = """
    import gc, json, os, random, sys
    def private_dirty_kb():
        with open("/proc/self/smaps_rollup") as f:
            return sum(int(line.split()[1]) for line in f if line.startswith("Private_Dirty"))
    rng = random.Random(1)
    class Node:
        def __init__(self, n): self.n = n
    makers = [lambda n: [n], lambda n: {"n": n, "l": [n]}, lambda n: Node(n), lambda n: (n, [n]),
              lambda n: {n, str(n)}]
    kept = [makers[n % 5](n) for n in range(100000)]
    rng.shuffle(kept)
    gc.collect(); gc.collect()
    if "freeze" in sys.argv: gc.freeze()
    read, write = os.pipe()
    if os.fork() == 0:
        gc.disable()
        start = private_dirty_kb(); start = private_dirty_kb()
        found = [gc.collect() for _ in range(int(sys.argv[1]))]
        end = private_dirty_kb()
        os.write(write, json.dumps([end - start, sum(found)]).encode())
        os._exit(0)
    os.wait()
    print(os.read(read, 1000).decode())
"""


@pytest.mark.parametrize("arguments", [("1",), ("3",), ("1", "freeze")])
def test_growth_of_a_worker(runner, arguments):
    path = runner.script(PROGRAM)
    stock = json.loads(runner.stock(path, "1").out)
    growth_kb, found = json.loads(runner.neve(path, *arguments).out)
    assert stock[0] > 5000, f"the experiment shows nothing on stock: {stock}"
    assert growth_kb < 512, f"{growth_kb} kB, stock {stock[0]} kB"
    assert found < 20
