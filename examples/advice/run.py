#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Advice on memory, with figures: each program of this folder in its variants, on stock CPython and
on Neve.

Every run is an interpreter of its own; the configurations take turns, and the table has medians.
Times are processor times; the collector's is part of the time. Needs the package neve (make build, and
PYTHONPATH, or an installed one).

    python3 examples/advice/run.py                    # everything
    python3 examples/advice/run.py slots thresholds   # these programs only
"""

import argparse
import ast
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

FOLDER = pathlib.Path(__file__).resolve().parent
PROGRAMS = ("slots", "arrays", "large_objects", "global_names", "pruned", "back_references",
            "early_release", "thresholds")
SIDES = {"stock": [], "Neve": ["-m", "neve"]}
COLUMNS = (("time_ms", "time ms"), ("collector_ms", "of it collector"), ("peak_mib", "peak MiB"))


class RunError(Exception):
    """Carries one line for the user."""


def constants(program):
    """Names of the variants and the size, read without running the program."""
    tree = ast.parse((FOLDER / f"{program}.py").read_text(encoding="utf-8"))
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
    return ([ast.literal_eval(key) for key in found["VARIANTS"].keys],
            ast.literal_eval(found["SIZE"]))


def run_once(side, program, variant, size):
    # What would switch Neve on, or set it up, in either side stays out.
    env = {name: value for name, value in os.environ.items() if not name.startswith("NEVE")}
    command = [sys.executable, *SIDES[side], str(FOLDER / f"{program}.py"), variant, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines or done.stderr.strip():
        why = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise RunError(f"{program} ({variant}) failed on {side}: {why}")
    return json.loads(lines[-1])


def measure(program, rounds, scale):
    """{variant: {side: {column: median}}}"""
    variants, size = constants(program)
    size = max(1, int(size * scale))
    runs = {(variant, side): [] for variant in variants for side in SIDES}
    for _ in range(rounds):
        for key, results in runs.items():
            results.append(run_once(key[1], program, key[0], size))
    return {variant: {side: {name: statistics.median(one[name] for one in runs[variant, side])
                             for name in runs[variant, side][0]} for side in SIDES}
            for variant in variants}


def print_table(results):
    heads = [f"{side}: {title}" for side in SIDES for _, title in COLUMNS]
    print("| program | variant | " + " | ".join(heads) + " |")
    print("|---|---|" + "---:|" * len(heads))
    for program, variants in results.items():
        for variant, sides in variants.items():
            cells = [f"{sides[side][name]:.0f}" for side in SIDES for name, _ in COLUMNS]
            print(f"| {program} | {variant} | " + " | ".join(cells) + " |")


def positive(kind):
    def convert(text):
        value = kind(text)
        if not 0 < value < float("inf"):
            raise ValueError
        return value
    convert.__name__ = "positive number"
    return convert


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message):
        sys.stderr.write(f"{self.prog}: {message}; --help lists the options\n")
        sys.exit(2)


def main():
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="*", metavar="PROGRAM",
                        help=f"of {', '.join(PROGRAMS)}; all, if none is named")
    parser.add_argument("--rounds", type=positive(int), default=5, help="runs of each (5)")
    parser.add_argument("--scale", type=positive(float), default=1.0,
                        help="sizes times this (1)")
    parser.add_argument("--json", action="store_true", help="print the medians as JSON")
    args = parser.parse_args()
    for name in args.programs:
        if name not in PROGRAMS:
            parser.error(f"no program '{name}', there are {', '.join(PROGRAMS)}")
    try:
        results = {program: measure(program, args.rounds, args.scale)
                   for program in PROGRAMS if not args.programs or program in args.programs}
    except RunError as error:
        sys.stderr.write(f"run.py: {error}\n")
        return 1
    if args.json:
        print(json.dumps(results, indent=1))
    else:
        print_table(results)
        print(f"\nMedians of {args.rounds} runs, sizes times {args.scale:g}; "
              f"CPython {platform.python_version()}, {platform.machine()}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
