# SPDX-License-Identifier: MIT
"""neve.prefork() and NEVE_PREFORK: the work is done once, by the right forks; and a child that
only reads what it inherited dirties next to nothing."""

import os

import harness
import pytest

#: Debian's packages are for its own interpreter; those without C code serve others as well.
PACKAGES = "/usr/lib/python3/dist-packages"
HAS_IMMORTALS = harness.VERSION >= (3, 12, 0)

#: What a child finds of the work that was done before it was forked.
FIGURES = """
import gc, json, os, sys, neve
def figures():
    found = neve.stats()["prefork"]
    return [found["runs"], found["skipped"], gc.get_freeze_count() > 1000]
def in_child(fork=os.fork, work=figures):
    read, write = os.pipe()
    child = fork()
    if child == 0:
        try: os.write(write, json.dumps(work()).encode())
        finally: os._exit(0)
    os.close(write)
    assert os.waitpid(child, 0)[1] == 0
    with os.fdopen(read, "rb") as file: return json.loads(file.read())
"""


def test_once_and_again_after_growth(runner):
    runner.neve_code(FIGURES + harness.dedented("""
        kept = [[n] for n in range(20000)]
        report = neve.prefork()
        assert report["is_new"] and report["frozen"] > 20000, report
        assert set(report) == {"frozen", "immortal", "mortal", "writes_counts", "is_new"}
        for _ in range(3):
            again = neve.prefork()
            assert not again["is_new"] and again["frozen"] == report["frozen"]
        more = [[n] for n in range(1000)]
        assert not neve.prefork()["is_new"]
        more += [[n] for n in range(30000)]
        grown = neve.prefork()
        assert grown["is_new"] and grown["frozen"] > report["frozen"] + 30000
        assert not neve.prefork()["is_new"]
        assert in_child() == [2, 5, True]
        # Unfreezing undoes it.
        neve.unfreeze()
        assert neve.prefork()["is_new"] and gc.get_freeze_count() > 50000
    """))


def test_garbage_is_not_frozen(runner):
    runner.neve_code("""
        import gc, neve, weakref
        class Ring: pass
        ring = Ring(); ring.self = ring; seen = weakref.ref(ring)
        gc.collect(); gc.collect()
        del ring
        neve.prefork()
        assert seen() is None
    """)


@pytest.mark.skipif(harness.mode() != "generational", reason="cycles collect the old generation")
def test_full_collections_of_a_child(runner):
    """None until it has kept some objects of its own; and not as late as a quarter of the
    parent's."""
    runner.neve_code(FIGURES + harness.dedented("""
        parents = [[n] for n in range(400000)]
        neve.prefork()
        def full_collections():
            return neve.stats()["collector"]["generations"][2]["collections"]
        def work():
            gc.set_threshold(700, 10, 10)
            start = full_collections()
            few = [[n] for n in range(15000)]
            after_few = full_collections() - start
            many = [[n] for n in range(150000)]
            return [after_few, full_collections() - start]
        few, many = in_child(work=work)
        assert few == 0 and many >= 1, (few, many)
    """), env={"NEVE_MODE": "generational"})


def test_mode_of_the_children(runner):
    """The incremental one, unless somebody has chosen: full collections would stop all workers that
    were forked together, together."""
    code = FIGURES + harness.dedented("""
        class Ring: pass
        neve.prefork(); neve.prefork()
        def work():
            def cycles(): return neve.stats()["collector"]["cycle"]["cycles"]
            kept, seen, before = [], __import__("weakref").WeakSet(), cycles()
            while len(kept) < 3000000 and not (cycles() > before and not seen):
                kept += [[n] for n in range(2000)]
                if len(kept) == 100000:
                    ring = Ring(); ring.me = ring; seen.add(ring)
                    gc.collect(); del ring      # it is old
            return [len(kept) < 3000000, neve.stats()["mode"], neve.stats()["collector"]["timer"]["is_running"]]
        print(*in_child(work=work), neve.stats()["mode"])
        neve.install(MODE) if MODE else neve.install()      # the same settings as before
        neve.uninstall(); neve.install()
        gc.collect()
        print(neve.stats()["mode"])
    """)
    result = runner.neve_code("MODE = None\n" + code, env={"NEVE_MODE": None})
    assert result.out.splitlines() == ["True incremental False incremental", "generational"]
    for options in ({"env": {"NEVE_MODE": "generational"}},
                    {"env": {"NEVE_MODE": None}, "neve_options": ["--mode", "generational"]}):
        mode = None if options["env"]["NEVE_MODE"] else "generational"
        code_of_mode = f"MODE = {mode!r}\n" + code.replace("in_child(work=work)", "[]")
        assert runner.neve_code(code_of_mode, **options).out == "generational\ngenerational\n"
    timed = runner.neve_code("MODE = None\n" + code, env={"NEVE_MODE": None, "NEVE_TIMER_MS": "50"})
    assert timed.out.splitlines()[0] == "True incremental True incremental"


def test_mode_that_is_chosen_late(runner):
    """By installing again what is there: it was there, but nobody had asked for it."""
    code = """
        import neve
        def mode(): return neve.stats()["mode"]
        neve.install(pause_us=500)
        if LATE: neve.install("generational")
        neve.install(); neve.prefork()
        assert mode() == ("generational" if LATE else "incremental"), mode()
        neve.install()
        assert not neve.prefork()["is_new"]
        if LATE: raise SystemExit
        neve.uninstall(); neve.install()
        assert mode() == "generational" and neve.prefork()["is_new"] and mode() == "incremental"
        try: neve.install("generational")
        except RuntimeError as error: assert "mode incremental" in str(error), error
        else: raise AssertionError
        neve.install("incremental"); neve.install("incremental")
        neve.uninstall(); neve.install("incremental")
        try: neve.install()
        except RuntimeError: pass
        else: raise AssertionError
    """
    for late in (True, False):
        runner.neve_code(f"LATE = {late}\n" + harness.dedented(code), env={"NEVE_MODE": None})


READER = """
import gc, json, os, sys
def private_dirty_kb():
    with open("/proc/self/smaps_rollup") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith("Private_Dirty"))
class Node:
    def __init__(self, n): self.number = n; self.text = f"node {n}"; self.pair = (n, [n])
kept = []
for n in range(15000):
    kept += [[f"text {n}", n * 7777], {"name": f"name {n}", "value": f"value {n}"}, Node(n),
             (f"tuple {n}", [f"inner {n}"])]
def read_all(objects):
    total = 0
    for thing in objects:
        if type(thing) is list:
            for item in thing: total += hash(item) & 1
        elif type(thing) is dict:
            for key, value in thing.items(): total += len(key) + (hash(value) & 1)
        elif type(thing) is Node:
            total += thing.number + len(thing.text) + thing.pair[1][0]
        else:
            text, inner = thing
            total += len(text) + len(inner[0])
    return total
read_all(kept[:400])
gc.collect()
if "neve" in sys.modules:
    import neve
    neve.prefork()
read, write = os.pipe()
if os.fork() == 0:
    private_dirty_kb(); start = private_dirty_kb()
    read_all(kept)
    os.write(write, str(private_dirty_kb() - start).encode())
    os._exit(0)
os.wait()
print(os.read(read, 100).decode())
"""


def test_reading_dirties_nothing(runner):
    path = runner.script(READER)
    stock, neve = int(runner.stock(path).out), int(runner.neve(path).out)
    assert stock > 8000, f"the experiment shows nothing on stock: {stock} kB"
    if HAS_IMMORTALS:
        assert neve < 400, f"{neve} kB, stock {stock} kB"
    else:
        assert neve < stock * 1.1, f"{neve} kB, stock {stock} kB"


# --- NEVE_PREFORK ---------------------------------------------------------------------------------


@pytest.mark.parametrize("server, module, function", [
    ("gunicorn", "gunicorn.arbiter", "spawn_worker"),
    ("celery", "billiard.popen_fork", "_launch"),
    ("multiprocessing", "multiprocessing.popen_fork", "_launch")])
def test_the_forks_of_a_server(runner, server, module, function):
    """Of the functions that fork, only the server's has the heap frozen; its workers freeze
    nothing."""
    runner.neve_code(FIGURES + harness.dedented(f"""
        space = {{"__name__": {module!r}, "os": os}}
        exec('''def {function}(): return os.fork()''', space)
        spawn = space[{function!r}]
        exec('''def daemonize(): return os.fork()''', space)
        assert in_child() == [0, 0, False]
        assert in_child(space["daemonize"]) == [0, 0, False]
        assert in_child(spawn) == [1, 0, True]
        assert in_child(spawn) == [1, 1, True]
        def work_of_a_worker():
            kept = [[n] for n in range(100000)]     # it has grown, and forks
            return in_child(spawn)
        assert in_child(spawn, work_of_a_worker) == [1, 2, True]
        assert in_child() == figures() == [1, 2, True]
    """), env={"NEVE_PREFORK": server})


@pytest.mark.parametrize("first, second", [("with_gil", "without"), ("without", "with_gil")])
def test_forks_of_c_code(runner, first, second):
    """uWSGI's: nobody but fork() itself sees them."""
    code = FIGURES + harness.dedented("""
        import ctypes, threading
        with_gil, without = ctypes.PyDLL(None).fork, ctypes.CDLL(None).fork
        assert in_child() == [0, 0, False]          # an application's own
        # Another thread may have the GIL and wait for the one that forks.
        end = threading.Event(); thread = threading.Thread(target=end.wait); thread.start()
        child = without()
        if child == 0: os._exit(0)
        os.waitpid(child, 0)
        end.set(); thread.join()
        assert figures() == [0, 0, False]
        assert in_child(FIRST) == [1, 0, True]
        assert in_child(SECOND) == [1, 1, True]
        assert in_child() == [1, 1, True]
    """)
    runner.neve_code(code.replace("FIRST", first).replace("SECOND", second),
                     env={"NEVE_PREFORK": "uwsgi"})


def test_multiprocessing(runner):
    runner.neve_code("""
        import gc, multiprocessing, neve
        TABLE = {n: [str(n)] for n in range(20000)}
        def work(n):
            found = neve.stats()["prefork"]
            return TABLE[n][0], found["runs"], gc.get_freeze_count() > 20000
        if __name__ == "__main__":
            context = multiprocessing.get_context("fork")
            for _ in range(2):
                with context.Pool(2) as pool:
                    assert pool.map(work, range(50)) == [(str(n), 1, True) for n in range(50)]
            found = neve.stats()["prefork"]
            assert found["runs"] == 1 and found["skipped"] == 3, found
    """, env={"NEVE_PREFORK": "multiprocessing"})


def test_fork_server(runner, tmp_path):
    """The server itself freezes what it has preloaded, before its first fork."""
    runner.write("table.py", "TABLE = {n: [str(n)] for n in range(20000)}")
    path = runner.script("""
        import gc, multiprocessing, neve, os, table
        def work(n):
            found = neve.stats()["prefork"]
            return table.TABLE[n][0], found["runs"], gc.get_freeze_count() > 20000
        if __name__ == "__main__":
            multiprocessing.set_forkserver_preload(["table"])
            with multiprocessing.get_context("forkserver").Pool(2) as pool:
                assert pool.map(work, range(50)) == [(str(n), 1, True) for n in range(50)]
            assert neve.is_installed() and neve.stats()["prefork"]["runs"] == 0
    """)
    python = harness.environment_with_neve(tmp_path / "env")
    result = runner.execute([path], python=python, env={
        "NEVE": "1", "NEVE_PREFORK": "multiprocessing", "PYTHONPATH": str(runner.folder)})
    assert result.status == 0, result


def with_packages(code):
    """A program that finds Debian's packages."""
    return f"import sys; sys.path.append({PACKAGES!r})\n" + FIGURES + harness.dedented(code)


def can_import(modules):
    """Whether the interpreter under test can, from Debian's packages."""
    done = harness.Runner(os.path.dirname(__file__)).execute(
        ["-W", "ignore", "-c", f"import {modules}"], search_path=PACKAGES)
    return done.status == 0


@pytest.mark.skipif(not can_import("billiard"), reason="no billiard")
def test_billiard(runner):
    """Celery's own multiprocessing, where Celery itself may not be there for the version."""
    runner.neve_code(with_packages("""
        import billiard
        read, write = os.pipe()
        def work(): os.write(write, json.dumps(figures()).encode())
        for number in range(3):
            process = billiard.Process(target=work)
            process.start(); process.join()
            assert process.exitcode == 0
            assert json.loads(os.read(read, 100)) == [1, number, True]
    """), interpreter=["-W", "ignore"], env={"NEVE_PREFORK": "celery"})


@pytest.mark.skipif(not can_import("gunicorn.app.wsgiapp, gunicorn.workers.sync"),
                    reason="no gunicorn")
def test_gunicorn(runner):
    """Its workers, those that a reload forks included, find the heap frozen once."""
    result = runner.neve_code(with_packages("""
        import http.client, signal, socket
        from gunicorn.app.base import BaseApplication
        TABLE = {n: [str(n)] for n in range(20000)}
        read, write = os.pipe()
        class Server(BaseApplication):
            def load_config(self):
                for name, value in dict(bind="unix:socket", workers=2, preload_app=True,
                        worker_tmp_dir=".", loglevel="error", post_worker_init=self.tell).items():
                    self.cfg.set(name, value)
            def load(self): return self.answer
            def tell(self, worker): os.write(write, json.dumps(figures()).encode() + b"\\n")
            def answer(self, environ, start):
                start("200 OK", [("Content-Type", "application/json")])
                return [json.dumps([TABLE[7][0], figures()[0], figures()[2]]).encode()]
        class Connection(http.client.HTTPConnection):
            def connect(self):
                self.sock = socket.socket(socket.AF_UNIX); self.sock.connect("socket")
        def ask():
            connection = Connection("localhost")
            connection.request("GET", "/")
            return json.loads(connection.getresponse().read())
        def client(master):
            os.close(write)
            with os.fdopen(read) as file:
                told = []
                for again in (signal.SIGHUP, signal.SIGTERM):
                    told += [json.loads(file.readline()) for _ in range(2)]
                    assert [ask() for _ in range(4)] == [["7", 1, True]] * 4
                    os.kill(master, again)
            print(sorted(told), flush=True)
        master = os.getpid()
        if os.fork() == 0:                          # this fork freezes nothing
            try: client(master)
            except BaseException:
                os.kill(master, signal.SIGTERM)
                raise
            os._exit(0)
        assert figures() == [0, 0, False]
        Server().run()
    """), interpreter=["-W", "ignore"], env={"NEVE_PREFORK": "gunicorn"})
    assert result.out == f"{[[1, number, True] for number in range(4)]}\n", result


def test_wrong_value(runner, tmp_path):
    result = runner.neve("-c", "print('never')", env={"NEVE_PREFORK": "apache"})
    assert result.status == 2 and result.out == ""
    [line] = result.err.splitlines()
    assert line.startswith("neve: NEVE_PREFORK: there is no 'apache'; choose celery, gunicorn")

    python = harness.environment_with_neve(tmp_path / "env")
    result = runner.execute(["-c", "import neve; print(neve.is_installed())"], python=python,
                            env={"NEVE": "1", "NEVE_PREFORK": "apache", "PYTHONPATH": None})
    assert result.status == 0 and result.out == "True\n"
    [line] = result.err.splitlines()
    assert line.startswith("neve: NEVE_PREFORK: there is no 'apache'")


def test_empty_value_and_no_neve(runner):
    code = "import sys; print('neve._prefork' in sys.modules)"
    assert runner.neve("-c", code, env={"NEVE_PREFORK": ""}).out == "False\n"
    assert runner.stock("-c", code, env={"NEVE_PREFORK": "gunicorn"}).out == "False\n"


def test_failure_costs_a_line(runner):
    """A fork goes on when the heap cannot be frozen."""
    result = runner.neve_code(FIGURES + harness.dedented("""
        from neve import _prefork
        def failing(): raise MemoryError("no memory for the graph")
        _prefork.prefork = failing
        space = {"__name__": "gunicorn.arbiter", "os": os}
        exec("def spawn_worker(): return os.fork()", space)
        assert in_child(space["spawn_worker"]) == [0, 0, False]
        neve.uninstall()
        assert in_child(space["spawn_worker"], lambda: 5) == 5
    """), env={"NEVE_PREFORK": "gunicorn"})
    assert result.err == ("neve: NEVE_PREFORK=gunicorn: the heap is not frozen: "
                          "no memory for the graph\n")
