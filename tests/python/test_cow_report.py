# SPDX-License-Identifier: MIT
"""neve.cow_report(): what a child has written is found on the right pages, with the right causes
and types; neve.cow_reference() and its process."""

import json
import os

import pytest

#: A parent with data of known kinds, and a child that does what the test says and prints its own
#: report. Lists, strings and so on of one kind lie on pages of their own, but for the first and the
#: last few.
PROGRAM = """
    import gc, json, os, sys
    import neve
    class Slim:
        __slots__ = ("a", "b")
        def __init__(self): self.a = self.b = None
    lists = [[None] for i in range(20000)]
    slims = [Slim() for i in range(10000)]
    strings = [("%d" % i) * 8 for i in range(10000)]
    buffers = [bytearray(200) for i in range(3600)]
    def pages_of(objects, in_front=16):
        size = os.sysconf("SC_PAGE_SIZE")
        return sorted({(id(o) - in_front) // size * size for o in objects}
                      & {id(o) // size * size for o in objects})
    middle = pages_of(lists[8000:12000])
    neve.cow_report()       # json is imported, and all that is needed is there
    gc.collect()
    gc.disable()
    REFERENCE
    read, write = os.pipe()
    if os.fork() == 0:
        held = []
        ACTION
        report = neve.cow_report(pages=True)
        by_name = {t["name"]: t for t in reversed(report["types"])}
        on = {p["address"]: p for p in report["page_list"]}
        dirty = {a for a, p in on.items() if p["state"] == "dirty"}
        CHECKS
        print("checked", flush=True)
        os._exit(0)
    pid, status = os.wait()
    assert status == 0, status
    neve.cow_reference(False)
"""


def run(runner, action, checks, reference="neve.cow_reference()"):
    """The checks are made in the child."""
    def indented(text):
        return ("\n" + " " * 8).join(text.strip().splitlines())
    code = PROGRAM.replace("REFERENCE", reference).replace("ACTION", indented(action))
    result = runner.neve_code(code.replace("CHECKS", indented(checks)))
    assert result.out == "checked\n", result


def test_counts_are_found_on_their_pages(runner):
    run(runner, "held = lists[8000:12000]", """
assert report["basis"] == "reference" and report["has_heap"] and report["remark"] == "", report
assert len(middle) > 40
inner = middle[2:-2]
assert all(a in dirty and on[a]["causes"] == ["count"] and on[a]["type"] == "list" and
           on[a]["area"] == "objects" for a in inner), [on[a] for a in inner]
assert 3990 <= by_name["list"]["count_only"] <= 4030, by_name["list"]
assert len(inner) <= by_name["list"]["pages_alone"] <= len(middle) + 4
assert by_name["list"]["bytes"]["count"] == by_name["list"]["count_only"]
# The others are as they were, and shared.
untouched = pages_of(lists[1000:7000])[2:-2] + pages_of(slims[1000:9000])[2:-2]
assert len(untouched) > 100 and not dirty.intersection(untouched)
assert all(on[a]["state"] == "shared" for a in untouched)
""")


def test_counts_that_go_up_and_down_again(runner):
    run(runner, "for x in lists[8000:12000]: pass\ndel x", """
assert all(on[a]["causes"] == ["same"] for a in middle[2:-2] if a in dirty)
assert sum(a in dirty for a in middle) >= len(middle) - 4
assert by_name["list"]["pages_same"] >= len(middle) - 4, by_name["list"]
assert by_name["list"]["changed"] < 10
""")


def test_contents_caches_frees_and_allocations(runner):
    run(runner, """
for s in slims[::2]: s.b = True             # two pointers of each second object: one is written
for s in strings[::5]: hash(s)
del lists[4000:6000]
for b in buffers[::4]: b[7] = 1
held = [{i} for i in range(3000)]
""", """
assert 5000 <= by_name["Slim"]["changed"] <= 5002, by_name["Slim"]
assert by_name["Slim"]["count_only"] <= 2
assert by_name["Slim"]["bytes"]["body"] >= 5000 and "cache" not in by_name["Slim"]["bytes"]
cached = by_name["str"]
# (The first 500 of a size are in the interpreter's own memory.)
assert 1900 <= cached["changed"] <= 2100 and cached["bytes"]["cache"] > 10000, cached
assert set(cached["bytes"]) <= {"cache", "count", "new", "body", "allocated", "freed"}
assert 1900 <= by_name["list"]["freed"] <= 2010, by_name["list"]    # the interpreter keeps 80
assert 2990 <= by_name["set"]["allocated"] <= 3010 and by_name["set"]["bytes"]["new"] > 500000
freed = pages_of(lists[3900:4000])          # a page that holds what stayed, too
assert "freed" in on[freed[-1]]["causes"] or "freed" in on[freed[-2]]["causes"]
# The bytes lie in a block of the object domain on 3.11, of the mem domain from 3.12 on, and on
# 3.15 in an object of their own.
body = [t for t in report["types"] if t["changed"] >= 500 and t["bytes"].get("body", 0) >= 500 and
        t["name"] in ("(block of no known type)", "(buffer)", "bytes")]
assert body, report["types"]
new = [p for p in report["page_list"] if "new" in p["causes"]]
assert all(p["causes"] == ["new"] and p["state"] == "dirty" for p in new)
assert not {p["address"] for p in new}.intersection(middle)
""")


def test_the_sums_agree(runner):
    run(runner, "held = lists[::3]", """
size = report["page_bytes"]
states = report["pages"]
for state, count in states.items():
    assert count == sum(p["state"] == state for p in report["page_list"])
    assert count == sum(a["pages"][state] for a in report["areas"].values())
    assert count == sum(m["pages"][state] for m in report["mappings"])
assert states["dirty"] == sum(c["pages"] for c in report["causes"].values())
for cause, sums in report["causes"].items():
    areas = [a["causes"].get(cause, {"pages": 0, "pages_with": 0, "bytes": 0})
             for a in report["areas"].values()]
    for key in sums:
        assert sums[key] == sum(a[key] for a in areas), (cause, key)
    assert sums["pages"] <= sums["pages_with"]
# The kernel's own figure, which is of a moment before.
kernel = report["process"]["private_dirty"] / size
assert abs(kernel - states["dirty"]) <= 40, (kernel, states)
assert report["areas"]["stack"]["pages"]["dirty"] > 0
assert report["areas"]["tables"]["pages"]["dirty"] > 0
# (One, or more: what brk adds in a child is a mapping of its own for the kernel.)
assert sum(m["name"] == "[heap]" for m in report["mappings"]) >= 1
assert report["pid"] == os.getpid()
""")


def test_without_a_copy_the_parent_is_compared_with(runner):
    run(runner, "held = lists[8000:12000]", """
assert (report["basis"], report["basis_pid"]) == ("parent", os.getppid())
assert "neve.cow_reference()" in report["remark"]
assert 3990 <= by_name["list"]["count_only"] <= 4100, by_name["list"]
assert all("count" in on[a]["causes"] for a in middle[2:-2])
""", reference="")


def test_against_another_process(runner):
    run(runner, "held = lists[8000:12000]", """
other = neve.cow_report(against=os.getppid())
assert (other["basis"], other["basis_pid"]) == ("parent", os.getppid())
assert "page_list" not in other
assert neve.cow_report(against=report["basis_pid"])["basis"] == "reference"
parent = neve.cow_report(os.getppid())
assert parent["pid"] == os.getppid() and parent["basis"] == "reference"
assert {t["name"]: t for t in parent["types"]}.get("list", {"changed": 0})["changed"] < 100
""")


def test_immortal_objects_are_not_written(runner):
    from harness import VERSION
    if VERSION < (3, 12):
        pytest.skip("no immortal objects before 3.12")
    run(runner, "held = lists[8000:12000]\nfor x in slims: pass", """
assert not dirty.intersection(middle[2:-2])
assert by_name.get("list", {"pages": 0})["pages"] < 5, by_name
""", reference="neve.prefork(); neve.cow_reference()")


def test_the_process_that_keeps_the_copy(runner):
    runner.neve_code("""
        import os, neve, time
        def name(pid):
            try:
                with open(f"/proc/{pid}/comm") as f: return f.read().strip()
            except (FileNotFoundError, ProcessLookupError):  # it may end between the two
                return None
        assert neve.cow_reference(False) == 0
        first = neve.cow_reference()
        assert name(first) == "neve-reference"
        try:
            os.waitpid(-1, os.WNOHANG)
            assert False, "it is seen by whoever waits for any child"
        except ChildProcessError:
            pass
        second = neve.cow_reference()
        assert second != first and name(first) is None and name(second) == "neve-reference"
        # A child knows it, and cannot end it.
        if os.fork() == 0:
            if neve.cow_report()["basis_pid"] != second: os._exit(1)
            neve.cow_reference(False)
            os._exit(0 if name(second) == "neve-reference" else 2)
        assert os.wait()[1] == 0
        assert neve.cow_reference(False) == 0 and name(second) is None
        # It ends with the process that made it, also if the thread is gone that did.
        import threading
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            made = []
            thread = threading.Thread(target=lambda: made.append(neve.cow_reference()))
            thread.start(); thread.join()
            time.sleep(0.1)
            if name(made[0]) != "neve-reference": os._exit(1)
            os.write(write, b"%d" % made[0])
            os.kill(os.getpid(), 9)
        third = int(os.read(read, 20))
        os.waitpid(pid, 0)
        for _ in range(6000):
            if name(third) is None: break
            time.sleep(0.01)
        else:
            assert False, "it outlives its parent"
    """)


def test_prefork_keeps_a_copy_on_demand(runner):
    code = """
        import neve, os
        neve.prefork()
        if os.fork() == 0:
            print(neve.cow_report()["basis"], flush=True)
            os._exit(0)
        os.wait()
    """
    assert runner.neve_code(code, env={"NEVE_COW_REFERENCE": "1"}).out == "reference\n"
    assert runner.neve_code(code).out == "parent\n"


def test_a_stock_process(runner):
    result = runner.plain_code("""
        import neve, os, subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "print(1, flush=True); input()"],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        child.stdout.readline()
        report = neve.cow_report(child.pid)
        child.communicate(b"\\n")
        assert not report["has_heap"] and report["types"] == [], report
        assert report["basis"] == "none" and "cow_reference" in report["remark"], report["remark"]
        assert "no heap of Neve's" in report["remark"]
        assert report["pages"]["dirty"] > 100 and report["causes"].keys() == {"unknown"}
        assert report["areas"]["malloc"]["pages"]["dirty"] > 0
        assert report["areas"]["program"]["pages"]["dirty"] > 0
        assert report["areas"]["objects"]["pages"]["dirty"] == 0
        # A fork of stock Python: compared with its parent, page by page.
        ready, go = os.pipe(), os.pipe()
        kept = bytearray(2000000)
        if (pid := os.fork()) == 0:
            kept[::4096] = bytes(1 for _ in kept[::4096])
            os.write(ready[1], b"x"); os.read(go[0], 1); os._exit(0)
        os.read(ready[0], 1)
        report = neve.cow_report(pid)
        os.write(go[1], b"x"); os.wait()
        assert report["basis"] == "parent" and report["causes"]["other"]["pages"] >= 480, report
        print("fine")
    """)
    assert result.out == "fine\n"


def test_refusals(runner):
    result = runner.plain_code("""
        import neve, os, subprocess, sys
        def refused(kind, *parts, **settings):
            try:
                neve.cow_report(**settings)
            except kind as error:
                text = str(error)
                assert type(error) is kind and "\\n" not in text, error
                assert all(part in text for part in parts), text
            else:
                raise AssertionError(settings)
        refused(TypeError, "pid", pid="1")
        refused(ValueError, "pid", pid=0)
        refused(ValueError, "against", against=-1)
        refused(ProcessLookupError, "there is no process 2147483647", pid=2147483647)
        ended = subprocess.Popen([sys.executable, "-c", ""])
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        refused(ProcessLookupError, "no memory", "ended", pid=ended.pid)
        ended.wait()
        refused(ProcessLookupError, "there is no process", pid=ended.pid)
        refused(ProcessLookupError, "cannot be compared", against=1)
        neve.cow_report()
        # Another user's: ours, after this process has given up its rights; or init's.
        if os.getuid() == 0:
            other = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
            os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
            refused(PermissionError, "not permitted", "root", pid=other.pid)
            os._exit(0 if sys.stdout.write("fine\\n") and not sys.stdout.flush() else 1)
        refused(PermissionError, "not permitted", "root", pid=1)
        print("fine")
    """)
    assert result.out == "fine\n"
