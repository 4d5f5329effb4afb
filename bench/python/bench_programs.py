# SPDX-License-Identifier: MIT
"""Benchmark: what real programs cost on Neve: CPU time and peak memory of whole processes.

The programs are those of tests/programs, from Debian's packages, each in one process that runs to its end:

    django    pages of the site, asked for by Django's test client: database, templates, forms, cache
    celery    tasks of the Celery application, executed in the process itself
    aiohttp   server and client in one process, over a Unix socket
    httpx     loops of the client; the server is another process and is not measured
    sphinx    a build of 96 pages
    mypy      a part of the standard library, every check, no cache (compiled to an extension by Debian)

    /usr/bin/python3 bench/python/bench_programs.py
    /usr/bin/python3 bench/python/bench_programs.py --runs 1 --programs django,sphinx

The CPU time is user and system time of the process from its start to the end of the work: imports included,
taking the interpreter down not. The peak is the kernel's (VmHWM). What a program answered must be the same on
stock and on Neve, or its row fails. On the target "geometric mean at least equal to stock's, peak memory at
most 1.05 of it".
"""

import asyncio
import contextlib
import gc
import hashlib
import importlib.util
import io
import math
import os
import resource
import subprocess
import sys
import tempfile

import common

PROGRAMS = os.path.join(common.CHECKOUT, "tests", "programs")
PACKAGES = {"django": ["django"], "celery": ["celery"], "aiohttp": ["aiohttp"], "httpx": ["httpx"],
            "sphinx": ["sphinx"], "mypy": ["mypy"]}
TARGET_MEMORY = 1.05


class Digest:
    """What a program said, in its order."""

    def __init__(self):
        self.sum = hashlib.sha256()
        self.lines = 0

    def say(self, text):
        self.sum.update(str(text).encode() + b"\n")
        self.lines += 1


# --- the programs, each in the child's working folder ------------------------------------------------------


def run_django(digest):
    import wsgi  # sets Django up and fills the database
    from django.test import Client

    common.expect(callable(wsgi.application), "there is no application")
    client = Client()
    for number in range(120):
        for target in (f"/?page={number % 10}", f"/item/{number * 31 % 400 + 1}/", f"/review/{number + 1}/",
                       f"/search/?q={'amber larch none e'.split()[number % 4]}", "/cycles/100/", "/report.json"):
            response = client.get(target)
            common.expect(response.status_code == 200, f"{target} was answered by {response.status_code}")
            # The token of the form is drawn at random.
            if not target.startswith("/review/"):
                digest.say(response.content)


def run_celery(digest):
    os.mkdir("results")
    import celery
    import jobs

    for number in range(1500):
        digest.say(jobs.add.apply((number, number)).get())
        digest.say(jobs.lookup.apply((list(range(number, number + 50)),)).get())
        digest.say(jobs.flaky.apply((number,)).get())
        digest.say(celery.chain(jobs.add.s(1, 2), jobs.add.s(number)).apply().get())
        if number % 10 == 0:
            digest.say(jobs.tree.apply((6,)).get())


def run_aiohttp(digest):
    import aiohttp
    import aiohttp_client
    import aiohttp_server
    from aiohttp import web

    async def both():
        runner = web.AppRunner(aiohttp_server.application(), access_log=None)
        await runner.setup()
        await web.UnixSite(runner, "server").start()
        try:
            await aiohttp_client.exchange(lambda: aiohttp.UnixConnector("server", limit=4), "http://server", 200,
                                          digest.say)
        finally:
            await runner.cleanup()

    asyncio.run(both())


def run_httpx(digest):
    import httpx_client

    # Stock Python in either case: only the client is measured.
    command = [sys.executable, os.path.join(PROGRAMS, "servers", "local_server.py")]
    with subprocess.Popen(command, env=common.environment_for("stock"), text=True, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as server:
        try:
            httpx_client.loops(server.stdout.readline().strip(), 400, digest.say)
        finally:
            server.stdin.close()
            server.wait(30)


def run_sphinx(digest):
    import generate
    from sphinx.cmd.build import build_main

    pages = generate.generate("source", 8, 6)
    status = build_main(["-q", "-b", "html", "source", "html"])
    common.expect(status == 0, f"Sphinx ended with status {status}")
    written = sorted(name for name in os.listdir("html") if name.endswith(".html"))
    common.expect(written, f"no page of {pages} was written")
    for folder, folders, names in os.walk("html"):
        folders.sort()
        for name in sorted(names):
            if name.endswith(".html"):
                with open(os.path.join(folder, name), "rb") as file:
                    digest.say(file.read())


def run_mypy(digest):
    import copies
    import mypy.api

    files = copies.copy(".", ["asyncio", "email", "importlib", "json", "logging", "unittest", "xml"],
                        ["argparse", "dataclasses", "datetime", "enum", "inspect", "pathlib", "tarfile", "typing"])
    out, err, status = mypy.api.run(["--strict", "--cache-dir", os.devnull, "--ignore-missing-imports", "library"])
    common.expect(status == 1 and not err, f"mypy ended with status {status} {err}")
    common.expect(f"checked {files} source files" in out, "mypy did not check everything")
    digest.say(out)


RUN = {"django": run_django, "celery": run_celery, "aiohttp": run_aiohttp, "httpx": run_httpx,
       "sphinx": run_sphinx, "mypy": run_mypy}


# --- a child -----------------------------------------------------------------------------------------------


def peak_kb():
    with open("/proc/self/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def run_program(program, finish):
    """Runs a program in a folder of its own. Returns its digest, and what `finish` said when it had ended."""
    sys.path[:0] = [os.path.join(PROGRAMS, folder)
                    for folder in ("site", "django_site", "celery_jobs", "servers", "sphinx_tree", "mypy_library")]
    digest = Digest()
    with tempfile.TemporaryDirectory(prefix="neve-") as folder:
        os.chdir(folder)
        # Sphinx and mypy take sys.argv, warnings of pages and the like go nowhere.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            program(digest)
        finished = finish()
        os.chdir("/")
    common.expect(digest.lines > 0, "the program answered nothing")
    return digest, finished


def measure(parameters):
    digest, (usage, peak) = run_program(RUN[parameters["program"]],
                                        lambda: (resource.getrusage(resource.RUSAGE_SELF), peak_kb()))
    return {"cpu_s": usage.ru_utime + usage.ru_stime, "peak_kb": peak, "answers": digest.lines,
            "digest": digest.sum.hexdigest(),
            "collections": [generation["collections"] for generation in gc.get_stats()]}


# --- the driver --------------------------------------------------------------------------------------------


def make_row(name, reports, configuration):
    """The medians of stock and of one configuration of Neve and their ratios, None where not measured."""
    row = {"program": name, "configuration": configuration}
    for figure in ("cpu_s", "peak_kb"):
        values = {configuration: common.median_of(runs, figure) if runs else None
                  for configuration, runs in reports.items()}
        stock, neve = values.get("stock"), values.get(configuration)
        row[figure] = {"stock": stock, "neve": neve,
                       "neve/stock": common.ratio(neve, stock) if stock and neve else None}
    full = [runs[-1]["collections"] for runs in reports.values() if runs]
    row["collections"] = full[0] if full else None
    return row


def same_answers(name, reports):
    """Whether every run of a program answered the same."""
    digests = {report["digest"] for runs in reports.values() for report in runs}
    if len(digests) > 1:
        common.complain(f"{name}: stock and Neve do not answer the same")
    return len(digests) <= 1


def show(rows, label):
    cells = []
    for row in rows:
        cpu, peak = row["cpu_s"], row["peak_kb"]
        cells.append([row["program"], common.number(cpu["stock"], 2), common.number(cpu["neve"], 2),
                      common.number(cpu["neve/stock"], 3),
                      *(common.number(peak[side] and peak[side] / 1024, 1) for side in ("stock", "neve")),
                      common.number(peak["neve/stock"], 3),
                      " ".join(map(str, row["collections"] or ["-"]))])
    common.print_table(["program", "stock CPU s", f"{label} CPU s", "ratio", "stock peak MB", f"{label} peak MB",
                        "ratio", "collections"], cells)
    ratios = [row["cpu_s"]["neve/stock"] for row in rows if row["cpu_s"]["neve/stock"]]
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        losers = [row["program"] for row in rows if (row["cpu_s"]["neve/stock"] or 0) > 1]
        large = [row["program"] for row in rows if (row["peak_kb"]["neve/stock"] or 0) > TARGET_MEMORY]
        print(f"\nCPU time, geometric mean of {len(ratios)}: {mean:.3f} of stock's "
              f"(target at most 1: {'met' if mean <= 1 else 'MISSED'}); slower: {', '.join(losers) or 'none'}")
        print(f"peak memory over {TARGET_MEMORY} of stock's: {', '.join(large) or 'none'} "
              f"(target none: {'MISSED' if large else 'met'})")


def drive():
    parser = common.make_parser(__doc__.split("\n", 1)[0].removeprefix("Benchmark: "), ("stock", "neve", "variable"))
    parser.add_argument("--programs", type=common.name_list(tuple(RUN)), default=list(RUN), metavar="LIST",
                        help=f"programs, of {','.join(RUN)} (default all)")
    options = parser.parse_args()
    common.check_json_file(parser, options)
    missing = sorted({package for name in options.programs for package in PACKAGES[name]
                      if importlib.util.find_spec(package) is None})
    if missing:
        common.complain(f"{sys.executable} lacks {', '.join(missing)}: `sh tools/deps.sh programs` installs the "
                        "programs for Debian's own interpreter")
        return 1
    cases = {name: {"program": name} for name in options.programs}
    results, status = common.run_in_turn(options, cases)
    if not all([same_answers(name, reports) for name, reports in results.items()]):
        status = 1
    rows = []
    print(common.machine_line())
    print(f"CPU time and peak memory of whole programs, medians of {options.runs}")
    for configuration in [name for name in options.configurations if name != "stock"]:
        own = [make_row(name, reports, configuration) for name, reports in results.items()]
        rows += own
        print()
        show(own, common.LABELS[configuration])
    common.write_json(options, "programs", rows, results)
    return status


if __name__ == "__main__":
    common.main(measure, drive)
