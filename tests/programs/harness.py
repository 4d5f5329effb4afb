# SPDX-License-Identifier: MIT
"""Runs a program on the stock interpreter and on Neve, with everything that it starts, and compares.

A test gives ``compare`` a function that runs its program on one side and returns what the program
said, as texts with names; the texts of both sides must be the same.  What may differ between two
runs of the same program (folders, process ids, dates, durations, addresses) is replaced before, by
``normalised`` and by the tests, each saying why.  Which processes there were, and whether Neve
really served them, is read from the notes that they leave (site/witness.py).

Processes run in a process group of their own, which is killed when its test ends, however it ends.
Nothing here imports Neve: a crash must be the result of a test, not the end of all of them.
"""

import contextlib
import difflib
import http.client
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STARTUP = ROOT / "python/startup"
PYTHON = sys.executable
TIMEOUT_S = 300    # for machines that have much else to do
SIDES = ("stock", "neve")

# Left by a process that ends as it must not, whatever the program does with its exit status.
CRASH = re.compile(r"Fatal Python error|[Ss]egmentation [Ff]ault|^DAMN |^neve: |double free|core dumped", re.M)

ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
STAMP = re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?: ?[+-]\d{4})?")
SECONDS = re.compile(r"\b\d+\.\d+ ?s(econds)?\b")


def package_folder():
    """The folder to put on the search path so that ``import neve`` works, or None."""
    folders = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    folders.append(str(ROOT / "build/python" / sys.implementation.cache_tag))
    for folder in folders:
        package = pathlib.Path(folder).resolve() / "neve"
        if (package / "__init__.py").exists() and list(package.glob("_neve.*.so")):
            return package.parent
    return None


def activate(env, how):
    """Change an environment so that the programs started with it run on Neve; returns the words
    that go between the interpreter and the program.

    ``how`` is "runner" (``python -m neve``: the process and those forked from it) or "environment"
    (every interpreter that is started with the environment).
    """
    env["PYTHONPATH"] = os.pathsep.join([str(package_folder()), env["PYTHONPATH"]])
    if how == "runner":
        return ["-m", "neve"]
    assert how == "environment", how
    env["NEVE"] = "1"
    env["NEVE_PROGRAMS_STARTUP"] = str(STARTUP)
    return []


class Side:
    """A program's surroundings on one side: a folder, an environment, the notes."""

    def __init__(self, name, folder, how, application):
        self.name = name
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self.notes_file = folder / f"{name}.notes"
        # Of its own, and short: the address of a Unix socket has 108 bytes.
        self.sockets = pathlib.Path(tempfile.mkdtemp(prefix="neve-"))
        self.env = {key: value for key, value in os.environ.items()
                    if not key.startswith(("PYTHON", "NEVE", "LD_PRELOAD", "PYTEST_", "COVERAGE"))
                    and not key.lower().endswith("_proxy")}
        self.env.update({
            "PYTHONPATH": os.pathsep.join(map(str, [HERE / "site", *application])),
            "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONFAULTHANDLER": "1",
            "PYTHONUNBUFFERED": "1", "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": str(self.folder),
            "SOURCE_DATE_EPOCH": "1700000000", "COLUMNS": "100", "TERM": "dumb",
            "NEVE_PROGRAMS_NOTES": str(self.notes_file)})
        self.words = activate(self.env, how) if name == "neve" else []

    def python(self, *words):
        """The command that runs a Python program on this side."""
        return [PYTHON, *self.words, *map(str, words)]

    def start(self, *command, name="program"):
        """Start a command; a context that kills what is left of it."""
        return Process(self, [str(word) for word in command], name)

    def run(self, *words, timeout=TIMEOUT_S, status=0, name="program"):
        """Run a Python program to its end; returns its normalised (stdout, stderr)."""
        with self.start(*self.python(*words), name=name) as process:
            assert process.wait(timeout) == status, process.story()
            return self.normalised(process.out()), self.normalised(process.err())

    def normalised(self, text):
        """A text without what differs between two runs of anything: the side's own folders,
        addresses of objects, dates with times, durations in seconds."""
        text = text.replace(str(self.folder), "FOLDER").replace(str(self.sockets), "SOCKETS")
        text = ADDRESS.sub("0xADDRESS", text)
        return SECONDS.sub("N s", STAMP.sub("DATE", text))

    def without_pids(self, text):
        """A text in which every process id that the notes know is PID, but not in lists: there a
        result may happen to be the same number."""
        pids = sorted({str(note["pid"]) for note in self.notes()}, key=len, reverse=True)
        known = rf"(?<!\d, )\b(?:{'|'.join(pids)})\b(?!, \d)"
        return re.sub(known, "PID", text) if pids else text

    def notes(self):
        """All notes so far."""
        if not self.notes_file.exists():
            return []
        return [json.loads(line) for line in self.notes_file.read_text().splitlines()]

    def pids(self, role):
        """The processes that played a role."""
        return {note["pid"] for note in self.notes() if note["role"] == role}

    def full_collections(self, pid):
        """How many full collections there were between the first and the last note of a
        process."""
        counts = [note["collections"][2] for note in self.notes() if note["pid"] == pid]
        return max(counts) - min(counts)

    def check_notes(self, elsewhere):
        """Every process ran on this side; those in the roles ``elsewhere`` on stock in any
        case."""
        notes = self.notes()
        assert notes, f"{self.name}: no process left a note"
        if self.words:
            # The runner does not reach interpreters that the program starts afresh (the resource
            # tracker of multiprocessing, say): they note nothing but their end.
            busy = {note["pid"] for note in notes if note["role"] != "exit"}
            notes = [note for note in notes if note["pid"] in busy]
            assert notes, f"{self.name}: no process left a note but that it ended"
        for note in notes:
            expected = self.name == "neve" and note["role"] not in elsewhere
            assert note["neve"] == expected, f"on {self.name}, a process on the wrong side: {note}"


class Process:
    """A command that was started, with all that it starts."""

    def __init__(self, side, command, name):
        self.command = command
        self.name = name
        self.out_file = side.folder.parent / f"{side.name}.{name}.out"
        self.err_file = side.folder.parent / f"{side.name}.{name}.err"
        self.side = side
        # Files, not pipes: nobody has to read while a server runs.
        with open(self.out_file, "ab") as out, open(self.err_file, "ab") as err:
            self.popen = subprocess.Popen(command, cwd=side.folder, env=side.env, stdout=out,
                                          stderr=err, stdin=subprocess.DEVNULL,
                                          start_new_session=True)

    @property
    def pid(self):
        return self.popen.pid

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait()
        if kind is None:
            crash = CRASH.search(self.err() + self.out())
            assert crash is None, self.story()

    def out(self):
        return self.out_file.read_text(errors="backslashreplace")

    def err(self):
        return self.err_file.read_text(errors="backslashreplace")

    def story(self):
        """What became of it, for a failing test."""
        return (f"{self.side.name}: {' '.join(self.command)}: status {self.popen.poll()}\n"
                f"--- stdout\n{self.out()[-4000:]}\n--- stderr\n{self.err()[-8000:]}")

    def wait(self, timeout=TIMEOUT_S):
        """Its exit status, once it ends by itself."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s\n{self.story()}") from None

    def stop(self, number=signal.SIGTERM, timeout=120):
        """End it by a signal that it handles; returns its exit status."""
        self.popen.send_signal(number)
        return self.wait(timeout)

    def until(self, condition, what, timeout=120):
        """Wait until a condition holds; returns what the condition returned."""
        deadline = time.monotonic() + timeout
        while True:
            result = condition()
            if result:
                return result
            assert self.popen.poll() is None, f"ended before {what}\n{self.story()}"
            assert time.monotonic() < deadline, f"not {what} after {timeout} s\n{self.story()}"
            time.sleep(0.02)

    def until_listening(self, path):
        """Wait until somebody accepts connections on a Unix socket."""
        def connects():
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(path))
                except OSError:
                    return False
            return True
        self.until(connects, f"listening on {path.name}")


def compare(folder, run, how, application=(), elsewhere=()):
    """Run on both sides, one after the other; the texts that ``run(side)`` returns must be the
    same.  Returns the sides, for questions about their processes."""
    sides, texts = {}, {}
    for name in SIDES:
        side = sides[name] = Side(name, pathlib.Path(folder), how, application)
        try:
            texts[name] = run(side)
        finally:
            shutil.rmtree(side.sockets, ignore_errors=True)
        side.check_notes(elsewhere)
    check_same(texts["stock"], texts["neve"])
    return sides


def check_same(stock, neve):
    """The texts of both sides, by name; an AssertionError shows how they differ."""
    assert stock, "the program said nothing that could be compared"
    problems = []
    for name in sorted(stock.keys() | neve.keys()):
        if name not in stock or name not in neve:
            problems.append(f"{name}: only on {'stock' if name in stock else 'Neve'}")
        elif stock[name] != neve[name]:
            if not isinstance(stock[name], str):
                problems.append(f"{name}: contents of length {len(stock[name])} and "
                                f"{len(neve[name])} differ")
                continue
            lines = difflib.unified_diff(stock[name].splitlines(), neve[name].splitlines(),
                                         f"stock: {name}", f"Neve: {name}", lineterm="", n=3)
            problems.append("\n".join(itertools.islice(lines, 60)))
    assert not problems, "Neve behaves otherwise:\n" + "\n".join(problems)


def sorted_lines(text):
    """A log of several processes: which lines there are, in an order that does not depend on who
    was first."""
    return "\n".join(sorted(text.splitlines()))


# --- a client of HTTP servers on Unix sockets --------------------------------------------------


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket.  Head and body of a request leave together: a server may answer the
    head and close, and a body that is sent after that finds no reader."""

    def __init__(self, path, timeout=120):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)
        self.unsent = b""

    def send(self, data):
        self.unsent += data

    def getresponse(self):
        data, self.unsent = self.unsent, b""
        super().send(data)
        return super().getresponse()

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def fetch(path, method, target, body=None, headers=None):
    """One request on a connection of its own; returns (status, headers, body)."""
    connection = UnixConnection(path)
    try:
        connection.request(method, target, body=body, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.getheaders(), response.read()
    finally:
        connection.close()


def told(response):
    """A response as text, without its date."""
    status, headers, body = response
    lines = sorted(f"{name}: {value}" for name, value in headers if name.lower() != "date")
    return "\n".join([str(status), *lines, "", body.decode(errors="backslashreplace")])


def fetch_all(path, requests, threads=2):
    """All requests, several at a time; returns a text of the responses in the order of the
    requests.  A request is (method, target) or (method, target, body, headers)."""
    responses = [None] * len(requests)
    errors = []
    numbers = iter(range(len(requests)))
    lock = threading.Lock()

    def client():
        while not errors:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                responses[number] = told(fetch(path, *requests[number]))
            except Exception as error:  # whatever it is, it fails the test
                errors.append(AssertionError(f"request {requests[number][:2]}: {error!r}"))

    clients = [threading.Thread(target=client) for _ in range(threads)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    if errors:
        raise errors[0]
    return "\n\n".join(f"== {method} {target}\n{response}"
                       for (method, target, *_), response in zip(requests, responses))
