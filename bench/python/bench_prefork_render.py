# SPDX-License-Identifier: MIT
"""Benchmark: what a forked child dirties that renders Django's templates, which its parent has warmed.

This file is responsible for the target of neve.prefork() on CPython 3.12 and later: under 300 kB for 200 renders.

    /usr/bin/python3 bench/python/bench_prefork_render.py
    build/pythons/3.13/usr/bin/python3.13 bench/python/bench_prefork_render.py --only stock,prefork

The parent loads the site of bench_prefork and renders the pages that will be asked for, as often as --warm says;
it freezes by the configuration, and forks. `render` is Django's render_to_string(), `request` is a whole request
through all middleware, without a server. Growth is that of the child's private dirty memory around the work, read by
the parent while the child waits, and given by what is mapped there: Neve's and the interpreter's pools, malloc's
heap, writable data of programs and libraries.
"""

import contextlib
import gc
import os
import sys
import time

import common
import prefork_server

RENDERS = 200
PAGES = 20
WARM_ROUNDS = 3
TARGET_KB = 300
WORKS = ("render", "request")
# Kinds of mappings, and the heads of their columns.
KINDS = {"pools": "pools kB", "malloc": "malloc kB", "data": "data kB", "stack": "stack kB"}


def kind_of(name):
    """Of a mapping, by its name in the process's map."""
    if name.startswith("/"):
        return "data"
    if name == "[heap]":
        return "malloc"
    return "stack" if name.startswith("[stack") else "pools"


def private_dirty_kb(pid):
    """By kind of mapping. The data of a library that begin as zeros have no name: they follow its file's."""
    sums = dict.fromkeys(KINDS, 0)
    kind = end = None
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.split()
            if words[0] == "Private_Dirty:":
                sums[kind] += int(words[1])
            elif not words[0].endswith(":"):
                start, _, limit = words[0].partition("-")
                follows_data = start == end and kind == "data" and len(words) < 6
                kind = "data" if follows_data else kind_of(words[5] if len(words) > 5 else "")
                end = limit
    return sums


class Work:
    """Renders the pages in turn; what they look like is checked once, in the parent."""

    def __init__(self, work):
        import catalogue
        import wsgi
        from django.conf import settings
        from django.template import loader
        self.wsgi, self.loader, self.catalogue = wsgi, loader, catalogue
        apps = settings.SHOPS
        self.pages = [(apps[number % len(apps)], number // len(apps)) for number in range(PAGES)]
        self.one = self.render if work == "render" else self.request

    def render(self, app, number):
        return self.loader.render_to_string(f"{app}/page.html", {
            "app": app, "number": number, "before": max(number - 1, 0), "after": number + 1, "form": None,
            "entries": self.catalogue.page(app, number)})

    def request(self, app, number):
        return self.wsgi.ask(f"/{app}/page/{number}/").decode()

    def run(self, renders):
        characters = 0
        for number in range(renders):
            characters += len(self.one(*self.pages[number % len(self.pages)]))
        return characters


def in_child(work, renders):
    """Forks; returns the growth by kind, and what the child had rendered."""
    from_child, to_parent = os.pipe()
    from_parent, to_child = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            # One round trip of the pipes before the measurement: they are the child's own pages too.
            for text in (b"ready", None):
                os.write(to_parent, text or b"%d" % work.run(renders))
                os.read(from_parent, 1)
            status = 0
        finally:
            os._exit(status)
    os.close(to_parent)
    os.close(from_parent)
    try:
        texts, memory = [], []
        for _ in range(2):
            texts.append(os.read(from_child, 100))
            if not texts[-1]:
                break
            memory.append(private_dirty_kb(pid))
            os.write(to_child, b"+")
    finally:
        os.close(to_child)
        _, status = os.waitpid(pid, 0)
        os.close(from_child)
    common.expect(status == 0 and len(memory) == 2, f"the forked child ended with status {status}")
    before, after = memory
    return {kind: after[kind] - before[kind] for kind in KINDS}, int(texts[1])


def measure(parameters):
    sys.path[:0] = [parameters["generated"], prefork_server.SITE]
    if sys.version_info >= (3, 13):
        sys.path.append(os.path.join(prefork_server.SITE, "removed"))
    if prefork_server.packages_folder():
        sys.path.append(prefork_server.packages_folder())
    os.environ.update(parameters["variables"])
    work = Work(parameters["work"])
    for _ in range(WARM_ROUNDS):
        expected = work.run(parameters["renders"])
    gc.collect()
    start = time.process_time()
    if parameters["configuration"] == "freeze":
        gc.freeze()
    elif parameters["configuration"] == "prefork":
        import neve
        neve.prefork()
    seconds = time.process_time() - start
    grown, characters = in_child(work, parameters["renders"])
    common.expect(characters == expected, "the child has not rendered what the parent has")
    return {"grown_kb": sum(grown.values()), **{kind + "_kb": kb for kind, kb in grown.items()}, "freeze_s": seconds}


def drive():
    parser = common.make_parser("Private dirty memory of a forked child that renders Django's templates.",
                                ("stock", "freeze", "neve", "prefork"), runs=3)
    parser.add_argument("--renders", type=common.positive, default=RENDERS, metavar="N",
                        help=f"in the child (default {RENDERS})")
    parser.add_argument("--apps", type=common.positive, default=30, metavar="N", help="applications (default 30)")
    parser.add_argument("--entries", type=common.positive, default=41_000, metavar="N",
                        help="entries of the catalogue (default 41000)")
    options = parser.parse_args()
    common.check_json_file(parser, options)
    try:
        prefork_server.require_packages("django")
        with prefork_server.site(options.apps, options.entries, 1, common.CHILD_TIMEOUT_S) as site:
            cases = {work: {"work": work, "renders": options.renders, "generated": site.generated,
                            "variables": dict(site.variables, PREFORK_SITE_NOTES=site.folder)} for work in WORKS}
            with environment(site.variables):
                results, status = common.run_in_turn(options, cases)
    except common.Failure as failure:
        common.complain(failure)
        return 1
    figures = ("grown_kb", *(kind + "_kb" for kind in KINDS))
    rows = [{"work": work, "configuration": name, "freeze_s": common.median_of(runs, "freeze_s"),
             **{figure: common.median_of(runs, figure) for figure in figures}}
            for work, reports in results.items() for name, runs in reports.items() if runs]
    print(f"bench_prefork_render: a forked child renders {options.renders} times, medians of {options.runs}")
    print(common.machine_line() + "\n")
    common.print_table(["work", "configuration", "grown kB", *KINDS.values(), "took s"],
                       [[row["work"], common.LABELS[row["configuration"]],
                         *(common.number(row[figure], 0) for figure in figures), common.number(row["freeze_s"], 2)]
                        for row in rows], left=2)
    for row in rows:
        if row["work"] == "render" and row["configuration"] == "prefork" and sys.version_info >= (3, 12):
            met = "met" if row["grown_kb"] < TARGET_KB else "missed"
            print(f"\nTarget, Neve + prefork: {row['grown_kb']:.0f} kB, under {TARGET_KB}: {met}.")
    common.write_json(options, "bench_prefork_render", rows, results)
    return status


@contextlib.contextmanager
def environment(variables):
    """What must be there when a child's interpreter starts: where bytecode is, and no warnings."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


if __name__ == "__main__":
    common.main(measure, drive)
