# SPDX-License-Identifier: MIT
"""bench/peers/run.py at toy sizes: Neve's own program does the work, and how targets are judged."""

import json
import pathlib
import subprocess
import sys

import pytest

PEERS = pathlib.Path(__file__).resolve().parents[2] / "bench" / "peers"
sys.path.insert(0, str(PEERS))

import run as peers  # noqa: E402

# Nodes of the trees of depth 4 and 6: those of each size, the long-lived one and the stretched one.
TREES_OF_6 = 64 * 31 + 16 * 127 + 127 + 255


def run(*words):
    return subprocess.run([sys.executable, "-B", str(PEERS / "run.py"), *words], capture_output=True, text=True,
                          timeout=300)


@pytest.fixture(scope="module")
def toy():
    done = run("--peers", "neve,neve-incremental,neve-off,glibc", "--only", "counting,metadata,rings,churn,trees",
               "--runs", "1", "--nodes", "20000", "--seconds", "0.05", "--depth", "6", "--pairs", "1000",
               "--json", "-")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_ring_is_collected(toy):
    assert toy["medians"]["rings"]["neve"]["collected"] == 20000


def test_trees_are_whole(toy):
    assert {peer: found["nodes"] for peer, found in toy["medians"]["trees"].items()} == dict.fromkeys(
        ("neve", "neve-incremental", "neve-off", "glibc"), TREES_OF_6)


@pytest.mark.parametrize("kind", peers.KINDS)
def test_churn_makes_rings(toy, kind):
    for found in toy["medians"][f"churn-{kind}"].values():
        assert found["rings_per_s"] > 0 and found["pause_ms"] > 0 and found["peak_kb"] > 0


def test_the_targets_of_what_was_measured_are_judged(toy):
    assert len(toy["targets"]) == 10    # counting, metadata, collecting, churn twice three, trees


def test_verdicts():
    rows = {"rings": {"neve": {"ms": 40, "collect_ms": 31}, "nim": {"ms": 41}},
            "churn-aged": {"neve-incremental": {"rings_per_s": 4e6, "pause_ms": 1.0}}}
    met = {verdict["target"]: verdict["is_met"] for verdict in peers.judge(rows, None, 1000000)}
    assert met == {"rings, time over Nim's: below 1": True, "rings, ns per node collected: at most 30": False,
                   "churn aged, incremental: at least 4M rings/s": True,
                   "churn aged, incremental: longest pause below 1 ms": False}


def test_missing_peers_are_named(monkeypatch):
    def absent():
        return peers.compiled("x", ["no-such-compiler"])

    monkeypatch.setitem(peers.PEERS, "nim", (absent, dict))
    ready, missing = peers.prepare(["nim"])
    assert not ready and missing == {"nim": "there is no no-such-compiler"}


def test_the_callers_settings_change_nothing(monkeypatch):
    monkeypatch.setenv("NEVE_MODE", "off")
    monkeypatch.setenv("LD_PRELOAD", "")
    command = ["sh", "-c", "echo off ${NEVE_MODE+1}0; echo preloaded ${LD_PRELOAD+1}0"]
    assert peers.measure(command, {}, [], -1, 60) == {"off": 0, "preloaded": 0}
    assert peers.measure(command, {"NEVE_MODE": "incremental"}, [], -1, 60) == {"off": 10, "preloaded": 0}


def test_figures_are_not_lost_with_the_file(tmp_path):
    done = run("--peers", "glibc", "--only", "rings", "--runs", "1", "--nodes", "1000", "--json",
               str(tmp_path / "gone" / "x.json"))
    assert done.returncode == 1 and "\n  glibc " in done.stdout, done
    assert done.stderr.startswith("neve: ") and "gone" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["--only", "ring"], ["--peers", "rust"], ["--nodes", "3"], ["--runs", "0"]])
def test_bad_command_lines(words):
    done = run(*words)
    assert done.returncode == 2 and words[0] in done.stderr
