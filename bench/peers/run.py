#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Neve beside what else a C programmer, or the author of a runtime, could take, on the same work:
allocation (bench/native/bench_alloc.c), and cyclic graphs, which graph_work.h describes.

The peers are compiled into build/peers, started in turn on one CPU, each measurement a process of its
own; medians are shown.  A peer that is not installed is named and left out.  Times are processor time;
memory is the process's peak, with whatever its runtime needs.  docs/measuring.md explains the rows.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "bench" / "peers"
OUT = ROOT / "build" / "peers"
sys.path.insert(0, str(ROOT / "tools"))
import build  # noqa: E402
import run_bench  # noqa: E402

CASES = ("alloc", "counting", "metadata", "rings", "churn", "trees")
KINDS = ("young", "aged", "linked")
CHURN_RATES = {"young": 6e6, "aged": 4e6, "linked": 3e6}    # of the targets, per second


class Missing(Exception):
    """Carries what a peer needs and does not find."""


def compiled(name, command):
    """Run a compiler; Missing with its last line if it is not there or fails."""
    if shutil.which(command[0]) is None:
        raise Missing(f"there is no {command[0]}")
    OUT.mkdir(parents=True, exist_ok=True)
    env = dict(os.environ, GOCACHE=str(OUT / "go"), GO111MODULE="off")
    done = subprocess.run(command, cwd=HERE, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        lines = (done.stderr + done.stdout).strip().splitlines() or [f"{command[0]} failed"]
        raise Missing(next((line for line in lines if "error" in line), lines[-1]))
    return [str(OUT / name)]


def c_peer(name, *flags):
    return compiled(name, ["cc", "-O2", "-D_GNU_SOURCE", "-o", str(OUT / name), f"{name}.c", *flags, "-lm"])


def cpython():
    config = shutil.which("python3-config", path="/usr/bin")
    if config is None:
        raise Missing("there is no /usr/bin/python3-config (python3-dev)")
    flags = [subprocess.run([config, *words], capture_output=True, text=True).stdout.split()
             for words in (["--includes"], ["--embed", "--ldflags"])]
    return c_peer("graph_cpython", *flags[0], *flags[1])


def script(program, name, *flags):
    if shutil.which(program) is None:
        raise Missing(f"there is no {program}")
    return [program, *flags, str(HERE / name)]


def neve():
    folder = build.compile_preset("release", build.DEFAULT_PYTHON, targets=["bench/peer-neve"])
    return [str(folder / "bench" / "peer-neve")]


def preloaded(library):
    """The environment that has a malloc preloaded; the loader only warns if it is missing."""
    done = subprocess.run(["/bin/true"], env={"LD_PRELOAD": library}, capture_output=True, text=True)
    if done.stderr:
        raise Missing(f"there is no {library}")
    return {"LD_PRELOAD": library}


# Each: what makes its command, and what its environment.
PEERS = {
    "neve": (neve, dict),
    "neve-incremental": (neve, lambda: {"NEVE_MODE": "incremental"}),
    "neve-off": (neve, lambda: {"NEVE_MODE": "off"}),
    "bdwgc": (lambda: c_peer("graph_bdwgc", "-lgc"), dict),
    "glibc": (lambda: c_peer("graph_malloc"), dict),
    "mimalloc": (lambda: c_peer("graph_malloc"), lambda: preloaded("libmimalloc.so.2")),
    "cpython": (cpython, dict),
    "lua": (lambda: script("lua5.4", "graph.lua"), dict),
    "php": (lambda: script("php", "graph.php", "-n"), dict),
    "nim": (lambda: compiled("graph_nim", ["nim", "c", "--hints:off", "--mm:orc", "-d:danger",
                                           f"--nimcache:{OUT / 'nim'}", f"-o:{OUT / 'graph_nim'}",
                                           "graph.nim"]), dict),
    "go": (lambda: compiled("graph_go", ["go", "build", "-o", str(OUT / "graph_go"), "graph.go"]), dict),
    "node": (lambda: script("node", "graph.js", "--expose-gc"), dict),
}


def prepare(names):
    """Commands and environments of the peers that are there; why the others are not."""
    ready, missing = {}, {}
    for name in names:
        make, environment = PEERS[name]
        try:
            ready[name] = make(), environment()
        except Missing as error:
            missing[name] = str(error)
    return ready, missing


def measure(command, environment, words, cpu, timeout_s):
    """One process; its figures by name."""
    # Of Go and Node the collector has threads of its own: taskset confines them as well.
    pinned = ["taskset", "-c", str(cpu)] if cpu >= 0 and shutil.which("taskset") else []
    # The caller's settings of Neve, or of the malloc, are not those that a row's name promises.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NEVE", "LD_PRELOAD"))}
    done = subprocess.run([*pinned, *command, *map(str, words)], capture_output=True, text=True,
                          env=dict(kept, **environment), timeout=timeout_s)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} {' '.join(map(str, words))}: status {done.returncode}: "
                           f"{done.stderr.strip()[-200:]}")
    return {name: float(value) for name, value in (line.split() for line in done.stdout.splitlines())}


def plan(args):
    """Rows to be measured: name, words for the program, and which peers take part."""
    rows = {"counting": ([("counting", args.pairs)], lambda peer: peer == "neve"),
            "metadata": ([("metadata", args.nodes)], lambda peer: peer == "neve"),
            "rings": ([("rings", args.nodes)], lambda peer: peer not in ("neve-incremental", "neve-off")),
            "churn": ([("churn", args.nodes, args.seconds, kind) for kind in KINDS],
                      lambda peer: peer != "neve-off"),
            "trees": ([("trees", args.depth)], lambda peer: True)}
    for case in args.only:
        for words in rows.get(case, ([],))[0]:
            name = f"churn-{words[3]}" if case == "churn" else case
            yield name, words, rows[case][1]


def alloc(args):
    """bench_alloc's own document."""
    folder = build.compile_preset("release", build.DEFAULT_PYTHON, targets=["bench/bench-bench_alloc"])
    done = subprocess.run([str(folder / "bench" / "bench-bench_alloc"), "--json", "--runs", str(args.runs),
                           *(["--quick"] if args.quick else [])], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RuntimeError("bench_alloc failed")
    return json.loads(done.stdout)


def judge(rows, allocation, nodes):
    """Targets as (sentence, figure, met); only of what was measured."""
    def figure(row, peer, name):
        return rows.get(row, {}).get(peer, {}).get(name)

    verdicts = []

    def target(sentence, value, met):
        if value is not None:
            verdicts.append({"target": sentence, "figure": value, "is_met": bool(met)})

    if allocation:
        mean = allocation["geometric_mean_ns"]["neve_over_best_peer"]
        target("allocation, geometric mean over the best peer's: at most 1", mean, mean and mean <= 1)
        worst = max((row["neve_over_best_peer"] for row in allocation["results"]
                     if row["unit"] == "ns/pair" and row["neve_over_best_peer"]), default=None)
        target("allocation, worst line over the best on it: at most 1.3", worst, worst and worst <= 1.3)
    pair, plain = figure("counting", "neve", "pair_ns"), figure("counting", "neve", "plain_ns")
    if pair and plain:
        target("counting over a plain pair: at most 1.1", pair / plain, pair / plain <= 1.1)
    extra = figure("metadata", "neve", "bytes")
    target("metadata at rest, bytes per object of 64: at most 1", extra, extra is not None and extra <= 1)
    ours, nim = figure("rings", "neve", "ms"), figure("rings", "nim", "ms")
    if ours and nim:
        target("rings, time over Nim's: below 1", ours / nim, ours < nim)
    each = figure("rings", "neve", "collect_ms")
    if each:
        target("rings, ns per node collected: at most 30", each * 1e6 / nodes, each * 1e6 / nodes <= 30)
    for kind, wanted in CHURN_RATES.items():
        rate = figure(f"churn-{kind}", "neve-incremental", "rings_per_s")
        pause = figure(f"churn-{kind}", "neve-incremental", "pause_ms")
        target(f"churn {kind}, incremental: at least {wanted / 1e6:.0f}M rings/s", rate, rate and rate >= wanted)
        target(f"churn {kind}, incremental: longest pause below 1 ms", pause, pause and pause < 1)
    ours = figure("trees", "neve", "ms")
    for peer, factor in (("neve-off", 1.3), ("bdwgc", 1)):
        other = figure("trees", peer, "ms")
        if ours and other:
            target(f"trees, time over {peer}'s: at most {factor}", ours / other, ours <= factor * other)
    ours, other = figure("trees", "neve", "peak_kb"), figure("trees", "bdwgc", "peak_kb")
    if ours and other:
        target("trees, peak memory over bdwgc's: below 1", ours / other, ours < other)
    return verdicts


def show(row, figures, nodes):
    print(f"\n{row}\n  {'':18} {'ms':>9} {'pause ms':>9} {'M rings/s':>9} {'ns/node':>9} {'peak MB':>9}")
    for peer, found in figures.items():
        collect = found.get("collect_ms")
        per_node = collect * 1e6 / nodes if collect and peer not in ("glibc", "mimalloc") else None
        rate = found["rings_per_s"] / 1e6 if "rings_per_s" in found else None
        cells = (found.get("ms"), found.get("pause_ms"), rate, per_node, found["peak_kb"] / 1e3)
        print(f"  {peer:18}" + "".join(f" {'-' if cell is None else f'{cell:.2f}':>9}" for cell in cells))


def parse(words):
    def some(known):
        def check(text):
            unknown = [word for word in text.split(",") if word not in known]
            if unknown:
                raise argparse.ArgumentTypeError(f"'{unknown[0]}' is none of {', '.join(known)}")
            return text.split(",")
        return check

    def positive(kind):
        def check(text):
            value = kind(text)
            if not value > 0:
                raise ValueError
            return value
        check.__name__ = "positive number"
        return check

    parser = argparse.ArgumentParser(description=__doc__.split(":")[0] + ".")
    parser.add_argument("--only", type=some(CASES), default=list(CASES), metavar="LIST",
                        help=f"of {','.join(CASES)}")
    parser.add_argument("--peers", type=some(PEERS), default=list(PEERS), metavar="LIST",
                        help=f"of {','.join(PEERS)}")
    parser.add_argument("--runs", type=positive(int), default=5)
    parser.add_argument("--nodes", type=positive(int), default=1000000, help="of rings and of the live graph")
    parser.add_argument("--seconds", type=positive(float), default=10.0, help="of each churn")
    parser.add_argument("--depth", type=positive(int), default=18, help="of the trees, at least 4")
    parser.add_argument("--pairs", type=positive(int), default=20000000)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="-1: any")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, one run")
    parser.add_argument("--json", metavar="FILE", help="figures of every run; - for standard output alone")
    args = parser.parse_args(words)
    if args.nodes < 10 or args.depth < 4:
        parser.error("--nodes needs at least 10, --depth at least 4")
    if args.quick:
        args.runs, args.nodes, args.seconds = 1, max(args.nodes // 10, 10), args.seconds / 10
        args.depth, args.pairs = max(args.depth - 4, 4), max(args.pairs // 10, 1)
    return args


def main(words=None):
    args = parse(words)
    quiet = args.json == "-"
    samples = {}
    try:
        ready, missing = prepare(args.peers)
        rows = list(plan(args))
        for _ in range(args.runs):
            for row, words, takes_part in rows:
                for peer, (command, environment) in ready.items():
                    if takes_part(peer):
                        found = measure(command, environment, words, args.cpu, 600 + 20 * args.seconds)
                        samples.setdefault(row, {}).setdefault(peer, []).append(found)
        allocation = alloc(args) if "alloc" in args.only else None
    except (build.BuildError, RuntimeError, subprocess.TimeoutExpired) as error:
        sys.stderr.write(f"neve: {error}\n")
        return 1
    medians = {row: {peer: {name: statistics.median(run[name] for run in runs) for name in runs[0]}
                     for peer, runs in peers.items()} for row, peers in samples.items()}
    verdicts = judge(medians, allocation, args.nodes)
    document = {"benchmark": "peers", "machine": run_bench.machine(), "nodes": args.nodes, "seconds": args.seconds,
                "depth": args.depth, "missing": missing, "samples": samples, "medians": medians,
                "alloc": allocation, "targets": verdicts}
    if quiet:
        print(json.dumps(document, indent=1))
        return 0
    print(f"{run_bench.machine()}; medians of {args.runs} runs in turn, processor time")
    for row, figures in medians.items():
        if row not in ("counting", "metadata"):
            show(row, figures, args.nodes)
    if allocation:
        mean = allocation["geometric_mean_ns"]
        print("\nallocation, geometric mean, ns: " +
              ", ".join(f"{name} {mean[name]:.1f}" for name in allocation["versions"] if mean.get(name)))
    for peer, reason in missing.items():
        print(f"\nleft out: {peer}: {reason}")
    print()
    for verdict in verdicts:
        print(f"{'met' if verdict['is_met'] else 'missed':7} {verdict['figure']:12.4g}  {verdict['target']}")
    if args.json:
        try:
            pathlib.Path(args.json).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            sys.stderr.write(f"neve: {error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
