# SPDX-License-Identifier: MIT
"""Neve beside what else hooks into memory: tracemalloc, PYTHONMALLOC, development mode,
profilers."""

import pathlib
import subprocess

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


def test_install_while_tracing(runner):
    # Neve goes below tracemalloc, whose stop() then leaves it in place.
    runner.plain_code(program("""
        import neve, tracemalloc
        tracemalloc.start()
        old = work()
        neve.install()
        check()
        before = tracemalloc.get_traced_memory()[0]
        start = neve.stats()["heap"]["small_blocks"]
        kept = work()
        assert tracemalloc.get_traced_memory()[0] > before + 500000
        assert neve.stats()["heap"]["small_blocks"] > start + 10000
        assert tracemalloc.get_object_traceback(kept[0]) is not None
        tracemalloc.stop()
        check()
        start = neve.stats()["heap"]["small_blocks"]
        more = work()
        assert neve.stats()["heap"]["small_blocks"] > start + 10000, "neve was taken out"
        del kept, old
        tracemalloc.start(); check()
        neve.uninstall(); check()
        tracemalloc.stop(); check()
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


@pytest.mark.parametrize("value, serves", [
    ("malloc", False), ("malloc_debug", False), ("debug", True), ("pymalloc", True),
    ("pymalloc_debug", True), ("default", True)])
def test_pythonmalloc(runner, value, serves):
    result = runner.neve_code(program(f"""
        import neve
        assert neve.stats()["heap"]["serves"] is {serves}
        start = neve.stats()["heap"]["small_blocks"]
        kept = work()
        assert (neve.stats()["heap"]["small_blocks"] > start + 10000) is {serves}
        check(); check()
        del kept
        gc.collect()
    """), env={"PYTHONMALLOC": value})
    assert (result.out, result.err) == ("", ""), result


@pytest.mark.parametrize("value", ["malloc", "debug"])
def test_pythonmalloc_with_install(runner, value):
    runner.plain_code(program("""
        import neve
        old = work()
        neve.install()
        check()
        more = work()
        del old
        neve.uninstall()
        check()
        neve.install()
        del more
        check()
    """), env={"PYTHONMALLOC": value})


def test_development_mode(runner):
    result = runner.neve(runner.script(program("check(); print('ran')")), interpreter=("-X", "dev"))
    assert result.status == 0 and result.out == "ran\n", result


HOOKS = harness.dedented("""
    import ctypes, sys
    class Allocator(ctypes.Structure):
        _fields_ = [("ctx", ctypes.c_void_p), ("malloc", ctypes.c_void_p),
                    ("calloc", ctypes.c_void_p), ("realloc", ctypes.c_void_p),
                    ("free", ctypes.c_void_p)]
    RAW, MEM, OBJECT = range(3)
    api = ctypes.pythonapi
    for name in ("PyMem_Malloc", "PyObject_Malloc", "PyMem_Realloc", "PyObject_Realloc"):
        getattr(api, name).restype = ctypes.c_void_p
    api.PyMem_Malloc.argtypes = api.PyObject_Malloc.argtypes = [ctypes.c_size_t]
    api.PyMem_Free.argtypes = api.PyObject_Free.argtypes = [ctypes.c_void_p]
    for function in (api.PyMem_Realloc, api.PyObject_Realloc):
        function.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    api.PyMem_GetAllocator.argtypes = api.PyMem_SetAllocator.argtypes = [
        ctypes.c_int, ctypes.POINTER(Allocator)]
    def get(domain):
        found = Allocator(); api.PyMem_GetAllocator(domain, found); return found
    def put(domain, allocator):
        api.PyMem_SetAllocator(domain, allocator)
""")


def test_the_debug_hooks_check_our_blocks(runner):
    code = HOOKS + program("""
        import neve
        start = neve.stats()["heap"]["small_blocks"]
        block = api.PyObject_Malloc(20)
        assert ctypes.string_at(block, 20) == b"\\xcd" * 20
        blocks = [api.PyObject_Malloc(40) for _ in range(1000)]
        assert neve.stats()["heap"]["small_blocks"] >= start + 1000
        for b in blocks: api.PyObject_Free(b)
        ctypes.memset(block, 0, 21)
        api.PyObject_Free(block)
    """)
    result = runner.neve(runner.script(code), env={"PYTHONMALLOC": "debug"})
    assert result.status == -6, result
    assert "bad trailing pad byte" in result.err, result


def test_both_domains_are_served(runner):
    runner.neve_code(HOOKS + program("""
        import neve
        def small(): return neve.stats()["heap"]["small_bytes"]
        for allocate, resize, free in ((api.PyObject_Malloc, api.PyObject_Realloc, api.PyObject_Free),
                                       (api.PyMem_Malloc, api.PyMem_Realloc, api.PyMem_Free)):
            for size in (0, 1, 16, 17, 511, 512, 513, 5000):
                start = small()
                blocks = [allocate(size) for _ in range(1000)]
                assert None not in blocks and len(set(blocks)) == 1000
                for b in blocks: ctypes.memset(b, 7, size)
                grown = small() - start
                if size > 512: assert grown < 1000 * 100, (size, grown)
                # The first 500 of each size are the interpreter's own allocator's.
                else: assert grown >= (1000 - 500) * max(size, 1), (size, grown)
                for new in (size, size + 1, 3 * size + 5, 600, 100, 2):
                    blocks = [resize(b, new) for b in blocks]
                    common = min(size, new, 2)
                    assert all(ctypes.string_at(b, common) == b"\\7" * common for b in blocks)
                for b in blocks: free(b)
                assert small() - start < 100000, (size, small() - start)
            free(None)
            assert resize(None, 10)
    """))


def test_resizing_keeps_every_byte_and_no_other(runner):
    runner.neve_code(HOOKS + program("""
        import neve
        sizes = [1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 255, 256, 257, 511, 512, 513, 700]
        pattern = bytes(i % 251 for i in range(700))
        for allocate, resize, free in ((api.PyObject_Malloc, api.PyObject_Realloc, api.PyObject_Free),
                                       (api.PyMem_Malloc, api.PyMem_Realloc, api.PyMem_Free)):
            # More than are left to the interpreter's own allocator.
            held = [(allocate(size), size) for size in sizes for _ in range(200)]
            before = neve.stats()["heap"]["small_bytes"]
            for old in sizes:
                for new in sizes:
                    blocks = [allocate(old) for _ in range(3)]
                    for b in blocks: ctypes.memmove(b, pattern, old)
                    blocks[1] = resize(blocks[1], new)
                    ctypes.memset(blocks[1] + min(old, new), 7, new - min(old, new))
                    for b, size in zip(blocks, (old, min(old, new), old)):
                        assert ctypes.string_at(b, size) == pattern[:size], (old, new)
                    for b in blocks: free(b)
            assert before > 100 * sum(size for size in sizes if size <= 512)
            for b, size in held: free(b)
    """))


JEMALLOC = "libjemalloc.so.2"


def can_preload(library):
    """The loader only warns if it is missing."""
    done = subprocess.run(["/bin/true"], env={"LD_PRELOAD": library}, capture_output=True)
    return done.returncode == 0 and not done.stderr


@pytest.mark.skipif(not can_preload(JEMALLOC), reason="no libjemalloc2")
def test_shrinking_to_nothing_writes_into_no_other_block(runner):
    """Where Neve no longer serves and malloc has blocks of 8 bytes."""
    runner.neve_code(HOOKS + program("""
        import neve
        libc = ctypes.CDLL(None)
        libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        blocks = [api.PyObject_Malloc(64) for _ in range(2000)]
        others = [libc.malloc(8) for _ in range(4000)]
        assert any(b - a == 8 for a, b in zip(others, others[1:]))      # jemalloc, that is
        for other in others: ctypes.memset(other, 0x5a, 8)
        neve.uninstall()
        for other in others[::2]: libc.free(other)
        blocks = [api.PyObject_Realloc(b, 0) for b in blocks]
        assert all(blocks)
        for other in others[1::2]: assert ctypes.string_at(other, 8) == b"Z" * 8
        for b in blocks: api.PyObject_Free(b)
    """), env={"LD_PRELOAD": JEMALLOC})


@pytest.fixture(scope="session")
def hooks_library(tmp_path_factory):
    """A memory profiler as there are many, in C: it counts, and hands on to what it found."""
    library = tmp_path_factory.mktemp("hooks") / "hooks.so"
    source = pathlib.Path(__file__).with_name("hooks.c")
    include = subprocess.run([harness.PYTHON, "-c", "import sysconfig; "
                              "print(sysconfig.get_path('include'))"],
                             capture_output=True, text=True, check=True).stdout.strip()
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-I", include, "-o", library, source],
                   check=True)
    return f"import ctypes; hooks = ctypes.PyDLL({str(library)!r})\n"


def test_a_profiler_that_starts_after(runner, hooks_library):
    runner.neve_code(hooks_library + program("""
        import neve
        for domains in (1, 2, 3):
            old = work()
            hooks.start(domains)
            kept = work()
            assert hooks.calls() > 1000
            check()
            del old
            hooks.stop()
            check()
            del kept
        # Uninstalled and installed again below it, in any order.
        hooks.start(3); old = work(); neve.uninstall(); kept = work(); check()
        hooks.stop(); check(); del old
        hooks.start(3); neve.install(); more = work(); check(); neve.uninstall(); check()
        hooks.stop(); neve.install(); check()
        del kept, more
        gc.collect()
        start = neve.stats()["heap"]["small_blocks"]
        kept = work()
        assert neve.stats()["heap"]["small_blocks"] > start + 5000
    """))


def test_a_profiler_that_started_before(runner, hooks_library):
    # Its stop() would take Neve out: refused, and nothing is lost.
    runner.plain_code(hooks_library + program("""
        import neve
        for domains in (1, 2, 3):
            hooks.start(domains)
            old = work()
            try:
                neve.install()
            except RuntimeError as error:
                assert "profiler" in str(error) and "before neve.install()" in str(error), error
            else:
                raise AssertionError("installed")
            assert not neve.is_installed()
            check()
            hooks.stop()
            check()
            del old
        neve.install()
        check()
    """))


def test_a_profiler_above_and_tracemalloc_below(runner, hooks_library):
    runner.plain_code(hooks_library + program("""
        import neve, tracemalloc
        tracemalloc.start()
        neve.install()
        hooks.start(3)
        kept = work()
        check()
        hooks.stop()
        check()
        tracemalloc.stop()
        check()
        hooks.start(3); check(); tracemalloc.start(); check(); tracemalloc.stop(); check()
        hooks.stop(); check()
        del kept
        gc.collect()
    """))


def test_taken_out_by_force(runner, hooks_library):
    # Somebody puts the interpreter's own allocator back over ours: said, not ignored. (No block of
    # ours may be freed any more, so the program ends at once.)
    runner.plain_code(hooks_library + harness.dedented("""
        import os, neve
        hooks.save()
        neve.install()
        neve.uninstall()
        hooks.put_back()
        try:
            neve.install()
        except RuntimeError as error:
            assert "taken neve's functions out" in str(error), error
            os._exit(0)
        os._exit(1)
    """))


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
        import sys, neve
        check()
        before = sys.getallocatedblocks()
        kept = [str(i) * 3 for i in range(100000, 120000)]
        after = sys.getallocatedblocks()
        assert 20000 <= after - before < 20500, (before, after)
        del kept
        assert abs(sys.getallocatedblocks() - before) < 300
        assert before > neve.stats()["heap"]["small_blocks"]
        sys._debugmallocstats()
        neve.uninstall()
        assert sys.getallocatedblocks() > 0
        assert sys.getsizeof([]) == 56 and sys.getsizeof(Node()) > 0
    """))
    assert result.out == ""
    assert "Neve's heap" in result.err and "objects: " in result.err, result
