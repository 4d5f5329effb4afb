# SPDX-License-Identifier: MIT
"""Benchmark: instructions that programs which allocate little execute under Neve and on stock CPython.

This file is responsible for the target "programs with almost no garbage lose nothing: within 1% by instruction count
on five programs that allocate little". Callgrind counts, so the figures hardly vary with the load of the machine; it
also makes the programs some fifty times slower.

    /usr/bin/python3 bench/python/bench_little.py
    /usr/bin/python3 bench/python/bench_little.py --only-programs sort --scale 0.2

Every program is this same script, with all its imports, so one run that only starts and ends, counted for each
configuration, is what starting costs; it is subtracted and shown in a row of its own. What is left is the program's.
"""

import argparse
import array
import hashlib
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import zlib

import common

TARGET = 0.01
CALLGRIND_TIMEOUT_S = 900
NOTHING = "start"


# --- the programs: `scale` is 1 for about a third of a second of work ---------------------------------------


class Machine:
    """Counters that methods step; all numbers stay within those that the interpreter keeps ready."""

    def __init__(self):
        self.state = 1
        self.carry = 0

    def step(self, value):
        self.state = (self.state + value) & 127
        if self.state > 64:
            self.turn()
        return self.state

    def turn(self):
        self.carry ^= self.state & 1


def methods(scale):
    """Calls of methods, attributes, small integers."""
    machine = Machine()
    steps = bytes(range(128)) * 8
    total = 0
    for _ in range(int(1200 * scale)):
        for value in steps:
            total = (total + machine.step(value)) & 63
    return total


def sieve(scale):
    """A sieve and a search in byte arrays and arrays of doubles, written out as loops."""
    size = int(2_500_000 * scale)
    flags = bytearray([1]) * size
    for number in range(2, int(size ** 0.5) + 1):
        if flags[number]:
            flags[number * number::number] = bytes(len(range(number * number, size, number)))
    lookup = bytes(range(0, 256, 2)) + bytes(range(1, 256, 2))
    state = 0
    for flag in flags:
        state = lookup[state ^ flag]
    values = array.array("d", [0.5]) * 1000
    for _ in range(int(2_000 * scale)):
        low = 1.0
        for value in values:
            if value < low:
                low = value
    return state, low


def sort(scale):
    """Sorting the same numbers and texts again and again."""
    draw = random.Random(1)
    numbers = [draw.randrange(1 << 40) for _ in range(20_000)]
    texts = [str(number) for number in numbers]
    for _ in range(max(1, int(40 * scale))):
        numbers.sort()
        texts.sort()
        # A perfect shuffle, and a cut: the next sort finds runs that are short or few.
        numbers = numbers[1::2] + numbers[::2]
        texts = texts[7_000:] + texts[:7_000]
    return numbers[0], texts[0]


def search(scale):
    """Regular expressions over a text in which little is found."""
    draw = random.Random(1)
    words = ["".join(draw.choice("abcdefgh") for _ in range(3 + number % 7)) for number in range(500)]
    text = " ".join(draw.choice(words) for _ in range(60_000))
    found = 0
    for pattern in (r"h[a-d]{9}", r"\b(\w)\1\1\1\w*", r"(ab|cd)+(ef|gh){3}", r"[aeg]{12}"):
        expression = re.compile(pattern)
        for _ in range(max(1, int(3 * scale))):
            found += sum(1 for _ in expression.finditer(text))
    return found


def buffers(scale):
    """Compression and digests of large buffers."""
    letters = bytes(number % 24 for number in range(256))
    block = random.Random(1).randbytes(200_000).translate(letters)
    total = 0
    for _ in range(max(1, int(15 * scale))):
        packed = zlib.compress(block, 6)
        total += len(packed) + zlib.crc32(zlib.decompress(packed)) + hashlib.sha256(block).digest()[0]
        block = block[1:] + block[:1]
    return total


PROGRAMS = {"methods": methods, "sieve": sieve, "sort": sort, "search": search, "buffers": buffers}


# --- counting ----------------------------------------------------------------------------------------------


def measure(parameters):
    """One program; run_child is not used, since the child runs inside callgrind."""
    result = None
    if parameters["program"] != NOTHING:
        result = PROGRAMS[parameters["program"]](parameters["scale"])
    return {"result": repr(result)}


def count_instructions(configuration, program, scale):
    """Instructions of one child, and what it computed."""
    parameters = json.dumps({"configuration": configuration, "program": program, "scale": scale})
    with tempfile.TemporaryDirectory(prefix="neve-bench-") as folder:
        profile = os.path.join(folder, "callgrind.out")
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}", sys.executable]
        if configuration == "neve":
            command += ["-m", "neve"]
        command += [os.path.abspath(__file__), "--child", parameters]
        try:
            done = subprocess.run(command, env=common.environment_for(configuration), stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=CALLGRIND_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise common.Failure(f"did not end within {CALLGRIND_TIMEOUT_S} s: try a smaller --scale") from None
        if done.returncode != 0:
            raise common.Failure(common.last_line(done.stderr) or f"ended with status {done.returncode}")
        with open(profile, encoding="utf-8", errors="replace") as lines:
            totals = [line for line in lines if line.startswith(("summary:", "totals:"))]
    common.expect(totals, "callgrind wrote no totals")
    return int(totals[-1].split()[1]), json.loads(common.last_line(done.stdout))["result"]


def count_in_turn(options):
    """{program: {configuration: [instructions, ...]}}, and the exit status."""
    configurations = list(options.configurations)
    status = 0
    if "neve" in configurations:
        try:
            common.check_neve()
        except (common.Failure, subprocess.TimeoutExpired) as problem:
            common.complain(problem)
            configurations.remove("neve")
            status = 1
    counts = {}
    for program in [NOTHING, *options.only_programs]:
        counts[program] = {configuration: [] for configuration in configurations}
        results = set()
        for run in range(options.runs):
            for configuration in list(counts[program]):
                common.show_progress(f"{program}: {common.LABELS[configuration]}, run {run + 1} of {options.runs}")
                try:
                    instructions, result = count_instructions(configuration, program, options.scale)
                except common.Failure as failure:
                    common.show_progress("")
                    common.complain(f"{program}, {common.LABELS[configuration]}: {failure}")
                    del counts[program][configuration]
                    status = 1
                    continue
                counts[program][configuration].append(instructions)
                results.add(result)
        common.show_progress("")
        if len(results) > 1:
            common.complain(f"{program}: the configurations computed different results: {sorted(results)}")
            status = 1
    return counts, status


def make_rows(counts):
    """Medians, less what starting costs."""
    starts = {configuration: statistics.median(values) for configuration, values in counts[NOTHING].items()}
    rows = []
    for program, by_configuration in counts.items():
        row = {"program": program}
        for configuration in ("stock", "neve"):
            values = by_configuration.get(configuration)
            row[configuration] = None
            if values and configuration in starts:
                row[configuration] = statistics.median(values) - (starts[configuration] if program != NOTHING else 0)
        both = row["stock"] is not None and row["neve"] is not None
        row["ratio"] = common.ratio(row["neve"], row["stock"]) if both else None
        rows.append(row)
    return rows


def scale_of(text):
    value = float(text)
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError("must be more than 0 and at most 100")
    return value


def drive():
    parser = common.make_parser("Instructions of programs that allocate little, counted by callgrind.")
    parser.set_defaults(runs=1)
    parser.add_argument("--only-programs", type=common.name_list(tuple(PROGRAMS)), default=list(PROGRAMS),
                        metavar="LIST", help=f"programs (default all), of: {', '.join(PROGRAMS)}")
    parser.add_argument("--scale", type=scale_of, default=1.0, metavar="X",
                        help="work, as a multiple of the default (default 1, about 20 s for each count)")
    options = parser.parse_args()
    common.check_json_file(parser, options)
    if shutil.which("valgrind") is None:
        common.complain("valgrind is not installed, and nothing can be counted: `sh tools/deps.sh bench` installs it")
        return 1

    counts, status = count_in_turn(options)
    rows = make_rows(counts)
    print(f"bench_little: million instructions in programs that allocate little, medians of {options.runs}")
    print(common.machine_line() + "\n")
    common.print_table(
        ["program", "stock", "Neve", "Neve/stock"],
        [[row["program"], *(common.number(value / 1e6 if value is not None else None, 1)
                            for value in (row["stock"], row["neve"])), common.number(row["ratio"], 4)]
         for row in rows])
    print(f"\n{NOTHING}: importing the modules and ending; subtracted from the other rows. Below 1 Neve executes fewer.")
    judged = [row for row in rows if row["ratio"] is not None and row["program"] != NOTHING]
    if judged:
        worst = max(judged, key=lambda row: row["ratio"])
        verdict = "met" if worst["ratio"] <= 1 + TARGET else "missed"
        print(f"Target: at most {1 + TARGET:.2f} of stock's instructions: {verdict}, "
              f"worst {worst['ratio']:.4f} ({worst['program']}).")
        more = [f"{row['program']} {row['ratio']:.4f}" for row in judged if row["ratio"] > 1 + TARGET]
        print(f"Over it: {', '.join(more) or 'none'}.")
    common.write_json(options, "bench_little", rows, counts)
    return status


if __name__ == "__main__":
    common.main(measure, drive)
