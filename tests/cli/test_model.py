# SPDX-License-Identifier: MIT
"""`neve model`: the estimate, the predicted collections against those of a run, output, command lines.

Nothing here depends on how long anything takes: what is compared is which collections came, and of how many
objects.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import time
import xml.etree.ElementTree

import pytest
from support import PROGRAM

MODES = ["generational", "incremental", "snapshot"]
#: A run of a moment: full collections come after some thousand objects.
QUICK = ["--calibrate", "no", "--thresholds", "200,4,4", "--work", "0"]
SVG = "{http://www.w3.org/2000/svg}"


def model(neve, *words):
    result = neve("model", "--json", *words)
    assert result.status == 0 and result.err == "", result
    return json.loads(result.out)


def one_line(result, status, *parts):
    assert result.status == status and result.out == "", result
    assert len(result.err.splitlines()) == 1 and result.err.startswith("neve: model: "), result
    assert all(part in result.err for part in parts), result


def test_help(neve):
    result = neve("model", "--nonsense", "-h")
    assert result.status == 0 and result.err == "" and result.out.startswith("usage: neve model")
    assert max(map(len, result.out.splitlines())) <= 100


def test_the_estimate(neve):
    """2,000, 22,000 and 220,000 objects; 16 us, 0.176 ms and about 12 ms."""
    report = model(neve, "--calibrate=no", "--no-run")
    assert [row["objects"] for row in report["estimate"]] == [2000, 22000, 220000]
    assert [row["ms"] for row in report["estimate"]] == [0.016, 0.176, 12.16]
    assert not report["calibrated"] and [level["ns"] for level in report["levels"]] == [4, 4, 30, 200]
    assert all("measured" not in row for row in report["generations"] + report["modes"])
    # By latencies alone the prediction is the estimate's way of counting, for the exact numbers.
    young, middle, old = (row["predicted"] for row in report["generations"])
    assert young["median_ms"] == pytest.approx(2001 * 2 * 4 / 1e6)
    assert middle["objects"] == 12 * 2001
    assert middle["median_ms"] == pytest.approx(12 * 2001 * 2 * 4 / 1e6)
    assert old["collections"] == 2
    first = 133 * 2001
    assert first - 2001 < report["service"]["requests"] * 20 / 2 < first + 2001
    # One reference and a clock of 2 GHz: a quarter of it.
    fast = model(neve, "--calibrate=no", "--no-run", "--references", "1", "--clock-ghz", "2")
    assert fast["estimate"][0]["ms"] == 0.008
    assert fast["generations"][0]["predicted"]["median_ms"] == pytest.approx(2001 * 2 / 1e6)


def test_caches(neve):
    """A set that does not fit into a cache costs what the next one does."""
    words = ["--calibrate=no", "--no-run", "--latency", "1,10,100,1000", "--size=32"]
    for caches, ns in ((["--l1=64K", "--l2=1M"], 1), (["--l1=32K", "--l2=64K"], 10),
                       (["--l1=16K", "--l2=32K", "--l3=1M"], 100),
                       (["--l1=1K", "--l2=2K", "--l3=32K"], 1000)):
        young = model(neve, *words, *caches)["generations"][0]
        assert young["latencies_ms"] == pytest.approx(2001 * 2 * ns / 1e6), caches


@pytest.mark.parametrize("words", [
    [],
    ["--thresholds=700,2,0", "--requests=1000"],
    ["--live", "9000", "--requests", "1200"],
    ["--kept=7", "--references=5", "--size=100", "--seconds", "20"],
])
def test_the_collections_come_as_predicted(neve, words):
    report = model(neve, *QUICK, *words)
    for row in report["generations"]:
        predicted, measured = row["predicted"], row["measured"]
        assert predicted["collections"] == measured["collections"], report
        assert predicted["looked"] == measured["looked"], report
        assert measured["objects"] == pytest.approx(predicted["objects"], rel=0.02), report
        assert (measured["median_ms"] > 0) == (measured["collections"] > 0)
    assert report["generations"][0]["measured"]["collections"] > 10
    assert [row["mode"] for row in report["modes"]] == MODES
    for row in report["modes"]:
        # Each trigger collects, in whatever mode; a slow machine splits some collections into several.
        assert row["measured"]["collections"] >= 0.9 * row["predicted"]["collections"] > 10
        assert row["measured"]["longest_ms"] >= row["measured"]["median_ms"] > 0
        assert row["request_cpu_ms"] > 0 and row["request_wall_ms"] > 0
    assert report["control"]["request_cpu_ms"] > 0


def test_the_rule_of_a_quarter(neve):
    """Where much is live, full collections are rarer."""
    few = model(neve, *QUICK, "--requests=1200")["generations"][2]["measured"]["collections"]
    live = model(neve, *QUICK, "--requests=1200", "--live=60000")["generations"][2]
    assert few >= 2 and live["measured"]["collections"] == 1 == live["predicted"]["collections"]
    assert live["measured"]["objects"] > 60000


def test_snapshots(neve):
    report = model(neve, *QUICK, "--live", "110000", "--requests", "1800", "--rate=1000")
    by_mode = {row["mode"]: row for row in report["modes"]}
    snapshot = by_mode["snapshot"]
    assert snapshot["snapshots"] >= snapshot["snapshots_taken"] >= 0 < snapshot["snapshots"]
    assert snapshot["longest_fork_ms"] > 0
    assert by_mode["generational"]["snapshots"] == by_mode["incremental"]["snapshots"] == 0


def test_calibration(neve):
    report = model(neve, "--l3=4M", "--requests=1000", "--thresholds=200,4,4")
    assert report["calibrated"]
    assert all(level["ns"] > 0 and level["apart_ns"] > 0 for level in report["levels"])
    assert report["levels"][2]["bytes"] == 4 << 20 and report["levels"][3]["bytes"] is None
    assert report["verify_ns"] > 0 and report["mark_ns"] > 0
    # What is measured beforehand, and what is given on the command line, enters the prediction.
    # (A busy machine may leave nothing for the fixed part of a collection's cost.)
    young = report["generations"][0]["predicted"]["median_ms"]
    assert young > 200.5 * report["verify_ns"] / 1e6
    given = model(neve, "--latency=1,2,3,4", "--clock-ghz=0.5", "--no-run", "--l3", "4M")
    assert [level["ns"] for level in given["levels"]] == [2, 4, 6, 8] and given["verify_ns"] > 0


def test_the_tables(neve):
    result = neve("model", *QUICK, "--requests", "1000")
    assert result.status == 0 and result.err == "", result
    assert "so a request of 12 ms takes 1.02 times as long at worst" in result.out, result
    assert max(len(line) for line in result.out.splitlines()[1:]) <= 100
    rows = [re.match(r"(young|middle|old) +\d+ +\d+ +[\d.]+ +([\d.]+) +([\d.]+) +[\d.]+ +([\d.]+)$", line)
            for line in result.out.splitlines()]
    rows = [row for row in rows if row]
    assert [row.group(1) for row in rows] == ["young", "middle", "old"], result
    for row in rows:
        predicted, measured, ratio = map(float, row.groups()[1:])
        # All are rounded: half a microsecond, and half a hundredth.
        assert (measured - 0.0006) / (predicted + 0.0006) - 0.006 <= ratio, result
        assert ratio <= (measured + 0.0006) / (predicted - 0.0006) + 0.006, result
    for mode in MODES:
        assert len(re.findall(rf"^{mode} +[\d.]+ +[\d.]+\b", result.out, re.M)) == 2, result
    unrun = neve("model", *QUICK, "--no-run")
    assert unrun.status == 0 and "(no collector)" not in unrun.out
    assert re.search(r"^old .* - +- +-$", unrun.out, re.M), unrun


def test_a_life_too_short_for_a_collection(neve):
    result = neve("model", "--calibrate=no", "--requests=5")
    assert result.status == 0 and result.err == "", result
    assert "\nno collection comes in so few requests" in result.out and "nan" not in result.out


@pytest.mark.parametrize("name", ["pauses.svg", "pauses.html"])
def test_the_plot(neve, runner, name):
    path = runner.folder / name
    result = neve("model", *QUICK, "--requests=1000", f"--plot={path}")
    assert result.status == 0 and result.err == "" and "generational mode" in result.out, result
    text = path.read_text("ascii")
    assert text.startswith("<!DOCTYPE html>" if name.endswith("html") else "<svg ")
    assert not re.search(r"src=|href=|@import", text), "it is to need nothing else"
    picture = xml.etree.ElementTree.fromstring(re.search(r"<svg .*</svg>", text, re.S).group(0))
    assert [path.name for path in runner.folder.glob("pauses*")] == [name]
    dots = picture.findall(f"{SVG}g[@class='measured']")
    assert len(dots) == 3 and all(len(group) > 20 for group in dots)
    for group in dots:
        assert all(70 <= float(dot.get("cx")) <= 940 for dot in group)
    lines = picture.findall(f"{SVG}path[@class='predicted']")
    assert len(lines) == 3 and all(line.get("d").count("M") > 20 for line in lines)


def test_a_plot_that_cannot_be_written(neve, runner):
    """What was measured is not lost with it."""
    result = neve("model", *QUICK, "--no-run", "--json", "--plot", str(runner.folder / "gone/x.svg"))
    assert json.loads(result.out)["modes"] and result.status == 1
    assert result.err.startswith("neve: model: cannot write") and result.err.count("\n") == 1, result
    assert "gone/x.svg" in result.err


@pytest.mark.parametrize("words, parts", [
    (["--rate", "0"], ["--rate", "'0'", "from 0.001"]),
    (["--rate=-5"], ["'-5'"]),
    (["--rate=nan"], ["'nan'"]),
    (["--kept=0"], ["--kept"]),
    (["--kept", "1e3"], ["'1e3'", "whole number"]),
    (["--size=513"], ["--size", "to 512"]),
    (["--references", "61"], ["--references"]),
    (["--thresholds", "2000,10"], ["--thresholds", "'2000,10'", "3 numbers"]),
    (["--thresholds=2000,10,10,10"], ["3 numbers"]),
    (["--thresholds=0,10,10"], ["at least 1"]),
    (["--thresholds=1.5,1,1"], ["fraction"]),
    (["--latency", "1,2,3"], ["--latency", "4 numbers"]),
    (["--l1=1M", "--l2=512K"], ["--l2", "smaller"]),
    (["--l1=1T"], ["'1T'", "a size"]),
    (["--calibrate", "maybe"], ["'maybe' is neither yes nor no"]),
    (["--plot", "pauses.png"], ["neither in .svg nor in .html"]),
    (["--requests=5", "--seconds=5"], ["choose one"]),
    (["--seconds=0.001"], ["no request"]),
    (["--seconds=1000000", "--rate=10000"], ["more than 1000000000 objects"]),
    (["--thresholds=1,1,1", "--requests=1000000"], ["more than 5000000 collections"]),
    (["--requests"], ["--requests needs a value"]),
    (["--mode=snapshot"], ["unknown option '--mode=snapshot'"]),
    (["100"], ["unknown word '100'"]),
])
def test_wrong_command_lines(neve, words, parts):
    one_line(neve("model", *words), 2, *parts)


def test_a_service_that_does_not_fit(neve, runner):
    code = ("import os, resource, sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28));"
            "os.execv(sys.argv[1], sys.argv[1:])")
    one_line(runner.execute(["-c", code, str(PROGRAM), "model", "--calibrate=no",
                             "--requests=40000000"]), 1, "memory", "fewer --requests")


#: A run of minutes, in some 200 megabytes.
LONG = ["model", "--calibrate=no", "--requests=2000000", "--kept=1", "--work=1M"]


def children(pid):
    return [int(word) for word in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition):
    for _ in range(3000):
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_a_run_ends_with_the_program(neve):
    """Its process does not go on measuring for nobody."""
    program = subprocess.Popen([PROGRAM, *LONG],
                               stdout=subprocess.DEVNULL)
    try:
        assert wait_until(lambda: children(program.pid))
        [child] = children(program.pid)
    finally:
        program.kill()
        program.wait()
    assert wait_until(lambda: not is_running(child))


def test_a_run_that_is_killed(neve):
    program = subprocess.Popen([PROGRAM, *LONG],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert wait_until(lambda: children(program.pid))
        os.kill(children(program.pid)[0], signal.SIGKILL)
        out, err = program.communicate(timeout=120)
    finally:
        program.kill()
        program.wait()
    assert program.returncode == 1 and out == "" and len(err.splitlines()) == 1, err
    assert "the run failed" in err
