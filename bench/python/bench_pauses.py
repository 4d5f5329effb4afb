# SPDX-License-Identifier: MIT
"""Benchmark: pauses, collector time and memory of programs with large heaps, on stock and in Neve's modes.

This file is responsible for the targets of the incremental collector: which programs are measured, at which sizes, and
what is compared with what. Every row of the table is a program or a group of them (docs/measuring.md says what each
does and what the columns mean):

    heap      requests that keep lists over a live heap, in a busy loop, beside a control with the collector off
    server    an asyncio server over a large heap, with a client that does not wait for answers
    linked    the linked lists that broke CPython's incremental collector
    sphinx    a build of 100 pages of Python's manual
    rings     rings of 100,000 objects that die old
    programs  a loop of httpx clients; mypy
    churn     rings of four that die young, aged, or referring to the live heap
    created   a program that never makes a cycle
    garbage   how much garbage there is at worst

    make bench-pauses
    make bench-pauses BENCH_FLAGS="--only heap --sizes 1000000,5000000,10000000"
    make bench-pauses BENCH_FLAGS="--quick --runs 1 --configurations stock,generational"

Each row says for each of its targets whether it is met. A row that fails says why, and the others are measured.
Pictures (SVG) go to build/bench-pauses.
"""

import glob
import math
import os
import re
import statistics
import sys

import common
import pause_workloads
import pictures

CONFIGURATIONS = ("stock", "generational", "incremental")
# Whose pauses grow with the memory, and which is no candidate for the default.
ON_REQUEST = ("snapshot",)
# "No worse" cannot mean that a run time is equal to the last digit: medians of three repeat to about this.
NO_WORSE = 1.02
MS_PER_OBJECT = 40e-6
# A program ends anywhere between two young collections: about what these hold is no difference.
END_SLACK = 2_000

# A hundred pages of the library's part of the manual, large and small: every third by name.
MANUALS = "/usr/share/doc/python3.*/html/_sources/library"
MANUAL = max(glob.glob(MANUALS), key=lambda path: (len(path), path), default=MANUALS.replace("*", "11"))
PAGES = """
__future__ abc argparse asynchat asyncio-dev asyncio-extending asyncio-platforms asyncio-queue
asyncio-subprocess asyncore audit_events binary builtins cgi cmath codecs collections.abc
concurrency configparser contextvars crypt ctypes curses.panel datatypes debug devmode dis
doctest email.compat32-message email.errors email.header email.message email.policy enum
faulthandler fileformats fnmatch ftplib functools getpass graphlib hashlib html http
http.cookies idle imp importlib.resources internet ipaddress json linecache logging.config
mailbox marshal mm modules multiprocessing netrc numbers optparse ossaudiodev persistence pipes
plistlib pprint pwd pydoc queue re resource sched select shlex site sndhdr spwd stat string
subprocess symtable sysconfig tarfile termios threading tk tkinter.dnd tkinter.scrolledtext
token trace tty typing unittest.mock urllib urllib.request uuid wave windows wsgiref xml.dom
""".split()


def number_list(text):
    return [common.positive(word) for word in text.split(",")]


number_list.__name__ = "list of positive numbers"


def positive_float(text):
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError
    return value


positive_float.__name__ = "positive number"

# option: type, full size, size of --quick, meaning
SIZES = {
    "sizes": (number_list, [1_000_000], [20_000], "heap: live containers, one or several sizes"),
    "lists": (common.positive, 20, 20, "heap: lists kept of each request"),
    "growth": (positive_float, 0.6, 0.6,
               "heap: lists kept in all, as a share of the live heap; at least --least-lists"),
    "least-lists": (common.positive, 700_000, 250_000, "heap: see --growth"),
    "server-heap": (common.positive, 5_000_000, 20_000, "server: live containers"),
    "server-rate": (positive_float, 400.0, 200.0, "server: requests per second"),
    "server-seconds": (positive_float, 60.0, 2.0, "server: duration"),
    "server-lists": (common.positive, 150, 150, "server: lists kept of each request"),
    "linked-objects": (common.positive, 20_000_000, 400_000, "linked: objects in all"),
    "pages": (common.positive, 100, 5, "sphinx: pages, at most 100"),
    "ring-heap": (common.positive, 1_000_000, 20_000, "rings: live containers"),
    "ring-objects": (common.positive, 100_000, 10_000, "rings: objects of each"),
    "rings": (common.positive, 60, 12, "rings: how many"),
    "rings-held": (common.positive, 3, 3, "rings: how many are held before the oldest is dropped"),
    "churn-heap": (common.positive, 1_000_000, 20_000, "churn: live containers"),
    "churn-rings": (common.positive, 2_000_000, 100_000, "churn: how many"),
    "aged": (common.positive, 50_000, 5_000, "churn: how many rings an aged one outlives"),
    "created": (number_list, [1_000_000, 2_000_000, 4_000_000, 8_000_000], [50_000, 100_000, 200_000],
                "created: objects, several sizes"),
    "garbage-heap": (common.positive, 100_000, 10_000, "garbage: live containers"),
    "garbage-pairs": (common.positive, 2_000_000, 50_000, "garbage: pairs of lists"),
}
GARBAGE_SHARE = 0.05


# --- the cases of the rows ---------------------------------------------------------------------------------


def heap_cases(options):
    for size in options.sizes:
        requests = math.ceil(max(options.growth * size, options.least_lists) / options.lists)
        for order in ("memory", "shuffled"):
            yield f"heap of {size:,}, {order}", {
                "kind": "heap", "size": size, "order": order, "lists": options.lists, "requests": requests,
                "garbage_share": GARBAGE_SHARE}


def server_cases(options):
    yield f"server over {options.server_heap:,}", {
        "kind": "server", "size": options.server_heap, "order": "shuffled", "lists": options.server_lists,
        "rate": options.server_rate, "seconds": options.server_seconds, "garbage_share": GARBAGE_SHARE}


def linked_cases(options):
    yield f"linked lists, {options.linked_objects:,}", {
        "kind": "linked", "first": 10_000, "list": 20_000, "objects": options.linked_objects}


def sphinx_cases(options):
    pages = PAGES[:options.pages]
    yield f"sphinx, {len(pages)} pages", {"kind": "sphinx", "pages": pages, "sources": options.manual}


def ring_cases(options):
    yield f"rings of {options.ring_objects:,}", {
        "kind": "rings", "size": options.ring_heap, "ring_objects": options.ring_objects, "rings": options.rings,
        "held": options.rings_held}


def program_cases(_):
    for name in ("httpx", "mypy"):
        yield name, {"kind": "program", "program": name}


def churn_cases(options):
    for churn in ("young", "aged", "linked"):
        yield f"churn, {churn}", {"kind": "churn", "churn": churn, "size": options.churn_heap,
                                  "rings": options.churn_rings, "aged": options.aged}


def created_cases(options):
    for objects in options.created:
        yield f"created, {objects:,}", {"kind": "created", "objects": objects}


def garbage_cases(options):
    yield f"garbage beside {options.garbage_heap:,}", {
        "kind": "garbage", "size": options.garbage_heap, "pairs": options.garbage_pairs}


# --- what is shown and judged ------------------------------------------------------------------------------

# figure: head of its column, digits
COLUMNS = {
    "wall_s": ("run s", 2), "cpu_s": ("CPU s", 2), "collector_s": ("collector s", 3),
    "stat_pause_total_s": ("by stats s", 3), "pause_max_ms": ("pause ms", 2), "pause_p99_ms": ("pause p99", 3),
    "stat_pause_max_ms": ("stats ms", 2), "stat_pause_p99_ms": ("stats p99", 3),
    "stat_slice_max_ms": ("slice ms", 2), "gap_ms": ("gap ms", 2), "control_gap_ms": ("control ms", 2),
    "over_control_ms": ("over ms", 2), "lap_cpu_ms": ("request CPU ms", 2), "whole": ("whole", 0),
    "largest_collected": ("most at once", 0), "peak_mb": ("peak MB", 1),
    "latency_p50_ms": ("p50 ms", 2), "latency_p99_ms": ("p99 ms", 2),
    "latency_p999_ms": ("p99.9 ms", 2), "latency_max_ms": ("longest ms", 2), "client_late_ms": ("client p99.9", 2),
    "garbage": ("garbage", 0), "rings_per_s": ("rings/s", 0), "stat_largest_group": ("largest group", 0),
}
COMMON_COLUMNS = ("cpu_s", "collector_s", "stat_pause_total_s", "pause_max_ms", "pause_p99_ms", "stat_pause_max_ms",
                  "stat_pause_p99_ms", "stat_slice_max_ms")


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def figures_of(runs):
    """The medians of everything that is a number, the Neve statistics among them, None where there are none."""
    row = {key: median([run[key] for run in runs])
           for key, value in runs[0].items() if isinstance(value, (int, float)) or value is None}
    for key in runs[0]["statistics"] or {}:
        row["stat_" + key] = median([run["statistics"][key] for run in runs])
    # Whole passes over the old generation: cycles where there are cycles, else full collections.
    row["whole"] = median([(run["statistics"] or {}).get("cycles") or run["collections"][2] for run in runs])
    controls = [run["control"]["gap_ms"] for run in runs if "control" in run]
    row["control_gap_ms"] = median(controls)
    row["over_control_ms"] = median([max(0.0, run["gap_ms"] - run["control"]["gap_ms"])
                                     for run in runs if "control" in run])
    row["digests"] = sorted({run["digest"] for run in runs if "digest" in run})
    return row


class Judge:
    """Compares the figures of one case under one of Neve's configurations with its targets."""

    def __init__(self, row, case, configuration, neve, stock):
        self.row, self.case, self.configuration = row, case, configuration
        self.neve, self.stock = neve, stock
        self.checks = []

    def note(self, target, value, limit, is_met, digits=3):
        self.checks.append({"row": self.row, "case": self.case, "configuration": self.configuration,
                            "target": target, "value": value, "limit": limit, "digits": digits, "met": is_met})

    def at_most(self, figure, limit, text):
        value = self.neve.get(figure)
        if value is not None:
            self.note(text, value, limit, value <= limit)

    def at_least(self, figure, limit, text):
        value = self.neve.get(figure)
        if value is not None:
            self.note(text, value, limit, value >= limit)

    def of_stock(self, figure, limit, text, is_at_least=False):
        if not self.stock or self.neve.get(figure) is None:
            return
        quotient = common.ratio(self.neve[figure], self.stock.get(figure))
        if quotient is not None:
            self.note(f"{text} / stock's", quotient, limit, quotient >= limit if is_at_least else quotient <= limit)

    def same_output(self):
        if self.stock:
            digests = self.neve["digests"] + self.stock["digests"]
            self.note("different outputs", len(set(digests)), 1, len(set(digests)) == 1, digits=0)


def judge_heap(judge):
    judge.at_most("pause_max_ms", 1.0, "longest pause, CPU ms")
    if judge.configuration == "incremental":
        judge.at_most("stat_slice_max_ms", 1.0, "longest slice by the statistics, ms")
    judge.at_most("over_control_ms", 1.0, "longest gap over the control's, ms")
    judge.at_most("pause_p99_ms", 0.6, "p99 of the pauses, CPU ms")
    judge.of_stock("collector_s", 0.5, "collector CPU")
    judge.of_stock("peak_mb", 1.05, "peak RSS")
    judge.at_least("whole", 2, "whole cycles, at least")


def judge_server(judge):
    judge.at_most("latency_p999_ms", 5.0, "p99.9 of the latencies, ms")


def judge_linked(judge):
    judge.of_stock("peak_mb", 1.1, "peak RSS")
    judge.of_stock("collector_s", 1.1, "collector CPU")


def judge_sphinx(judge):
    judge.of_stock("collector_s", 0.25, "collector CPU")
    judge.of_stock("wall_s", 0.65, "run time")
    judge.of_stock("peak_mb", 1.1, "peak RSS")
    judge.at_most("pause_max_ms", max(5.0, MS_PER_OBJECT * (judge.neve["stat_largest_group"] or 0)),
                  "longest pause, CPU ms")
    judge.same_output()


def judge_rings(judge):
    judge.of_stock("peak_mb", 1.1, "peak RSS")
    judge.of_stock("garbage", 1.1, "garbage at worst")
    judge.of_stock("wall_s", NO_WORSE, "run time")
    judge.at_most("pause_max_ms", 10.0, "longest pause, CPU ms")


def judge_programs(judge):
    judge.of_stock("peak_mb", 1.1, "peak RSS")
    if judge.stock:
        judge.at_most("garbage", 1.1 * judge.stock["garbage"] + END_SLACK, "garbage at the end, objects")
    judge.of_stock("wall_s", NO_WORSE, "run time")
    judge.same_output()


def judge_churn(judge):
    judge.of_stock("rings_per_s", 5.0 if judge.case.endswith("aged") else 1.0, "at least, rings/s", is_at_least=True)
    judge.at_most("pause_max_ms", 1.0, "longest pause, CPU ms")


def judge_garbage(judge):
    judge.at_most("garbage", 3 * judge.neve["threshold"], "garbage at worst, objects")


ROWS = {
    # row: cases, judge of one case, columns besides the common ones
    "heap": (heap_cases, judge_heap, ("gap_ms", "control_gap_ms", "over_control_ms", "lap_cpu_ms", "whole",
                                      "peak_mb")),
    "server": (server_cases, judge_server, ("latency_p50_ms", "latency_p99_ms", "latency_p999_ms", "latency_max_ms",
                                            "client_late_ms", "whole", "peak_mb")),
    "linked": (linked_cases, judge_linked, ("whole", "peak_mb")),
    "sphinx": (sphinx_cases, judge_sphinx, ("wall_s", "stat_largest_group", "whole", "peak_mb")),
    "rings": (ring_cases, judge_rings, ("wall_s", "gap_ms", "garbage", "stat_largest_group", "whole", "peak_mb")),
    "programs": (program_cases, judge_programs, ("wall_s", "garbage", "largest_collected", "whole", "peak_mb")),
    "churn": (churn_cases, judge_churn, ("gap_ms", "rings_per_s", "whole", "peak_mb")),
    "created": (created_cases, None, ("gap_ms", "whole", "peak_mb")),
    "garbage": (garbage_cases, judge_garbage, ("gap_ms", "garbage", "whole", "peak_mb")),
}
LINEAR = 1.2


def growth_exponent(points):
    """The slope of collector time over objects on logarithmic scales, by least squares: 1 linear, 2 quadratic."""
    points = [(math.log(objects), math.log(seconds)) for objects, seconds in points if seconds > 0]
    if len({objects for objects, _ in points}) < 2:
        return None
    mean_x, mean_y = (statistics.fmean(column) for column in zip(*points))
    return (sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points))


def judge_row(row, figures, parameters):
    """All checks of a row. `figures` is {case: {configuration: figures}}."""
    checks = []
    for case, by_configuration in figures.items():
        for configuration, neve in by_configuration.items():
            if configuration in common.NEVE_MODES and ROWS[row][1]:
                judge = Judge(row, case, configuration, neve, by_configuration.get("stock"))
                ROWS[row][1](judge)
                checks += judge.checks
    if row == "created":
        for configuration in CONFIGURATIONS + ON_REQUEST:
            exponent = growth_exponent([(parameters[case]["objects"], by_configuration[configuration]["collector_s"])
                                        for case, by_configuration in figures.items()
                                        if configuration in by_configuration])
            if exponent is not None and configuration in common.NEVE_MODES:
                judge = Judge(row, "all sizes", configuration, {}, None)
                judge.note("collector time ~ objects to the power", exponent, LINEAR, exponent <= LINEAR)
                checks += judge.checks
            elif exponent is not None:
                print(f"Stock: collector time grows with the objects to the power {exponent:.2f}.")
    return checks


# --- measuring ---------------------------------------------------------------------------------------------


def measure(parameters):
    return pause_workloads.RUN[parameters["kind"]](parameters)


def run_one(timeout_s):
    """One measurement; of a heap also its control, right after it and under the same configuration."""
    def run(configuration, parameters):
        report = common.run_child(configuration, parameters, timeout_s)
        if parameters["kind"] == "heap":
            control = common.run_child(configuration, dict(parameters, control=True), timeout_s)
            del control["samples"]
            report["control"] = control
        return report
    return run


# --- pictures ----------------------------------------------------------------------------------------------


def typical(runs):
    """The run whose longest pause is the median: the one that is drawn."""
    return sorted(runs, key=lambda run: run["pause_max_ms"])[(len(runs) - 1) // 2]


def pause_samples(run):
    """What is drawn as the pauses of a run, in milliseconds, and what it is."""
    samples = run["samples"]
    if "latencies" in samples:
        kind, name = "latencies", "latency"
    elif run.get("gap_ms") is not None:
        kind, name = "gaps", "gap in the program's loop"
    else:
        kind, name = "pauses", "collector's pause, CPU time"
    times_us, values_us = samples[kind]
    return [(time_us / 1e6, value_us / 1e3) for time_us, value_us in zip(times_us, values_us)], name


def draw(folder, case, reports):
    """The three pictures of a case; returns their paths."""
    stem = os.path.join(folder, re.sub(r"[^a-z0-9]+", "-", case.lower().replace(",", "")).strip("-"))
    drawn = {configuration: typical(runs) for configuration, runs in reports.items() if runs}
    if not drawn:
        return []
    name = pause_samples(next(iter(drawn.values())))[1]
    over_time = pictures.Chart(f"{case}: pauses", pictures.Axis("time", "s"), pictures.Axis(name, "ms", is_log=True))
    distribution = pictures.Chart(f"{case}: distribution of pauses", pictures.Axis(name, "ms", is_log=True),
                                  pictures.Axis("how many are at least as long", is_log=True))
    memory = pictures.Chart(f"{case}: memory", pictures.Axis("time", "s"), pictures.Axis("resident", "MB"))
    for configuration, run in drawn.items():
        label = common.LABELS[configuration]
        points, _ = pause_samples(run)
        over_time.add(label, pictures.thin_dots(points), "dots")
        distribution.add(label, pictures.thin_steps(pictures.counts_at_least([point[1] for point in points])), "steps")
        times_us, megabytes = run["samples"]["memory"]
        memory.add(label, [(time_us / 1e6, value) for time_us, value in zip(times_us, megabytes)])
    paths = []
    for suffix, chart in (("pauses", over_time), ("distribution", distribution), ("memory", memory)):
        paths.append(f"{stem}-{suffix}.svg")
        chart.write(paths[-1])
    return paths


# --- the driver --------------------------------------------------------------------------------------------


def print_row(row, figures):
    columns = [*COMMON_COLUMNS, *ROWS[row][2]]
    # A column without any figure says nothing.
    columns = [column for column in columns
               if any(by.get(column) is not None for case in figures.values() for by in case.values())]
    cells = [[case, common.LABELS[configuration],
              *(common.number(by.get(column), COLUMNS[column][1]) for column in columns)]
             for case, by_configuration in figures.items() for configuration, by in by_configuration.items()]
    if cells:
        print(f"\n== {row}")
        common.print_table(["case", "configuration", *(COLUMNS[column][0] for column in columns)], cells, left=2)
        sys.stdout.flush()


def print_checks(checks):
    if not checks:
        print("\nNothing was measured that has a target: that takes one of Neve's configurations, and stock.")
        return
    print("\n== targets")
    common.print_table(
        ["case", "configuration", "target", "measured", "limit", ""],
        [[check["case"], common.LABELS[check["configuration"]], check["target"],
          common.number(check["value"], check["digits"]), common.number(check["limit"], check["digits"]),
          "met" if check["met"] else "MISSED"] for check in checks], left=3)
    for configuration in CONFIGURATIONS + ON_REQUEST:
        own = [check["met"] for check in checks if check["configuration"] == configuration]
        if own:
            print(f"{common.LABELS[configuration]}: {sum(own)} met, {len(own) - sum(own)} missed.")


def parse_command_line():
    parser = common.make_parser("Pauses, collector time and memory of programs with large heaps.", CONFIGURATIONS,
                                "--configurations", runs=3, others=ON_REQUEST)
    parser.add_argument("--only", dest="rows", type=common.name_list(tuple(ROWS)), default=list(ROWS), metavar="LIST",
                        help=f"rows, of {','.join(ROWS)} (default all)")
    parser.add_argument("--quick", action="store_true", help="small sizes, for trying out: no figure means anything")
    for name, (kind, full, quick, meaning) in SIZES.items():
        shown = [",".join(map(str, size)) if isinstance(size, list) else size for size in (full, quick)]
        parser.add_argument(f"--{name}", type=kind, metavar="N",
                            help=f"{meaning} (default {shown[0]}, quick {shown[1]})")
    parser.add_argument("--manual", metavar="FOLDER", default=MANUAL,
                        help="sphinx: where the sources of the library's pages are (default %(default)s)")
    parser.add_argument("--timeout", type=positive_float, default=3600.0, metavar="S",
                        help="seconds for one process (default 3600)")
    parser.add_argument("--pictures", metavar="FOLDER", default=os.path.join(common.CHECKOUT, "build", "bench-pauses"),
                        help="where the pictures go (default build/bench-pauses)")
    options = parser.parse_args()
    for name, (_, full, quick, _) in SIZES.items():
        attribute = name.replace("-", "_")
        if getattr(options, attribute) is None:
            setattr(options, attribute, quick if options.quick else full)
    if options.pages > len(PAGES):
        parser.error(f"argument --pages: there are {len(PAGES)}")
    common.check_json_file(parser, options)
    common.make_folder(parser, options.pictures)
    return options


def drive():
    options = parse_command_line()
    print(f"bench_pauses: medians of {options.runs}{', QUICK sizes: no figure means anything' * options.quick}")
    print(common.machine_line(), flush=True)
    cases_of = {row: dict(ROWS[row][0](options)) for row in options.rows}
    results, figures, checks, drawn = {}, {}, [], []
    # Asked once, and said once, not again for each row.
    options.configurations, status = common.usable_configurations(options.configurations)
    for row, cases in cases_of.items():
        row_results, row_status = common.run_in_turn(options, cases, run_one(options.timeout))
        status = status or row_status
        row_figures = {case: {configuration: figures_of(runs) for configuration, runs in reports.items() if runs}
                       for case, reports in row_results.items()}
        print_row(row, row_figures)
        checks += judge_row(row, row_figures, cases)
        for case, reports in row_results.items():
            drawn += draw(options.pictures, case, reports)
        results.update(row_results)
        figures.update(row_figures)
    print_checks(checks)
    if any(check["target"] == "different outputs" and not check["met"] for check in checks):
        common.complain("a program's output is not the same everywhere")
        status = 1
    if drawn:
        print(f"{len(drawn)} pictures in {os.path.relpath(options.pictures)}")
    common.write_json(options, "bench_pauses", {"figures": figures, "checks": checks}, results)
    return status


if __name__ == "__main__":
    common.main(measure, drive)
