# SPDX-License-Identifier: MIT
"""What C code does beside Neve: careless types, threads of its own, the collector's C interface, an
embedded interpreter; and what interrupts a collection: signals, exceptions, tracing, no memory."""

import os
import pathlib
import subprocess
import sysconfig

import harness
import pytest

HERE = pathlib.Path(__file__).parent


def compile_c(source, target, *options):
    include = harness.ask("__import__('sysconfig').get_path('include')")
    platform_include = harness.ask("__import__('sysconfig').get_path('platinclude')")
    subprocess.run(["cc", "-O1", "-I", include, "-I", platform_include, "-o", target,
                    HERE / source, *options], check=True)


@pytest.fixture(scope="session")
def extension(tmp_path_factory):
    """The folder to import `extension` from, as the first line of a program."""
    folder = tmp_path_factory.mktemp("extension")
    compile_c("extension.c", folder / "extension.so", "-shared", "-fPIC", "-pthread")
    return f"import sys; sys.path.insert(0, {str(folder)!r}); import extension\n"


def code(extension, text):
    return extension + harness.dedented(text)


@pytest.mark.parametrize("generation", [0, 1, 2])
def test_careless_types(runner, extension, generation):
    runner.both_code(code(extension, f"""
        import gc, weakref
        gc.disable()
        generation = {generation}
        class Watched: pass
        def cycle(cls, inner=None):
            one, two = cls(), cls()
            one.shown, two.shown = two, one
            one.hidden = inner
            return one
        for name in ("Complete", "Forgetful", "Uncleared", "Raising"):
            cls = getattr(extension, name)
            gc.collect()
            outside = [Watched() for _ in range(3)]
            inside = [Watched() for _ in range(3)]
            watch = [weakref.ref(w) for w in outside + inside]
            kept = [cycle(cls, w) for w in outside]
            for w in inside:
                ring = cycle(cls, w)
                lone = cls(); lone.shown = [lone]; lone.hidden = w
            ring = lone = w = None
            found = gc.collect(generation)
            print(name, found, [r() is not None for r in watch], len(gc.garbage))
            # What a type does not show is taken for held from outside.
            del inside
            print(name, gc.collect(generation), [r() is not None for r in watch])
            assert all(k.shown.shown is k and k.hidden is o for k, o in zip(kept, outside))
            kept = outside = None
            print(name, gc.collect(generation), [r() is not None for r in watch])
            for _ in range(3): gc.collect()
    """))


def test_the_c_interface_of_the_collector(runner, extension):
    # What PyGC_Collect() returns is CPython's own count, which Neve cannot add to.
    runner.both_code(code(extension, """
        import gc, weakref
        class Node: pass
        for turn in range(3):
            for _ in range(7): x = Node(); x.me = x
            watch = weakref.ref(x)
            del x
            print(extension.collect() >= 0, watch() is None, gc.collect())
        print(extension.enable(False), gc.isenabled(), extension.is_enabled())
        before = gc.get_stats()
        for _ in range(5000): x = []; x.append(x)
        del x
        print([a["collections"] - b["collections"] for a, b in zip(gc.get_stats(), before)])
        x = Node(); x.me = x; watch = weakref.ref(x); del x
        print(extension.collect(), watch() is not None, "while disabled: nothing")
        print(extension.enable(True), gc.isenabled(), extension.is_enabled())
        print(extension.collect() >= 0, watch() is None)
        gc.disable(); print(extension.is_enabled()); gc.enable()
        seen = []
        gc.callbacks.append(lambda phase, info: seen.append((phase, info["generation"])))
        extension.collect()
        print(seen)
    """))


def test_threads_of_c(runner, extension):
    runner.neve_code(code(extension, """
        import gc, neve, threading
        before = gc.get_stats()[0]["collections"]
        seen = set()
        gc.callbacks.append(lambda phase, info: seen.add(threading.get_native_id()))
        for turn in range(3):
            assert extension.run_threads(1, 20000)
        assert gc.get_stats()[0]["collections"] > before + 15
        # One at a time: of several at once, one may be in its callbacks, without the GIL, until
        # the others have ended, and nobody collects meanwhile.
        assert len(seen) == 3 and threading.get_native_id() not in seen, \
            "collections start in whichever thread crosses the threshold"
        assert extension.run_threads(4, 20000)
        gc.collect()
        assert sum(s["collected"] for s in neve.stats()["collector"]["generations"]) >= 140000
        assert neve.stats()["collector"]["failed"] == 0
    """))


def test_objects_that_are_half_made(runner, extension):
    runner.neve_code(code(extension, """
        import gc
        for turn in range(3):
            made = extension.half_made_tuple(20000)
            assert len(made) == 20000 and all(type(item) is list for item in made)
            gc.collect()
            assert all(item == [] for item in made)
    """))


SIGNALS = """
    import gc, os, signal, sys, threading, time
    class Node: pass
    def ring(n=20):
        nodes = [Node() for _ in range(n)]
        for a, b in zip(nodes, nodes[1:] + nodes[:1]): a.next = b
        return nodes[0]
"""


def test_an_interrupt_in_a_finalizer(runner):
    runner.both_code(harness.dedented(SIGNALS) + harness.dedented("""
        class Killer:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(100): pass
        sys.unraisablehook = lambda u: print("unraisable", u.exc_type.__name__)
        for turn in range(3):
            k = Killer(); k.me = k; k.ring = ring(); del k
            try:
                print("returned", gc.collect() > 0)
                for _ in range(1000): pass
            except KeyboardInterrupt:
                print("interrupted")
        print(gc.collect(), gc.garbage)
    """))


def test_interrupts_at_any_time(runner):
    # Signals rain while the program collects: nothing may be lost or freed twice.
    runner.neve_code(harness.dedented(SIGNALS) + harness.dedented("""
        count = 0
        is_armed = False
        def handler(number, frame):
            global count
            count += 1
            ring()
            if is_armed and count % 3 == 0: raise KeyboardInterrupt
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        kept = []
        def turn():
            global is_armed
            is_armed = True
            kept.append((ring(), [len(kept)]))
            ring(300)
            gc.collect(len(kept) % 3)
            if len(kept) > 200: del kept[:100]
            is_armed = False
        deadline = time.monotonic() + 3
        interrupted = 0
        while time.monotonic() < deadline:
            try:
                turn()
            except KeyboardInterrupt:
                is_armed = False
                interrupted += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        assert count > 100 and interrupted > 10, (count, interrupted)
        for first, _ in kept:
            at = first
            for _ in range(20): at = at.next
            assert at is first
        del kept, first, at
        assert gc.collect() > 0 and not gc.garbage
    """))


def test_a_collection_without_memory(runner):
    # The address space ends while garbage piles up: collections fail or succeed, the program lives.
    runner.neve_code("""
        import gc, resource
        class Node: pass
        def rings(n):
            for _ in range(n):
                a = Node(); a.me = a; a.data = [a] * 10
        kept = [Node() for _ in range(50000)]
        gc.collect()
        with open("/proc/self/statm") as f: pages = int(f.read().split()[0])
        hoard = []
        limit = pages * 4096 + (24 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        errors = 0
        for turn in range(6):
            reserve = None
            try:
                reserve = bytearray(4 << 20)
                while True: hoard.append(Node()); hoard[-1].data = [0] * 20
            except MemoryError:
                reserve = None
                errors += 1
            try:
                rings(1000)
                gc.collect()
            except MemoryError:
                errors += 1
            for _ in range(len(hoard) // 2): hoard.pop()
        assert errors >= 6, errors
        del hoard
        gc.collect()
        assert len(kept) == 50000 and all(type(k) is Node for k in kept)
        rings(1000)
        assert gc.collect() >= 0
    """)


def test_tracing_profiling_and_switching(runner):
    runner.both_code("""
        import gc, sys, threading, cProfile, pstats, io, trace
        class Node:
            def __del__(self): pass
        def work(n=2000):
            for _ in range(n):
                a = Node(); b = [a]; a.b = b
            return gc.collect() >= 0
        lines = []
        def tracer(frame, event, arg):
            lines.append(event)
            return tracer
        sys.settrace(tracer); ok = work(300); sys.settrace(None)
        print(ok, {"call", "line", "return"} <= set(lines))
        calls = []
        sys.setprofile(lambda f, e, a: calls.append(e)); ok = work(300); sys.setprofile(None)
        print(ok, {"call", "return", "c_call"} <= set(calls))
        profile = cProfile.Profile(); profile.runcall(work, 500)
        out = io.StringIO(); stats = pstats.Stats(profile, stream=out)
        print([value[0] for key, value in stats.stats.items() if key[2] == "__del__"])
        counter = trace.Trace(count=1, trace=0); counter.runfunc(work, 100)
        print(any(count >= 100 for count in counter.results().counts.values()))
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        threads = [threading.Thread(target=work) for _ in range(6)]
        for t in threads: t.start()
        for t in threads: t.join()
        sys.setswitchinterval(interval)
        print(gc.collect() >= 0, gc.garbage)
    """)


def embedding_libraries():
    """What to link an embedding program with for the interpreter under test, or None."""
    version = ".".join(map(str, harness.VERSION[:2]))
    if harness.PYTHON != "/usr/bin/python3" or not os.path.exists(
            f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}/libpython{version}.so"):
        return None
    return [f"-lpython{version}"]


@pytest.mark.skipif(embedding_libraries() is None, reason="no shared library of this interpreter")
def test_embedding(runner, tmp_path):
    program = tmp_path / "embedding"
    compile_c("embedding.c", program, *embedding_libraries())
    texts = ["import neve, gc; neve.install(); assert neve.is_installed()",
             "class N:\n    def __del__(self): pass\nfor _ in range(5000):\n"
             "    n = N(); n.me = n\nkept = n; del n\nassert gc.collect() >= 0",
             "assert neve.stats()['collector']['generations'][0]['collections'] > 1",
             "import atexit; atexit.register(print, 'ended in order')"]
    done = subprocess.run([program, *texts], env=harness.environment(), capture_output=True,
                          text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended in order\n", ""), done
