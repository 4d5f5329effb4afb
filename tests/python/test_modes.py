# SPDX-License-Identifier: MIT
"""The modes: how one is chosen, what ``neve.step()`` does and returns, what the statistics say of the
cycle, and what holds in every mode.  The suite as a whole runs in each mode (tools/run_tests.py)."""

import json
import re

import harness
import pytest

MODES = ["generational", "incremental", "snapshot"]

PRELUDE = """
    import gc, json, os, sys, weakref
    import neve
    class Node:
        dead = 0
        def __init__(self): self.me = self
        def __del__(self): Node.dead += 1
    def cycle(): return neve.stats()["collector"]["cycle"]
    def step_to_the_end(limit=100000):
        # Whatever is under way ends; then a cycle that begins now.
        count = 0
        for _ in range(2):
            gc.enable()
            fresh = [[i] for i in range(3000)]  # the older generations change
            gc.disable()
            while neve.step():
                count += 1
                assert count < limit, cycle()
        return count
"""


def program(code):
    return harness.dedented(PRELUDE) + harness.dedented(code)


# --- choosing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_by_argument_variable_and_option(runner, mode):
    show = "import neve; print(neve.stats()['mode'])"
    other = MODES[MODES.index(mode) - 1]
    assert runner.plain_code(f"import neve; neve.install({mode!r})\n{show}").out == mode + "\n"
    assert runner.plain_code(f"import neve; neve.install({mode!r})\n{show}",
                             env={"NEVE_MODE": other}).out == mode + "\n"
    assert runner.neve_code(show, env={"NEVE_MODE": mode}).out == mode + "\n"
    for env in (None, {"NEVE_MODE": other}):
        assert runner.neve("-c", show, neve_options=["--mode", mode], env=env).out == mode + "\n"


def test_the_default(runner):
    result = runner.neve_code("import neve; print(neve.stats()['mode'])", env={"NEVE_MODE": None})
    assert result.out == harness.default_mode() + "\n"
    usage = runner.execute(["-m", "neve", "--help"]).out
    assert f"or else {harness.default_mode()})" in re.sub(r"\s+", " ", usage)


def test_changing_the_mode(runner):
    runner.plain_code(program("""
        kept = [[i] for i in range(30000)]
        for mode, other in 2 * [("incremental", "generational"), ("generational", "snapshot"),
                                ("snapshot", "incremental")]:
            neve.install(mode, timer_ms=0)
            assert neve.stats()["mode"] == mode
            for changed in (dict(mode=other), dict(mode=mode, pause_us=77),
                            dict(mode=mode, timer_ms=5)):
                try:
                    neve.install(**changed)
                except RuntimeError as error:
                    assert "other settings" in str(error) and mode in str(error), error
                else:
                    raise AssertionError(changed)
                assert neve.stats()["mode"] == mode
            more = [Node() for _ in range(500)]
            gc.collect()
            neve.step(100)                      # a cycle may be under way when Neve leaves
            before = Node.dead
            del more
            neve.uninstall()
            gc.collect()
            assert Node.dead - before == 500
            assert kept[777] == [777]
    """))


# --- neve.step() ------------------------------------------------------------------------------------


def test_values_that_cannot_be(runner):
    runner.plain_code("""
        import neve
        neve.install("incremental")
        for kind, value in ((ValueError, 0), (ValueError, -1), (ValueError, 10 ** 30),
                            (TypeError, "5"), (TypeError, 1.5), (TypeError, True),
                            (TypeError, [])):
            try:
                neve.step(value)
            except kind as error:
                assert "budget_us" in str(error) and "microseconds" in str(error), error
            else:
                raise AssertionError(value)
        assert type(neve.step()) is bool and type(neve.step(budget_us=20)) is bool
        neve.uninstall()
        try:
            neve.step()
        except RuntimeError as error:
            assert "neve.install()" in str(error)
        else:
            raise AssertionError
    """)


def test_the_generational_mode_has_no_steps(runner):
    runner.plain_code(program("""
        neve.install("generational")
        nodes = [Node() for _ in range(100)]
        gc.collect()
        del nodes
        assert [neve.step() for _ in range(100)] == [False] * 100
        assert Node.dead == 0 and gc.collect() >= 100 and Node.dead == 100
        assert cycle()["slices"] == cycle()["cycles"] == 0 and cycle()["is_running"] is False
    """))


def test_steps_collect_what_was_old(runner):
    runner.plain_code(program("""
        neve.install("incremental", pause_us=200)
        gc.disable()
        kept = [[i] for i in range(100000)]
        nodes = [Node() for _ in range(5000)]
        watches = [weakref.ref(node) for node in nodes]
        called = []
        with_callbacks = [weakref.ref(node, called.append) for node in nodes[::100]]
        gc.collect()
        assert Node.dead == 0
        del nodes
        before = cycle()
        assert step_to_the_end() > 0
        after = cycle()
        assert Node.dead == 5000 and not any(watch() for watch in watches)
        assert len(called) == len(set(map(id, called))) == len(with_callbacks)
        assert after["cycles"] > before["cycles"] and after["slices"] > before["slices"]
        assert after["collected"] - before["collected"] >= 5000
        assert after["time_ns"] >= after["longest_slice_ns"] > 0
        assert after["suspects"] >= after["false_suspects"] >= 0
        assert after["is_running"] is False
        assert all(k == [i] for i, k in enumerate(kept))
        assert gc.collect() < 5000 and Node.dead == 5000        # each finalizer ran once
    """))


LARGE = """
    class Item: __slots__ = ("next", "previous", "__weakref__")
    class Final(Item):
        ran = 0
        def __del__(self): Final.ran += 1
    class Phoenix(Item):
        nest = []
        def __del__(self): Phoenix.nest.append(self)
    def ring(last=Item, size=3000):
        items = [Item() for _ in range(size - 1)] + [last()]
        for i, item in enumerate(items):
            item.next, item.previous = items[i - 1], items[i + 1 - size]
        return items[-1]
    neve.install("incremental")
    gc.disable()
    def make_old():  # and have it paid for, so that the slices to come are short
        gc.collect(1), gc.collect(1)
        while neve.step():
            pass
    def steps_to_the_end():
        fresh = [[] for _ in range(10)]
        while neve.step(1):
            yield sum(isinstance(o, Item) for o in gc.get_objects())
"""


def test_a_large_group_disappears_in_one_go(runner):
    runner.plain_code(program(LARGE + """
    called = []
    for last in (Item, Final):
        item = ring(last)
        watch, calls = weakref.ref(item), weakref.ref(item.next.next, called.append)
        make_old()
        del item
        seen, hidden = set(), 0
        for listed in steps_to_the_end():
            seen.add(listed)
            assert (watch() is None) == (listed == 0) == (calls() is None)
            hidden += listed == 0
        assert seen == {0, 3000} and hidden > 30, (seen, hidden)
    assert len(called) == 2 and Final.ran == 1
    assert cycle()["largest_group"] == 3000 and cycle()["largest_group_ns"] > 0
    """))


def test_a_large_group_is_revived(runner):
    runner.plain_code(program(LARGE + """
    item = ring(Phoenix)
    watch = weakref.ref(item.next)
    make_old()
    del item
    for turn in range(2):
        assert set(steps_to_the_end()) == ({0, 3000} if turn else {3000})
        if turn == 0:
            (item,) = Phoenix.nest
            Phoenix.nest.clear()
            for _ in range(3000):
                assert item.next.previous is item and gc.is_tracked(item)
                item = item.next
            assert type(item) is Phoenix
            assert sum(isinstance(o, Item) for o in gc.get_objects()) == 3000
            watch = weakref.ref(item)
            del item
    assert not Phoenix.nest and watch() is None
    assert sum(isinstance(o, Item) for o in gc.get_objects()) == 0
    """))


def test_steps_collect_where_nothing_was_promoted(runner):
    runner.plain_code(program("""
        neve.install("incremental")
        gc.disable()
        nodes = [Node() for _ in range(5000)]
        step_to_the_end()
        gc.collect()
        assert Node.dead == 0
        nodes.clear()
        for _ in range(10000):
            neve.step()
        assert Node.dead == 5000, Node.dead
    """))


def test_automatic_collections_are_never_full(runner):
    runner.plain_code(program("""
        neve.install("incremental")
        generations = []
        gc.callbacks.append(lambda phase, info: generations.append(info["generation"]))
        watches = []
        for turn in range(60):
            nodes = [Node() for _ in range(5000)]
            watches.append(weakref.ref(nodes[0]))
            kept = [[i] for i in range(20000)]
        assert set(generations) <= {0, 1} and generations, set(generations)
        assert cycle()["cycles"] > 0
        assert Node.dead > 100000           # old garbage went without any full collection
        gc.collect()
        assert generations[-2:] == [2, 2]
    """))


def test_slices_alone(runner):
    """Between two young collections a cycle may stop the program for a slice: callbacks hear of
    it, and what is counted as a collection is none the more."""
    runner.plain_code("""
        import gc, neve
        neve.install("incremental", pause_us=1, timer_ms=0)
        def collections():
            return [generation["collections"] for generation in gc.get_stats()[:2]]
        def of_neve():
            return [one["collections"] for one in neve.stats()["collector"]["generations"][:2]]
        stops = 0
        def count(phase, info):
            global stops
            stops += phase == "stop"
        gc.callbacks.append(count)
        before, before_of_neve, kept = collections(), of_neve(), []
        for i in range(200000):
            kept.append([i])
        gc.callbacks.remove(count)
        made = [now - then for now, then in zip(collections(), before)]
        of_neve = [now - then for now, then in zip(of_neve(), before_of_neve)]
        cycle = neve.stats()["collector"]["cycle"]
        assert cycle["cycles"] > 0 and sum(made) == sum(of_neve), (made, of_neve)
        assert stops > 1.5 * sum(made), (stops, made)
        most = 200000 / gc.get_threshold()[0]
        assert 0.8 * most < sum(made) <= 1.1 * most, (made, most)
        assert cycle["slices"] >= stops - sum(made)
    """)


@pytest.mark.parametrize("mode", MODES)
def test_an_explicit_collection_is_full(runner, mode):
    # Also in the middle of a cycle, of each length that it may have reached.
    runner.plain_code(program(f"""
        neve.install({mode!r})
        kept = [[i] for i in range(50000)]
        gc.disable()
        for steps in (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89):
            nodes = [Node() for _ in range(1000)]
            for age in range(steps % 3):
                gc.collect(age)
            for _ in range(steps):
                neve.step(50)
            Node.dead = 0
            del nodes
            for _ in range(steps):
                neve.step(50)
            full = gc.get_stats()[2]["collections"]
            gc.collect()
            assert Node.dead == 1000, (steps, Node.dead)
            assert gc.get_stats()[2]["collections"] == full + 1
            assert gc.collect() == 0
            assert cycle()["is_running"] is False
        assert all(k == [i] for i, k in enumerate(kept))
    """))


def test_in_finalizers_and_callbacks_of_the_collector(runner):
    runner.plain_code(program("""
        neve.install("incremental")
        seen = []
        class Stepping:
            def __init__(self): self.me = self
            def __del__(self): seen.append(neve.step())
        gc.callbacks.append(lambda phase, info: seen.append(neve.step()))
        one = Stepping()
        watch = weakref.ref(one, lambda _: seen.append(neve.step()))
        del one
        gc.collect()
        assert len(seen) >= 4 and not any(seen), seen
    """))


def test_finalizers_that_run_in_a_step(runner):
    # They may do anything, and no collection nests.
    runner.plain_code(program("""
        neve.install("incremental", pause_us=100)
        gc.disable()
        seen, saved = [], []
        class Busy:
            def __init__(self): self.me = self
            def __del__(self):
                seen.append((neve.step(), gc.collect()))
                junk = [[i] for i in range(200)]; junk.append(junk)
                if len(seen) % 10 == 0: saved.append(self)
                if len(seen) % 7 == 0: raise RuntimeError("in a finalizer")
        sys.unraisablehook = lambda unraisable: None
        busy = [Busy() for _ in range(300)]
        gc.collect()
        del busy
        step_to_the_end()
        assert len(seen) == 300 and set(seen) == {(False, 0)}, set(seen)
        assert len(saved) == 30 and all(one.me is one for one in saved)
    """))


def test_a_lowered_threshold(runner):
    # Garbage of a young generation that is not large is gone with the next collection, however
    # short the pauses ought to be.
    runner.plain_code(program("""
        neve.install("incremental", pause_us=1)
        middle = [[i] for i in range(1000)]
        gc.collect(0)
        gc.disable()
        young = [[i] for i in range(1000)]
        Node()
        before = gc.get_stats()
        gc.set_threshold(1)
        gc.enable()
        while Node.dead == 0 and sum(one["collections"] for one in gc.get_stats()) < 2 + sum(
                one["collections"] for one in before):
            young.append([])
        assert Node.dead == 1, (before, gc.get_stats())
    """))


def test_steps_of_other_threads(runner):
    runner.plain_code(program("""
        import threading
        neve.install("incremental")
        stop = threading.Event()
        def work():
            for turn in range(200):
                local = [Node() for _ in range(100)]
                assert all(node.me is node for node in local)
        def steps():
            while not stop.is_set():
                neve.step(100)
        stepper = threading.Thread(target=steps)
        stepper.start()
        workers = [threading.Thread(target=work) for _ in range(2)]
        for thread in workers: thread.start()
        for thread in workers: thread.join()
        stop.set()
        stepper.join()
        gc.collect()
        assert Node.dead == 2 * 200 * 100, Node.dead
    """))


def test_a_fork_between_steps(runner):
    runner.plain_code(program("""
        neve.install("incremental", pause_us=100)
        kept = [[i] for i in range(50000)]
        nodes = [Node() for _ in range(3000)]
        gc.collect()
        del nodes
        for turn in range(20):
            neve.step()
            if turn % 4 == 0 and os.fork() == 0:
                try:
                    neve.step()
                    step_to_the_end()
                    gc.collect()
                    assert Node.dead == 3000 and kept[7] == [7]
                    os._exit(0)
                finally:
                    os._exit(1)
        while True:
            try: assert os.wait()[1] == 0
            except ChildProcessError: break
        gc.collect()
        assert Node.dead == 3000
    """))


# --- statistics -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_statistics(runner, mode):
    result = runner.plain_code(program(f"""
        neve.install({mode!r})
        neve.step()
        collector = neve.stats()["collector"]
        print(json.dumps([collector["cycle"], collector["snapshot"], collector["timer"]]))
    """))
    cycle, snapshot, timer = json.loads(result.out)
    stub = (harness.package_folder() / "neve/__init__.pyi").read_text()
    for name, figures in (("CycleStats", cycle), ("SnapshotStats", snapshot),
                          ("TimerStats", timer)):
        body = re.search(rf"class {name}\(TypedDict\):\n((?:    .*\n)+)", stub).group(1)
        declared = dict(re.findall(r"    (\w+): (\w+)\n", body))
        assert {key: type(value).__name__ for key, value in figures.items()} == declared
    assert timer == {"is_running": False, "slices": 0}


# --- idle time: the examples of docs/python.md ------------------------------------------------------


def example(name):
    """The piece of code in docs/python.md whose first line is a comment with this name."""
    text = (harness.ROOT / "docs/python.md").read_text()
    return re.search(rf"```python\n(# {re.escape(name)}\n.*?)```", text, re.S).group(1)


# Counts what the example calls: how often, and how often while a request was being answered.
WATCH = """
import asyncio, gc, sys, neve
calls = during_requests = 0
true_step = neve.step
def counting_step(*arguments):
    global calls, during_requests
    calls += 1
    during_requests += in_flight > 0
    return true_step(*arguments)
neve.step = counting_step
"""

SERVE = """
class Handler(Server):
    async def answer(self, reader, writer):
        global in_flight
        in_flight = self.in_flight
        number = int(await reader.readline())
        ring = [number]; ring.append(ring)
        await asyncio.sleep(0.15)  # the server looks every tenth of a second
        writer.write(b"%d\\n" % (number * 2))
        in_flight = 0

in_flight = 0

async def request(port, number):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"%d\\n" % number)
    assert int(await reader.readline()) == number * 2
    writer.close()
    await writer.wait_closed()

async def main():
    handler = Handler()
    listening = await asyncio.start_server(handler.handle, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    collecting = asyncio.create_task(handler.collect_when_idle())
    for number in range(5):
        await request(port, number)
    before = calls
    for _ in range(6000):               # a minute at most, until the server has noticed
        await asyncio.sleep(0.01)
        if calls >= before + 3:
            break
    collecting.cancel()
    listening.close()
    assert calls >= before + 3 and during_requests == 0, (calls, before, during_requests)
    print("served")

asyncio.run(main())
"""


def test_the_example_of_an_asyncio_server(runner):
    code = "neve.install('incremental')\n" + example("an asyncio server")
    result = runner.plain_code(WATCH + code + SERVE)
    assert (result.out, result.err) == ("served\n", "")


@pytest.mark.skipif(not harness.has_module("gunicorn"), reason="no gunicorn for this interpreter")
def test_the_example_of_a_gunicorn_worker(runner):
    runner.write("idle_worker.py", "")
    (runner.folder / "idle_worker.py").write_text(example("idle_worker.py"))
    runner.write("application.py", """
        import neve
        import idle_worker
        calls = 0
        true_step = neve.step
        def counting_step(*arguments):
            global calls
            calls += 1
            return true_step(*arguments)
        neve.step = counting_step
        def app(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"%d %s" % (calls, neve.stats()["mode"].encode())]
    """)
    # The port is the system's choice: gunicorn gets the socket, as from systemd.
    result = runner.plain_code("""
        import os, signal, socket, subprocess, sys, time, urllib.request
        listening = socket.create_server(("127.0.0.1", 0))
        os.set_inheritable(listening.fileno(), True)
        port = listening.getsockname()[1]
        server = subprocess.Popen(
            [sys.executable, "-m", "neve", "--mode", "incremental", "-m", "gunicorn", "--workers",
             "1", "--worker-class", "idle_worker.IdleWorker", "--bind",
             f"fd://{listening.fileno()}", "--log-level", "error", "application:app"],
            pass_fds=[listening.fileno()])
        try:
            def ask():
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
                    return answer.read().split()
            first = int(ask()[0])
            for _ in range(6000):
                count, mode = ask()
                assert mode == b"incremental"
                if int(count) > first:
                    break
                time.sleep(0.01)
            assert int(count) > first, (first, count)
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0
        print("served")
    """)
    assert result.out == "served\n", result


# --- bytes ----------------------------------------------------------------------------------------

FEW_AND_LARGE = """
    import collections, gc, sys
    import neve
    neve.install("incremental", pause_us=60_000_000)    # no slice ends early
    MEGABYTE, MARKER = 1 << 20, object()
    class Ring:
        __slots__ = ("me", "marker", "payload")
    def payload(kind):
        if kind == "bytes":
            return bytes(MEGABYTE)                      # zeros: the system commits no memory
        if kind == "bytearray":
            grown = bytearray(MEGABYTE // 2)
            grown.extend(bytes(MEGABYTE // 2))
            return grown
        return [None] * (MEGABYTE // 8)
    def outstanding(kind, rings, held):
        "How many rings there are at most beyond those that are held."
        gc.collect()
        unused, most, window = sys.getrefcount(MARKER), 0, collections.deque(maxlen=held)
        for _ in range(rings):
            ring = Ring()
            ring.me, ring.marker, ring.payload = ring, MARKER, payload(kind)
            window.append(ring)
            ring = None
            most = max(most, sys.getrefcount(MARKER) - unused - len(window))
        return most
"""


def test_bytes_are_bounded(runner):
    """Few objects that hold much memory: their number would not make a collection due."""
    result = runner.plain_code(harness.dedented(FEW_AND_LARGE) + harness.dedented("""
        for kind in ("bytes", "bytearray", "list"):
            # What dies young waits for 8 megabytes more; what dies old for a cycle. (One ring is
            # alive, and gets old, where the collection begins at the call that makes its payload.)
            # A slice ends by the clock: on a loaded machine a cycle is late by a few of them, which
            # grow with each quarter of its goal (4 megabytes) that it is behind.
            young, old, late = outstanding(kind, 200, 0), outstanding(kind, 300, 20), 4 * 4
            assert young <= 8 + 32 + 16 + late, (kind, young)
            assert old <= 32 + 16 + 16 + 2 * 20 + late, (kind, old)
        assert neve.stats()["collector"]["cycle"]["cycles"] > 0
        gc.disable()
        assert outstanding("bytes", 200, 0) == 200
        gc.enable()
        neve.uninstall()
        neve.install("generational")
        assert outstanding("bytes", 200, 0) >= 100
    """))
    assert result.err == "", result


def test_temporary_bytes_cost_no_collections(runner):
    """Memory that is given back at once makes nothing due."""
    result = runner.plain_code("""
        import neve
        neve.install("incremental")
        def collections(): return sum(g["collections"] for g in neve.stats()["collector"]["generations"])
        before = collections()
        for size in range(100_000, 1_000_000, 3000):
            bytes(size) + b"x"
            text = bytearray(size)
            for _ in range(10):
                text += bytes(1000)
        assert collections() - before <= 3, collections() - before
    """)
    assert result.err == "", result
