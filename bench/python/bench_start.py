# SPDX-License-Identifier: MIT
"""Benchmark: what starting under Neve costs a program that does nothing.

This file is responsible for the CPU time of `python -m neve -c pass` beside `python -c pass`, with
bytecode caches as installed packages have them. The least of many runs is what the work costs; what is above it is
the machine's.

    /usr/bin/python3 bench/python/bench_start.py
"""

import os
import statistics
import sys

import common

WORDS = {"stock": ["-c", "pass"], "neve": ["-m", "neve", "-c", "pass"]}


def cpu_seconds(configuration):
    """User and system time of one process that starts and ends."""
    environment = common.environment_for(configuration)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    pid = os.posix_spawn(sys.executable, [sys.executable, *WORDS[configuration]], environment)
    _, status, usage = os.wait4(pid, 0)
    common.expect(status == 0, "the interpreter did not end with status 0")
    return usage.ru_utime + usage.ru_stime


def drive():
    options = common.make_parser("What starting costs.").parse_args()
    starts = 20 * options.runs
    try:
        if "neve" in options.configurations:
            common.check_neve()
        times = {configuration: [] for configuration in options.configurations}
        for _ in range(starts):
            for configuration in times:
                times[configuration].append(1e3 * cpu_seconds(configuration))
    except common.Failure as failure:
        common.complain(failure)
        return 1
    print(f"CPU time of a start, {starts} of each in turn ({common.machine_line()})\n")
    common.print_table(["", "least ms", "median ms"],
                       [[common.LABELS[name], f"{min(values):.1f}", f"{statistics.median(values):.1f}"]
                        for name, values in times.items()])
    if len(times) == 2:
        print(f"\nNeve costs {min(times['neve']) - min(times['stock']):.1f} ms more (aim: under 10)")
    return 0


if __name__ == "__main__":
    common.main(None, drive)
