# SPDX-License-Identifier: MIT
"""A pre-fork server, with its memory and its pauses on stock CPython and on Neve, side by side.

This file is responsible for the main job: it stands alone (standard library only) and shows on a real
program what a cycle collector costs a service that forks workers from a warmed-up parent.

    /usr/bin/python3 examples/prefork.py                  # everything, one table
    /usr/bin/python3 examples/prefork.py --help

Without `--role` this is the driver: it runs itself once per configuration, in a fresh interpreter each:

    stock    the interpreter as it is
    freeze   the same, with gc.freeze() before the fork
    neve     the same interpreter under `python -m neve`, nothing frozen
    prefork  the same, with neve.prefork() before the fork

With `--role serve` (the driver's business) it is the server: the parent builds a shared cache, makes it old
with one gc.collect(), forks workers, and each worker, told so by the parent over a pipe,

    1. collects in full at a quiet point (pause and growth of private dirty memory measured around the call),
    2. serves the requests: each reads the cache (which touches reference counts), allocates, keeps a
       little, and one in twenty leaves a cycle; the interpreter's automatic collections run as they like,
    3. collects in full again.

Workers collect one after another, so that no pause includes waiting for a processor. All processes stay
alive until the parent has read everybody's Pss. A worker that dies, fails or dawdles ends the run
with a sentence and status 1; a worker whose parent dies reads end-of-file and leaves.

The two heaps are:

    cow      16,000 empty lists and 640,000 distinct strings of the lists' size class, made in turn, so that
             nearly every page of memory holds a list (the experiment that motivated gc.freeze)
    mixed    a million containers of six types, each referring to a random earlier one, cached in random order
"""

import argparse
import datetime
import gc
import json
import os
import platform
import random
import select
import signal
import statistics
import subprocess
import sys
import time

CONFIGURATIONS = {"stock": "stock", "freeze": "stock + gc.freeze", "neve": "Neve",
                  "prefork": "Neve + prefork"}
ON_NEVE = ("neve", "prefork")
HEAPS = ("cow", "mixed")

COW_LISTS = 16_000
COW_STRINGS_PER_LIST = 40
MIXED_CONTAINERS = 1_000_000

# Real caches have a hot part, which every worker soon owns a copy of because counts are written into it,
# and a long tail, of which a request seldom touches a new page.
HOT_ENTRIES = 500
HOT_READS = 20
COLD_READ_CHANCE = 0.25
CYCLE_CHANCE = 0.05
SAMPLE_EVERY = 100
OBJECTS_PER_CYCLE = 3

KB_PER_MB = 1024.0


class Failure(Exception):
    """Something that the user must be told in one sentence; the exit status becomes 1."""


# --- the shared cache ------------------------------------------------------------------------------------


class Record:
    """An instance with a __dict__."""

    def __init__(self, peer, number):
        self.peer = peer
        self.number = number


class Slotted:
    """An instance without a __dict__."""

    __slots__ = ("peer",)

    def __init__(self, peer):
        self.peer = peer


def build_cow_heap(cache, width):
    # `width` is known only at run time: the compiler would fold a literal ' ' * 8 into one shared string.
    lists = []
    strings = []
    cache += [strings, lists]
    for _ in range(COW_LISTS):
        lists.append([])
        for _ in range(COW_STRINGS_PER_LIST):
            strings.append(" " * width)


def build_mixed_heap(cache, count):
    rng = random.Random(1)
    draw = rng.random
    nodes = [[]]
    cache.append(nodes)
    instances = [Slotted(nodes[0])]
    nodes.append(instances[0])
    while len(nodes) < count:
        number = len(nodes)
        peer = nodes[int(draw() * number)]
        kind = number % 6
        if kind == 0:
            node = [peer, number]
        elif kind == 1:
            node = {"peer": peer, "number": number}
        elif kind == 2:
            node = (number, peer)
        elif kind == 3:
            node = Record(peer, number)
            instances.append(node)
        elif kind == 4:
            node = Slotted(peer)
            instances.append(node)
        else:
            # Only instances are hashable here, so a set refers to one of them.
            node = {instances[int(draw() * len(instances))]}
        nodes.append(node)
    rng.shuffle(nodes)


def build_heap(name):
    # The cache exists before what it holds, as a module's does. Stock's collector meets it first then, and keeps its
    # list of all objects in the order of allocation; made last, it would have stock relink that list in the
    # order of the cache, and be several times slower from then on.
    cache = []
    if name == "cow":
        build_cow_heap(cache, int("8"))
    else:
        build_mixed_heap(cache, MIXED_CONTAINERS)
    return cache


# --- measuring ---------------------------------------------------------------------------------------------


class MemoryProbe:
    """Reads a process's smaps_rollup. The file stays open; a reading makes one short-lived bytes object."""

    def __init__(self, pid="self"):
        self.fd = os.open(f"/proc/{pid}/smaps_rollup", os.O_RDONLY | os.O_CLOEXEC)

    def read_kb(self, key):
        text = os.pread(self.fd, 4096, 0)
        start = text.index(b"\n" + key) + 1 + len(key)
        return int(text[start:text.index(b"kB", start)])

    def private_dirty_kb(self):
        return self.read_kb(b"Private_Dirty:")

    def pss_kb(self):
        return self.read_kb(b"Pss:")

    def close(self):
        os.close(self.fd)


def collect_measured(probe):
    """One full collection: its pause, what it returned, and the private dirty memory it caused."""
    before_kb = probe.private_dirty_kb()
    start_ns = time.perf_counter_ns()
    returned = gc.collect()
    pause_ns = time.perf_counter_ns() - start_ns
    grown_kb = probe.private_dirty_kb() - before_kb
    return {"grown_kb": grown_kb, "pause_ms": pause_ns / 1e6, "returned": returned}


def collected_so_far():
    return sum(generation["collected"] for generation in gc.get_stats())


def slope(samples):
    """Least squares over (request, kB) pairs: kB per request."""
    mean_x = statistics.fmean(x for x, _ in samples)
    mean_y = statistics.fmean(y for _, y in samples)
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    if not spread:
        return 0.0
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread


# --- a worker ----------------------------------------------------------------------------------------------


def read_entry(entry):
    """Visits an entry of the cache and what it refers to, as rendering it would."""
    if isinstance(entry, str):
        return len(entry)
    if isinstance(entry, dict):
        return sum(1 for value in entry.values() if value is not None)
    if isinstance(entry, (Record, Slotted)):
        return 1 if entry.peer is not None else 0
    return sum(1 for value in entry if value is not None)


def serve_request(number, cache, draw, kept):
    """Serves one request; returns how many objects it left behind in a cycle."""
    weight = 0
    for _ in range(HOT_READS):
        part = cache[number % len(cache)]
        weight += read_entry(part[int(draw() * HOT_ENTRIES)])
    if draw() < COLD_READ_CHANCE:
        part = cache[number % len(cache)]
        weight += read_entry(part[int(draw() * len(part))])

    rows = [{"id": item, "name": f"item {item}", "tags": [item, weight], "at": (item, [number])}
            for item in range(20)]
    body = ",".join(row["name"] for row in rows)
    kept.append((number, body[:32]))

    if draw() < CYCLE_CHANCE:
        request = Record(None, number)
        request.peer = {"request": request, "rows": [request]}
        return OBJECTS_PER_CYCLE
    return 0


def worker_loop(index, cache, requests, command_fd, report_fd):
    """Obeys the parent's one-byte commands until it says quit or is gone; reports in JSON lines."""

    def report(**fields):
        os.write(report_fd, json.dumps(fields).encode() + b"\n")

    probe = MemoryProbe()
    draw = random.Random(index).random
    kept = []
    left = 0
    start_kb = probe.private_dirty_kb()
    collected_at_start = collected_so_far()
    report(start_kb=start_kb)
    while True:
        command = os.read(command_fd, 1)
        if command == b"c":
            report(**collect_measured(probe))
        elif command == b"r":
            samples = [(0, probe.private_dirty_kb())]
            start_ns = time.perf_counter_ns()
            for number in range(1, requests + 1):
                left += serve_request(number, cache, draw, kept)
                if number % SAMPLE_EVERY == 0 or number == requests:
                    samples.append((number, probe.private_dirty_kb()))
            seconds = (time.perf_counter_ns() - start_ns) / 1e9
            report(slope_kb=slope(samples), seconds=seconds, samples_kb=[kb for _, kb in samples])
        elif command == b"e":
            report(grown_kb=probe.private_dirty_kb() - start_kb, left=left,
                   collected=collected_so_far() - collected_at_start)
        else:
            return


class Worker:
    """The parent's handle of one forked worker."""

    def __init__(self, index, cache, requests, others, must_not_inherit):
        self.index = index
        command_read, self.command_fd = os.pipe()
        self.report_fd, report_write = os.pipe()
        self.pending = b""
        self.pid = os.fork()
        if self.pid:
            os.close(command_read)
            os.close(report_write)
            return
        status = 1
        try:
            # Whoever holds the write end of a pipe keeps its reader from ever seeing end-of-file.
            for fd in [self.command_fd, self.report_fd, *must_not_inherit]:
                os.close(fd)
            for other in others:
                os.close(other.command_fd)
                os.close(other.report_fd)
            worker_loop(index, cache, requests, command_read, report_write)
            status = 0
        except BaseException as error:  # pylint: disable=broad-except
            try:
                message = {"error": f"{type(error).__name__}: {error}"}
                os.write(report_write, json.dumps(message).encode() + b"\n")
            except OSError:
                pass
        finally:
            os._exit(status)

    def send(self, command):
        try:
            os.write(self.command_fd, command)
        except BrokenPipeError:
            raise Failure(self.describe_end()) from None

    def receive(self, deadline, doing):
        while b"\n" not in self.pending:
            ready, _, _ = select.select([self.report_fd], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise Failure(f"worker {self.index} had not finished {doing} in time")
            chunk = os.read(self.report_fd, 65536)
            if not chunk:
                raise Failure(f"{self.describe_end()} while {doing}")
            self.pending += chunk
        line, self.pending = self.pending.split(b"\n", 1)
        fields = json.loads(line)
        if "error" in fields:
            raise Failure(f"worker {self.index} failed while {doing}: {fields['error']}")
        return fields

    def describe_end(self):
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            return f"worker {self.index} was killed by {signal_name(-code)}"
        return f"worker {self.index} ended with status {code}"

    def kill(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0

    def quit(self, deadline):
        os.close(self.command_fd)
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                code = os.waitstatus_to_exitcode(status)
                if code:
                    raise Failure(f"worker {self.index} ended with status {code} after its work")
                return
            time.sleep(0.005)
        raise Failure(f"worker {self.index} did not leave when told to")


def signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


# --- the server: one configuration -------------------------------------------------------------------------


def serve(options):
    """Runs one configuration and prints one JSON line with everything measured."""
    deadline = time.monotonic() + options.timeout
    if options.configuration in ON_NEVE and "neve" not in sys.modules:
        raise Failure("this interpreter was to run under Neve and does not")
    built_at = time.perf_counter()
    cache = build_heap(options.heap)
    build_seconds = time.perf_counter() - built_at
    gc.collect()
    if options.configuration == "freeze":
        gc.freeze()
    elif options.configuration == "prefork":
        import neve  # the server's only line for it; NEVE_PREFORK does without
        neve.prefork()

    parent_probe = MemoryProbe()
    parent_pss_kb = parent_probe.pss_kb()
    workers = []
    try:
        for index in range(options.workers):
            workers.append(Worker(index, cache, options.requests, workers, [parent_probe.fd]))
        for worker in workers:
            worker.receive(deadline, "starting")
        first = collect_in_turn(workers, deadline, "collecting for the first time")
        for worker in workers:
            worker.send(b"r")
        served = [worker.receive(deadline, "serving requests") for worker in workers]
        last = collect_in_turn(workers, deadline, "collecting for the last time")
        for worker in workers:
            worker.send(b"e")
        ends = [worker.receive(deadline, "reporting") for worker in workers]
        pss_kb = parent_probe.pss_kb() + sum(pss_of(worker) for worker in workers)
        for worker in workers:
            worker.quit(deadline)
    finally:
        for worker in workers:
            worker.kill()

    for worker, end in zip(workers, ends):
        if end["collected"] < end["left"]:
            raise Failure(f"worker {worker.index} left {end['left']} objects in cycles, "
                          f"but only {end['collected']} were collected")
    print(json.dumps({
        "build_s": build_seconds, "parent_pss_kb": parent_pss_kb, "pss_kb": pss_kb,
        "pss_grown_kb": pss_kb - parent_pss_kb, "first": first, "served": served, "last": last, "ends": ends,
    }))


def collect_in_turn(workers, deadline, doing):
    results = []
    for worker in workers:
        worker.send(b"c")
        results.append(worker.receive(deadline, doing))
    return results


def pss_of(worker):
    probe = MemoryProbe(worker.pid)
    try:
        return probe.pss_kb()
    finally:
        probe.close()


# --- the driver --------------------------------------------------------------------------------------------


def stock_environment():
    """The environment without anything that would switch Neve on behind our back."""
    environment = {key: value for key, value in os.environ.items()
                   if key != "NEVE" and not key.startswith("NEVE_")}
    environment.setdefault("PYTHONHASHSEED", "0")
    return environment


def neve_environment():
    """The environment in which `python -m neve` works; Failure says what to do when there is none."""
    environment = dict(os.environ)
    environment.pop("NEVE", None)
    environment.setdefault("PYTHONHASHSEED", "0")
    tag = sys.implementation.cache_tag
    checkout = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    built = os.path.join(checkout, "build", "python", tag)
    if os.path.isdir(built):
        paths = [built, environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    probe = subprocess.run([sys.executable, "-c", "import neve"], env=environment, cwd=checkout,
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    if probe.returncode == 0:
        return environment
    if "No module named 'neve'" in probe.stderr:
        raise Failure(f"Neve is not built for {tag}, its rows are left out: `make run` in the checkout builds it "
                      f"(make PYTHON={sys.executable} run, for this interpreter)")
    raise Failure(f"Neve cannot be imported, its rows are left out: {last_line(probe.stderr) or probe.returncode}")


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def run_configuration(configuration, heap, options, environment):
    """One fresh interpreter, in its own process group so that nothing of it can be left behind."""
    command = [sys.executable]
    if configuration in ON_NEVE:
        command += ["-m", "neve"]
    command += [os.path.abspath(__file__), "--role", "serve", "--configuration", configuration, "--heap", heap,
                "--workers", str(options.workers), "--requests", str(options.requests),
                "--timeout", str(options.timeout)]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        output, errors = process.communicate(timeout=options.timeout + 15)
    except subprocess.TimeoutExpired:
        raise Failure(f"the server did not end within {options.timeout} s and was killed") from None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode < 0:
        raise Failure(f"the server was killed by {signal_name(-process.returncode)}")
    if process.returncode:
        raise Failure(last_line(errors).removeprefix("prefork.py: ")
                      or f"the server ended with status {process.returncode}")
    try:
        return json.loads(last_line(output))
    except ValueError:
        raise Failure("the server ended well but reported nothing that can be read") from None


def over_workers(runs, phase, key):
    """The median over the runs of the median over the workers."""
    return statistics.median(statistics.median(worker[key] for worker in run[phase]) for run in runs)


def summarise(heap, configuration, requests, runs):
    return {
        "heap": heap,
        "configuration": configuration,
        "slope_kb_per_request": over_workers(runs, "served", "slope_kb"),
        "first_grown_mb": over_workers(runs, "first", "grown_kb") / KB_PER_MB,
        "last_grown_mb": over_workers(runs, "last", "grown_kb") / KB_PER_MB,
        "worker_grown_mb": over_workers(runs, "ends", "grown_kb") / KB_PER_MB,
        "pss_grown_mb": statistics.median(run["pss_grown_kb"] for run in runs) / KB_PER_MB,
        "pss_mb": statistics.median(run["pss_kb"] for run in runs) / KB_PER_MB,
        "first_pause_ms": over_workers(runs, "first", "pause_ms"),
        "last_pause_ms": over_workers(runs, "last", "pause_ms"),
        "requests_per_s": requests / over_workers(runs, "served", "seconds"),
        "runs": runs,
    }


COLUMNS = [
    # key, two lines of heading, decimals
    ("first_grown_mb", "1st full", "MB", 2),
    ("slope_kb_per_request", "slope", "kB/req", 3),
    ("last_grown_mb", "last full", "MB", 2),
    ("worker_grown_mb", "worker", "MB", 2),
    ("pss_grown_mb", "Pss, all", "MB", 2),
    ("first_pause_ms", "1st pause", "ms", 1),
    ("last_pause_ms", "last pause", "ms", 1),
]

LEGEND = """\
1st full, last full: growth of a worker's private dirty memory by one full collection, right after the
fork and after the requests. slope: private dirty memory that each request adds between the two (what the
first collection has already copied is no longer in the slope). worker: growth of a worker's private
dirty memory from fork to end. Pss, all: growth of the memory of parent and workers together since the
fork, shared pages counted once. 1st pause, last pause: duration of these two gc.collect() calls.
Per worker: the median worker; over several runs: the median run."""


def print_table(rows):
    label = f"{{:<{max(map(len, HEAPS)) + 2}}}{{:<{max(map(len, CONFIGURATIONS.values()))}}}".format
    widths = [max(9, len(head) + 2) for _, head, _, _ in COLUMNS]
    print(label("heap", "configuration") + "".join(f"{c[1]:>{width}}" for c, width in zip(COLUMNS, widths)))
    print(label("", "") + "".join(f"{c[2]:>{width}}" for c, width in zip(COLUMNS, widths)))
    previous = None
    for row in rows:
        if previous not in (None, row["heap"]):
            print()
        previous = row["heap"]
        line = label(row["heap"], CONFIGURATIONS[row["configuration"]])
        if "failure" in row:
            print(line + "  failed, see above")
            continue
        print(line + "".join(f"{row[c[0]]:>{width}.{c[3]}f}" for c, width in zip(COLUMNS, widths)))


def machine_line():
    model = platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as cpuinfo:
            model = next((line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")), model)
    except OSError:
        pass
    return (f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} x {model}, "
            f"Linux {platform.release()}, {datetime.date.today().isoformat()}")


def complain(message):
    print(f"prefork.py: {message}", file=sys.stderr, flush=True)


def drive(options):
    status = 0
    environments = {"stock": stock_environment(), "freeze": stock_environment()}
    if any(name in options.only for name in ON_NEVE):
        try:
            environments.update(dict.fromkeys(ON_NEVE, neve_environment()))
        except (Failure, subprocess.TimeoutExpired) as problem:
            complain(problem)
            status = 1
    configurations = [name for name in options.only if name in environments]
    heaps = HEAPS if options.heap == "both" else (options.heap,)

    measured = {(heap, name): [] for heap in heaps for name in configurations}
    failures = {}
    for heap in heaps:
        for run in range(options.runs):
            for name in configurations:
                if (heap, name) in failures:
                    continue
                if sys.stderr.isatty():
                    print(f"\r\033[K{heap}: {CONFIGURATIONS[name]}, run {run + 1} of {options.runs}", end="",
                          file=sys.stderr, flush=True)
                try:
                    measured[heap, name].append(run_configuration(name, heap, options, environments[name]))
                except Failure as failure:
                    failures[heap, name] = str(failure)
                if sys.stderr.isatty():
                    print("\r\033[K", end="", file=sys.stderr, flush=True)
                if (heap, name) in failures:
                    complain(f"{CONFIGURATIONS[name]}, {heap} heap: {failures[heap, name]}")
                    status = 1

    rows = []
    for heap, name in measured:
        if (heap, name) in failures:
            rows.append({"heap": heap, "configuration": name, "failure": failures[heap, name]})
        else:
            rows.append(summarise(heap, name, options.requests, measured[heap, name]))
    if rows:
        print(f"{options.workers} workers, {options.requests} requests each, "
              f"{options.runs} run{'s' if options.runs > 1 else ''}")
        print(machine_line() + "\n")
        print_table(rows)
        if len(rows) > len(failures):
            print("\n" + LEGEND)
    if options.json:
        document = {"program": "prefork", "machine": machine_line(), "workers": options.workers,
                    "requests": options.requests, "runs": options.runs, "rows": rows}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.write("\n")
    return status


# --- the command line --------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line in one line."""

    def error(self, message):
        self.exit(2, f"prefork.py: {message} (--help lists the options)\n")


def positive(text):
    value = int(text)
    if value < 1:
        raise ValueError
    return value


positive.__name__ = "positive number"


def configuration_list(text):
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in CONFIGURATIONS:
            raise argparse.ArgumentTypeError(f"unknown configuration {name!r}, choose from "
                                             f"{','.join(CONFIGURATIONS)}")
    return [name for name in CONFIGURATIONS if name in names]


def parse_arguments(arguments):
    parser = Parser(prog="prefork.py", description="Memory and pauses of a pre-fork server: stock CPython, stock "
                    "with gc.freeze(), Neve, and Neve with neve.prefork(). Exit status: 0 done, 1 something failed or Neve is not built, "
                    "2 the command line is wrong.")
    parser.add_argument("--workers", type=positive, default=2, metavar="N", help="workers to fork (default 2)")
    parser.add_argument("--requests", type=positive, default=3000, metavar="N",
                        help="requests that each worker serves (default 3000)")
    parser.add_argument("--heap", choices=(*HEAPS, "both"), default="both", help="which heap (default both)")
    parser.add_argument("--only", type=configuration_list, default=list(CONFIGURATIONS), metavar="LIST",
                        help=f"configurations, of {','.join(CONFIGURATIONS)} (default all)")
    parser.add_argument("--runs", type=positive, default=1, metavar="N",
                        help="runs of each configuration, in turn; medians are shown (default 1)")
    parser.add_argument("--timeout", type=positive, default=120, metavar="S",
                        help="seconds after which a configuration is given up (default 120)")
    parser.add_argument("--json", metavar="FILE", help="also write everything measured to FILE")
    parser.add_argument("--role", choices=("serve",), help=argparse.SUPPRESS)
    parser.add_argument("--configuration", choices=tuple(CONFIGURATIONS), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.json:
        try:
            with open(options.json, "a", encoding="utf-8"):
                pass
        except OSError as error:
            parser.error(f"cannot write {options.json}: {error.strerror}")
    return options


def main():
    options = parse_arguments(sys.argv[1:])
    try:
        if options.role == "serve":
            serve(options)
            return 0
        return drive(options)
    except Failure as failure:
        complain(failure)
        return 1
    except OSError as error:
        complain(error)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    # The heap is not worth taking apart object by object at the end: leave at once, with all output written.
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if "--role" in sys.argv:
        os._exit(code)
    sys.exit(code)
