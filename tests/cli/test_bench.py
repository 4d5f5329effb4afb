# SPDX-License-Identifier: MIT
"""`neve bench`: what it lists, the layouts of `neve bench cow` at small sizes, wrong command lines."""

import json

import pytest
from support import PROGRAM

LAYOUTS = ["in-front", "dense", "frozen", "own-pages", "side-tables", "counts"]


def one_line(result, status, *parts):
    assert result.status == status and result.out == "", result
    assert len(result.err.splitlines()) == 1 and result.err.startswith("neve: "), result
    assert all(part in result.err for part in parts), result


def test_the_list(neve):
    for words in ([], ["--help"], ["-h"]):
        result = neve("bench", *words)
        assert result.status == 0 and result.err == "", result
        assert result.out.startswith("usage: neve bench NAME") and "\n  cow  " in result.out
    one_line(neve("bench", "cows"), 2, "unknown benchmark 'cows'", "neve bench")
    one_line(neve("bench", "--json"), 2, "unknown option '--json'")


def test_cow_help(neve):
    result = neve("bench", "cow", "--runs", "nonsense", "--help")
    assert result.status == 0 and result.err == "", result
    assert all(f"\n  {name}  " in result.out for name in LAYOUTS)
    assert max(map(len, result.out.splitlines())) <= 100


def test_cow_layouts(neve):
    """Who writes which pages does not depend on the load of the machine."""
    result = neve("bench", "cow", "--lists=2000", "--strings", "80000", "--runs=1", "--json")
    assert result.status == 0 and result.err == "", result
    report = json.loads(result.out)
    assert (report["lists"], report["strings"], report["runs"]) == (2000, 80000, 1)
    assert [row["layout"] for row in report["layouts"]] == LAYOUTS
    dirty = {row["layout"]: row["dirty_kb"] for row in report["layouts"]}
    size = {row["layout"]: row["bytes_per_list"] for row in report["layouts"]}
    everything_kb = (2000 * 64 + 80000 * 64) / 1024
    for name in ("in-front", "counts"):
        assert 0.98 * everything_kb < dirty[name] < 1.2 * everything_kb, dirty
    heads_kb = 2000 * 32 / 1024
    assert heads_kb <= dirty["dense"] < heads_kb + 100, dirty
    assert 2 * heads_kb <= dirty["own-pages"] < 2 * heads_kb + 100, dirty
    assert 0 <= dirty["frozen"] <= 40 and 0 <= dirty["side-tables"] <= 40, dirty
    assert size == {"in-front": 64, "dense": 80, "frozen": 64, "own-pages": 64,
                    "side-tables": 32.5, "counts": 64}
    assert report["price_bytes"] == 16 and report["price_gb_per_host"] == 1.12
    assert all(row["child_ms"] >= 0 for row in report["layouts"])
    assert all(row["parent_ms"] > 0 for row in report["layouts"])


def test_cow_table(neve):
    result = neve("bench", "cow", "--objects", "500", "--strings=5000", "--runs", "1",
                  "--layout", "in-front,frozen")
    assert result.status == 0 and result.err == "", result
    lines = result.out.splitlines()
    assert lines[1].startswith("500 lists among 5000 strings") and max(map(len, lines)) <= 100
    rows = [line for line in lines if line.startswith("heads in front")]
    assert len(rows) == 2 and [float(row.split()[-3]) for row in rows] == [64, 64], result
    assert float(rows[0].split()[-4]) > 300 and float(rows[1].split()[-4]) <= 40, result
    assert "60 MB" in result.out and "0.9 MB" in result.out and "16 bytes an object" in result.out
    # What was not measured is not spoken of.
    assert "GB a host\n" in result.out and "pages of their own" not in result.out


@pytest.mark.parametrize("words, parts", [
    (["--lists", "0"], ["--lists", "'0'", "whole number from 1"]),
    (["--lists"], ["--lists needs a value"]),
    (["--runs=-1"], ["--runs", "'-1'"]),
    (["--runs", "1.5"], ["'1.5'"]),
    (["--runs", "100"], ["to 99"]),
    (["--strings", "0x10"], ["'0x10'"]),
    (["--layout", "in-front,"], ["unknown layout ''"]),
    (["--layout", "front"], ["unknown layout 'front'", "neve bench cow --help"]),
    (["--layout="], ["--layout needs a value"]),
    (["--json=yes"], ["--json takes no value"]),
    (["--nonsense"], ["unknown option '--nonsense'"]),
    (["frozen"], ["unknown word 'frozen'"]),
])
def test_wrong_command_lines(neve, words, parts):
    one_line(neve("bench", "cow", *words), 2, *parts)


def test_a_heap_that_does_not_fit(neve, runner):
    """No memory is a failure, in one line that says what to do."""
    words = ["bench", "cow", "--runs=1", "--layout=in-front", "--strings=50000000"]
    code = ("import os, resource, sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28));"
            "os.execv(sys.argv[1], sys.argv[1:])")
    one_line(runner.execute(["-c", code, str(PROGRAM), *words]), 1,
             "measuring 'in-front' failed", "fewer --lists")
