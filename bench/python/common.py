# SPDX-License-Identifier: MIT
"""What the Python benchmarks share: fresh interpreters in turn, medians, tables, the line about the machine.

Every benchmark is one script with two faces. Without `--child` it is the driver; with `--child JSON` it is one
measurement: it gets its parameters as JSON, measures, and prints one line of JSON. The driver starts children
in turn (stock, neve, stock, neve, ...), each in a fresh interpreter, so that drift of the machine
falls on all of them alike.

A benchmark's exit status is 0 when everything was measured, 1 when something failed or Neve is not
built (its rows are left out then), 2 when the command line is wrong. A missed target is printed, and
is not a failure: benchmarks are not tests.
"""

import argparse
import atexit
import datetime
import functools
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import sysconfig
import tempfile

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LABELS = {"stock": "stock", "freeze": "stock + gc.freeze", "off": "stock, collector off", "neve": "Neve",
          "generational": "Neve generational", "incremental": "Neve incremental",
          "snapshot": "Neve snapshot", "prefork": "Neve + prefork", "variable": "NEVE=1"}
# The configurations that run on Neve, and the mode that each asks for; None is Neve's own default.
NEVE_MODES = {"neve": None, "generational": "generational", "incremental": "incremental",
              "snapshot": "snapshot", "prefork": None, "variable": None}
CHILD_TIMEOUT_S = 300


class Failure(Exception):
    """Something that the user must be told in one sentence."""


# --- the command line --------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line in one line, with status 2."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (--help lists the options)\n")


def positive(text):
    value = int(text)
    if value < 1:
        raise ValueError
    return value


positive.__name__ = "positive number"


def make_parser(description, configurations=("stock", "neve"), option="--only", runs=5, others=()):
    """A parser with the options that every benchmark has; the benchmark adds its own.

    `option` chooses configurations, of which `others` run only if asked for; `runs` is the default number of runs.
    """
    parser = Parser(description=f"{description} Exit status: 0 measured, 1 something failed or Neve is not built, "
                                "2 the command line is wrong.")
    parser.add_argument("--runs", type=positive, default=runs, metavar="N",
                        help=f"runs of each case, in turn; medians are shown (default {runs})")
    parser.add_argument(option, dest="configurations", type=name_list((*configurations, *others)),
                        default=list(configurations), metavar="LIST",
                        help=f"configurations, of {','.join((*configurations, *others))} "
                             f"(default {'all but ' + ','.join(others) if others else 'all'})")
    parser.add_argument("--json", metavar="FILE", help="also write everything measured to FILE")
    return parser


def name_list(known):
    """An argparse type: a comma-separated list of known names, returned in the known order."""
    def parse(text):
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"unknown name {name!r}, choose from {','.join(known)}")
        return [name for name in known if name in names]
    return parse


# --- interpreters ------------------------------------------------------------------------------------------


def environment_for(configuration):
    """The environment of a child; for stock, without anything that would switch Neve on unasked."""
    environment = dict(os.environ)
    environment.setdefault("PYTHONHASHSEED", "0")
    environment.pop("NEVE", None)
    if configuration in NEVE_MODES:
        built = os.path.join(CHECKOUT, "build", "python", sys.implementation.cache_tag)
        if os.path.isdir(built):
            paths = [built, environment.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        if configuration == "variable":
            environment["NEVE"] = "1"
            if os.path.isdir(built):
                environment["PYTHONUSERBASE"] = user_base(built)
        return environment
    for key in [key for key in environment if key.startswith("NEVE_")]:
        del environment[key]
    return environment


@functools.lru_cache(maxsize=None)
def user_base(built):
    """A folder for PYTHONUSERBASE where the interpreter finds the built package as if it were installed, with the
    .pth file that follows the variable NEVE. It is removed when the driver ends."""
    folder = tempfile.TemporaryDirectory(prefix="neve-userbase-")
    atexit.register(folder.cleanup)
    site = sysconfig.get_path("purelib", "posix_user", {"userbase": folder.name})
    os.makedirs(site)
    for name in os.listdir(built):
        os.symlink(os.path.join(built, name), os.path.join(site, name))
    return folder.name


def neve_words(configuration):
    """What stands between the interpreter and the program: nothing for stock, and where the variable does it."""
    if configuration not in NEVE_MODES or configuration == "variable":
        return []
    mode = NEVE_MODES[configuration]
    return ["-m", "neve"] + (["--mode", mode] if mode else [])


def check_neve(configuration="neve"):
    """Raises Failure, saying what to do, when programs cannot run under this configuration of Neve."""
    def ask(words):
        return subprocess.run([sys.executable, *words], env=environment_for(configuration), cwd=CHECKOUT,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)

    name = LABELS[configuration]
    probe = ask(["-c", "import neve"])
    if "No module named 'neve'" in probe.stderr:
        raise Failure(f"Neve is not built for {sys.implementation.cache_tag}, its rows are left out: "
                      f"`make PYTHON={sys.executable} run` in the checkout builds it")
    if probe.returncode:
        raise Failure(f"Neve cannot be imported, its rows are left out: "
                      f"{last_line(probe.stderr) or probe.returncode}")
    probe = ask([*neve_words(configuration), "-c", "import neve; neve.stats()"])
    if probe.returncode:
        raise Failure(f"{name} does not start, its rows are left out: "
                      f"{last_line(probe.stderr) or probe.returncode}")


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def run_child(configuration, parameters, timeout_s=CHILD_TIMEOUT_S):
    """Runs the calling script as a child under the configuration; returns what it reported."""
    command = [sys.executable, *neve_words(configuration)]
    parameters = dict(parameters, configuration=configuration)
    command += [os.path.abspath(sys.argv[0]), "--child", json.dumps(parameters)]
    # A process group of its own: whatever it forked is ended with it.
    process = subprocess.Popen(command, env=environment_for(configuration), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise Failure(f"did not end within {timeout_s} s and was killed") from None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode < 0:
        raise Failure(f"was killed by {signal_name(-process.returncode)}")
    if process.returncode:
        raise Failure(last_line(errors) or f"ended with status {process.returncode}")
    try:
        return json.loads(last_line(output))
    except ValueError:
        raise Failure("ended well but reported nothing that can be read") from None


def usable_configurations(configurations):
    """Those of the configurations that can be run, and status 1 if one cannot; says why."""
    usable, status = [], 0
    for configuration in configurations:
        try:
            if configuration in NEVE_MODES:
                check_neve(configuration)
            usable.append(configuration)
        except (Failure, subprocess.TimeoutExpired) as problem:
            complain(problem)
            status = 1
    return usable, status


def run_in_turn(options, cases, run_one=run_child):
    """Measures every case under every configuration.

    `cases` maps a case's name to its parameters; `run_one(configuration, parameters)` makes one measurement.
    Returns {case: {configuration: [report, ...]}}, without the configurations that failed, and the exit status.
    """
    configurations, status = usable_configurations(options.configurations)
    results = {}
    for case, parameters in cases.items():
        reports = {configuration: [] for configuration in configurations}
        for run in range(options.runs):
            for configuration in list(reports):
                show_progress(f"{case}: {LABELS[configuration]}, run {run + 1} of {options.runs}")
                try:
                    reports[configuration].append(run_one(configuration, parameters))
                except Failure as failure:
                    show_progress("")
                    complain(f"{case}, {LABELS[configuration]}: {failure}")
                    del reports[configuration]
                    status = 1
        show_progress("")
        results[case] = reports
    return results, status


def show_progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def complain(message):
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr, flush=True)


# --- a child -----------------------------------------------------------------------------------------------


def main(measure, drive):
    """The entry of every benchmark: `measure(parameters)` returns a child's report, `drive()` a status."""
    if len(sys.argv) == 3 and sys.argv[1] == "--child":
        parameters = json.loads(sys.argv[2])
        try:
            expect_configuration(parameters["configuration"])
            report = measure(parameters)
            expect_mode(parameters["configuration"])
            print(json.dumps(report))
            code = 0
        except Failure as failure:
            print(failure, file=sys.stderr)
            code = 1
        # A heap of a million objects is not worth taking apart one by one at the end.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    try:
        sys.exit(drive())
    except KeyboardInterrupt:
        sys.exit(130)


def expect_configuration(configuration):
    """Neve lets a program run without it when it cannot be set up; that must not pass for a measurement of Neve."""
    neve = sys.modules.get("neve")
    is_on = neve is not None and neve.is_installed()
    if configuration not in NEVE_MODES:
        expect(not is_on, "was to run on stock Python and runs under Neve")
        return
    expect(is_on, "was to run under Neve and does not")


def expect_mode(configuration):
    """Asked when all is measured: statistics take memory, which would count as the program's."""
    wanted = NEVE_MODES.get(configuration)
    if wanted is not None:
        mode = sys.modules["neve"].stats()["mode"]
        expect(wanted == mode, f"was to run in the mode {wanted} and runs in the mode {mode}")


def expect(condition, sentence):
    """What must hold for a figure to mean anything; unlike assert it is there under -O too."""
    if not condition:
        raise Failure(sentence)


class MemoryProbe:
    """Private dirty memory of this process. The file stays open; a reading makes one short-lived bytes object."""

    def __init__(self):
        self.fd = os.open("/proc/self/smaps_rollup", os.O_RDONLY | os.O_CLOEXEC)

    def private_dirty_kb(self):
        text = os.pread(self.fd, 4096, 0)
        key = b"\nPrivate_Dirty:"
        start = text.index(key) + len(key)
        return int(text[start:text.index(b"kB", start)])


def peak_rss_mb():
    """Peak resident memory of this process since its program began; getrusage would count its parent's before exec."""
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    raise Failure("/proc/self/status does not tell the peak of resident memory")


# --- results -----------------------------------------------------------------------------------------------


def median_of(reports, key):
    return statistics.median(report[key] for report in reports)


def ratio(value, reference):
    return value / reference if reference else None


def number(value, digits):
    return "-" if value is None else f"{value:.{digits}f}"


def print_table(heads, rows, left=1):
    """Columns as wide as their widest cell; the first `left` are left-aligned, the others right-aligned."""
    cells = [heads, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        print("  ".join(cell.ljust(width) if column < left else cell.rjust(width)
                        for column, (cell, width) in enumerate(zip(row, widths))).rstrip())


def machine_line():
    model = platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as cpuinfo:
            model = next((line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")), model)
    except OSError:
        pass
    return (f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} x {model}, "
            f"Linux {platform.release()}, {datetime.date.today().isoformat()}")


def check_json_file(parser, options):
    """A file that cannot be written is found before the measuring, not after it."""
    if options.json:
        try:
            with open(options.json, "a", encoding="utf-8"):
                pass
        except OSError as error:
            parser.error(f"cannot write {options.json}: {error.strerror}")


def make_folder(parser, folder):
    """Likewise a folder for pictures that cannot be made."""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        parser.error(f"cannot make {folder}: {error.strerror}")


def write_json(options, benchmark, rows, results):
    """`rows` are the figures shown, `results` every report of every run."""
    if not options.json:
        return
    document = {"benchmark": benchmark, "machine": machine_line(), "runs": options.runs, "rows": rows,
                "results": results}
    with open(options.json, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")
