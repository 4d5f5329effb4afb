# SPDX-License-Identifier: MIT
"""The timer of the incremental mode: it asks for slices, one at a time, and ends where it must.

Nothing here is timed: a counter is waited for, with a limit that only something broken reaches."""

import os

import harness
import pytest
import test_setup_failures

PRELUDE = """
    import gc, os, sys, time
    import neve
    def timer(): return neve.stats()["collector"]["timer"]
    def slices(): return timer()["slices"]
    def names():
        found = []
        for task in os.listdir("/proc/self/task"):
            try:
                with open(f"/proc/self/task/{task}/comm") as file:
                    found.append(file.read().strip())
            except OSError: pass            # it has just ended
        return found
    # (The system lists a thread for a moment after it was joined, and names it after it began.)
    def wait_until(condition):
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end, (timer(), names())
    def wait_for_slices(count=3):
        before = slices()
        wait_until(lambda: slices() >= before + count)
    def spin(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end: pass
"""


@pytest.fixture
def run(runner):
    def start(code, **options):
        result = runner.plain_code(harness.dedented(PRELUDE) + harness.dedented(code), **options)
        assert result.err == "", result
        return result
    return start


def test_it_asks_for_slices(run):
    run("""
        neve.install("incremental", timer_ms=1)
        assert timer()["is_running"] is True
        wait_until(lambda: names().count("neve-timer") == 1)
        wait_for_slices(20)
        neve.install("incremental", timer_ms=1)
        wait_until(lambda: names().count("neve-timer") == 1)
    """)


def test_by_the_environment(runner):
    code = harness.dedented(PRELUDE) + "wait_for_slices()\nprint(timer()['is_running'])"
    result = runner.neve_code(code, env={"NEVE_MODE": "incremental", "NEVE_TIMER_MS": "1"})
    assert (result.out, result.err) == ("True\n", "")


@pytest.mark.parametrize("settings", ["mode='incremental', timer_ms=0",
                                      "mode='generational', timer_ms=1"])
def test_no_timer(run, settings):
    run(f"""
        neve.install({settings})
        assert timer() == {{"is_running": False, "slices": 0}}
        wait_until(lambda: "neve-timer" not in names())
    """)


def test_one_request_at_a_time(run):
    # While the main thread sleeps nothing is done, and it is done once when it wakes up.
    run("""
        neve.install("incremental", timer_ms=1)
        wait_for_slices()
        def sleep():
            before = slices()
            time.sleep(0.3)
            return slices() - before
        assert min(sleep() for _ in range(3)) <= 5
        wait_for_slices()
    """)


def test_slices_that_run_anyhow_leave_nothing_to_ask_for(run):
    # Far more than one step in each interval: the timer finds that a slice has run.
    run("""
        neve.install("incremental", timer_ms=200)
        before = slices()
        end = time.monotonic() + 1
        steps, longest, last = 0, 0, time.monotonic()
        while last < end:
            neve.step(10)
            steps += 1
            now = time.monotonic()
            longest = max(longest, now - last)
            last = now
        assert slices() == before or longest > 0.1, (steps, longest, timer())
    """)


def test_automatic_collection_switched_off(run):
    run("""
        neve.install("incremental", timer_ms=1)
        wait_for_slices()
        gc.disable()
        before = slices()
        spin(0.1)
        assert slices() == before
        gc.enable()
        wait_for_slices()
    """)


def test_it_takes_no_signals(run):
    run("""
        import signal
        neve.install("incremental", timer_ms=1)
        blocked = {}
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/status") as file:
                lines = dict(line.split(":", 1) for line in file)
            blocked[lines["Name"].strip()] = int(lines["SigBlk"], 16)
        standard = [n for n in range(1, 32) if n not in (signal.SIGKILL, signal.SIGSTOP)]
        assert all(blocked["neve-timer"] >> n - 1 & 1 for n in standard), blocked
        assert not any(signal.pthread_sigmask(signal.SIG_BLOCK, []))
    """)


def test_other_threads_and_finalizers(run):
    # The main thread alone runs the slices that the timer asks for, whoever else is busy.
    run("""
        import threading
        neve.install("incremental", timer_ms=1)
        stop = threading.Event()
        dead = set()
        class Node:
            def __init__(self): self.me = self
            def __del__(self): dead.add(threading.current_thread().name)
        def work():
            while not stop.is_set():
                Node()
        threads = [threading.Thread(target=work, daemon=True) for _ in range(2)]
        for thread in threads: thread.start()
        wait_for_slices(20)
        stop.set()
        for thread in threads: thread.join()
        assert dead and not any(name.startswith("Dummy") for name in dead), dead
    """)


# --- its end --------------------------------------------------------------------------------------


def test_uninstall_ends_it(run):
    run("""
        for turn in range(20):
            neve.install("incremental", timer_ms=1)
            assert slices() == 0 or turn == 0 or timer()["is_running"]
            if turn % 3 == 0: wait_for_slices(1)
            neve.uninstall()
            wait_until(lambda: "neve-timer" not in names())
        neve.install("generational", timer_ms=1)
        spin(0.05)
        assert timer() == {"is_running": False, "slices": 0}
    """)


@pytest.mark.parametrize("end, status", [
    ("pass", 0), ("sys.exit(3)", 3), ("os._exit(4)", 4), ("raise KeyboardInterrupt", -2),
    ("gc.disable()", 0), ("os.execv(sys.executable, [sys.executable, '-c', 'raise SystemExit(5)'])", 5),
])
def test_the_interpreter_exits(runner, end, status):
    code = harness.dedented(PRELUDE) + harness.dedented(f"""
        import atexit, threading
        class Late:
            def __init__(self): self.me = self
            def __del__(self): spin(0.01)
        kept = Late()
        atexit.register(spin, 0.01)
        neve.install("incremental", timer_ms=1)
        wait_for_slices(1)
        {end}
    """)
    for turn in range(4):
        result = runner.plain_code(code, status=status)
        assert result.out == "" and (result.err == "" or status == -2), result


# --- fork -------------------------------------------------------------------------------------------


def test_forks(run):
    # Warnings are shown: from 3.12 on Python warns of a fork of a process with threads.
    run("""
        import warnings
        warnings.simplefilter("always")
        neve.install("incremental", timer_ms=1)
        wait_for_slices()
        for turn in range(30):
            pid = os.fork()
            if pid == 0:
                try:
                    if turn % 10 == 0:
                        wait_for_slices()           # the child's own
                        wait_until(lambda: names().count("neve-timer") == 1)
                        if os.fork() == 0: os._exit(0)
                        assert os.wait()[1] == 0
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitpid(pid, 0)[1] == 0, turn
        wait_for_slices()
        wait_until(lambda: names().count("neve-timer") == 1)
    """)


def test_a_fork_of_another_thread(run):
    # From 3.13 on the child's interpreter asks the thread that was the main one for pending calls,
    # which is not there any more: the timer asks for slices, and there are none.
    run("""
        import threading, warnings
        warnings.simplefilter("ignore")
        neve.install("incremental", timer_ms=1)
        done = []
        def fork():
            pid = os.fork()
            if pid == 0:
                try:
                    neve.step()
                    neve.uninstall()
                    neve.install("incremental", timer_ms=1)
                    if sys.version_info < (3, 13):
                        wait_for_slices()
                    spin(0.01)
                    neve.step()
                    gc.collect()
                    neve.uninstall()
                    wait_until(lambda: "neve-timer" not in names())
                    os._exit(0)
                finally:
                    os._exit(1)
            done.append(os.waitpid(pid, 0)[1])
        for turn in range(5):
            thread = threading.Thread(target=fork)
            thread.start()
            thread.join()
        assert done == [0] * 5
        wait_for_slices()
    """)


def test_a_fork_in_c_code(run):
    # Python is told in the child only, if at all: the next slice starts the child's timer.
    run("""
        import ctypes
        neve.install("incremental", timer_ms=1)
        wait_for_slices()
        for turn in range(5):
            pid = ctypes.pythonapi.fork()
            if pid == 0:
                try:
                    if sys.version_info < (3, 13):  # from then on it aborts: who tells, tells all
                        ctypes.pythonapi.PyOS_AfterFork_Child()
                    neve.step()
                    assert timer()["is_running"]
                    wait_until(lambda: names().count("neve-timer") == 1)
                    wait_for_slices()
                    neve.uninstall()
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitpid(pid, 0)[1] == 0
            wait_until(lambda: names().count("neve-timer") == 1)
        wait_for_slices()
    """)


def test_children_that_only_exec(run):
    run("""
        import multiprocessing, subprocess
        neve.install("incremental", timer_ms=1)
        for turn in range(5):
            assert subprocess.run(["true"]).returncode == 0
            assert subprocess.run(["true"], close_fds=False, cwd="/").returncode == 0
            assert os.system("true") == 0
            process = multiprocessing.get_context("fork").Process(target=wait_for_slices)
            process.start()
            process.join()
            assert process.exitcode == 0
        wait_for_slices()
    """)


# --- no thread --------------------------------------------------------------------------------------

WITHOUT = """
    for turn in range(2):
        neve.install("incremental", timer_ms=1)
        assert neve.is_installed() and timer() == {"is_running": False, "slices": 0}
        for _ in range(100): neve.step()
        x = []; x.append(x); del x
        assert gc.collect() >= 1
        neve.uninstall()
    print("worked")
"""
WARNING = "neve: going on without a timer: cannot start a thread: "


@pytest.mark.skipif(not test_setup_failures.CALLS,
                    reason="numbers of system calls are not known for this machine")
def test_a_sandbox_without_threads(runner):
    sandbox = runner.script(test_setup_failures.SANDBOX)
    program = runner.script(harness.dedented(PRELUDE) + harness.dedented(WITHOUT))
    numbers = [test_setup_failures.CALLS[name] for name in ("clone", "clone3")]
    result = runner.execute([sandbox, *numbers, "--", harness.PYTHON, program])
    if result.status == 77:
        pytest.skip("no seccomp filter can be set here")
    assert (result.status, result.out) == (0, "worked\n"), result
    # One line for each installation.
    assert result.err == 2 * (WARNING + "Operation not permitted\n"), result


@pytest.mark.skipif(os.geteuid() == 0, reason="limits on processes do not hold for the superuser")
def test_a_limit_on_processes(runner):
    code = "import resource\nresource.setrlimit(resource.RLIMIT_NPROC, (1, 1))\n"
    result = runner.plain_code(code + harness.dedented(PRELUDE) + harness.dedented(WITHOUT))
    assert result.out == "worked\n" and result.err.count(WARNING) == 2, result


def test_no_address_space_for_its_stack(runner):
    # With little to spare the heap's own needs come first; with a little more, the thread's.
    code = harness.dedented(PRELUDE) + harness.dedented("""
        import resource
        limits = resource.getrlimit(resource.RLIMIT_AS)
        neve.install("incremental", timer_ms=0)
        neve.uninstall()                            # what Neve itself needs is there now
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 10), limits[1]))
        neve.install("incremental", timer_ms=1)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        assert neve.is_installed() and not timer()["is_running"]
        neve.uninstall()
        neve.install("incremental", timer_ms=1)
        wait_for_slices()
        print("worked")
    """)
    result = runner.plain_code(code)
    assert result.out == "worked\n", result
    assert result.err.startswith(WARNING) and len(result.err.splitlines()) == 1, result
