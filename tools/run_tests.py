#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run the whole test suite; the last line of output is `N passed, N failed`.

Stages, in order (choose with --only a,b or leave out with --skip a,b):

    tools         tests of the tools themselves (pytest over tests/tools)
    install       tests/install: programs built against an installed copy of the C library
    c-debug       C tests, NEVE_DEBUG=3
    c-asan        C tests, address and undefined sanitizers, leaks included
    c-stress      C tests, a collection at every safe point
    c-tsan        C tests, thread sanitizer
    c-valgrind    C tests, valgrind memcheck
    model         the model of the incremental cycle, checked by spin (docs/model.md)
    fuzz          libFuzzer targets, a bounded number of runs each
    pytest-debug  tests/python on an extension with NEVE_DEBUG=3
    pytest        tests/python on the release build
    pytest-incremental
                  the same in the incremental mode
    versions      tests/python on the release build, for every other interpreter that is found
    cpython       CPython's own tests that have to do with memory, on stock and on Neve, for every
                  interpreter that is found
    cpython-incremental
                  the same in the incremental mode, for what has to do with the collector (without
                  --only: on the oldest and the newest interpreter)
    pytest-debug-incremental, versions-incremental, pytest-snapshot, versions-snapshot,
    cpython-snapshot
                  likewise in the other modes, with --only
    cli           tests/cli: the program neve
    examples      tests/examples: the example VM and the foreign object model, built with
                  sanitizers, and the programs of examples/advice on the release build
    m32           C tests, the VM and the foreign object model as 32-bit programs, with --only
    cross         the same for the other machines of tools/cross (big-endian, Arm) under qemu-user,
                  with --only; both need the packages of `tools/deps.sh cross`
    programs      tests/programs, real programs from Debian's packages, on the release build
    style layers  the checks of `make check`, one test each; only with --checks or --only

Every cmocka case, check of the model, pytest case, fuzz target and file of CPython's tests counts
as one test.  The interpreters are those of tools/find_pythons.py; a version that Neve supports and
that is not found is named before the last lines, and is no failure.  A program that crashes, times
out, exits with an error that no case explains, or runs no case at all counts as one failed test, as
does a stage that cannot be built.  C tests see NEVE_TEST_QUICK=1 where every instruction is dear
(c-stress, c-tsan, c-valgrind, cross) and may shrink their sizes then.

Of the stages that run pytest, up to RERUN_LIMIT failed cases a run are run once more, alone: these
tests start programs, threads and servers, and a loaded machine can starve one of them.  A case that
passes then is counted as passed, and is named with FLAKY before the last lines, its first output
above; it is a defect of the test or of Neve, to be looked into.  More failures than that are not
run again, nor are C tests and the sanitizers' findings.

Exit status: 0 all passed, 1 something failed or nothing ran, 2 the command line is wrong.
"""

import argparse
import concurrent.futures
import importlib.util
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import build  # noqa: E402
import cross  # noqa: E402
import find_pythons  # noqa: E402
import find_sources  # noqa: E402
import python_info  # noqa: E402

ROOT = build.ROOT
LOGS = build.BUILD / "test-logs"

# Stages may end in one of these.
MODES = ("incremental", "snapshot")

# Programs (as built: folder-file) that take minutes at such a stage even with NEVE_TEST_QUICK=1;
# say why beside each.
TOO_SLOW = {
    "c-valgrind": set(),
    "c-tsan": set(),
}

C_TIMEOUT_S = {"c-debug": 300, "c-asan": 300, "c-stress": 300, "c-tsan": 300, "c-valgrind": 600,
               "m32": 300, "cross": 600}
PYTEST_TIMEOUT_S = 1200
CPYTHON_TIMEOUT_S = 1800
CPYTHON_FILE_TIMEOUT_S = 300
PROGRAMS_TIMEOUT_S = 2400
MODEL_TIMEOUT_S = 1800
FUZZ_RUNS = 20000
FUZZ_SECONDS = 30

VALGRIND = ["valgrind", "-q", "--error-exitcode=99", "--leak-check=full",
            "--errors-for-leak-kinds=definite,possible", "--show-leak-kinds=definite,possible",
            f"--suppressions={ROOT / 'tests' / 'valgrind.supp'}"]

RERUN_LIMIT = 3         # failed cases of one run of pytest that are run once more

OUTPUT_LIMIT = 20000    # characters of a failing program that are printed


class Tally:
    """Counts of one stage and the names of what failed."""

    def __init__(self):
        self.passed = 0
        self.skipped = 0
        self.failures = []      # (name, why)
        self.flaky = []         # names of what passed when it was run once more

    def add(self, other):
        self.passed += other.passed
        self.skipped += other.skipped
        self.failures += other.failures
        self.flaky += other.flaky

    def prefix(self, text):
        """Put `text` before every name."""
        self.failures = [(text + name, why) for name, why in self.failures]
        self.flaky = [text + name for name in self.flaky]


def clean_environment(extra):
    """The caller's environment without what would change the programs under test."""
    env = {name: value for name, value in os.environ.items()
           if not name.startswith(("NEVE", "PYTHON", "CMOCKA_", "MALLOC_", "PYTEST_"))
           and name not in ("LD_PRELOAD", "MAKEFLAGS", "MFLAGS")}
    env.update(extra)
    return env


def run(command, env, timeout_s):
    """Run in a process group of its own; returns (status or None for a timeout, output)."""
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               start_new_session=True)
    try:
        out, _ = process.communicate(timeout=timeout_s)
        status = process.returncode
    except BaseException as error:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        out, _ = process.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        status = None
    return status, out.decode("utf-8", errors="replace")


def how_it_ended(status, timeout_s):
    """A status in words."""
    if status is None:
        return f"was still running after {timeout_s} s"
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"exited with status {status}"


def show(name, output):
    """Print the output of something that failed, indented, its middle cut out if it is long."""
    if len(output) > OUTPUT_LIMIT:
        half = OUTPUT_LIMIT // 2
        output = output[:half] + "\n[...]\n" + output[-half:]
    lines = [f"---- {name}", *("    " + line for line in output.rstrip().splitlines())]
    # In one piece: stages may run side by side.
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


TAP_LINE = re.compile(r"^(not ok|ok) (\d+)\s*(?:-\s*)?(.*)$", re.M)
SKIP_LINE = re.compile(r"^# skipped:? (.*)$", re.M)
TAP_PLAN = re.compile(r"^1\.\.(\d+)\s*$", re.M)


def read_tap(program, status, output, timeout_s):
    """Judge one C test program by its TAP lines and by how it ended."""
    tally = Tally()
    for verdict, _, rest in TAP_LINE.findall(output):
        if rest.startswith("# SKIP"):
            tally.skipped += 1
        elif verdict == "ok":
            tally.passed += 1
        else:
            tally.failures.append((f"{program}: {rest or '?'}", "failed"))
    planned = sum(int(n) for n in TAP_PLAN.findall(output))
    reported = tally.passed + tally.skipped + len(tally.failures)
    if status is None or status < 0:
        tally.failures.append((program, how_it_ended(status, timeout_s)))
    elif status != 0 and not tally.failures:
        tally.failures.append((program, how_it_ended(status, timeout_s)))
    elif status != 0 and re.search(r"Sanitizer|runtime error:|^==\d+==", output, re.M):
        tally.failures.append((program, how_it_ended(status, timeout_s)))
    elif reported == 0:
        tally.failures.append((program, "ran no test"))
    elif planned != reported:
        tally.failures.append((program, f"planned {planned} tests and reported {reported}"))
    return tally


def c_programs():
    """Names of the test programs, as tests/meson.build forms them."""
    sources = find_sources.find(ROOT, ["tests/*/test_*.c"])
    return [f"{source.split('/')[1]}-{pathlib.Path(source).stem}" for source in sources]


def c_stage(stage, args, preset=None):
    """Build a preset and run every C test program in it."""
    preset = preset or stage.removeprefix("c-")
    tally = Tally()
    extension = args.python if build.PRESETS[preset][1] else None
    folder = build.compile_preset(preset, extension, args.werror,
                                  [f"tests/{name}" for name in c_programs()])
    extra = {
        "CMOCKA_MESSAGE_OUTPUT": "TAP",
        "ASAN_OPTIONS": "detect_leaks=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "TSAN_OPTIONS": "halt_on_error=1",
    }
    prefix = []
    if stage in ("c-stress", "c-tsan", "c-valgrind", "cross"):
        extra["NEVE_TEST_QUICK"] = "1"
    if preset in cross.machines() and cross.emulator(preset):
        prefix = cross.emulator(preset)
        extra["NEVE_TEST_EMULATOR"] = prefix[0]
    if stage == "c-valgrind":
        prefix = list(VALGRIND)
        suppressions = ROOT / "tests/valgrind.supp"
        if suppressions.exists():
            prefix.append(f"--suppressions={suppressions}")
    if stage == "c-tsan" and shutil.which("setarch"):
        # The thread sanitizer of GCC 12 cannot map its shadow where the kernel randomizes much.
        prefix = ["setarch", "-R"]
    env = clean_environment(extra)
    programs = [name for name in c_programs() if name not in TOO_SLOW.get(stage, ())]
    left_out = []       # where an emulator cannot do what a test needs
    timeout_s = C_TIMEOUT_S[stage]

    def one(program):
        return program, *run([*prefix, str(folder / "tests" / program)], env, timeout_s)

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for program, status, output in pool.map(one, programs):
            result = read_tap(program, status, output, timeout_s)
            if result.failures:
                show(f"{stage}: {program} {how_it_ended(status, timeout_s)}", output)
            if stage == "cross":
                left_out += [f"{program}: {reason}" for reason in SKIP_LINE.findall(output)]
            tally.add(result)
    for line in left_out:
        print(f"{stage}: {preset}: left out {line}", flush=True)
    return tally


def read_junit(report):
    """The cases of a report of pytest: (set of those that passed, of those that failed, number of
    those that were skipped)."""
    passed, failed, skipped = set(), set(), 0
    if report.exists():
        for case in ElementTree.parse(report).iter("testcase"):
            name = f"{case.get('classname')}.{case.get('name')}"
            if case.find("failure") is not None or case.find("error") is not None:
                failed.add(name)
            elif case.find("skipped") is not None:
                skipped += 1
            else:
                passed.add(name)
    return passed - failed, failed, skipped


def pytest_run(stage, python, folder, env, timeout_s=PYTEST_TIMEOUT_S):
    """Run pytest over one folder, few failures once more, and count the cases in its report."""
    LOGS.mkdir(parents=True, exist_ok=True)
    report, again = LOGS / f"{stage}.xml", LOGS / f"{stage}-again.xml"
    cache = LOGS / f"{stage}-cache"
    report.unlink(missing_ok=True)
    again.unlink(missing_ok=True)
    shutil.rmtree(cache, ignore_errors=True)
    command = [python, "-m", "pytest", "-q", "--tb=short", "-o", f"cache_dir={cache}", folder]
    status, output = run([*command, f"--junitxml={report}"], env, timeout_s)
    passed, failed, skipped = read_junit(report)
    tally = Tally()
    tally.skipped = skipped
    if failed or status != 0:
        show(f"{stage}: {how_it_ended(status, timeout_s)}", output)
    # Status 1: every case ran to its end.
    if status == 1 and 0 < len(failed) <= RERUN_LIMIT:
        status_again, output = run([*command, "--last-failed", "--last-failed-no-failures=none",
                                    f"--junitxml={again}"], env, timeout_s)
        tally.flaky = sorted(read_junit(again)[0] & failed)
        failed -= set(tally.flaky)
        show(f"{stage}: once more: {how_it_ended(status_again, timeout_s)}", output)
    tally.passed = len(passed) + len(tally.flaky)
    tally.failures = [(name, "failed") for name in sorted(failed)]
    if not report.exists() or (status != 0 and not tally.failures and not tally.flaky):
        why = "found no tests" if status == 5 else how_it_ended(status, timeout_s)
        tally.failures.append((f"pytest {folder}", why))
    return tally


def python_with_pytest():
    return sys.executable if importlib.util.find_spec("pytest") else build.DEFAULT_PYTHON


def mode_of(stage):
    """The mode that a stage's name ends in, or None for the one that is Neve's default."""
    mode = stage.rpartition("-")[2]
    return mode if mode in MODES else None


def mode_environment(stage):
    mode = mode_of(stage)
    return {"NEVE_TEST_MODE": mode} if mode else {}


def tools_stage(stage, args):
    return pytest_run(stage, python_with_pytest(), "tests/tools", clean_environment({}))


def install_stage(stage, args):
    return pytest_run(stage, python_with_pytest(), "tests/install", clean_environment({}))


def pytest_stage(stage, args):
    """tests/python with the package in PYTHONPATH; NEVE_TEST_BUILD and NEVE_TEST_MODE tell the tests
    which one and in which mode."""
    is_debug = stage.startswith("pytest-debug")
    package = build.package(args.python, is_debug, args.werror)
    env = clean_environment({"PYTHONPATH": str(package),
                             "NEVE_TEST_PYTHON": shutil.which(args.python),
                             "NEVE_TEST_BUILD": "debug" if is_debug else "release",
                             **mode_environment(stage)})
    # The tests start the interpreter under test, and need not be run by it.
    return pytest_run(stage, python_with_pytest(), "tests/python", env)


def interpreters(args):
    """One interpreter for each version that Neve supports, --python for its own; and lines that say
    what is not tested."""
    supported = ["%d.%d" % version for version in python_info.SUPPORTED]
    found, passed_over = find_pythons.find()
    path, _, version = build.python_info(args.python)[:3]
    chosen = {one["minor"]: one for one in found}
    own = chosen.get(version.rpartition(".")[0])
    if own is None or not os.path.samefile(own["path"], path):
        chosen[version.rpartition(".")[0]] = {
            "minor": version.rpartition(".")[0], "version": version, "path": path,
            "lacks": find_pythons.probe(path)[2]}
    lines = list(passed_over)
    lines += [find_pythons.how_to_get(minor) for minor in supported if minor not in chosen]
    lines += [f"CPython {one['version']} is not supported by this checkout"
              for minor, one in chosen.items() if minor not in supported]
    return [chosen[minor] for minor in supported if minor in chosen], lines


def build_packages(stages, args):
    """Build what these stages of tests/python run on: two builds in one folder at once would harm
    each other.  A stage says itself what cannot be built."""
    for is_debug in sorted({stage.startswith("pytest-debug") for stage in stages}):
        try:
            build.package(args.python, is_debug, args.werror)
        except build.BuildError:
            pass


def versions_stage(stage, args):
    """tests/python for the interpreters beside --python, each with a package of its own."""
    tally = Tally()
    found, lines = interpreters(args)
    args.untested.update(dict.fromkeys(lines))
    own = os.path.realpath(shutil.which(args.python))
    others = [one for one in found if os.path.realpath(one["path"]) != own]

    def test(one):
        package = build.package(one["path"], False, args.werror)
        env = clean_environment({"PYTHONPATH": str(package), "NEVE_TEST_PYTHON": one["path"],
                                 "NEVE_TEST_BUILD": "release", **mode_environment(stage)})
        return pytest_run(f"{stage}-{one['minor']}", python_with_pytest(), "tests/python", env)

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        waiting = [(one, pool.submit(test, one)) for one in others]
        for one, future in waiting:
            try:
                result = future.result()
            except build.BuildError as error:
                result = Tally()
                result.failures.append(("building", str(error)))
            result.prefix(f"{one['minor']}: ")
            print(f"{stage}: CPython {one['version']}, {one['path']}: {result.passed} passed, "
                  f"{len(result.failures)} failed, {result.skipped} skipped", flush=True)
            tally.add(result)
    if not others:
        # Not "found nothing to run": what there is not is told at the end.
        tally.skipped += 1
    return tally


def cpython_stage(stage, args):
    """tools/test_cpython.py for each interpreter: the generational mode has the allocator too."""
    tally = Tally()
    found, lines = interpreters(args)
    args.untested.update(dict.fromkeys(lines))
    if mode_of(stage) and not args.only:
        found = found[:1] + found[1:][-1:]  # the oldest and the newest
    for one in found:
        if "testsuite" in one["lacks"]:
            args.untested[f"CPython {one['version']} has no test suite"] = None
            continue
        command = [sys.executable, "-B", "tools/test_cpython.py", "--python", one["path"],
                   "--collector" if mode_of(stage) else "--memory", "--json", "--keep-stock",
                   "-j", str(args.jobs),
                   "--timeout", str(CPYTHON_FILE_TIMEOUT_S)]
        if args.werror:
            command.append("--werror")
        if mode_of(stage):
            command += ["--mode", mode_of(stage)]
        status, output = run(command, clean_environment({}), CPYTHON_TIMEOUT_S)
        try:
            # Progress comes first, on standard error.
            report = json.loads(output[re.search(r"^\{$", output, re.M).start():])
        except (AttributeError, ValueError):
            why = how_it_ended(status, CPYTHON_TIMEOUT_S)
            tally.failures.append((one["version"], why))
            show(f"{stage}: {one['version']} {why}", output)
            continue
        failures = [(f"{one['version']}: {item['test']}",
                     f"{item['stock']} on stock, {item['neve']} on Neve")
                    for item in report["different"]]
        for entry in report["unused"]:
            print(f"{stage}: {one['version']}: expected to differ, and does not: {entry[0]}")
        passed = report["counts"]["stock"]["files"] - len({item["file"]
                                                           for item in report["different"]})
        print(f"{stage}: CPython {one['version']}, {one['path']}: {passed} files, "
              f"{report['counts']['stock']['passed']} tests pass on stock, {len(failures)} differ, "
              f"{len(report['flaky'])} flaky, {len(report['expected'])} expected", flush=True)
        if failures:
            show(f"{stage}: {one['version']}", output)
        tally.passed += passed
        tally.failures += failures
    return tally


def cli_stage(stage, args):
    """tests/cli with build/neve, which is built with the package."""
    build.package(args.python, False, args.werror)
    return pytest_run(stage, args.python, "tests/cli", clean_environment({}))


def examples_stage(stage, args):
    """tests/examples with the C programs of the preset asan, and the package in PYTHONPATH."""
    package = build.package(args.python, False, args.werror)
    env = clean_environment({"PYTHONPATH": str(package),
                             "NEVE_TEST_PYTHON": shutil.which(args.python),
                             "NEVE_TEST_VM": str(build.example("vm", args.python, "asan", args.werror)),
                             "NEVE_TEST_FOREIGN": str(build.example("foreign", args.python, "asan",
                                                                    args.werror))})
    return pytest_run(stage, python_with_pytest(), "tests/examples", env)


def machine_tests(stage, args, machine):
    """The C tests, the example VM and the foreign object model, as programs for another machine."""
    tally = c_stage(stage, args, machine)
    folder = build.compile_preset(machine, None, args.werror, ["examples/foreign", "examples/vm"])
    variables = {}
    for name in ("vm", "foreign"):
        # What these tests start is one file.
        script = folder / f"run-{name}"
        words = [*cross.emulator(machine), str(folder / "examples" / name)]
        script.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
        variables[f"NEVE_TEST_{name.upper()}"] = str(script)
    for name in ("test_foreign.py", "test_vm.py"):
        tally.add(pytest_run(f"{stage}-{machine}", python_with_pytest(), f"tests/examples/{name}",
                             clean_environment(variables)))
    return tally


def m32_stage(stage, args):
    """A machine whose programs this processor runs itself."""
    return machine_tests(stage, args, "i386")


def cross_stage(stage, args):
    """Each machine whose programs an emulator runs."""
    tally = Tally()
    for machine in cross.machines():
        if not cross.emulator(machine):
            continue
        try:
            result = machine_tests(stage, args, machine)
        except build.BuildError as error:
            result = Tally()
            result.failures.append(("building", str(error)))
        result.prefix(f"{machine}: ")
        print(f"{stage}: {machine}: {result.passed} passed, {len(result.failures)} failed, "
              f"{result.skipped} skipped", flush=True)
        tally.add(result)
    return tally


def programs_stage(stage, args):
    """tests/programs: Debian's packages serve Debian's interpreter only."""
    if os.path.realpath(shutil.which(args.python) or "") != os.path.realpath(build.DEFAULT_PYTHON):
        print(f"{stage}: left out, {args.python} is not {build.DEFAULT_PYTHON}")
        tally = Tally()
        tally.skipped = 1
        return tally
    env = clean_environment({"PYTHONPATH": str(build.package(args.python, False, args.werror))})
    return pytest_run(stage, args.python, "tests/programs", env, PROGRAMS_TIMEOUT_S)


def model_stage(stage, args):
    """tests/model: each configuration, seeded fault and situation is a test."""
    status, output = run([sys.executable, "-B", "tests/model/run_model.py"], clean_environment({}),
                         MODEL_TIMEOUT_S)
    tally = read_tap("run_model.py", status, output, MODEL_TIMEOUT_S)
    if tally.failures:
        show(f"{stage}: {how_it_ended(status, MODEL_TIMEOUT_S)}", output)
    return tally


def fuzz_stage(stage, args):
    """Each libFuzzer target from its corpus, with a fixed seed; a finding stays in build/."""
    tally = Tally()
    names = [pathlib.Path(s).stem for s in find_sources.find(ROOT, ["tests/fuzz/fuzz_*.c"])]
    folder = build.compile_preset("fuzz", None, args.werror,
                                  [f"tests/fuzz/{name}" for name in names])
    env = clean_environment({"ASAN_OPTIONS": "detect_leaks=1",
                             "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"})
    LOGS.mkdir(parents=True, exist_ok=True)
    for name in names:
        command = [str(folder / "tests/fuzz" / name), f"-runs={FUZZ_RUNS}", "-seed=1",
                   f"-max_total_time={FUZZ_SECONDS}", "-timeout=20", "-print_final_stats=0",
                   f"-artifact_prefix={LOGS}/{name}-"]
        corpus = ROOT / "tests/fuzz/corpus" / name
        if corpus.is_dir():
            # The first folder takes what is found, the second is only read.
            found = folder / "corpus" / name
            found.mkdir(parents=True, exist_ok=True)
            command += [str(found), str(corpus)]
        timeout_s = FUZZ_SECONDS + 120
        status, output = run(command, env, timeout_s)
        if status == 0:
            tally.passed += 1
        else:
            tally.failures.append((name, how_it_ended(status, timeout_s)))
            show(f"{stage}: {name} {how_it_ended(status, timeout_s)}", output)
    return tally


def check_stage(stage, args):
    tally = Tally()
    status, output = run([sys.executable, f"tools/check_{stage}.py"], clean_environment({}), 300)
    if status == 0:
        tally.passed += 1
    else:
        tally.failures.append((f"check_{stage}", how_it_ended(status, 300)))
        show(f"check_{stage}", output)
    return tally


STAGES = {
    "tools": tools_stage,
    "install": install_stage,
    "c-debug": c_stage,
    "c-asan": c_stage,
    "c-stress": c_stage,
    "c-tsan": c_stage,
    "c-valgrind": c_stage,
    "model": model_stage,
    "fuzz": fuzz_stage,
    "pytest-debug": pytest_stage,
    "pytest": pytest_stage,
    "pytest-incremental": pytest_stage,
    "versions": versions_stage,
    "cpython": cpython_stage,
    "pytest-debug-incremental": pytest_stage,
    "versions-incremental": versions_stage,
    "cpython-incremental": cpython_stage,
    "pytest-snapshot": pytest_stage,
    "versions-snapshot": versions_stage,
    "cpython-snapshot": cpython_stage,
    "cli": cli_stage,
    "examples": examples_stage,
    "m32": m32_stage,
    "cross": cross_stage,
    "programs": programs_stage,
    "style": check_stage,
    "layers": check_stage,
}
CHECKS = ["style", "layers"]
# Each of these is one process at a time: as many of them as --jobs says run side by side, the
# longest first.
SIDE_BY_SIDE = ["pytest-debug", "pytest", "pytest-incremental"]
# With --only: what they would find, the stages that have one of their two conditions mostly do;
# the snapshot mode differs from the incremental one in the marking alone, and has its own tests.
# m32 and cross need compilers that most machines lack.
LONG = ["pytest-debug-incremental", "versions-incremental", "pytest-snapshot", "versions-snapshot",
        "cpython-snapshot", "m32", "cross"]


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message):
        sys.stderr.write(f"{self.prog}: {message}; --help lists the options\n")
        sys.exit(2)


def stage_names(text):
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in STAGES:
            raise argparse.ArgumentTypeError(f"no stage '{name}', there are {', '.join(STAGES)}")
    return names


def run_stage(stage, args):
    """Run a stage and print its line; its Tally, with the stage before every name."""
    start = time.monotonic()
    try:
        tally = STAGES[stage](stage, args)
    except build.BuildError as error:
        tally = Tally()
        tally.failures.append((stage, str(error)))
    if tally.passed + tally.skipped + len(tally.failures) == 0:
        tally.failures.append((stage, "found nothing to run"))
    skipped = f", {tally.skipped} skipped" if tally.skipped else ""
    print(f"{stage:24} {tally.passed:5} passed, {len(tally.failures):3} failed{skipped}"
          f"  ({time.monotonic() - start:.1f} s)", flush=True)
    tally.prefix(f"{stage}: ")
    return tally


def main():
    parser = Parser(prog="run_tests.py", description=__doc__, allow_abbrev=False,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=stage_names, metavar="STAGES", help="run these stages only")
    parser.add_argument("--skip", type=stage_names, metavar="STAGES", default=[],
                        help="leave these stages out")
    parser.add_argument("--checks", action="store_true", help="run the stages style and layers too")
    parser.add_argument("--python", default=build.DEFAULT_PYTHON, help="interpreter under test")
    parser.add_argument("--werror", action="store_true", help="compiler warnings are errors")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1,
                        help="test programs that run at once")
    args = parser.parse_args()
    args.untested = {}      # lines, each once, in order
    if args.jobs < 1:
        parser.error("--jobs must be at least 1")
    chosen = args.only or [stage for stage in STAGES
                           if stage not in LONG and (args.checks or stage not in CHECKS)]
    chosen = [stage for stage in STAGES if stage in chosen and stage not in args.skip]

    total = Tally()
    beside = [stage for stage in chosen if stage in SIDE_BY_SIDE]
    for stage in chosen:
        if stage not in beside:
            total.add(run_stage(stage, args))
        elif stage == beside[0]:
            build_packages(beside, args)
            with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
                for tally in pool.map(lambda one: run_stage(one, args), beside):
                    total.add(tally)

    for line in args.untested:
        print(f"NOT TESTED {line}")
    for name in total.flaky:
        print(f"FLAKY {name}: failed, and passed when it was run once more")
    for name, why in total.failures:
        print(f"FAILED {name}: {why}")
    print(f"{total.passed} passed, {len(total.failures)} failed")
    return 0 if total.passed and not total.failures else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
