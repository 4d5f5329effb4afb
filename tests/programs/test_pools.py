# SPDX-License-Identifier: MIT
"""Pools of processes: fork, forkserver and spawn, from the standard library."""

import harness
import pytest

PROGRAM = harness.HERE / "pool" / "pools.py"


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_pools(tmp_path, method):
    def run(side):
        out, err = side.run(PROGRAM, method)
        return {"out": out, "err": err}

    sides = harness.compare(tmp_path, run, "environment")
    for side in sides.values():
        assert len(side.pids("meet")) == 2
        # Four tasks each: one worker after another ran them, and each collected by itself.
        workers = side.pids("collect")
        assert len(workers) > 5
        assert all(side.full_collections(pid) > 0 for pid in workers
                   if [n["role"] for n in side.notes() if n["pid"] == pid].count("collect") > 1)
        assert side.pids("main").isdisjoint(workers)


def test_forked_by_the_runner(tmp_path):
    """What `python -m neve` starts, and forks."""
    def run(side):
        out, err = side.run(PROGRAM, "fork")
        return {"out": out, "err": err}

    sides = harness.compare(tmp_path, run, "runner")
    assert len(sides["neve"].pids("fork")) > 10
