# SPDX-License-Identifier: MIT
"""bench/python/bench_prefork.py at toy sizes: gunicorn, wrk, the samples, the report; what it says and
leaves behind when something fails; how it judges."""

import importlib.util
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

import harness
import pytest

BENCH = harness.ROOT / "bench" / "python"
sys.path.insert(0, str(BENCH))

import bench_prefork  # noqa: E402
import prefork_server  # noqa: E402

TOY = ["--apps", "1", "--entries", "30", "--workers", "2", "--requests", "15", "--interval", "0.05"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """One folder of bytecode for all starts, and the package of Neve."""
    paths = [str(harness.package_folder()), os.environ.get("PYTHONPATH", "")]
    return dict(os.environ, PYTHONPYCACHEPREFIX=str(tmp_path_factory.mktemp("bytecode")),
                PYTHONPATH=os.pathsep.join(path for path in paths if path))


def start(environment, *words):
    # A shell in the background has its children ignore the interrupt; a terminal's does not.
    return subprocess.Popen(["/usr/bin/env", "--default-signal=INT", sys.executable, "-B", str(BENCH / "bench_prefork.py"), *map(str, words)],
                            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def run(environment, *words):
    with start(environment, *words) as process:
        out, err = process.communicate(timeout=harness.TIMEOUT_S)
    return process.returncode, out, err


# --- whole runs --------------------------------------------------------------------------------


def test_figures_pictures_and_report(environment, tmp_path):
    status, out, err = run(environment, *TOY, "--only", "freeze,prefork", "--cases", "lists",
                           "--attribution", "--json", tmp_path / "all.json", "--pictures", tmp_path / "pictures")
    assert (status, err) == (0, "")
    document = json.loads((tmp_path / "all.json").read_text())
    assert list(document["results"]["lists"]) == ["freeze", "prefork"]
    for name, [report] in document["results"]["lists"].items():
        assert len(report["samples"]) == len(report["workers"]) == 2
        for rows in report["samples"]:
            assert rows[0][1] == 0 and rows[-1][1] >= 15
            assert all(before[0] < after[0] and before[1] <= after[1]
                       for before, after in zip(rows, rows[1:]))
            # A worker that answers writes into what it inherited, and keeps lists.
            assert rows[-1][2] > rows[0][2] > 0
        assert report["load"]["requests"] <= sum(rows[-1][1] for rows in report["samples"])
        assert all(state["neve"] == (name == "prefork") for state in report["workers"])
        assert report["attribution"]["basis"] == ("reference" if name == "prefork" else "parent")
        # All of the private dirty pages but what was written since they were counted.
        attributed = sum(report["attribution"]["causes"].values())
        assert attributed == pytest.approx(report["samples"][0][-1][2], rel=0.1)
        figures = document["rows"]["figures"]["lists"][name]
        assert figures["before_mb"] < figures["end_mb"] <= figures["worst_mb"]
        assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["p999_ms"]
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == ["lists-private-dirty-requests.svg", "lists-private-dirty-time.svg",
                     "lists-pss-requests.svg", "lists-pss-time.svg", "report.md"]
    root = ElementTree.parse(tmp_path / "pictures" / names[0]).getroot()
    assert [group.get("data-name") for group in root.iter("{http://www.w3.org/2000/svg}g")] == [
        "stock + gc.freeze", "Neve + prefork"]
    report = (tmp_path / "pictures" / "report.md").read_text()
    end = document["rows"]["figures"]["lists"]["prefork"]["end_mb"]
    line, causes = [line for line in report.splitlines() if line.startswith("| Neve + prefork |")]
    assert len(causes.split(" | ")) == 1 + len(bench_prefork.CAUSES)
    assert line.split(" | ")[3] == f"{end:.1f}" and f"![{names[0]}]({names[0]})" in report


def children(pid):
    """All processes below one, by what the kernel lists."""
    found = []
    try:
        text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return found
    for child in map(int, text.split()):
        found += [child, *children(child)]
    return found


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("number, expected", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_ends_its_processes(environment, tmp_path, number, expected):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with start(dict(environment, TMPDIR=str(scratch)), *TOY, "--requests", 10 ** 9, "--only", "stock",
               "--cases", "nothing", "--pictures", tmp_path / "pictures") as process:
        deadline = time.monotonic() + harness.TIMEOUT_S
        # The server, two workers, wrk.
        while len(below := children(process.pid)) < 4:
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.02)
        process.send_signal(number)
        process.communicate(timeout=harness.TIMEOUT_S)
    assert process.returncode == expected
    while any(map(is_running, below)):
        assert time.monotonic() < deadline, below
        time.sleep(0.02)
    assert list(scratch.iterdir()) == []


def test_a_server_that_does_not_start(environment, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif '--config' in sys.orig_argv: sys.exit('no room for a server')\n")
    broken = dict(environment, PYTHONPATH=os.pathsep.join([str(tmp_path), environment["PYTHONPATH"]]))
    status, out, err = run(broken, *TOY, "--only", "stock", "--cases", "nothing", "--pictures", tmp_path)
    assert status == 1
    assert err == ("bench_prefork.py: nothing, stock: the server ended: SystemExit: no room for a "
                   "server\n")


def test_a_site_that_does_not_load(environment, tmp_path):
    (tmp_path / "asgiref.py").write_text("raise ImportError('asgiref is broken')\n")
    broken = dict(environment, PYTHONPATH=os.pathsep.join([str(tmp_path), environment["PYTHONPATH"]]))
    status, out, err = run(broken, *TOY, "--only", "stock", "--pictures", tmp_path)
    assert (status, err) == (1, "bench_prefork.py: the site does not load: ImportError: asgiref is broken\n")


def test_a_port_in_use(environment, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, out, err = run(environment, *TOY, "--only", "stock", "--port", port, "--pictures", tmp_path)
    assert (status, err) == (1, f"bench_prefork.py: port {port} of 127.0.0.1 cannot be used: Address "
                                "already in use; without --port the system chooses one\n")


def test_no_wrk(environment, tmp_path):
    status, out, err = run(dict(environment, PATH=str(tmp_path)), *TOY, "--only", "stock",
                           "--pictures", tmp_path)
    assert (status, err) == (1, "bench_prefork.py: wrk is not installed: sh tools/deps.sh bench "
                                "installs it\n")


@pytest.mark.parametrize("words, told", [
    (["--port", "70000"], "argument --port: invalid port number value: '70000'"),
    (["--cases", "some"], "argument --cases: unknown name 'some', choose from nothing,lists"),
    (["--requests", "0"], "argument --requests: invalid positive number value: '0'")])
def test_a_wrong_command_line(environment, words, told):
    status, out, err = run(environment, *words)
    assert (status, out) == (2, "")
    assert err == f"bench_prefork.py: {told} (--help lists the options)\n"


# --- parts -------------------------------------------------------------------------------------


def test_values_between_samples():
    rows = [[0.0, 0, 100], [1.0, 10, 300], [2.0, 10, 400], [3.0, 30, 800]]
    assert bench_prefork.value_at(rows, 5, 2) == 200
    assert bench_prefork.value_at(rows, 30, 2) == 800
    assert bench_prefork.value_at(rows, 31, 2) is None
    assert bench_prefork.slope_of([(10, 1.0), (20, 6.0), (30, 11.0)]) == pytest.approx(0.5)
    assert bench_prefork.slope_of([(10, 1.0), (10, 2.0)]) is None
    # Up to where both workers have samples, the mean of both.
    curve = bench_prefork.mean_curve([rows, [[0.0, 0, 100], [1.0, 20, 500]]], 1, 2, points=2)
    assert curve == [(0.0, 100 / 1024), (10.0, 350 / 1024), (20.0, 550 / 1024)]


def judged(case, **changes):
    rows = {name: {"baseline_mb": 10.0, "end_mb": 20.0, "p99_ms": 50.0}
            for name in ("freeze", "off", "neve", "prefork")}
    for name, values in changes.items():
        rows[name].update(values)
    return [check["met"] for check in bench_prefork.judge(case, rows)]


def test_targets():
    limit = bench_prefork.TARGET_MB
    own = bench_prefork.kept_mb(bench_prefork.BASELINE_REQUESTS)
    assert 15 < own < 25     # the issue says about 20
    good = {"baseline_mb": limit}
    assert judged("nothing", prefork=good) == [True] * 5
    assert judged("nothing", prefork={"baseline_mb": limit + 0.1}) == [True, True, False, True, True]
    assert judged("lists", prefork={"baseline_mb": limit + own}) == [True] * 5
    assert judged("lists", prefork={"baseline_mb": limit + own + 0.1})[2] is False
    assert judged("nothing", prefork=good, neve={"baseline_mb": 10.1})[:2] == [False, True]
    assert judged("nothing", prefork=good, neve={"end_mb": 20.1})[:2] == [True, False]
    assert judged("nothing", prefork=dict(good, p99_ms=52.6))[3:] == [True, False]


def test_rows_that_are_something_else_are_refused():
    note = {"neve": True, "mode": "generational", "collecting": True, "frozen": 9,
            "prefork": {"runs": 1}, "collections": [0, 0, 0]}
    prefork_server.expect_state("prefork", note)
    for configuration, change in [("neve", {}), ("stock", {}), ("off", {"neve": False, "frozen": 0}),
                                  ("prefork", {"frozen": 0}), ("prefork", {"prefork": {"runs": 2}}),
                                  ("prefork", {"neve": False})]:
        with pytest.raises(prefork_server.common.Failure):
            prefork_server.expect_state(configuration, dict(note, **change))


@pytest.mark.filterwarnings("ignore:.*cgi.*:DeprecationWarning")
def test_the_module_that_newer_versions_lack():
    """Against the one that this version still has."""
    cgi = pytest.importorskip("cgi")
    path = pathlib.Path(prefork_server.SITE) / "removed" / "cgi.py"
    spec = importlib.util.spec_from_file_location("removed_cgi", path)
    removed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(removed)
    for line in ["", "text/html", "text/html; charset=utf-8", "multipart/form-data; boundary=\"a;b\"; X=1",
                 "attachment; filename=\"a file.zip\""]:
        assert removed.parse_header(line) == cgi.parse_header(line)
    for text in ["abc", "a b", "a ", "", "x" * 201, "x" * 202, "é", b"abc", b"\xff", "a\tb"]:
        assert removed.valid_boundary(text) == bool(cgi.valid_boundary(text)), text
