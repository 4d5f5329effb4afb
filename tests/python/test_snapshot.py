# SPDX-License-Identifier: MIT
"""The snapshot mode on CPython: what its child finds, what a program that has children of its own
sees of it (nothing), and what becomes of it at forks, at the start of another program and at the end
of the process.  tests/collect/test_snapshot*.c have the failures one by one."""

import harness

# A heap that is worth a snapshot.  Where the child is to be at work at a certain moment it is
# stopped: SIGSTOP cannot be blocked.
PRELUDE = """
    import gc, os, signal, sys, time, weakref
    os.environ.setdefault("NEVE_SNAPSHOT_LEAST", "50000")
    import neve
    class Node:
        dead = 0
        def __init__(self): self.me = self
        def __del__(self): Node.dead += 1
    def cycle(): return neve.stats()["collector"]["cycle"]
    def snapshot(): return neve.stats()["collector"]["snapshot"]
    def children():
        # Those of snapshots, dead or alive.  Until it has run, it has our name; it has by then.
        with open("/proc/self/task/%d/children" % os.getpid()) as file:
            pids = [int(word) for word in file.read().split()]
        return [pid for pid in pids if name_of(pid) == "neve-snapshot"]
    def name_of(pid):
        try:
            with open("/proc/%d/comm" % pid) as file:
                return file.read().strip()
        except (FileNotFoundError, ProcessLookupError): # the second: between the two calls
            return None
    def state(pid):
        try:
            with open("/proc/%d/stat" % pid) as file:
                return file.read().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError): # the second: between the two calls
            return None
    def begin(stops=False):
        # A cycle begins with a snapshot; the child's pid.  One that has been too fast to be
        # stopped before it had its findings is let go.
        for _ in range(1000):
            finish()
            fresh = [[i] for i in range(3000)]
            before = snapshot()
            while neve.step() and snapshot()["begun"] == before["begun"]:
                pass
            pids = children()
            if snapshot()["begun"] == before["begun"] or not pids:
                continue
            if not stops:
                return pids[0]
            os.kill(pids[0], signal.SIGSTOP)
            while state(pids[0]) not in ("T", "Z"):
                time.sleep(0.001)
            for _ in range(50):
                neve.step()
            if state(pids[0]) == "T" and snapshot()["taken"] == before["taken"]:
                return pids[0]
            resume(pids[0])
        raise AssertionError("no child could be stopped")
    def resume(pid):
        try: os.kill(pid, signal.SIGCONT)
        except ProcessLookupError: pass
    def finish(limit_s=60):
        end = time.monotonic() + limit_s
        while neve.step() or children():
            assert time.monotonic() < end, (snapshot(), cycle(), children())
    neve.install("snapshot")
    gc.disable()
    kept = [[i] for i in range(60000)]
    gc.collect()
"""


def program(code, objects=60000):
    return (harness.dedented(PRELUDE).replace("60000", str(objects)) + harness.dedented(code))


def test_garbage_is_found(runner):
    runner.plain_code(program("""
        nodes = [Node() for _ in range(5000)]
        watches = [weakref.ref(node) for node in nodes]
        called = []
        calling = weakref.ref(nodes[7], called.append)
        gc.collect()
        del nodes
        before = snapshot()
        begin()
        finish()
        after = snapshot()
        assert Node.dead == 5000 and not any(watch() for watch in watches) and called == [calling]
        assert after["taken"] - before["taken"] == after["begun"] - before["begun"] > 0
        assert all(after[why] == 0 for why in ("refused", "died", "late", "forked", "abandoned"))
        assert after["fork_ns"] >= after["longest_fork_ns"] > 0 and after["child_ns"] > 0
        assert cycle()["cycles"] > 0 and cycle()["false_suspects"] < 5000
        assert cycle()["collected"] >= 5000 and all(k == [i] for i, k in enumerate(kept))
    """))


def test_automatic_collections_make_snapshots(runner):
    runner.plain_code(program("""
        gc.enable()
        generations, grown = [], []
        gc.callbacks.append(lambda phase, info: generations.append(info["generation"]))
        for turn in range(2000):
            nodes = [Node() for _ in range(200)]
            grown.append([[i] for i in range(1000)])
            # A child that shares its core with others has time to come to its end.
            while any(state(pid) not in ("Z", None) for pid in children()):
                time.sleep(0.001)
            if snapshot()["taken"] > 2 and Node.dead > 2000:
                break
        assert snapshot()["taken"] > 0 and Node.dead > 2000, (snapshot(), Node.dead)
        assert set(generations) <= {0, 1}
        assert all(k == [i] for i, k in enumerate(kept))
    """))


def test_all_kinds_of_containers(runner):
    # The child traverses them all; what it does not reach of them is alive all the same.
    runner.plain_code(program("""
        import asyncio, collections, contextvars, functools, types
        class Slotted:
            __slots__ = ("a", "b")
        def generator(values):
            for value in values:
                yield value
        async def coroutine(value):
            return value
        world = []
        for i in range(500):
            g = generator([[i], i]); next(g)
            s = Slotted(); s.a = [i]; s.b = s
            c = coroutine([i])
            world.append((i, {i: [i]}, {"x": [i]}, {frozenset([i])}, collections.deque([[i]]),
                          collections.OrderedDict({i: [i]}), functools.partial(len, [i]), g, s, c,
                          types.SimpleNamespace(me=[i]), (lambda value: lambda: value)([i]),
                          contextvars.Context(), memoryview(bytearray(8)), [i].append,
                          type("T", (), {"value": [i]})))
        gc.collect()
        begin()
        finish()
        assert snapshot()["taken"] == snapshot()["begun"] > 0, snapshot()
        for i, one in enumerate(world):
            assert one[1] == {i: [i]} and one[2] == {"x": [i]} and list(one[4]) == [[i]]
            assert one[6].args == ([i],) and next(one[7]) == i and one[8].a == [i]
            assert one[8].b is one[8] and one[10].me == [i] and one[11]() == [i]
            assert one[14].__self__ == [i] and one[15].value == [i]
            try: one[9].send(None)
            except StopIteration as stop: assert stop.value == [i]
        del world, one, g, s, c
        begin()
        finish()
        assert gc.collect() < 500
    """))


def test_waiting_does_not_see_it(runner):
    runner.plain_code(program("""
        import subprocess, threading
        signals = []
        signal.signal(signal.SIGCHLD, lambda *_: signals.append(1))
        for turn in range(3):
            begin()
            finish()
        assert signals == []
        child = begin(stops=True)
        signals.clear()                     # (a child that is stopped is told of)
        for wait in (os.wait, lambda: os.waitpid(-1, 0), lambda: os.waitpid(-1, os.WNOHANG),
                     lambda: os.wait3(0), lambda: os.waitpid(0, 0),
                     lambda: os.waitid(os.P_ALL, 0, os.WEXITED)):
            try:
                raise AssertionError(wait())
            except ChildProcessError:
                pass
        own = subprocess.Popen([sys.executable, "-I", "-S", "-c", "raise SystemExit(3)"])
        assert own.wait() == 3
        pid = os.fork()
        if pid == 0:
            os._exit(4)
        assert os.wait() == (pid, 4 << 8)
        assert subprocess.check_output([sys.executable, "-I", "-S", "-c", "print(7)"]) == b"7\\n"
        assert len(signals) == 3, signals
        assert state(child) == "T"
        resume(child)
        finish()
        assert state(child) is None
        assert snapshot()["taken"] > 0 and snapshot()["forked"] == 0
    """))


def test_multiprocessing_and_asyncio(runner):
    # Both keep books of their children, and wait for them.
    runner.plain_code(program("""
        import asyncio, multiprocessing
        def work(connection):
            connection.send(len(kept))
            connection.recv()
        async def programs():
            found = []
            for number in range(3):
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-I", "-S", "-c", f"raise SystemExit({number})")
                begin()
                found.append(await process.wait())
                finish()
            return found
        context = multiprocessing.get_context("fork")
        for turn in range(3):
            child = begin(stops=True)
            here, there = context.Pipe()
            process = context.Process(target=work, args=(there,))
            process.start()
            assert [one.pid for one in multiprocessing.active_children()] == [process.pid]
            assert here.recv() == len(kept)
            here.send(None)
            process.join()
            assert process.exitcode == 0 and multiprocessing.active_children() == []
            resume(child)
            finish()
        assert asyncio.run(programs()) == [0, 1, 2]
        assert snapshot()["died"] == 0, snapshot()
    """))


def test_a_child_that_is_killed(runner):
    runner.plain_code(program("""
        nodes = [Node() for _ in range(3000)]
        gc.collect()
        del nodes
        taken = snapshot()["taken"]
        child = begin(stops=True)
        os.kill(child, signal.SIGKILL)
        finish()
        assert snapshot()["died"] == 1 and Node.dead == 3000, (snapshot(), Node.dead)
        # One cycle without, then another is tried.
        before = snapshot()["begun"]
        fresh = [[i] for i in range(3000)]
        finish()
        assert snapshot()["begun"] == before
        begin()
        finish()
        assert snapshot()["died"] == 1 and snapshot()["begun"] > before
    """))


def test_forks_meanwhile(runner):
    runner.plain_code(program("""
        nodes = [Node() for _ in range(3000)]
        gc.collect()
        child = begin(stops=True)
        del nodes
        pids = []
        for turn in range(3):
            pid = os.fork()
            if pid == 0:
                try:
                    assert children() == []
                    if turn == 1:
                        gc.collect()
                    finish()
                    assert snapshot()["forked"] == 1 and snapshot()["died"] == 0, snapshot()
                    fresh = [[i] for i in range(3000)]
                    if turn == 2:
                        begin()             # one of its own
                        finish()
                        assert snapshot()["taken"] > 0
                    gc.collect()
                    assert Node.dead == 3000 and kept[7] == [7], Node.dead
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.wait() == (pid, 0)
        assert state(child) == "T"
        resume(child)
        finish()
        gc.collect()
        assert snapshot()["forked"] == 0 and snapshot()["died"] == 0 and Node.dead == 3000
    """))


def test_a_full_collection_ends_it(runner):
    runner.plain_code(program("""
        abandoned = snapshot()["abandoned"]
        child = begin(stops=True)
        nodes = [Node() for _ in range(100)]
        del nodes
        gc.collect()
        assert Node.dead == 100 and snapshot()["abandoned"] == abandoned + 1
        finish()
        assert state(child) is None
        child = begin(stops=True)
        neve.uninstall()
        assert state(child) is None         # it is gone, and nobody else's to reap
    """))


def test_it_does_not_outlive_the_process(runner):
    # However that ends.  The test is made the reaper of what it leaves.
    for ending in ("sys.exit(0)", "os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"):
        runner.write("left.py", program(f"""
            with open("pid", "w") as file:
                file.write(str(begin(stops=True)))
            {ending}
        """))
        runner.plain_code("""
            import ctypes, os, subprocess, sys
            assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0     # PR_SET_CHILD_SUBREAPER
            done = subprocess.run([sys.executable, "left.py"])
            with open("pid") as file:
                pid = int(file.read())
            WALL = 0x40000000
            try:
                os.kill(pid, 18)            # SIGCONT: it was stopped
                found, status = os.waitpid(pid, WALL)
                assert found == pid and os.WIFEXITED(status), (found, status)
            except (ChildProcessError, ProcessLookupError):
                assert done.returncode == 0     # its parent has reaped it
            assert not os.path.exists(f"/proc/{pid}")
        """)


def test_another_program_does_not_inherit_it(runner):
    for call in ("os.execv(sys.executable, arguments)", "os.execve(sys.executable, arguments, os.environ)",
                 "os.execlp(sys.executable, *arguments)"):
        result = runner.plain_code(program(f"""
            code = "import sys; print(open('/proc/self/task/%s/children' % sys.argv[1]).read().split())"
            arguments = [sys.executable, "-I", "-S", "-c", code, str(os.getpid())]
            begin(stops=True)
            assert len(children()) == 1
            try:
                os.execv("/no/such/program", ["x"])
            except FileNotFoundError:
                pass
            assert children() == [] and snapshot()["abandoned"] > 0
            finish()
            begin(stops=True)
            {call}
        """))
        assert result.out == "[]\n", result


def test_files_are_not_kept_open(runner):
    runner.plain_code(program("""
        import socket
        ours, theirs = socket.socketpair()
        descriptors = set(os.listdir("/proc/self/fd"))
        child = begin(stops=True)
        assert set(os.listdir("/proc/self/fd")) == descriptors
        theirs.close()
        assert ours.recv(1) == b""
        resume(child)
        finish()
        ours.close()
    """))


def test_threads(runner):
    # Snapshots begun in threads that end at once; others allocate meanwhile.
    runner.plain_code(program("""
        import threading
        def allocate():
            for turn in range(100):
                local = [Node() for _ in range(100)]
                assert all(node.me is node for node in local)
        workers = [threading.Thread(target=allocate) for _ in range(2)]
        for worker in workers: worker.start()
        for turn in range(5):
            fresh = [[i] for i in range(3000)]
            beginner = threading.Thread(target=neve.step)
            beginner.start()
            beginner.join()
            finish()
        for worker in workers: worker.join()
        assert snapshot()["taken"] > 0 and snapshot()["died"] == 0, snapshot()
        gc.collect()
        assert Node.dead == 2 * 100 * 100, Node.dead
    """))


def test_small_heaps_make_none(runner):
    runner.plain_code(program("""
        for turn in range(5):
            fresh = [[i] for i in range(3000)]
            finish()
        assert snapshot()["begun"] == 0 and cycle()["cycles"] > 0
        assert snapshot()["taken"] == 0
    """, objects=10000), env={"NEVE_SNAPSHOT_LEAST": "50000"})
    runner.plain_code(program("""
        begin()
        finish()
        assert snapshot()["taken"] > 0
    """, objects=10000), env={"NEVE_SNAPSHOT_LEAST": "1000"})
