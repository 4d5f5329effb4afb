#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Check the model of the incremental cycle exhaustively with spin; prints TAP.

Each configuration of cycle.pml must pass with its state space searched to the end.  Each seeded
fault must be found, by the assertion that is meant for it, and each situation that a check relies
on must occur.  docs/model.md says what that shows.  Exit status: 0 all is as it should be, 1 not,
2 the command line is wrong or spin is missing.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

MODEL = pathlib.Path(__file__).resolve().with_name("cycle.pml")
# Beyond either of these a search is given up, and the check fails.
MEMORY_MB = 2900
TIMEOUT_S = 1200

# Slices of nomination interleaved with the mutator: what the cycle begins with, three objects.
NOMINATE = "OBJECTS=3 SLOTS=1 GROUPS"
# Two objects with two slots, and all ways to revive one: weak reference, listing, finalizer.
REVIVE = "OBJECTS=2 SLOTS=2 GROUPS WEAK LISTING FINALIZERS=1"
# A child marks, or fails to, and then slices do.
SNAPSHOT = "OBJECTS=3 SLOTS=1 SNAPSHOT"
# Everything is a suspect at once: only verification and reclaiming, so that the graphs can be larger.
RECLAIM = "OBJECTS=3 SLOTS=2 ALL_SUSPECT WEAK LISTING FINALIZERS=1"

# name: (definitions, limit on the depth of the search, hash table of 2^w entries)
PASSES = {
    "nominate": (NOMINATE, 1_000_000, 24),
    "nominate with a host's free lists": (NOMINATE + " FREE_LIST", 1_000_000, 24),
    "snapshot": (SNAPSHOT, 1_000_000, 25),
    "revive": (REVIVE, 1_000_000, 25),
    "reclaim": (RECLAIM, 5_000_000, 26),
    "reclaim, weak references kept for finalizers":
        ("OBJECTS=3 SLOTS=1 ALL_SUSPECT WEAK LISTING FINALIZERS=2 KEEPS_WEAKREFS", 5_000_000, 24),
}

# fault: (configuration, the assertions of which one must fail)
FAULTS = {
    "FREE_KEEPS_OLD": (NOMINATE, ["invariant_5"]),
    "FREE_KEEPS_WHITE": (NOMINATE, ["invariant_5"]),
    "FREE_KEEPS_GREY": (NOMINATE, ["invariant_5"]),
    "POP_WITHOUT_TEST": (NOMINATE, ["memory_is_valid"]),
    "YOUNG_AT_BEGIN": (NOMINATE, ["invariant_3"]),
    "BEGIN_UNDRAINED": ("OBJECTS=2 SLOTS=2", ["invariant_3"]),
    "TAKE_STALE": (SNAPSHOT, ["invariant_5"]),
    "NO_EDGES_IN_GROUPS": (NOMINATE, ["invariant_3"]),
    "TRUST_MARKS": (NOMINATE, ["invariant_2"]),
    "TRUST_FILTER": (NOMINATE, ["invariant_2"]),
    "NO_RESCUE": (NOMINATE, ["invariant_2"]),
    "NO_FIRST_CLEAR": (REVIVE, ["invariant_2"]),
    "NO_SECOND_CLEAR": (REVIVE, ["invariant_2"]),
    "NO_SECOND_VERIFY": (REVIVE, ["invariant_2"]),
    "NOT_HIDDEN": (REVIVE, ["invariant_2"]),
    "HOLD_ONE_BY_ONE": ("OBJECTS=3 SLOTS=1 ALL_SUSPECT", ["invariant_5"]),
    "NO_HOLD": ("OBJECTS=3 SLOTS=1 ALL_SUSPECT", ["invariant_5"]),
}

# situation: configuration
WITNESSES = {
    "STALE": NOMINATE,
    "GREY": NOMINATE,
    "FALSE_SUSPECT": NOMINATE,
    "DOOMED": NOMINATE,
    "REUSED": SNAPSHOT,
    "KEPT": NOMINATE,
    "HELD_LATER": NOMINATE,
    "REVIVED": REVIVE,
    "WEAK_AGAIN": REVIVE,
}


def command(words, folder, timeout_s=TIMEOUT_S):
    """Run; returns (exit status or None for a timeout, output)."""
    try:
        done = subprocess.run(words, cwd=folder, stdin=subprocess.DEVNULL, timeout=timeout_s,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except subprocess.TimeoutExpired as error:
        return None, (error.stdout or b"").decode(errors="replace")
    return done.returncode, done.stdout.decode(errors="replace")


def search(definitions, depth, hash_bits, optimize):
    """Generate, compile and run the checker; returns (problem or None, its output)."""
    with tempfile.TemporaryDirectory(prefix="neve-model-") as folder:
        defines = [f"-D{word}" for word in definitions.split()]
        status, output = command(["spin", "-a", *defines, str(MODEL)], folder)
        if status != 0 or "Error" in output:
            return "spin does not accept the model", output
        # Safety only: no acceptance cycles.  One process, so partial orders have nothing to reduce.
        status, output = command(["gcc", optimize, "-w", "-DSAFETY", "-DNOREDUCE",
                                  f"-DMEMLIM={MEMORY_MB}", "-o", "pan", "pan.c"], folder)
        if status != 0:
            return "the checker does not compile", output
        status, output = command(["./pan", f"-m{depth}", f"-w{hash_bits}"], folder)
        return (f"the checker ran for over {TIMEOUT_S} s" if status is None else None), output


def judge(output):
    """What the checker's report says: (problem or None, failed assertion or None, figures)."""
    found = re.search(r"errors: (\d+)", output)
    states = re.search(r"(\d+) states, stored", output)
    depth = re.search(r"depth reached (\d+)", output)
    if not (found and states and depth):
        return "the checker gave no report", None, ""
    figures = f"{int(states.group(1)):,} states, depth {int(depth.group(1)):,}"
    failed = re.search(r"pan:\d+: (.*) \(at depth", output)
    if failed:
        name = re.search(r"\|\|\s*(\w+)\)\s*$", failed.group(1))
        return None, name.group(1) if name else failed.group(1), figures
    if int(found.group(1)) != 0:
        return "the checker counts errors and names none", None, figures
    if re.search(r"max search depth too small|out of memory|memory limit|not completed", output,
                 re.I):
        return "the state space was not searched to its end", None, figures
    return None, None, figures


def check_pass(name):
    definitions, depth, hash_bits = PASSES[name]
    problem, output = search(definitions, depth, hash_bits, "-O2")
    if problem:
        return problem, "", output
    problem, failed, figures = judge(output)
    if failed:
        problem = f"{failed} does not hold"
    return problem, figures, output


def check_found(definition, definitions, expected):
    """`definition` must make one of the `expected` assertions fail."""
    problem, output = search(f"{definitions} {definition}", 1_000_000, 22, "-O1")
    if problem:
        return problem, "", output
    problem, failed, figures = judge(output)
    if problem is None and failed is None:
        problem = f"{' or '.join(expected)} was expected to fail, and nothing did"
    elif problem is None and failed not in expected:
        problem = f"{' or '.join(expected)} was expected to fail, and {failed} did"
    return problem, figures if problem else f"{failed}, {figures}", output


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message):
        sys.stderr.write(f"{self.prog}: {message}; --help lists the options\n")
        sys.exit(2)


def main():
    checks = {name: (check_pass, name) for name in PASSES}
    checks |= {f"fault {name}": (check_found, f"FAULT_{name}", definitions, expected)
               for name, (definitions, expected) in FAULTS.items()}
    checks |= {f"occurs {name}": (check_found, f"WITNESS_{name}", definitions, ["witness"])
               for name, definitions in WITNESSES.items()}
    parser = Parser(prog="run_model.py", description=__doc__, allow_abbrev=False,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the names of the checks")
    parser.add_argument("checks", nargs="*", metavar="CHECK", help="names; all of them by default")
    args = parser.parse_args()
    for name in args.checks:
        if name not in checks:
            parser.error(f"no check '{name}', see --list")
    if args.list:
        print("\n".join(checks))
        return 0
    for tool, package in (("spin", "spin"), ("gcc", "gcc")):
        if shutil.which(tool) is None:
            parser.error(f"{tool} is not installed (apt package {package}; make deps)")
    chosen = args.checks or list(checks)
    print(f"1..{len(chosen)}", flush=True)
    failures = 0
    for number, name in enumerate(chosen, 1):
        start = time.monotonic()
        function, *arguments = checks[name]
        problem, figures, output = function(*arguments)
        seconds = time.monotonic() - start
        if problem is None:
            print(f"ok {number} - {name} # {figures}, {seconds:.0f} s", flush=True)
            continue
        failures += 1
        print(f"not ok {number} - {name}: {problem} # {figures}", flush=True)
        for line in output.splitlines()[-40:]:
            print(f"# {line}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
