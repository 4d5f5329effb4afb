# SPDX-License-Identifier: MIT
"""`neve cow`: the table, JSON, the picture, and what it says where it cannot look."""

import contextlib
import json
import os
import re
import subprocess
import sys

import harness
import pytest
from support import PROGRAM

#: A parent that keeps a copy, and a worker that takes references to every second list, then waits.
SERVER = """
    import gc, os, sys
    import neve
    lists = [[None] for i in range(20000)]
    gc.collect()
    gc.disable()
    neve.cow_reference()
    pid = os.fork()
    if pid == 0:
        held = lists[::2]
        print(os.getpid(), flush=True)
    sys.stdin.readline()
    if pid: os.wait()
"""


@contextlib.contextmanager
def started(words):
    """A program that prints a process number and ends with its standard input."""
    with subprocess.Popen([str(word) for word in words], env=harness.environment(),
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(harness.TIMEOUT_S)


@pytest.fixture
def worker(runner):
    """The number of a worker that does not move."""
    with started([harness.PYTHON, "-m", "neve", runner.script(SERVER)]) as pid:
        yield pid


def in_html(path):
    """The file's text, and how many pages its picture has by look."""
    text = path.read_text("ascii")
    looks = json.loads(re.search(r"^looks=(\[.*?\])", text, re.M).group(1))
    counts = dict.fromkeys(looks, 0)
    for runs in re.findall(r"runs:\[([\d,]*)\]", text):
        numbers = [int(number) for number in runs.split(",") if number]
        assert len(numbers) % 4 == 0
        for count, look in zip(numbers[::4], numbers[1::4]):
            counts[looks[look]] += count
    return text, counts


def test_a_worker(neve, runner, worker):
    result = neve("cow", str(worker))
    assert result.status == 0 and result.err == "", result
    lines = result.out.splitlines()
    assert re.fullmatch(rf"process {worker}, compared with the copy that process \d+ keeps", lines[0])
    assert max(map(len, lines)) <= 100
    assert re.search(r"^reference counts +[1-9]\d* ", result.out, re.M), result
    # (The first 500 of a size are in the interpreter's own memory.)
    row = re.search(r"^list +(\d+) +(\d+) +\d+ +(\d+) +(\d+) ", result.out, re.M)
    assert row and all(9700 <= int(count) <= 10100 for count in row.groups()[2:]), result

    machine = neve("cow", "--json", str(worker))
    assert machine.status == 0 and machine.err == "", machine
    report = json.loads(machine.out)
    assert report["pid"] == worker and report["basis"] == "reference" and report["has_heap"]
    assert "page_list" not in report
    kinds = {t["name"]: t for t in report["types"]}
    assert 9700 <= kinds["list"]["count_only"] <= 10100
    # The kernel's figure agrees with the pages that were looked at.
    assert report["pages"]["dirty"] == report["process"]["private_dirty"] // report["page_bytes"]

    listed = json.loads(neve("cow", str(worker), "--json", "--pages").out)
    assert sum(p["state"] == "dirty" for p in listed["page_list"]) == report["pages"]["dirty"]

    result = neve("cow", f"--html={runner.folder / 'cow.html'}", str(worker))
    assert (result.status, result.out, result.err) == (0, "", ""), result
    text, counts = in_html(runner.folder / "cow.html")
    assert not re.search(r"https?:|src=|@import", text), "it is to need nothing else"
    assert [p.name for p in runner.folder.glob("*cow*")] == ["cow.html"]
    assert counts["reference counts"] == report["causes"]["count"]["pages"]
    assert counts["not there at the fork"] == report["causes"]["new"]["pages"]
    assert counts["shared"] >= report["pages"]["shared"] - 5 and "<td>list<td>" in text

    limited = neve("cow", "--types", "1", str(worker)).out
    assert "\nlist " in limited and "--types" in limited and "\ndict " not in limited
    assert "by type" not in neve("cow", "--types=0", str(worker)).out


def test_over_time(neve, worker):
    result = neve("cow", "--every", "1", "--times", "2", str(worker))
    assert result.status == 0 and result.err == "", result
    head, *rows = [line.split() for line in result.out.splitlines()]
    assert head[:5] == ["seconds", "kB", "dirty", "new", "same"] and head[5] == "counts", result
    numbers = [[int(word) for word in row] for row in rows]
    assert [row[0] for row in numbers] == [0, 1]
    assert all(row[1] == sum(row[2:]) and row[4] > 1000 for row in numbers), result
    lines = neve("cow", "--json", "--every=1", "--times=2", str(worker)).out.splitlines()
    assert [json.loads(line)["pid"] for line in lines] == [worker, worker]


def test_over_time_until_the_end(neve):
    with started(["sh", "-c", "echo $$; read line"]) as pid:
        with subprocess.Popen([str(PROGRAM), "cow", "--every=1", str(pid)], text=True,
                              stdout=subprocess.PIPE) as watching:
            head = [watching.stdout.readline() for _ in range(3)]
            os.kill(pid, 9)
            watching.stdout.read()
    assert head[0].startswith("note: ") and watching.returncode == 0, head


def test_against(neve, worker):
    report = json.loads(neve("cow", "--json", str(worker)).out)
    with open(f"/proc/{worker}/stat") as stat:
        parent = int(stat.read().rpartition(")")[2].split()[1])
    other = json.loads(neve("cow", "--json", "--against", str(parent), str(worker)).out)
    assert (other["basis"], other["basis_pid"]) == ("parent", parent) and other["remark"]
    assert report["basis_pid"] not in (0, parent)
    assert f"note: {other['remark']}" in neve("cow", f"--against={parent}", str(worker)).out


def test_a_program_that_is_no_python(neve):
    with started(["sh", "-c", "echo $$; read line"]) as pid:
        result = neve("cow", str(pid))
        report = json.loads(neve("cow", "--json", str(pid)).out)
    assert result.status == 0 and "no heap of Neve's" in result.out, result
    assert not report["has_heap"] and report["basis"] == "none" and report["types"] == []
    assert report["pages"]["dirty"] > 5 and report["areas"]["stack"]["pages"]["dirty"] > 0


@pytest.mark.parametrize("words, status, parts", [
    ([], 2, ["no process number"]),
    (["x"], 2, ["PID", "'x'"]),
    (["0"], 2, ["'0'"]),
    (["-1"], 2, ["'-1'"]),
    (["99999999999999999999"], 2, ["'99999999999999999999'"]),
    (["1", "2"], 2, ["'2'", "only one PID"]),
    (["--nonsense", "1"], 2, ["'--nonsense'", "neve cow --help"]),
    (["--against"], 2, ["--against needs a value"]),
    (["--against", "x", "1"], 2, ["--against", "'x'"]),
    (["--types=", "1"], 2, ["--types", "''"]),
    (["--html=", "1"], 2, ["--html"]),
    (["--json", "--html", "f", "1"], 2, ["--json", "--html"]),
    (["--times", "2", "1"], 2, ["--times needs --every"]),
    (["--every", "0", "1"], 2, ["--every", "'0'"]),
    (["--every", "1", "--html", "f", "1"], 2, ["--every", "--html"]),
    (["--every", "1", "2147483647"], 1, ["there is no process 2147483647"]),
    (["--pages", "1"], 2, ["--pages needs --json"]),
    (["2147483647"], 1, ["there is no process 2147483647"]),
    ([str(os.getpid()), "--against", "1"], 1, ["cannot be compared"]),
    ([str(os.getpid()), "--html", "no/such/folder/f"], 1, ["cannot write no/such/folder/f"]),
])
def test_refusals(neve, words, status, parts):
    result = neve("cow", *words)
    assert (result.status, result.out) == (status, ""), result
    lines = result.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("neve: cow: "), result
    assert all(part in lines[0] for part in parts), result


def test_help(neve):
    result = neve("cow", "1", "--help")
    assert result.status == 0 and result.out.startswith("usage: neve cow [options] PID\n")
    for option in ("--against", "--every", "--html", "--json", "--pages", "--times", "--types"):
        assert f"  {option}" in result.out
    assert max(map(len, result.out.splitlines())) <= 100
    assert "  cow " in neve("--help").out


def test_a_process_of_somebody_else(neve, worker):
    if os.getuid() != 0:
        result = neve("cow", "1")
    else:
        done = subprocess.run([str(PROGRAM), "cow", str(worker)], capture_output=True, text=True,
                              user=65534, group=65534, extra_groups=[])
        result = harness.Result(done)
    assert (result.status, result.out) == (1, ""), result
    assert re.fullmatch(r"neve: cow: not permitted to look at process \d+: .*root.*\n", result.err)


def test_a_process_that_has_ended(neve):
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        result = neve("cow", str(ended.pid))
    assert result.status == 1 and "it has ended" in result.err, result
