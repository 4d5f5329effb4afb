#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run CPython's own regression suite on stock and on Neve, and print what differs.

Every test file runs in a process of its own with a time-out, on stock (`python -m test`) and then on
Neve (`python -m neve -m test`), in the same environment and with the same options; the outcomes are
compared test by test.  A crash and a time-out are outcomes.  What is worse on Neve is run again
three times on both before it is called different; what then comes and goes is listed as flaky.

Results and logs are kept in build/test-cpython/VERSION: a run that was interrupted is taken up
again, and a new build of Neve is compared with the stock results that are there.  Exit status: 0
nothing differs, 1 something does or could not be run, 2 the command line is wrong.
"""

import argparse
import collections
import concurrent.futures
import fnmatch
import hashlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import xml.etree.ElementTree as ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import build  # noqa: E402

RESULTS = build.BUILD / "test-cpython"

# Raised when results of an older text of this file must not be taken up.
FORMAT = 1

# Neither network nor windows nor sound; what is switched off is skipped on both.
FLAGS = ["-v", "-u", "none"]

# Tests of what allocates, counts, tracks, finalizes, copies address spaces and tears down.  Names
# that a version lacks are passed over; a package stands for all its parts.
MEMORY = """
    test_gc test_weakref test_weakset test_finalization test_generators test_generator_stop
    test_coroutines test_asyncgen test_descr test_class test_super test_type_cache test_abc
    test_dict test_dictviews test_list test_set test_tuple test_bytes test_memoryview test_array
    test_deque test_ordered_dict test_collections test_userdict test_structseq test_iter
    test_tracemalloc test_frame test_code test_funcattrs test_context test_exceptions
    test_sys test_sys_setprofile test_fork1 test_thread test_threading test_threading_local
    test_threadedtempfile test_atexit test_capi test_embed test_faulthandler test_io test_ctypes
    test_copy test_pickle test_marshal test_functools test_itertools test_operator test_sort
    test_heapq test_call test_extcall test_opcache test_monitoring
    test__xxsubinterpreters test_interpreters test__interpreters test_module
    test_typing test_types test_unpack test_scope test_long test_unicode test_str test_re
    test_xml_etree_c test_pyexpat test_sqlite3 test_struct test_zlib test_mmap
""".split()

# Of those, what can tell one way of collecting from another; the rest tests the allocator.
COLLECTOR = """
    test_gc test_weakref test_weakset test_finalization test_generators test_coroutines
    test_asyncgen test_descr test_class test_super test_type_cache test_dict test_list test_set
    test_tuple test_deque test_ordered_dict test_frame test_code test_funcattrs test_context
    test_exceptions test_sys test_tracemalloc test_fork1 test_thread test_threading
    test_threading_local test_atexit test_capi test_embed test_ctypes test_copy test_functools
    test_itertools test_monitoring test__xxsubinterpreters test_interpreters test__interpreters
    test_module
""".split()

# Differences that are documented and cannot be avoided.  `test` is a test id, `configurations` what
# --json calls "configuration" (neve, then -debug, -stress, -children, and the mode if one was
# given: "*-incremental" is that mode), `versions` 3.11 and so on: patterns all three.  A test id
# that ends in ENV_CHANGED stands for a file that passes, but for a change of its environment.  An
# entry that does not show in a run of its test file is reported.
ENV_CHANGED = "env changed"
Expected = collections.namedtuple("Expected", "test configurations versions reason")
EXPECTED = [
    Expected("test.test_capi.test_misc.Test_testcapi.test_gc_visit_objects_frozen", "*", "3.1[45]",
             "PyUnstable_GC_VisitObjects() walks CPython's lists, which hold no old objects"),
    # A threshold of 1 fails these on stock, too, as often, by how many collections there were before.
    Expected("test.test_gc.GCTogglingTests.test_bug1055820c", "*stress*", "3.11",
             "wants young garbage to be young still when the next collection comes"),
    Expected("test.test_interpreters.test_api.ListAllTests.test_destroyed_by_gc", "*stress*",
             "3.1[3-5]", "wants young garbage to be young still when the next collection comes"),
    Expected("test.test_weakref.ReferencesTestCase.test_callbacks_on_callback", "*stress*",
             "3.1[45]", "wants no collection between two of its lines"),
    # Stock does this likewise where a trace function collects at each line.
    Expected("test.test_io." + ENV_CHANGED, "*stress*", "3.1[34]",
             "a pair of files that cannot be closed is garbage while a later test listens for what "
             "finalizers cannot raise"),
    Expected("test.test_capi.test_misc.Test_testcapi.test_gc_visit_objects_exit_early", "*stress*",
             "3.13", "PyUnstable_GC_VisitObjects() walks CPython's lists, which hold no old objects"),
]

MODES = ("generational", "incremental", "snapshot")

GOOD = ("passed", "expected failure")
BAD = ("failed", "error", "unexpected success", "crashed", "timed out", ENV_CHANGED)
FILE = "(the whole file)"

RERUNS = 3
RERUN_WHOLE_S = 60      # files that take longer are run again only for the tests in question
TEXT_LINES = 12
WORDS = {"ok": "passed", "FAIL": "failed", "ERROR": "error", "skipped": "skipped",
         "expected failure": "expected failure", "unexpected success": "unexpected success"}

TEST_BEGINS = re.compile(r"^(?:\w+ \(([\w.<>]+)\)|Doctest: ([\w.<>]+))")
WORD_ENDS = re.compile(r"(?:^|\.\.\. )(ok|FAIL|ERROR|skipped|expected failure|unexpected success)"
                       r"(?: ['\"].*)?$")
SECTION = re.compile(r"^={70}\n(FAIL|ERROR): (.*)\n((?:(?!^={70}$|^-{70}$).*\n)*)-{70}\n"
                     r"((?:(?!^={70}$|^-{70}$).*\n)*)", re.M)


def worse_of(one, other):
    """Of two outcomes of one test the one that counts."""
    order = ("started", *BAD, "skipped", "expected failure", "passed")
    return min(one, other, key=lambda outcome: order.index(outcome))


def read_progress(output):
    """Test id -> outcome from verbose output, and the id that began last and did not end."""
    tests, current = {}, None
    for line in output.splitlines():
        begins = TEST_BEGINS.match(line)
        if begins:
            current = begins.group(1) or begins.group(2)
        ends = WORD_ENDS.search(line)
        if ends and current:
            outcome = WORDS[ends.group(1)]
            tests[current] = worse_of(tests.get(current, "passed"), outcome)
            current = None
    return tests, current


def read_report(path):
    """Test id -> outcome from the XML report; {} without one."""
    tests = {}
    try:
        cases = list(ElementTree.parse(path).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return tests
    for case in cases:
        name = case.get("name")
        if name is None:
            continue    # a subtest failed: it has a section in the output
        if case.find("error") is not None:
            outcome = "error"
        elif case.find("failure") is not None:
            outcome = "failed"
        elif case.find("skipped") is not None:
            outcome = "skipped"
        elif case.get("outcome") == "UNEXPECTED_SUCCESS" or \
                case.find("outcome") is not None:
            outcome = "unexpected success"
        elif case.find("output") is not None:
            outcome = "expected failure"
        else:
            outcome = "passed"
        tests[name] = worse_of(tests.get(name, "passed"), outcome)
    return tests


def read_sections(output):
    """Test id -> (outcome, text) from the sections that end the output."""
    found = {}
    for word, title, rest, text in SECTION.findall(output):
        begins = TEST_BEGINS.match(title) or TEST_BEGINS.match(rest)
        name = (begins.group(1) or begins.group(2)) if begins else title
        if name not in found:
            found[name] = (WORDS[word], text.strip())
    return found


def read_run(status, output, report):
    """All that is kept of one run of one test file."""
    tests = read_report(report)
    partial, last = {}, None
    if not tests:
        partial, last = read_progress(output)
        tests = partial
    texts = {}
    for name, (outcome, text) in read_sections(output).items():
        tests[name] = worse_of(tests.get(name, "passed"), outcome)
        texts[name] = text
    if status is None:
        state = "timed out"
    elif status < 0:
        state = "crashed"
    elif re.search(r"^\w+[ \w.]* (altered the execution environment|failed \(env changed\))",
                   output, re.M) and status in (0, 3):
        state = ENV_CHANGED
    elif status != 0:
        state = "failed"
    elif not tests and re.search(r"\bskipped\b", output):
        state = "skipped"
    else:
        state = "passed"
    if state in ("timed out", "crashed"):
        texts[FILE] = fatal_text(output)
    elif state != "passed" and not texts:
        texts[FILE] = "\n".join(output.strip().splitlines()[-TEXT_LINES:])
    return {"state": state, "status": status, "tests": tests, "texts": texts,
            "last": last if state in ("timed out", "crashed") else None}


def fatal_text(output):
    """What a process said last: the fatal error with its stack if there is one."""
    lines = output.strip().splitlines()
    for number, line in enumerate(lines):
        if line.startswith(("Fatal Python error", "neve:")) or "Sanitizer" in line:
            return "\n".join(lines[number:number + 4 * TEXT_LINES])
    return "\n".join(lines[-TEXT_LINES:])


def compare(stock, neve):
    """What is worse on Neve: list of {test, stock, neve, text}; better is not looked at."""
    found = []

    def add(test, before, after, text):
        found.append({"test": test, "stock": before, "neve": after, "text": text})

    for test, outcome in sorted(neve["tests"].items()):
        before = stock["tests"].get(test, "passed")
        if outcome in BAD and before not in BAD or outcome == "skipped" and before in GOOD:
            add(test, stock["tests"].get(test, "did not run"), outcome,
                neve["texts"].get(test, ""))
    ended = neve["state"] not in ("crashed", "timed out")
    missing = [test for test in sorted(stock["tests"]) if test not in neve["tests"]]
    if ended:
        for test in missing:
            if stock["tests"][test] in GOOD:
                add(test, stock["tests"][test], "did not run", "")
    before, after = stock["state"], neve["state"]
    if after != before and after != "passed" and not (after == "failed" and found):
        text = neve["texts"].get(FILE, "")
        if not ended:
            where = f" in {neve['last']}" if neve["last"] else ""
            count = len([test for test in missing if stock["tests"][test] in GOOD])
            how = how_it_ended(neve["status"])
            text = f"{how}{where}; {count} tests that pass on stock did not run\n{text}"
        add(FILE, before, after, text)
    return found


def how_it_ended(status):
    """A status in words."""
    if status is None:
        return "was stopped after the time-out"
    if status < 0:
        try:
            return f"was killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"was killed by signal {-status}"
    return f"exited with status {status}"


def judge(first, reruns):
    """Sort differences into different and flaky.

    `first` is what compare() found; `reruns` holds pairs of runs, stock and Neve.  A test differs if
    it is worse in every pair.  A crash that stock never showed differs however rare it is.
    """
    different, flaky = [], []
    for item in first:
        again = [any(one["test"] == item["test"] for one in compare(stock, neve))
                 for stock, neve in reruns]
        stock_crashed = any(stock["state"] == "crashed" for stock, _ in reruns)
        is_crash = item["neve"] == "crashed" and not stock_crashed
        if is_crash or all(again):
            different.append(dict(item, again=f"{sum(again)} of {len(again)}"))
        else:
            bad = sum(is_bad(stock, item["test"]) for stock, _ in reruns)
            flaky.append(dict(item, again=f"{sum(again)} of {len(again)}",
                              stock_again=f"{bad} of {len(reruns)}"))
    return different, flaky


def is_bad(result, test):
    outcome = result["state"] if test == FILE else result["tests"].get(test, "did not run")
    return outcome in BAD


def split_expected(items, expected):
    """Take out of `items` what the entries expect: (rest, expected items, entries that matched)."""
    rest, known, used = [], [], set()
    for item in items:
        test = item["test"]
        if test == FILE and item["neve"] == ENV_CHANGED:
            test = f"test.{item['file']}.{ENV_CHANGED}"
        for entry in expected:
            if fnmatch.fnmatchcase(test, entry.test):
                known.append(dict(item, reason=entry.reason))
                used.add(entry)
                break
        else:
            rest.append(item)
    return rest, known, used


def expected_of(configuration, minor, names, table):
    """The entries of the table that hold for a run of these test files."""
    ran = {short(name).split(".")[0] for name in names}
    return [entry for entry in table
            if fnmatch.fnmatchcase(configuration, entry.configurations)
            and fnmatch.fnmatchcase(minor, entry.versions)
            and any(f".{name}." in entry.test for name in ran)]


def short(name):
    """A test file's name without the package that newer versions put in front."""
    return name.removeprefix("test.")


def choose(names, wanted):
    """Those of the suite's names that are wanted or parts of a wanted package."""
    return [name for name in names
            if any(short(name) == one or short(name).startswith(one + ".") for one in wanted)]


class Store:
    """The results file: runs of test files by configuration, written whole after each change."""

    def __init__(self, folder, marks, fresh=False, keep_stock=False):
        self.path = folder / "results.json"
        self.lock = threading.Lock()
        self.dropped = []
        data = {}
        if not fresh:
            try:
                data = json.loads(self.path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                data = {}
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            data = {"format": FORMAT, "marks": {}, "runs": {}}
        if keep_stock:
            for configuration in marks:
                if configuration != "stock":
                    data["runs"].pop(configuration, None)
        # Results hold for what they were made with; stock's outlive a new build of Neve.
        for configuration, mark in marks.items():
            if data["marks"].get(configuration) != mark:
                if data["runs"].pop(configuration, None):
                    self.dropped.append(configuration)
                data["marks"][configuration] = mark
        self.data = data
        if "stock" in self.dropped:
            # Their reruns compare with what is gone.
            self.dropped += [name for name in data["runs"]]
            data["runs"].clear()

    def get(self, configuration, name):
        return self.data["runs"].get(configuration, {}).get(name)

    def put(self, configuration, name, value):
        with self.lock:
            self.data["runs"].setdefault(configuration, {})[name] = value
            temporary = self.path.with_suffix(".new")
            temporary.write_text(json.dumps(self.data), encoding="utf-8")
            os.replace(temporary, self.path)


class Suite:
    """One interpreter's suite and how to run a file of it."""

    def __init__(self, python, package, folder, timeout_s, children, mode=None):
        self.python = python
        self.package = package
        self.folder = folder
        self.timeout_s = timeout_s
        self.children = children
        self.mode = mode
        self.running = set()
        self.starting = threading.Lock()    # held for good once nothing may start any more
        (folder / "logs").mkdir(parents=True, exist_ok=True)

    def stop(self):
        """End what is running, children included; nothing starts after this."""
        self.starting.acquire()
        for pid in list(self.running):
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def names(self):
        done = subprocess.run([self.python, "-m", "test", "--list-tests"], text=True,
                              capture_output=True, stdin=subprocess.DEVNULL,
                              env=self.environment("stock", tempfile.gettempdir()))
        names = done.stdout.split()
        if done.returncode != 0 or "test_gc" not in map(short, names):
            return []
        return names

    def environment(self, configuration, home):
        """Nothing of the caller's that would change Python; the same on stock and on Neve."""
        env = {name: value for name, value in os.environ.items()
               if not name.startswith(("NEVE", "PYTHON", "MALLOC_"))
               and name not in ("LD_PRELOAD", "MAKEFLAGS", "MFLAGS", "DISPLAY", "TERM")}
        env.update(PYTHONPATH=str(self.package), LC_ALL="C.UTF-8", HOME=home, TMPDIR=home)
        if self.children:
            env["PYTHONUSERBASE"] = str(self.folder / "userbase")
        if configuration != "stock":
            if "stress" in configuration:
                env["NEVE_GC_STRESS"] = "1"
            if self.mode:
                env["NEVE_MODE"] = self.mode
            if self.mode == "snapshot":
                env["NEVE_SNAPSHOT_LEAST"] = "1"    # or else heaps as small as these make none
            if self.children:
                env["NEVE"] = "1"
        return env

    def run(self, name, configuration, patterns=(), log=None):
        """Run one test file; returns what read_run() makes of it, and the seconds."""
        log = self.folder / "logs" / f"{short(name)}.{log or configuration}.log"
        # Short: sockets of the domain "unix" are bound in it.
        home = tempfile.mkdtemp(prefix="neve-")
        report = pathlib.Path(home) / "report.xml"
        # Written by a Neve that was in charge to the end.
        stats = pathlib.Path(home) / "stats.json"
        words = ["-m", "neve", f"--stats-json={stats}"] if configuration != "stock" else []
        command = [self.python, *words, "-m", "test", *FLAGS, f"--junit-xml={report}",
                   f"--tempdir={home}"]
        for pattern in patterns:
            command += ["-m", pattern]
        start = time.monotonic()
        try:
            with open(log, "wb") as output:
                # A file, not a pipe: a child that outlives the test would hold a pipe open.
                with self.starting:
                    process = subprocess.Popen([*command, name], cwd=home, stdout=output,
                                               stderr=subprocess.STDOUT,
                                               stdin=subprocess.DEVNULL,
                                               env=self.environment(configuration, home),
                                               start_new_session=True,
                                               preexec_fn=as_in_a_terminal)
                    self.running.add(process.pid)
                status = wait(process, self.timeout_s)
                self.running.discard(process.pid)
            text = log.read_text(encoding="utf-8", errors="replace")
            result = read_run(status, text, report)
            if words and status is not None and status >= 0:
                problem = self.was_not_tested(stats)
                if problem:
                    result["state"] = "failed"
                    result["texts"][FILE] = problem
        finally:
            shutil.rmtree(home, ignore_errors=True)
        result["seconds"] = round(time.monotonic() - start, 1)
        result["limit_s"] = self.timeout_s
        return result

    def was_not_tested(self, stats):
        """What is wrong with the statistics that a Neve in charge has written, or None."""
        if not stats.exists():
            return "Neve was not in charge to the end"
        if self.mode is None:
            return None
        mode = json.loads(stats.read_text(encoding="utf-8"))["mode"]
        return None if mode == self.mode else f"Neve ran in the mode {mode}, not {self.mode}"

    def is_final(self, result):
        """Whether a result from the store holds: a time-out does for limits up to its own."""
        return result is not None and (result["state"] != "timed out"
                                       or result["limit_s"] >= self.timeout_s)


def as_in_a_terminal():
    """What a shell in the background or nohup ignores, tests send to themselves."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def wait(process, timeout_s):
    """The status, None for a time-out; nothing of the process group is left."""
    status = None
    try:
        status = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        # The suite's own handler writes all threads' stacks.
        process.send_signal(signal.SIGABRT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            pass
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
    return status


def run_file(suite, store, name, configuration, say):
    """Stock and Neve for one file, with what is in the store left out, then reruns."""
    stock = store.get("stock", name)
    if not suite.is_final(stock):
        stock = suite.run(name, "stock")
        store.put("stock", name, stock)
    kept = store.get(configuration, name)
    if kept is None or not suite.is_final(kept["run"]):
        kept = {"run": suite.run(name, configuration), "reruns": None}
        store.put(configuration, name, kept)
    worse = compare(stock, kept["run"])
    if worse and kept["reruns"] is None:
        whole = any(item["test"] == FILE or " " in item["test"] for item in worse)
        patterns = []
        if not whole and stock["seconds"] > RERUN_WHOLE_S:
            patterns = [item["test"].removeprefix("test.") for item in worse]
            patterns = ["*" + pattern for pattern in patterns]
        # A time-out again and again would take hours.
        rounds = 1 if kept["run"]["state"] == "timed out" else RERUNS
        reruns = []
        for number in range(1, rounds + 1):
            reruns.append([suite.run(name, one, patterns, f"{one}.again{number}")
                           for one in ("stock", configuration)])
        kept = dict(kept, reruns=reruns)
        store.put(configuration, name, kept)
    different, flaky = judge([dict(item, file=short(name)) for item in worse],
                             kept["reruns"] or [])
    run = kept["run"]
    mark = f"  {len(different)} differ, {len(flaky)} flaky" if worse else ""
    say(f"{short(name):34} stock {stock['state']:9} {stock['seconds']:6.1f} s"
        f"   {configuration} {run['state']:9} {run['seconds']:6.1f} s{mark}")
    return different, flaky


def count(results):
    """Counts over many runs, by outcome; files by how they ended."""
    counts = {"files": len(results), "passed": 0, "failed": 0, "skipped": 0,
              "crashed": 0, "timed out": 0}
    for result in results:
        for outcome in result["tests"].values():
            if outcome in GOOD:
                counts["passed"] += 1
            elif outcome == "skipped":
                counts["skipped"] += 1
            else:
                counts["failed"] += 1
        if result["state"] in ("crashed", "timed out"):
            counts[result["state"]] += 1
    return counts


def fingerprint(package):
    """Changes when anything in the package does."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.is_file() and path.suffix in (".py", ".so", ".pth"):
            digest.update(str(path.relative_to(package)).encode() + path.read_bytes())
    return digest.hexdigest()


def make_user_base(package, base, version):
    """A user's site folder whose .pth lets NEVE=1 act in every child; False if there is none."""
    files = [*package.glob("*.pth"), *package.glob("_neve*.py")]
    if not any(file.suffix == ".pth" for file in files):
        return False
    site = base / f"lib/python{version}/site-packages"
    site.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(file, site)
    return True


def table(rows):
    """Columns, the first to the left and the others to the right."""
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(
        str(cell).ljust(width) if i == 0 else str(cell).rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows)


def describe(item):
    lines = [f"  {item['test']}: {item['stock']} on stock, {item['neve']} on Neve, again "
             f"{item['again']}"]
    if "stock_again" in item:
        lines[0] += f" (stock bad {item['stock_again']})"
    if "reason" in item:
        lines[0] += f": {item['reason']}"
    else:
        text = item["text"].splitlines()
        if len(text) > TEXT_LINES:
            text = text[:TEXT_LINES] + ["[...]"]
        lines += ["      " + line for line in text]
    return "\n".join(lines)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message):
        sys.stderr.write(f"{self.prog}: {message}; --help lists the options\n")
        sys.exit(2)


def arguments():
    parser = Parser(prog="test_cpython.py", description=__doc__, allow_abbrev=False,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=build.DEFAULT_PYTHON, help="interpreter under test")
    parser.add_argument("--only", metavar="NAMES", help="these test files only: test_gc,test_dict")
    parser.add_argument("--memory", action="store_true",
                        help="what has to do with memory only (with --only: those of them)")
    parser.add_argument("--collector", action="store_true",
                        help="of that, what has to do with the collector only")
    parser.add_argument("--stress", action="store_true",
                        help="what has to do with memory, Neve with NEVE_GC_STRESS=1")
    parser.add_argument("--children", action="store_true",
                        help="interpreters that tests start run on Neve too (NEVE=1)")
    parser.add_argument("--mode", choices=MODES,
                        help="Neve's mode; results of each are kept apart (default: Neve's own)")
    parser.add_argument("-j", "--jobs", type=int, default=2, metavar="N",
                        help="test files at once, default 2")
    parser.add_argument("--timeout", type=int, default=900, metavar="S",
                        help="seconds for a test file, default 900")
    parser.add_argument("--fresh", action="store_true", help="forget the results that are there")
    parser.add_argument("--keep-stock", action="store_true",
                        help="forget those of Neve only")
    parser.add_argument("--debug", action="store_true", help="the extension with NEVE_DEBUG=3")
    parser.add_argument("--werror", action="store_true", help="compiler warnings are errors")
    parser.add_argument("--json", action="store_true", help="the summary as JSON")
    args = parser.parse_args()
    if args.jobs < 1 or args.timeout < 1:
        parser.error("--jobs and --timeout must be at least 1")
    return parser, args


def main():
    parser, args = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def say(text):
        print(text, file=sys.stderr if args.json else sys.stdout, flush=True)

    python, _, version = build.python_info(args.python)[:3]
    package = build.package(args.python, args.debug, args.werror).resolve()
    folder = RESULTS / version
    configuration = "neve" + ("-debug" if args.debug else "") + \
        ("-stress" if args.stress else "") + ("-children" if args.children else "") + \
        (f"-{args.mode}" if args.mode else "")
    suite = Suite(python, package, folder, args.timeout, args.children, args.mode)
    minor = version.rsplit(".", 1)[0]
    if args.children and not make_user_base(package, folder / "userbase", minor):
        raise build.BuildError("--children: this checkout has no start-up file (*.pth) that "
                               "switches Neve on in children")
    names = suite.names()
    if not names:
        raise build.BuildError(f"{python} has no test suite: install libpython{minor}-testsuite, "
                               "or take one of tools/find_pythons.py")
    if args.memory or args.stress or args.collector:
        names = choose(names, COLLECTOR if args.collector else MEMORY)
    if args.only:
        wanted = [short(name) for name in args.only.split(",") if name]
        for name in wanted:
            if not choose(names, [name]):
                parser.error(f"no test file '{name}' to choose from")
        names = choose(names, wanted)
    # What has to do with memory first: it is what is waited for.
    first = choose(names, MEMORY)
    names = first + [name for name in names if name not in first]

    status = pathlib.Path(python).resolve().stat()
    base = [python, version, status.st_size, status.st_mtime_ns, FLAGS, args.children]
    store = Store(folder, {"stock": base, configuration: [*base, fingerprint(package)]},
                  args.fresh, args.keep_stock)
    for name in store.dropped:
        say(f"the results of {name} are of another build and are made anew")

    different, flaky = [], []
    pool = concurrent.futures.ThreadPoolExecutor(args.jobs)
    waiting = [pool.submit(run_file, suite, store, name, configuration, say) for name in names]
    try:
        for future in concurrent.futures.as_completed(waiting):
            one, other = future.result()
            different += one
            flaky += other
    except BaseException as error:
        # Threads cannot be interrupted, and leaving would wait for them: the results so far are
        # kept, those of what is cut short now are not.
        store.lock.acquire()
        suite.stop()
        try:
            if not isinstance(error, KeyboardInterrupt):
                traceback.print_exc()
        finally:
            os._exit(130 if isinstance(error, KeyboardInterrupt) else 1)

    entries = expected_of(configuration, minor, names, EXPECTED)
    different, expected, used = split_expected(different, entries)
    unused = [entry for entry in entries if entry not in used]
    stock_runs = [store.get("stock", name) for name in names]
    neve_runs = [store.get(configuration, name)["run"] for name in names]
    counts = {"stock": count(stock_runs), configuration: count(neve_runs)}
    if args.json:
        print(json.dumps({"python": python, "version": version, "configuration": configuration,
                          "counts": counts, "different": different, "flaky": flaky,
                          "expected": expected, "unused": unused}, indent=1))
    else:
        print(f"\nCPython {version}, {python}; logs in {folder / 'logs'}")
        heads = list(counts["stock"])
        print(table([["", *heads]] + [[name, *(one[head] for head in heads)]
                                      for name, one in counts.items()]))
        for title, items in (("flaky:", flaky), ("expected:", expected),
                             ("different:", different)):
            if items:
                print(title)
                for item in sorted(items, key=lambda item: item["test"]):
                    print(describe(item))
        for entry in unused:
            print(f"expected and not seen: {entry.test} ({entry.reason})")
        print(f"CPython {version}: {len(different)} different, {len(flaky)} flaky, "
              f"{len(expected)} expected, of {counts['stock']['passed']} tests that pass on stock")
    return 1 if different or not counts["stock"]["passed"] else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except build.BuildError as error:
        sys.stderr.write(f"neve: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
