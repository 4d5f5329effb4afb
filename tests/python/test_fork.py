# SPDX-License-Identifier: MIT
"""Forked children: which pages of their parent's objects they write, and that everything works in them
and goes on working in the parent, however often, however deep, from whatever thread it forks."""

import json

import pytest

#: The pages of given objects that are shared with the parent, and which of them were written since.
#: Bits 63 and 56 of a page in /proc/self/pagemap: present; mapped by this process alone.
PAGES = """
    import gc, os, sys
    PAGE = os.sysconf("SC_PAGE_SIZE")
    def pages_of(objects):
        pages = set()
        for item in objects:
            pages.add(id(item) // PAGE)
        return pages
    def shared(pages):
        fd = os.open("/proc/self/pagemap", os.O_RDONLY)
        found = set()
        for page in pages:
            bits = int.from_bytes(os.pread(fd, 8, page * 8), "little")
            if bits >> 63 and not bits >> 56 & 1:
                found.add(page)
        os.close(fd)
        return found
    def in_child(work):
        read, write = os.pipe()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.write(write, repr(work()).encode())
                status = 0
            finally:
                os._exit(status)
        os.close(write)
        with open(read, "rb") as pipe:
            text = pipe.read().decode()
        assert os.waitpid(pid, 0)[1] == 0
        return eval(text)
"""

HEAP = PAGES + """
    gc.disable()
    width = int("8")
    lists, strings = [], []
    for number in range(2000):
        lists.append([])
        for _ in range(40): strings.append(" " * width)
    pages = pages_of(lists) | pages_of(strings)
    gc.collect()
    def nothing(): pass
    def collect():
        for _ in range(3): gc.collect()
    def allocate():
        gc.enable()
        held = [None] * 1000
        for number in range(200000):
            held[number * 7919 % 1000] = [number] if number % 4 == 0 else "x" * (number % 200 + 2)
    def free():
        # Every eighth run of a thousand strings: whole pages, more or less.
        dead = [text for start in range(0, len(strings), 8000)
                for text in strings[start:start + 1000]]
        allowed.update(pages_of(dead))
        for start in range(0, len(strings), 8000):
            strings[start:start + 1000] = [None] * 1000
        dead.clear()
    allowed = set()
    def watched(work):
        def run():
            before = shared(pages)
            work()
            after = shared(pages)
            written = before - after
            return len(before), len(written), len(written - allowed)
        return run
    print(in_child(watched(eval(sys.argv[1]))))
"""


def written(runner, run, work):
    result = run(runner.script(HEAP), work)
    assert result.status == 0, result
    before, pages, strays = json.loads("[" + result.out.strip()[1:-1] + "]")
    if before == 0:
        pytest.skip("this kernel does not tell which pages are shared")
    assert before > 700, result
    return pages, strays


@pytest.mark.parametrize("work", ["nothing", "collect", "allocate"])
def test_pages_that_a_child_writes(runner, work):
    # A few pages hold objects of the interpreter's too, whose counts change.
    pages, _ = written(runner, runner.neve, work)
    assert pages <= 8, pages
    if work == "collect":
        pages, _ = written(runner, runner.stock, work)
        assert pages > 500, f"the experiment shows nothing on stock: {pages}"


def test_pages_that_freeing_writes(runner):
    pages, strays = written(runner, runner.neve, "free")
    assert pages > 50
    assert strays <= 8, (pages, strays)


#: Each process finds the rings that it made and those of all its ancestors, in its own copy.
DEEP = """
    import gc, os, sys
    class Node: pass
    def ring():
        a, b = Node(), Node()
        a.b, b.a = b, a
    gc.collect()
    gc.disable()
    kept = [[number, str(number)] for number in range(20000)]
    def descend(depth):
        for _ in range(100): ring()
        pid = os.fork()
        if pid != 0:
            assert os.waitpid(pid, 0)[1] == 0, depth
            found = gc.collect()
            assert found >= 200 * (depth + 1), (depth, found)
            assert all(text == str(number) for number, text in kept)
            return
        status = 1
        try:
            for number in range(0, 20000, 7 + depth):
                kept[number] = [number, str(number)]
            if depth < 5:
                descend(depth + 1)
            else:
                found = gc.collect()
                assert found >= 200 * (depth + 1), (depth, found)
            assert all(text == str(number) for number, text in kept)
            status = 0
        finally:
            os._exit(status)
    descend(0)
    print("well")
"""


def test_forks_inside_forks(runner):
    assert runner.neve_code(DEEP).out == "well\n"


MANY = """
    import gc, os, sys
    def private_kb():
        with open("/proc/self/smaps_rollup") as f:
            return sum(int(line.split()[1]) for line in f if line.startswith("Private_Dirty:"))
    kept = [[number, {"n": number}] for number in range(20000)]
    gc.collect()
    def serve():
        mine = [[number] for number in range(500)]
        mine.append(mine)
        del kept[::50]
        gc.collect()
        os._exit(0)
    for number in range(400):
        pid = os.fork()
        if pid == 0: serve()
        kept[number % len(kept)] = [number, {"n": number}]
        assert os.waitpid(pid, 0)[1] == 0
        if number == 100: start = private_kb()
    print(private_kb() - start)
"""


def test_many_children_cost_the_parent_nothing(runner):
    grown_kb = int(runner.neve_code(MANY).out)
    assert grown_kb < 512, f"the parent grew by {grown_kb} kB over 300 children"


THREADS = """
    import gc, os, sys, threading, warnings
    warnings.simplefilter("ignore")
    stop = False
    def churn():
        held = []
        while not stop:
            held.append([len(held), held])
            if len(held) > 2000: held.clear()
    def fork_often():
        for _ in range(15):
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    rings = [[] for _ in range(100)]
                    for item in rings: item.append(item)
                    del item, rings
                    if gc.collect() >= 100: status = 0
                finally:
                    os._exit(status)
            failed.append(os.waitpid(pid, 0)[1])
    failed = []
    busy = [threading.Thread(target=churn) for _ in range(2)]
    forkers = [threading.Thread(target=fork_often) for _ in range(3)]
    for thread in busy + forkers: thread.start()
    for thread in forkers: thread.join()
    stop = True
    for thread in busy: thread.join()
    print(len(failed), sum(failed))
"""


def test_forks_from_threads(runner):
    assert runner.neve_code(THREADS).out == "45 0\n"


CYCLE = PAGES + """
    import neve
    kept = [[number] for number in range(60000)]
    gc.collect()
    rings = [[] for _ in range(2000)]
    for item in rings: item.append(item)
    gc.collect()
    del item
    rings.clear()
    pages = pages_of(kept)
    running = 0
    for turn in range(2000):
        more = neve.step(20)
        if neve.stats()["collector"]["cycle"]["is_running"] and turn % 10 == 0 and running < 8:
            running += 1
            def work():
                before = shared(pages)
                is_running = neve.stats()["collector"]["cycle"]["is_running"]
                gc.collect()
                few = len(before - shared(pages)) * 10 < len(pages)
                left = [item for item in gc.get_objects() if type(item) is list and item[:1] == [item]]
                return is_running, len(left), few
            print(*in_child(work))
        if not more: break
    gc.collect()
    assert running > 2, running
"""


def test_fork_in_the_middle_of_a_cycle(runner):
    result = runner.neve_code(CYCLE, env={"NEVE_MODE": "incremental"})
    assert set(result.out.splitlines()) == {"False 0 True"}, result


EXIT = """
    import gc, os, resource, sys
    gc.disable()
    kept = [[number, str(number)] for number in range(60000)]
    gc.collect()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0: sys.exit(3)
    _, status, usage = os.wait4(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 3
    print(usage.ru_minflt)
"""


def test_exit_writes_no_more_than_on_stock(runner):
    """A child that exits in the ordinary way takes its modules apart; page faults count what it writes."""
    path = runner.script(EXIT)
    stock, neve = (int(run(path).out) for run in (runner.stock, runner.neve))
    assert neve < stock * 1.2 + 300, (neve, stock)
