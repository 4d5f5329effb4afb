# SPDX-License-Identifier: MIT
"""Neve cannot be set up, or is set up at an odd moment: no memory, a sandbox that forbids system
calls, twice, in the middle, in a forked child.

Wherever the interpreter itself works, it works: on its own memory management after one line of
warning, or with an exception where the program called ``neve.install()``.  An interpreter that no
extension was built for is the subject of test_bad_input.py, a package in pieces that of
test_activation.py.
"""

import os
import platform

import harness
import pytest

ROUTES = ["environment", "runner"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return harness.environment_with_neve(tmp_path_factory.mktemp("installed") / "env")


@pytest.fixture
def start(runner, installed):
    """Runs a program text: on stock, by NEVE=1, or by the runner; ``launcher`` are the words that
    the interpreter's own follow."""

    def run(route, code, launcher, env=None):
        words = [*map(str, launcher), str(installed)]
        words += ["-m", "neve"] if route == "runner" else []
        return runner.execute([*words[1:], "-c", harness.dedented(code)], python=words[0],
                              env={"PYTHONPATH": None, **(env or {}),
                                   **({"NEVE": "1"} if route == "environment" else {})})

    return run


WORK = """
    import gc, resource, sys
    limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    class Node: pass
    kept = [[i] for i in range(2000)]
    for i in range(1000):
        node = Node(); node.me = node
    del node
    assert gc.collect() > 0 or limited      # without memory, a collection collects nothing
    big = [bytes(3000) for _ in range(50)]
    del kept[::2]
    neve = sys.modules.get("neve")
    print(bool(neve) and neve.is_installed())
"""

# --- memory -------------------------------------------------------------------------------------

LIMIT = ["sh", "-c", 'ulimit -v "$0" && exec "$@"']


def address_space_kib(runner, installed):
    """What the interpreter itself needs for the work."""
    show = """
    import re
    with open("/proc/self/status") as file:
        print(re.search(r"VmPeak:\\s+([0-9]+) kB", file.read()).group(1))
    """
    result = runner.execute(["-c", harness.dedented(WORK + show)], python=installed,
                            env={"PYTHONPATH": None})
    assert result.status == 0, result
    return int(result.out.split()[-1])


def assert_on_neve_or_told(result):
    """WORK ran on Neve, or on stock after one line that says so."""
    if result.out == "False\n":
        lines = result.err.splitlines()
        assert len(lines) == 1, result
        assert lines[0].startswith("neve: going on without Neve: "), result
    else:
        assert (result.out, result.err) == ("True\n", ""), result


@pytest.mark.parametrize("route", ROUTES)
def test_address_space_limits(start, runner, installed, route):
    """From what the interpreter itself needs, and a little, to where Neve has all that it needs."""
    needed = address_space_kib(runner, installed)
    for spare in [*range(1500, 8000, 500), 16000]:
        result = start(route, WORK, [*LIMIT, needed + spare])
        if result.status != 0 and spare < 8000:
            # Set up, and then not enough for the program; or `-m` itself could not load a module.
            assert result.status == 1 and "Error" in result.err, result
            continue
        assert result.status == 0, result
        assert_on_neve_or_told(result)
    assert result.out == "True\n", result


def test_no_memory_when_the_interpreter_starts(runner, tmp_path):
    """The address space is limited while NEVE=1 has its effect, and before and after it is not."""
    python = harness.environment_with_neve(tmp_path / "limited")
    site = next((tmp_path / "limited").glob("lib/python*/site-packages"))
    (site / "limits.py").write_text(harness.dedented("""
        import os, resource
        def set():
            with open("/proc/self/statm") as file:
                used = int(file.read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + int(os.environ["SPARE"]), -1))
        def lift():
            resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    """))
    (site / "a.pth").write_text("import limits; limits.set()\n")
    (site / "z.pth").write_text("import limits; limits.lift()\n")
    outcomes = []
    for spare in range(0, 8 << 20, 128 << 10):
        result = runner.execute(["-c", harness.dedented(WORK)], python=python,
                                env={"PYTHONPATH": None, "NEVE": "1", "SPARE": str(spare)})
        if result.status == 1 and "Error processing line" in result.err:
            outcomes.append(result.out)  # the module site itself had no memory for a .pth file
            continue
        assert result.status == 0, result
        assert_on_neve_or_told(result)
        outcomes.append(result.out)
        if outcomes[-3:] == 3 * ["True\n"]:
            break
    assert outcomes[0] != "True\n" and outcomes[-1] == "True\n", outcomes


def test_install_without_memory(runner):
    """The exception of an explicit install, and everything works before and after."""
    result = runner.plain_code("""
        import gc, neve, resource
        def work():
            for i in range(1000):
                x = []; x.append(x)
            del x
            assert gc.collect() > 0
        def used():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[0]) * resource.getpagesize()
        work()
        refused = 0
        callbacks = gc.callbacks
        for spare in range(0, 8 << 20, 64 << 10):
            limit = used() + spare
            resource.setrlimit(resource.RLIMIT_AS, (limit, -1))
            try:
                neve.install()
            except MemoryError:
                refused += 1
                assert not neve.is_installed()
            resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
            assert gc.callbacks is callbacks and gc.callbacks == []
            work()
            if neve.is_installed():
                break
        assert refused and neve.is_installed(), refused
        work()
        neve.uninstall()
        work()
        print("worked")
    """)
    assert result.out == "worked\n", result


@pytest.mark.skipif(os.environ.get("NEVE_TEST_BUILD") != "debug",
                    reason="allocations are made to fail in the debug build only")
def test_every_allocation_of_the_heap_may_fail(runner):
    outcomes = []
    for number in [*range(1, 12), 50, 500, 5000]:
        result = runner.plain_code("""
            import gc, neve
            failed = 0
            for attempt in range(2):
                try:
                    neve.install()
                    kept = []
                    for i in range(3000):
                        x = [i]; x.append(x); kept.append(str(i) * 3)
                except MemoryError:
                    failed += 1
            assert neve.is_installed() and neve.stats()["heap"]["small_blocks"] > 3000
            assert all(text == str(i) * 3 for i, text in enumerate(kept))
            del x
            gc.collect()
            print(failed)
        """, env={"NEVE_FAIL_ALLOC_AT": str(number)})
        assert result.out in ("0\n", "1\n"), (number, result)
        outcomes.append(result.out)
    # What the heap cannot serve comes from the allocator below it; only a table may be wanting.
    assert outcomes.count("0\n") >= 10, outcomes


# --- sandboxes ----------------------------------------------------------------------------------

# System calls by machine; vfork and fork have none of their own on the newer machines.
CALLS = {
    "x86_64": {"madvise": 28, "clone": 56, "fork": 57, "vfork": 58, "clone3": 435},
    "aarch64": {"madvise": 233, "clone": 220, "clone3": 435},
}.get(platform.machine(), {})

# Forbids the system calls whose numbers are given, and starts what follows "--".
SANDBOX = """
    import ctypes, os, struct, sys
    at = sys.argv.index("--")
    numbers = [int(word) for word in sys.argv[1:at]]
    def step(code, yes, no, value): return struct.pack("=HBBI", code, yes, no, value)
    program = step(0x20, 0, 0, 0)                           # load the number of the system call
    for left, number in zip(range(len(numbers), 0, -1), numbers):
        program += step(0x15, left, 0, number)              # equal: to the last step
    program += step(0x06, 0, 0, 0x7FFF0000)                 # allow
    program += step(0x06, 0, 0, 0x00050001)                 # EPERM
    code = ctypes.create_string_buffer(program, len(program))
    class Filter(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]
    filter = Filter(len(program) // 8, ctypes.addressof(code))
    prctl = ctypes.CDLL(None).prctl
    if prctl(38, 1, 0, 0, 0) != 0 or prctl(22, 2, ctypes.byref(filter), 0, 0) != 0:
        sys.exit(77)
    os.execv(sys.argv[at + 1], sys.argv[at + 1:])
"""

FORBIDDEN = """
    import ctypes, errno, mmap, os
    page = mmap.mmap(-1, 4096)
    for name, call in (("madvise", lambda: page.madvise(mmap.MADV_DONTNEED)), ("clone", os.fork)):
        if name in {names!r}:
            try: call()
            except PermissionError: print("no", name)
"""


@pytest.mark.skipif(not CALLS, reason="numbers of system calls are not known for this machine")
@pytest.mark.parametrize("names", [["madvise"], ["clone", "clone3", "fork", "vfork"],
                                   ["madvise", "clone", "clone3", "fork", "vfork"]])
@pytest.mark.parametrize("route", ROUTES)
def test_sandboxes(runner, start, installed, names, route):
    """What Neve would like to do and may not, it does without."""
    sandbox = runner.script(SANDBOX)
    launcher = [installed, "-I", sandbox, *[CALLS[name] for name in names if name in CALLS], "--"]
    give_back = """
    for turn in range(3):
        much = [[i] for i in range(300000)]
        del much
        gc.collect()
    assert all(k[0] % 2 for k in kept)
    """
    code = FORBIDDEN.format(names=names) + WORK + give_back
    # -I: the launcher itself is not to be on Neve.
    stock = start("stock", code, launcher)
    if stock.status == 77:
        pytest.skip("no seccomp filter can be set here")
    told = "".join(f"no {name}\n" for name in ("madvise", "clone") if name in names)
    assert (stock.status, stock.out, stock.err) == (0, told + "False\n", "")
    result = start(route, code, launcher)
    assert (result.status, result.out, result.err) == (0, told + "True\n", "")


# --- twice, in the middle, in a child ---------------------------------------------------------------

CHECKS = """
    import gc, os, sys
    class Node:
        dead = 0
        def __init__(self): self.me = self
        def __del__(self): Node.dead += 1
    def check(n=500):
        gc.collect()
        before = Node.dead
        for _ in range(n): Node()
        gc.collect()
        assert Node.dead - before == n, (Node.dead, before)
    def in_child(work):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work()
                check()
                status = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                sys.stdout.flush(); sys.stderr.flush()
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
    import neve
    kept = [[i, str(i) * 3] for i in range(20000)]
"""


def with_checks(code):
    return harness.dedented(CHECKS) + harness.dedented(code)


def test_installing_in_a_child(runner):
    runner.plain_code(with_checks("""
        def install():
            assert not neve.is_installed()
            neve.install(); neve.install()
            assert neve.is_installed()
            more = [[i] for i in range(20000)]
            check()
            assert kept[7] == [7, "777"] and more[7] == [7]
            neve.uninstall()
            check()
            neve.install(pause_us=77)
            in_child(lambda: [check(), neve.uninstall(), check(), neve.install(), check()])
        for _ in range(2):
            in_child(install)
        assert not neve.is_installed()
        check()
        install()
        in_child(neve.install.__globals__["stats"])
    """))


def test_uninstalling_in_a_child(runner):
    runner.plain_code(with_checks("""
        neve.install()
        more = [[i] for i in range(20000)]
        check()
        def uninstall():
            assert neve.is_installed()
            neve.install()                      # the same settings: nothing happens
            neve.uninstall()
            assert not neve.is_installed()
            check()
            assert kept[7] == [7, "777"] and more[7] == [7]
            del more[::3], kept[::3]
            gc.collect()
        in_child(uninstall)
        assert neve.is_installed() and len(more) == 20000
        check()
    """))


def test_the_end_of_a_child_that_installed(runner):
    result = runner.plain_code("""
        import atexit, gc, os, sys, neve
        class Node:
            def __del__(self): print(os.getpid() == first, flush=True)
        first = os.getpid()
        atexit.register(print, "exit", flush=True)
        node = Node(); node.me = node
        if os.fork() == 0:
            neve.install()
            gc.collect()
            sys.exit(5)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 5
    """)
    assert result.out == "exit\nFalse\nexit\nTrue\n", result


def test_uninstalling_in_the_middle(runner):
    """From finalizers, callbacks and threads: done, or refused with a sentence."""
    runner.plain_code(with_checks("""
        import threading, weakref
        said = []
        def uninstall(*_):
            try: neve.uninstall()
            except RuntimeError as error: said.append(str(error))
        class Finalizes:
            def __del__(self): uninstall()
        for make in (lambda: setattr(x := Finalizes(), "me", x),
                     lambda: (setattr(x := Node(), "me", x), weakref.finalize(x, uninstall)),
                     lambda: gc.callbacks.append(uninstall)):
            neve.install()
            make()
            gc.collect()
            gc.callbacks.clear()
            check()
        assert neve.is_installed() and len(said) >= 3
        assert all(len(text.split()) > 5 for text in said), said

        neve.install()
        stop = threading.Event()
        def allocate():
            while not stop.is_set():
                Node(); [[i] for i in range(100)]
        threads = [threading.Thread(target=allocate) for _ in range(3)]
        for thread in threads: thread.start()
        for turn in range(30):
            try:
                neve.uninstall() if turn % 2 == 0 else neve.install()
            except RuntimeError as error:       # a thread's collection was under way
                assert "neve" in str(error) or "collection" in str(error), error
        stop.set()
        for thread in threads: thread.join()
        check()
        assert all(k[1] == str(k[0]) * 3 for k in kept)
    """))
