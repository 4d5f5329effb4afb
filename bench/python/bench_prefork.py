# SPDX-License-Identifier: MIT
"""Benchmark: what the workers of a pre-fork server come to own, and how long their answers take.

This file is responsible for the experiment at full size: a Django project of thirty applications with about
650,000 objects loaded before the fork, gunicorn --preload with four sync workers, wrk on 127.0.0.1, at least 3,000
requests of each worker. Two cases: requests that keep nothing, and requests that keep 250 lists each, so that full
collections happen. prefork_server.py owns the processes, prefork_site/ is the project.

    make bench-prefork                                              # 3.11, 3.13, the newest; about an hour
    make bench-prefork PYTHON=/path/to/python3.14                   # one interpreter
    make bench-prefork BENCH_FLAGS="--only stock,freeze,prefork --cases nothing"
    make bench-prefork BENCH_FLAGS=--quick                          # a minute; no figure means anything

Pictures and a report in Markdown go to build/bench-prefork/<cache tag>.
"""

import os
import re
import signal
import statistics
import sys

import common
import pictures
import prefork_server

CONFIGURATIONS = ("stock", "freeze", "off", "neve", "incremental", "prefork")
# The name on the command line: the page that is asked for, and the case's name.
CASES = {"nothing": ("page", "requests that keep nothing"), "lists": ("kept", "requests that keep 250 lists")}
KEPT_LISTS = 250
# So many requests of a worker had come in the measurement that the targets were taken from.
BASELINE_REQUESTS = 880
TARGET_MB = 12.0 if sys.version_info < (3, 12) else 6.0
TARGET_P99 = 1.05
# option: full size, size of --quick, meaning
SIZES = {
    "apps": (30, 3, "applications"),
    "entries": (41_000, 300, "entries of the catalogue that they share, 14 objects each"),
    "workers": (4, 2, "workers"),
    "requests": (3_000, 40, "requests that each worker answers at least"),
}
KB_PER_MB = 1024
# What `neve cow` calls them, in the order of its table: heads of the columns, kB.
CAUSES = {"new": "fresh", "same": "counts up and down", "count": "counts", "head": "heads", "cache": "caches, bytecode",
          "link": "links", "freed": "freed", "allocated": "allocated", "body": "contents", "other": "other"}


# --- figures -----------------------------------------------------------------------------------------------


def value_at(rows, requests, column):
    """The column of a worker's samples when it had answered so many requests, between two samples on the line; None
    when it has not."""
    for before, after in zip(rows, rows[1:]):
        if before[1] <= requests <= after[1]:
            share = (requests - before[1]) / (after[1] - before[1]) if after[1] > before[1] else 1
            return before[column] + share * (after[column] - before[column])
    return None


def slope_of(points):
    """Of a line through the points, by least squares; None where there is no line."""
    if len({x for x, _ in points}) < 2:
        return None
    mean_x, mean_y = (statistics.fmean(column) for column in zip(*points))
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def mean(values):
    values = list(values)
    return None if not values or None in values else statistics.fmean(values)


def in_mb(kilobytes):
    return None if kilobytes is None else kilobytes / KB_PER_MB


def figures_of(report, requests):
    """What the table shows of one run: means over the workers, and the worst of them."""
    workers, load = report["samples"], report["load"]
    half = [[(row[1], row[2]) for row in rows if row[1] >= requests / 2] for rows in workers]
    return {
        "before_mb": in_mb(mean(rows[0][2] for rows in workers)),
        "baseline_mb": in_mb(mean(value_at(rows, BASELINE_REQUESTS, 2) for rows in workers)),
        "end_mb": in_mb(mean(value_at(rows, requests, 2) for rows in workers)),
        "worst_mb": in_mb(max(rows[-1][2] for rows in workers)),
        "pss_mb": in_mb(mean(value_at(rows, requests, 3) for rows in workers)),
        "shared_mb": in_mb(mean(value_at(rows, requests, 4) for rows in workers)),
        "slope_kb": mean(slope_of(points) for points in half),
        "full": mean(state["collections"][2] for state in report["workers"]),
        "full_ms": max(state["longest_full_ms"] for state in report["workers"]),
        "p50_ms": load["p50_ms"], "p99_ms": load["p99_ms"], "p999_ms": load["p999_ms"],
        "per_s": load["requests"] / load["seconds"],
    }


def medians(runs, requests):
    """The figures of all runs of a configuration."""
    figures = [figures_of(run, requests) for run in runs]
    row = {}
    for key in figures[0]:
        values = [one[key] for one in figures if one[key] is not None]
        row[key] = statistics.median(values) if values else None
    row["objects"] = runs[-1]["parent"]["objects"]
    return row


# figure: head of its column, digits
COLUMNS = {
    "before_mb": ("before MB", 1), "baseline_mb": (f"at {BASELINE_REQUESTS} MB", 1), "end_mb": ("end MB", 1),
    "worst_mb": ("worst MB", 1), "pss_mb": ("Pss MB", 1), "shared_mb": ("shared MB", 1),
    "slope_kb": ("kB/request", 2), "full": ("full", 1), "full_ms": ("full CPU ms", 1), "p50_ms": ("p50 ms", 1), "p99_ms": ("p99 ms", 1),
    "p999_ms": ("p99.9 ms", 1), "per_s": ("requests/s", 0),
}


def kept_mb(requests):
    """What the lists take that so many requests keep: the blocks of list and items, and the place in the list of
    them, which grows by an eighth."""
    blocks = (sys.getsizeof([]) + 15) // 16 * 16 + 16
    return KEPT_LISTS * requests * (blocks + 8 * 9 / 8) / 1024 / KB_PER_MB


def judge(case, rows):
    """The targets that the rows of a case allow to judge: (what, value, limit, digits) each."""
    checks = []

    def check(what, value, limit, digits=1):
        if value is not None and limit is not None:
            checks.append({"case": case, "target": what, "value": value, "limit": limit, "digits": digits,
                           "met": value <= limit})

    neve, incremental, prefork, freeze, off = (rows.get(name, {}) for name in (
        "neve", "incremental", "prefork", "freeze", "off"))
    for figure in ("baseline_mb", "end_mb"):
        check(f"Neve, {COLUMNS[figure][0]}: at most that of gc.freeze", neve.get(figure), freeze.get(figure))
    own = kept_mb(BASELINE_REQUESTS) if case == "lists" else 0.0
    check(f"Neve + prefork, {COLUMNS['baseline_mb'][0]}" + (f", {own:.1f} of its own with it" if own else ""),
          prefork.get("baseline_mb"), TARGET_MB + own)
    for name, row in (("neve", neve), ("incremental", incremental), ("prefork", prefork)):
        if row and off:
            check(f"{common.LABELS[name]}: p99 over that with the collector off", row["p99_ms"] / off["p99_ms"],
                  TARGET_P99, 2)
    return checks


# --- what is written ---------------------------------------------------------------------------------------


def table_of(rows):
    return (["configuration", *(head for head, _ in COLUMNS.values())],
            [[common.LABELS[name], *(common.number(row[key], digits) for key, (_, digits) in COLUMNS.items())]
             for name, row in rows.items()])


def causes_table(reports):
    """Of one worker of each configuration, after all its requests; None where nothing was attributed."""
    rows = [[common.LABELS[name], *(f"{runs[-1]['attribution']['causes'].get(cause, 0):,.0f}" for cause in CAUSES)]
            for name, runs in reports.items() if runs[-1]["attribution"]]
    return (["dirty pages, kB", *CAUSES.values()], rows) if rows else None


def checks_table(checks):
    return (["case", "target", "measured", "limit", ""],
            [[check["case"], check["target"], common.number(check["value"], check["digits"]),
              common.number(check["limit"], check["digits"]), "met" if check["met"] else "MISSED"]
             for check in checks])


def markdown_table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def mean_curve(workers, x, y, points=200):
    """The mean over the workers of column y at the same values of column x, up to where all have samples."""
    last = min(rows[-1][x] for rows in workers)
    curve = []
    for step in range(points + 1):
        at = last * step / points
        values = []
        for rows in workers:
            # Of samples between which no request was answered, the last.
            before = max((row for row in rows if row[x] <= at), key=lambda row: (row[x], row[0]))
            after = min((row for row in rows if row[x] >= at), key=lambda row: row[x])
            share = (at - before[x]) / (after[x] - before[x]) if after[x] > before[x] else 0
            values.append(before[y] + share * (after[y] - before[y]))
        curve.append((at, statistics.fmean(values) / KB_PER_MB))
    return curve


def draw(folder, case, reports):
    """Memory over requests and over time; returns the names of the files."""
    names = []
    for x, axis, word in ((1, pictures.Axis("requests of a worker"), "requests"), (0, pictures.Axis("time", "s"), "time")):
        for y, what in ((2, "private dirty"), (3, "Pss")):
            chart = pictures.Chart(f"{CASES[case][1]}: {what} memory of a worker", axis, pictures.Axis(what, "MB"))
            for name, runs in reports.items():
                chart.add(common.LABELS[name], mean_curve(runs[-1]["samples"], x, y))
            names.append(f"{case}-{what.replace(' ', '-').lower()}-{word}.svg")
            chart.write(os.path.join(folder, names[-1]))
    return names


def headline(options):
    return (f"bench_prefork: {options.workers} workers, {options.requests:,} requests of each and more, "
            f"{options.connections} connections, medians of {options.runs}"
            f"{', QUICK sizes: no figure means anything' * options.quick}")


def write_markdown(path, options, tables, causes, checks, drawn):
    parts = [f"# A pre-fork server on {re.sub(' [(].*', '', common.machine_line().split(',')[0])}", "",
             headline(options) + ".", "", common.machine_line() + ".", ""]
    for case, rows in tables.items():
        parts += [f"## {CASES[case][1].capitalize()}", "", markdown_table(*table_of(rows)), ""]
        parts += [markdown_table(*causes[case]), ""] if causes[case] else []
        parts += [f"![{name}]({name})" for name in drawn[case]] + [""]
    if checks:
        parts += ["## Targets", "", markdown_table(*checks_table(checks)), ""]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(parts))


# --- the driver --------------------------------------------------------------------------------------------


def parse_command_line():
    parser = common.make_parser("Memory and latency of gunicorn's workers under load.", CONFIGURATIONS, runs=1)
    parser.add_argument("--cases", type=common.name_list(tuple(CASES)), default=list(CASES), metavar="LIST",
                        help=f"of {','.join(CASES)} (default all)")
    parser.add_argument("--quick", action="store_true", help="small sizes, for trying out: no figure means anything")
    for name, (full, quick, meaning) in SIZES.items():
        parser.add_argument(f"--{name}", type=common.positive, metavar="N",
                            help=f"{meaning} (default {full}, quick {quick})")
    parser.add_argument("--attribution", action="store_true",
                        help="say what made the memory of a worker private, by `neve cow`")
    parser.add_argument("--connections", type=common.positive, metavar="N",
                        help="connections of wrk at a time (default: as many as workers)")
    parser.add_argument("--port", type=port_number, default=0, metavar="N",
                        help="of 127.0.0.1 (default: the system chooses a free one)")
    parser.add_argument("--interval", type=positive_seconds, default=0.5, metavar="S",
                        help="between two samples of memory (default 0.5)")
    parser.add_argument("--timeout", type=positive_seconds, default=600.0, metavar="S",
                        help="for the requests of one run, and for each start and end (default 600)")
    folder = os.path.join(common.CHECKOUT, "build", "bench-prefork", sys.implementation.cache_tag)
    parser.add_argument("--pictures", metavar="FOLDER", default=folder,
                        help="where pictures and report.md go (default build/bench-prefork/<cache tag>)")
    options = parser.parse_args()
    for name, (full, quick, _) in SIZES.items():
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else full)
    options.connections = options.connections or options.workers
    common.check_json_file(parser, options)
    common.make_folder(parser, options.pictures)
    return options


def port_number(text):
    value = int(text)
    if not 0 <= value < 65536:
        raise ValueError
    return value


port_number.__name__ = "port number"


def positive_seconds(text):
    value = float(text)
    if not 0 < value < 1e6:
        raise ValueError
    return value


positive_seconds.__name__ = "positive number of seconds"


def end_by_signal(number, _):
    """The contexts of the servers must be left, whoever ends the benchmark."""
    raise SystemExit(128 + number)


def drive():
    options = parse_command_line()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end_by_signal)
    print(headline(options))
    print(common.machine_line(), flush=True)
    options.configurations, status = common.usable_configurations(options.configurations)
    try:
        prefork_server.require_wrk()
        prefork_server.require_packages("django", "gunicorn")
        prefork_server.listening_socket(options.port).close()
        with prefork_server.site(options.apps, options.entries, options.workers, options.timeout,
                                 options.attribution) as site:
            return measure_all(options, site) or status
    except common.Failure as failure:
        common.complain(failure)
        return 1


def measure_all(options, site):
    def run_one(configuration, parameters):
        return prefork_server.measure(site, configuration, parameters["page"], options.requests, options.connections,
                                      options.port, options.interval, options.timeout)

    results, status = common.run_in_turn(options, {case: {"page": CASES[case][0]} for case in options.cases}, run_one)
    tables, causes, checks, drawn = {}, {}, [], {}
    for case, reports in results.items():
        reports = {name: runs for name, runs in reports.items() if runs}
        rows = {name: medians(runs, options.requests) for name, runs in reports.items()}
        if not rows:
            continue
        print(f"\n== {CASES[case][1]}, over {max(row['objects'] for row in rows.values()):,} objects")
        common.print_table(*table_of(rows))
        causes[case] = causes_table(reports)
        if causes[case]:
            print()
            common.print_table(*causes[case])
        tables[case], drawn[case] = rows, draw(options.pictures, case, reports)
        if not options.quick:
            checks += judge(case, rows)
    if checks:
        print("\n== targets")
        common.print_table(*checks_table(checks), left=2)
    if tables:
        write_markdown(os.path.join(options.pictures, "report.md"), options, tables, causes, checks, drawn)
        print(f"\nreport.md and {sum(map(len, drawn.values()))} pictures in {os.path.relpath(options.pictures)}")
    common.write_json(options, "bench_prefork", {"figures": tables, "checks": checks}, results)
    return status


if __name__ == "__main__":
    # There is no child of common.main here: what is measured are the server's processes.
    common.main(None, drive)
