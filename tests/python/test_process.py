# SPDX-License-Identifier: MIT
"""Neve in whole processes: threads, fork, sub-interpreters, the standard library, memory limits."""


import re

import harness
import pytest


def test_threads(runner):
    runner.both_code("""
        import gc, threading, weakref, sys
        sys.setswitchinterval(1e-5)
        class Node: pass
        refs = []
        errors = []
        def work(seed):
            try:
                kept = {}
                for i in range(20000):
                    node = Node(); node.me = node; node.data = [seed, i]
                    if i % 100 == 0:
                        kept[i] = node; refs.append(weakref.ref(node))
                    if i % 5000 == 0: gc.collect(i // 5000 % 3)
                    if i % 1000 == 0 and len(kept) > 5: kept.pop(next(iter(kept)))
                assert all(n.data == [seed, i] for i, n in kept.items())
            except BaseException as error:
                errors.append(error)
        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for t in threads: t.start()
        for t in threads: t.join()
        del threads
        gc.collect()
        print(errors, len(refs), [r() for r in refs if r() is not None])
    """)


def test_threads_that_hand_over_objects(runner):
    runner.both_code("""
        import gc, queue, threading
        channel = queue.Queue(100)
        def produce():
            for i in range(20000):
                item = {"i": [i], "text": str(i) * 5}; item["me"] = item
                channel.put(item)
            channel.put(None)
        threading.Thread(target=produce).start()
        total = 0
        while (item := channel.get()) is not None:
            total += item["i"][0]
        print(total, gc.collect() < 5000)
    """)


def test_thread_local_and_async_state(runner):
    runner.both_code("""
        import asyncio, gc, threading, weakref
        class Node: pass
        async def task(n):
            node = Node(); node.me = node; ref = weakref.ref(node)
            await asyncio.sleep(0)
            gc.collect(n % 3)
            assert ref() is node and node.me is node
            del node
            await asyncio.sleep(0)
            return ref
        async def main():
            refs = await asyncio.gather(*(task(n) for n in range(50)))
            gc.collect()
            return [r() for r in refs].count(None)
        print(asyncio.run(main()))
    """)


def test_fork(runner):
    runner.both_code("""
        import gc, os, sys, weakref
        class Node:
            def __init__(self, name): self.name = name; self.me = self
            def __del__(self):
                if isinstance(self.name, str): print("del", self.name, flush=True)
        kept = [Node(i) for i in range(20000)]
        gc.disable(); gc.collect()
        old = Node("old"); gc.collect(); del old       # garbage of the parent's old generation
        ref = weakref.ref(kept[5])
        sys.stdout.flush()
        for child in range(2):
            pid = os.fork()
            if pid == 0:
                print("child collects", gc.collect())
                new = [Node(i) for i in range(20000)]
                kept[5] = None
                print("child frees one", gc.collect(), ref())
                del kept[:10000], new
                print("child frees many", gc.collect(), len(kept), kept[0].name)
                gc.enable()
                for i in range(30000): Node(i)
                assert all(n.me is n for n in kept)
                grandchild = os.fork()
                if grandchild == 0:
                    kept.clear(); print("grandchild", gc.collect() > 10000, flush=True); os._exit(7)
                print(os.waitpid(grandchild, 0)[1], flush=True)
                sys.exit(3)
            print(os.waitpid(pid, 0)[1], flush=True)
        print("parent", gc.collect(), ref() is kept[5], len(kept))
    """)


def test_fork_inside_a_collection(runner):
    runner.both_code("""
        import gc, os, sys
        class Node:
            def __init__(self): self.me = self
            def __del__(self):
                if not forked:
                    forked.append(1)
                    sys.stdout.flush()
                    pid = os.fork()
                    if pid == 0:
                        print("child", gc.collect(), flush=True)
                        role.append("child")
                    else:
                        os.waitpid(pid, 0); role.append("parent")
        forked, role = [], []
        gc.disable(); gc.collect()
        for _ in range(10): Node()
        print(gc.collect(), role, gc.collect(), flush=True)
        x = []; x.append(x); del x
        print(role, gc.collect(), flush=True)
    """)


def test_fork_from_a_thread(runner):
    runner.both_code("""
        import gc, os, threading, sys
        def work():
            pid = os.fork()
            if pid == 0:
                kept = [[i] for i in range(10000)]
                x = []; x.append(x); del x
                gc.collect(); print("child", sum(k[0] for k in kept), flush=True)
                os._exit(5)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        churn = True
        def other():
            while churn: x = [[] for _ in range(100)]; x.append(x)
        thread = threading.Thread(target=other); thread.start()
        for _ in range(5):
            t = threading.Thread(target=work); t.start(); t.join()
        churn = False; thread.join()
    """, edit=lambda text: re.sub(r"\(pid=\d+\)", "(pid=N)", text))  # a warning, from 3.12 on


def test_vfork_and_subprocesses(runner):
    runner.both_code("""
        import subprocess, sys
        def allocate(): [[] for _ in range(5000)]
        from concurrent.futures import ProcessPoolExecutor
        if __name__ == "__main__":
            print(subprocess.run([sys.executable, "-c", "print('hello')"],
                                 capture_output=True).stdout)
            print(subprocess.run(["sh", "-c", "exit 3"], preexec_fn=allocate).returncode)
            with ProcessPoolExecutor(2) as pool:
                print(list(pool.map(abs, range(-5, 0))))
    """)


SUBINTERPRETER = """
import gc, sys
{imports}
class Node: pass
kept = [Node() for _ in range(100)]
code = '''
import gc, weakref, json, collections
class Node: pass
assert gc.isenabled()
refs = []
for i in range(5000):
    n = Node(); n.me = n; refs.append(weakref.ref(n))
del n
gc.collect()
assert not any(r() for r in refs)
x = []; x.append(x); del x
assert gc.collect() == 1, "its own collector"
gc.freeze(); gc.unfreeze(); gc.get_objects(); gc.get_stats()
kept = [[i] for i in range(20000)]
print("sub-interpreter", len(kept), flush=True)
'''
{run}
x = []; x.append(x); del x
gc.disable()
print(gc.collect() >= 1, len(kept))
"""

TWO_AT_ONCE = """
for turn in range(3):
    one, two = interpreters.create(), interpreters.create()
    interpreters.run_string(one, code)
    gc.collect()
    interpreters.run_string(two, code)
    interpreters.destroy(one)
    interpreters.run_string(two, "print('again', gc.collect() >= 0, flush=True)")
    interpreters.destroy(two)
    gc.collect()
"""


@pytest.mark.skipif(not harness.has_module("_xxsubinterpreters"),
                    reason="the interpreter has no _xxsubinterpreters")
def test_subinterpreters(runner):
    runner.both_code(SUBINTERPRETER.format(imports="import _xxsubinterpreters as interpreters",
                                           run=TWO_AT_ONCE))


@pytest.mark.skipif(not harness.has_module("_testcapi"),
                    reason="_testcapi is missing: install libpython3-testsuite")
def test_subinterpreters_of_the_embedding_interface(runner):
    runner.both_code(SUBINTERPRETER.format(
        imports="import _testcapi",
        run="print([_testcapi.run_in_subinterp(code) for _ in range(3)])"))


@pytest.mark.skipif(not harness.has_module("_xxsubinterpreters"),
                    reason="the interpreter has no _xxsubinterpreters")
def test_installing_in_a_subinterpreter(runner):
    # Works or is refused with a sentence.
    result = runner.plain_code("""
import _xxsubinterpreters as interpreters
one = interpreters.create()
interpreters.run_string(one, '''
import gc
try:
    import neve
    neve.install()
except (ImportError, RuntimeError) as error:
    print("refused:", error, flush=True)
else:
    x = []; x.append(x); del x
    print("installed", gc.collect(), flush=True)
''')
import neve, gc
x = []; x.append(x); del x
gc.collect()
try: neve.install()
except RuntimeError as error: print("refused:", error)
gc.collect()
interpreters.destroy(one)
gc.collect()
""")
    assert result.err == ""


@pytest.mark.skipif(not harness.has_module("_xxsubinterpreters"),
                    reason="the interpreter has no _xxsubinterpreters")
def test_subinterpreter_of_a_program_on_neve(runner):
    """There Neve is not installed, whatever the main interpreter has, and says so in sentences."""
    result = runner.neve_code("""
import _xxsubinterpreters as interpreters
import neve
one = interpreters.create(isolated=False)
interpreters.run_string(one, '''
import neve
print(neve.is_installed())
for function in (neve.install, neve.stats, neve.uninstall):
    try:
        function()
    except RuntimeError as error:
        print("refused:", error, flush=True)
''')
interpreters.destroy(one)
print(neve.is_installed(), neve.stats()["mode"])
""")
    lines = result.out.splitlines()
    assert lines[0] == "False" and lines[-1] == f"True {harness.mode()}", result
    assert "main interpreter only" in lines[1] and "not installed" in lines[2], result
    assert "another interpreter" in lines[3], result
    assert result.err == ""


@pytest.mark.parametrize("modules", [
    "argparse ast asyncio base64 bz2 calendar cmd codecs collections colorsys concurrent.futures",
    "configparser contextlib copy csv ctypes curses datetime dbm decimal difflib dis doctest email",
    "enum fileinput fractions ftplib functools gettext glob gzip hashlib heapq hmac html",
    "http.client http.server imaplib inspect ipaddress json logging.config lzma mailbox mimetypes",
    "multiprocessing numbers optparse pathlib pdb pickle pickletools pkgutil plistlib poplib",
    "pprint profile pydoc",
    "random re sched secrets select selectors shelve shlex shutil smtplib socket socketserver",
    "sqlite3 ssl statistics string struct subprocess sysconfig tarfile tempfile textwrap",
    "threading timeit",
    "tokenize tomllib traceback types typing unittest.mock urllib.request uuid venv wave weakref",
    "xml.dom.minidom xml.sax xmlrpc.client zipapp zipfile zoneinfo",
])
def test_modules_of_the_library(runner, modules):
    runner.both_code("""
        import gc, importlib, sys
        for name in sys.argv[1:]:
            module = importlib.import_module(name)
            assert module.__name__ == name
            gc.collect()
        import inspect, pydoc
        print(sorted(set(sys.argv[1:]) - set(sys.modules)))
        print([len(dir(sys.modules[n])) for n in sys.argv[1:]])
        gc.collect()
        for name in sys.argv[1:]:
            for module in [m for m in sys.modules if m.startswith(name) and m != "weakref"]:
                if module.split(".")[0] not in ("importlib", "inspect", "threading", "types"):
                    del sys.modules[module]
        print(gc.collect() > 0)
    """, *modules.split())


def test_a_program_that_uses_many_things(runner):
    runner.both_code("""
        import ast, collections, csv, dataclasses, decimal, email.message, enum, fractions, gc
        import html.parser, io, itertools, json, pickle, random, re, sqlite3, string, tarfile
        import xml.dom.minidom, zlib
        rng = random.Random(7)
        tree = ast.parse(open(ast.__file__).read())
        print(sum(1 for _ in ast.walk(tree)), len(ast.unparse(tree)))
        compile(tree, "again", "exec")
        document = xml.dom.minidom.parseString("<a>" + "<b c='1'>t</b>" * 2000 + "</a>")
        print(len(document.getElementsByTagName("b")), len(document.toxml()))
        db = sqlite3.connect(":memory:")
        db.execute("create table t (a, b)")
        db.executemany("insert into t values (?, ?)", ((i, str(i)) for i in range(5000)))
        print(db.execute("select sum(a), max(b) from t").fetchone())
        words = ["".join(rng.choices(string.ascii_lowercase, k=5)) for _ in range(20000)]
        print(collections.Counter(w[:2] for w in words).most_common(3))
        print(len(re.findall(r"(a|e)+.", " ".join(words))), zlib.crc32(json.dumps(words).encode()))
        data = pickle.dumps([{"n": i, "f": fractions.Fraction(i, 7), "d": decimal.Decimal(i)}
                             for i in range(3000)])
        print(len(data), sum(x["f"] for x in pickle.loads(data)))
        @dataclasses.dataclass(order=True)
        class Point: x: int; y: int; up: object = dataclasses.field(default=None, compare=False)
        points = sorted(Point(rng.randrange(1000), rng.randrange(1000)) for _ in range(5000))
        for p in points: p.up = points
        print(points[0].x, points[-1].y, gc.collect() >= 0, len(points))
        out = io.StringIO(); csv.writer(out).writerows((p.x, p.y) for p in points)
        print(len(out.getvalue()))
        print(sum(1 for _ in itertools.permutations(range(7))))
    """)


def test_realloc_and_large_blocks(runner):
    runner.both_code("""
        import gc, random
        rng = random.Random(3)
        lists = [[] for _ in range(200)]
        text = [""] * 50
        buffers = [bytearray() for _ in range(50)]
        sets = [set() for _ in range(50)]
        for step in range(20000):
            l = rng.choice(lists); n = rng.randrange(60)
            if rng.random() < 0.6: l.extend(range(n))
            else: del l[:n]
            text[step % 50] += "x" * n
            buffers[step % 50] += b"y" * n
            if rng.random() < 0.02: buffers[step % 50] = bytearray(rng.randrange(2000000))
            sets[step % 50].add(step)
            if step % 5000 == 0: gc.collect()
        print(sum(map(len, lists)), sum(map(len, text)), sum(map(len, buffers)))
        print(sum(map(sum, sets)))
        for l in lists: l.clear()
        huge = [None] * 5_000_000; huge.append(huge); del huge
        print(gc.collect())
    """)


def test_memory_errors(runner):
    runner.both_code("""
        import gc
        for size in (2 ** 40, 2 ** 50, 2 ** 62):
            for make in (lambda n: bytes(n), lambda n: [None] * (n // 8), lambda n: "x" * n):
                try: make(size); print("made")
                except (MemoryError, OverflowError) as error: print(type(error).__name__)
        x = []; x.append(x); del x
        gc.disable(); print(gc.collect() >= 1)
    """)


@pytest.mark.parametrize("limit_mib", [300, 600])
def test_address_space_limit(runner, limit_mib):
    """Under ``ulimit -v`` the program gets as far as stock, roughly, and then MemoryError, no
    crash."""
    result = runner.neve_code(f"""
        import gc, resource
        limit = {limit_mib} << 20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        kept, reserve = [], bytearray(20 << 20)
        try:
            while True: kept.append([len(kept)] * 4)
        except MemoryError:
            del reserve
            count = len(kept)
            while len(kept) > count // 2: kept.pop()
        x = []; x.append(x); del x
        gc.collect()
        assert count > limit // 400, count
        assert all(k[0] == i for i, k in enumerate(kept))
        del kept
        gc.collect()
        again = [[i] for i in range(100000)]
        print("survived")
    """)
    assert result.out == "survived\n", result


def test_memory_goes_back(runner):
    result = runner.neve_code("""
        import gc
        def rss():
            with open("/proc/self/statm") as f: return int(f.read().split()[1]) * 4096 / 2 ** 20
        gc.collect(); start = rss()
        for turn in range(5):
            kept = [{"i": i, "l": [i]} for i in range(200000)]
            kept.append(kept); peak = rss()
            del kept
            gc.collect()
        print(round(start), round(peak), round(rss()))
        assert rss() < start + 12, (start, peak, rss())
    """)
    assert result.err == ""


def test_endless_cycles_do_not_grow(runner):
    result = runner.neve_code("""
        class Node: pass
        def rss():
            with open("/proc/self/statm") as f: return int(f.read().split()[1]) * 4096 / 2 ** 20
        sizes = []
        for turn in range(6):
            for i in range(100000):
                a = Node(); b = Node(); a.b = b; b.a = a; a.data = [i] * 10
            sizes.append(rss())
        assert sizes[-1] < sizes[0] + 3, sizes
        print("steady")
    """)
    assert result.out == "steady\n"


def test_faulthandler_and_signals_while_collecting(runner):
    result = runner.neve_code("""
        import faulthandler, gc, signal, sys
        faulthandler.enable()
        ticks = []
        signal.signal(signal.SIGALRM, lambda *a: ticks.append(len([[] for _ in range(10)])))
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        kept = [[i] for i in range(100000)]
        for i in range(30):
            for _ in range(1000):
                x = []; x.append(x)
            gc.collect()
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert len(ticks) > 10
        faulthandler.dump_traceback(file=sys.stdout)
    """)
    assert "File " in result.out and result.err == ""


def test_a_crash_is_reported_by_faulthandler(runner):
    def edit(text):
        # From 3.14 on there is a stack of C functions, which are others of course.
        lines = [line for line in text.splitlines()
                 if "Extension modules" not in line and not line.startswith("  Binary file")]
        return "\n".join(lines).strip()

    result = runner.both(runner.script("""
        import faulthandler
        faulthandler.enable()
        def f(): faulthandler._sigsegv()
        f()
    """), edit=edit)
    assert result.status == -11 and "Segmentation fault" in result.err
