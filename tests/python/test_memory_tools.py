# SPDX-License-Identifier: MIT
"""Neve beside what else hooks into memory: tracemalloc, PYTHONMALLOC, development mode,
profilers."""

import harness
import pytest

WORK = """
    import gc
    class Node: pass
    def work():
        kept = []
        for i in range(5000):
            node = Node(); node.me = node; kept.append([str(i), node])
            if i % 1000 == 0: gc.collect(i // 1000 % 3)
        big = [bytes(5000) for _ in range(100)]
        return kept[::2], big
    def check():
        kept, big = work()
        x = []; x.append(x); del x
        gc.collect()
        assert all(k[1].me is k[1] for k in kept)
        del kept, big
        assert gc.collect() >= 2500
"""


def program(text):
    return harness.dedented(WORK) + harness.dedented(text)


def test_tracemalloc_started_after(runner):
    runner.neve_code(program("""
        import tracemalloc
        check()
        before = work()
        tracemalloc.start(5)
        check()
        first = tracemalloc.take_snapshot()
        kept = work()
        current, peak = tracemalloc.get_traced_memory()
        assert current > 5000 * 100 + 100 * 5000, current
        second = tracemalloc.take_snapshot()
        top = second.compare_to(first, "lineno")
        assert sum(s.size_diff for s in top) > 500000
        here = [s for s in second.statistics("filename") if s.traceback[0].filename == __file__]
        assert here and here[0].size > 500000, here
        assert tracemalloc.get_object_traceback(kept[0]) is not None
        assert tracemalloc.get_object_traceback(before[0]) is None
        del before, kept
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < current
        tracemalloc.clear_traces()
        check()
        tracemalloc.stop()
        check()
        tracemalloc.start(); check(); tracemalloc.stop(); check()
        assert __import__("neve").is_installed()
    """))


@pytest.mark.parametrize("how", [{"interpreter": ("-X", "tracemalloc=7")},
                                 {"env": {"PYTHONTRACEMALLOC": "7"}}])
def test_tracemalloc_started_by_the_interpreter(runner, how):
    runner.neve_code(program("""
        import neve, tracemalloc
        assert neve.is_installed()
        assert tracemalloc.is_tracing() and tracemalloc.get_traceback_limit() == 7
        kept = work()
        assert tracemalloc.get_traced_memory()[0] > 500000
        frames = tracemalloc.get_object_traceback(kept[0])
        assert frames[-1].filename == __file__
        check()
        tracemalloc.stop()
        check()
        x = Node(); x.me = x; del x
        assert gc.collect() in (1, 2)
    """), **how)


def test_tracemalloc_is_still_tracing_at_exit(runner):
    runner.neve_code(program("""
        import tracemalloc
        tracemalloc.start()
        kept = work()
        cycle = [kept]; cycle.append(cycle)
    """))
    runner.neve_code(program("kept = work()"), interpreter=("-X", "tracemalloc"))


def test_install_while_tracing_is_refused(runner):
    runner.plain_code(program("""
        import neve, tracemalloc
        tracemalloc.start()
        try:
            neve.install()
        except RuntimeError as error:
            assert "tracemalloc" in str(error) and len(str(error).split()) > 3, error
        else:
            raise AssertionError("installed")
        assert not neve.is_installed()
        check()
        tracemalloc.stop()
        neve.install()
        check()
    """))


def test_uninstall_while_tracing(runner):
    # Done or refused with a sentence; in either case everything keeps working.
    runner.neve_code(program("""
        import neve, tracemalloc
        old = work()
        tracemalloc.start()
        kept = work()
        try:
            neve.uninstall()
        except RuntimeError as error:
            assert "tracemalloc" in str(error) and len(str(error).split()) > 3, error
        check()
        del old
        tracemalloc.stop()
        check()
        neve.uninstall()
        check()
        del kept
        neve.install()
        check()
        tracemalloc.start(); neve_kept = work(); tracemalloc.stop()
        check()
    """))


def test_tracemalloc_across_uninstall_and_install(runner):
    runner.plain_code(program("""
        import neve, tracemalloc
        kept = []
        for turn in range(3):
            tracemalloc.start(); kept.append(work()); tracemalloc.stop()
            neve.install()
            kept.append(work()); check()
            tracemalloc.start(); kept.append(work()); check(); tracemalloc.stop()
            kept.append(work())
            neve.uninstall()
            kept.append(work()); check()
            tracemalloc.start(); kept.append(work()); check(); tracemalloc.stop()
            del kept[::2]
        check()
    """))


def test_tracemalloc_that_started_before_and_stops_after(runner):
    # Started before Neve by somebody who restarts it: the runner's own way, by hand.
    runner.plain_code(program("""
        import neve, tracemalloc
        tracemalloc.start(3)
        old = work()
        tracemalloc.stop()
        neve.install()
        tracemalloc.start(3)
        new = work()
        del old
        check()
        tracemalloc.stop()
        del new
        check()
    """))


@pytest.mark.parametrize("value", ["malloc", "debug", "malloc_debug", "pymalloc", "pymalloc_debug",
                                   "default"])
def test_pythonmalloc(runner, value):
    """Runs, or is refused with a sentence."""
    result = runner.neve(runner.script(program("check(); check(); print('ran')")),
                         env={"PYTHONMALLOC": value})
    if result.status == 0:
        assert (result.out, result.err) == ("ran\n", ""), result
    else:
        assert result.status == 2 and result.out == "", result
        assert result.err.startswith("neve: ") and len(result.err.splitlines()) == 1, result
        assert value not in ("pymalloc", "default"), result


def test_development_mode(runner):
    result = runner.neve(runner.script(program("check(); print('ran')")), interpreter=("-X", "dev"))
    if result.status == 0:
        assert result.out == "ran\n", result
    else:
        assert result.status == 2 and result.err.startswith("neve: "), result


@pytest.mark.parametrize("value", ["debug", "malloc"])
def test_pythonmalloc_with_install(runner, value):
    runner.plain_code(program("""
        import neve
        old = work()
        try:
            neve.install()
        except RuntimeError as error:
            assert len(str(error).split()) > 3, error
        check()
        del old
        neve.uninstall()
        check()
    """), env={"PYTHONMALLOC": value})


def test_profilers(runner):
    runner.neve_code(program("""
        import cProfile, io, profile, pstats
        p = cProfile.Profile(); p.runcall(check)
        out = io.StringIO(); pstats.Stats(p, stream=out).print_stats("work")
        assert "work" in out.getvalue()
        import sys, threading
        events = []
        def callback(phase, info): events.append(phase)
        gc.callbacks.append(callback)
        sys.setprofile(lambda *a: None); check(); sys.setprofile(None)
        sys.settrace(lambda *a: None); check(); sys.settrace(None)
        assert events.count("start") == events.count("stop") > 3
    """))


def test_reading_allocator_state(runner):
    result = runner.neve_code(program("""
        import sys
        check()
        assert sys.getallocatedblocks() >= 0
        sys._debugmallocstats()
        assert sys.getsizeof([]) == 56 and sys.getsizeof(Node()) > 0
    """))
    assert result.out == ""
