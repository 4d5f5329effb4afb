# SPDX-License-Identifier: MIT
"""The server of bench_prefork: gunicorn with the site of prefork_site, wrk, and what the kernel says of
the workers' memory while requests come in.

This file owns the processes: each runs in a process group of its own that is killed when its context
ends, however it ends. Everything else that is made lies in one temporary folder.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import common

HERE = os.path.dirname(os.path.abspath(__file__))
SITE = os.path.join(HERE, "prefork_site")
# Where Debian has what its own interpreter and no other looks for.
DEBIAN_PACKAGES = "/usr/lib/python3/dist-packages"
COW = os.path.join(common.CHECKOUT, "build", "neve")
POLL_S = 0.05


def require_wrk():
    if shutil.which("wrk") is None:
        raise common.Failure("wrk is not installed: sh tools/deps.sh bench installs it")


def require_packages(*names):
    """Raises Failure, saying what to install, where a package is missing that is not Neve's."""
    folder = packages_folder()
    for name in names:
        if importlib.util.find_spec(name) is None and not os.path.isdir(os.path.join(folder, name)):
            raise common.Failure(f"{name} is not installed: sh tools/deps.sh programs installs it")


def packages_folder():
    """What has to be added to the search path of an interpreter that is not Debian's own, or ""."""
    return "" if importlib.util.find_spec("django") else DEBIAN_PACKAGES


class Site:
    """The generated applications, compiled once by the interpreter that will run them, and the environment
    of the processes that do."""

    def __init__(self, folder, apps, entries, workers, has_attribution=False):
        self.folder = folder
        self.has_attribution = has_attribution
        self.variables = {"PREFORK_SITE_APPS": str(apps), "PREFORK_SITE_ENTRIES": str(entries),
                          "PREFORK_SITE_WORKERS": str(workers),
                          # Of Debian's packages too, whatever the interpreter and whoever runs this.
                          "PYTHONPYCACHEPREFIX": os.environ.get("PYTHONPYCACHEPREFIX")
                          or os.path.join(folder, "bytecode"),
                          # Debian's packages are older than some interpreters.
                          "PYTHONWARNINGS": "ignore", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        sys.path.insert(0, SITE)
        try:
            import catalogue
            import generate
        finally:
            sys.path.remove(SITE)
        self.generated = os.path.join(folder, "applications")
        generate.write_site(self.generated, apps)
        self.pages = max(1, entries // apps // catalogue.PER_PAGE)

    def environment(self, configuration, notes):
        environment = common.environment_for(configuration)
        for name in ("PYTHONDONTWRITEBYTECODE", "GUNICORN_CMD_ARGS", "WEB_CONCURRENCY", "DJANGO_SETTINGS_MODULE"):
            environment.pop(name, None)
        paths = [self.generated, SITE, environment.get("PYTHONPATH", ""), packages_folder()]
        if sys.version_info >= (3, 13):
            paths.append(os.path.join(SITE, "removed"))
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        environment.update(self.variables, PREFORK_SITE_NOTES=notes,
                           PREFORK_SITE_CONFIGURATION=configuration)
        environment.pop("NEVE_PREFORK", None)
        if configuration == "prefork":
            environment["NEVE_PREFORK"] = "gunicorn"
            # So that `neve cow` compares with what was there at the fork.
            environment["NEVE_COW_REFERENCE"] = "1" if self.has_attribution else "0"
        return environment

    def compile(self, timeout_s):
        """A start without workers: writes the bytecode, and tells early what does not work."""
        command = [sys.executable, "-c", "import wsgi, gunicorn.app.wsgiapp, gunicorn.workers.sync"]
        try:
            done = subprocess.run(command, env=self.environment("stock", self.folder), cwd=self.folder,
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s,
                                  check=False)
        except subprocess.TimeoutExpired:
            raise common.Failure(f"the site did not load within {timeout_s:.0f} s") from None
        if done.returncode:
            raise common.Failure(f"the site does not load: {common.last_line(done.stderr) or done.returncode}")


@contextlib.contextmanager
def site(apps, entries, workers, timeout_s, has_attribution=False):
    """A Site in a folder that is gone afterwards, as are all programs."""
    with tempfile.TemporaryDirectory(prefix="neve-prefork-") as folder:
        made = Site(folder, apps, entries, workers, has_attribution)
        made.compile(timeout_s)
        try:
            yield made
        finally:
            for program in list(Program.running):
                program.kill()


def listening_socket(port):
    """Bound here and handed to the server: no other process can take the port in between."""
    listener = socket.socket()
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise common.Failure(f"port {port} of 127.0.0.1 cannot be used: {error.strerror}; "
                             "without --port the system chooses one") from None
    return listener


@contextlib.contextmanager
def deferred_signals():
    """What would interrupt the body does so at its end. The signals are not blocked: a process that is started in
    the body would have them blocked for ever."""
    came = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number, frame in came:
            handlers[number](number, frame)


class Program:
    """A command in a process group of its own, which is killed at the end of the context."""
    #: An interrupt may come between a start and its context.
    running = []

    def __init__(self, command, environment, log, **options):
        self.log = log
        with open(log, "ab") as errors, deferred_signals():
            self.popen = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stderr=errors,
                                          start_new_session=True, **options)
            Program.running.append(self)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.kill()

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        if self.popen.stdout:
            self.popen.stdout.close()
        Program.running.remove(self)

    def last_words(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return common.last_line(file.read())

    def wait(self, timeout_s, what):
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise common.Failure(f"{what} did not end within {timeout_s:.0f} s and was killed") from None


class Server(Program):
    """gunicorn with its workers. `notes` is a folder for this start alone."""

    def __init__(self, made, configuration, notes, port, timeout_s):
        self.notes, self.timeout_s = notes, timeout_s
        self.workers_wanted = int(made.variables["PREFORK_SITE_WORKERS"])
        with listening_socket(port) as listener:
            self.port = listener.getsockname()[1]
            command = [sys.executable, *common.neve_words(configuration), "-m", "gunicorn", "--config",
                       os.path.join(SITE, "gunicorn_conf.py"), "--bind", f"fd://{listener.fileno()}",
                       "--log-level", "warning", "--worker-tmp-dir", notes, "wsgi:application"]
            super().__init__(command, made.environment(configuration, notes),
                             os.path.join(notes, "log"), cwd=notes, stdout=subprocess.DEVNULL,
                             pass_fds=[listener.fileno()])

    def note(self, name):
        with open(os.path.join(self.notes, name), encoding="utf-8") as file:
            return json.load(file)

    def pids(self):
        """The workers that are ready for requests."""
        return sorted(int(name.partition(".")[2]) for name in os.listdir(self.notes)
                      if name.startswith("requests."))

    def check(self):
        """Raises Failure when the server has ended, or a worker was replaced."""
        if self.popen.poll() is not None:
            raise common.Failure(f"the server ended: {self.last_words() or self.popen.returncode}")
        if len(self.pids()) > self.workers_wanted:
            raise common.Failure(f"a worker ended: {self.last_words()}")

    def wait_until_ready(self):
        deadline = time.monotonic() + self.timeout_s
        while len(self.pids()) < self.workers_wanted:
            self.check()
            if time.monotonic() > deadline:
                raise common.Failure(f"the server had no {self.workers_wanted} workers after "
                                     f"{self.timeout_s:.0f} s: {self.last_words()}")
            time.sleep(POLL_S)
        self.check()

    def sample(self, pid):
        """[requests, private dirty kB, Pss kB, shared kB] of a worker."""
        with open(os.path.join(self.notes, f"requests.{pid}"), "rb") as file:
            requests = int.from_bytes(file.read(8), "little")
        return [requests, *memory_of(pid)]

    def stop(self):
        """Ends it as its administrator would; returns the notes of the workers."""
        pids = self.pids()
        self.popen.send_signal(signal.SIGTERM)
        status = self.wait(self.timeout_s, "the server")
        if status:
            raise common.Failure(f"the server ended with status {status}: {self.last_words()}")
        try:
            return [self.note(f"worker.{pid}") for pid in pids]
        except OSError:
            raise common.Failure(f"a worker ended without its note: {self.last_words()}") from None


def memory_of(pid):
    """(private dirty, Pss, shared) in kB; shared is what other processes have mapped as well."""
    values = {}
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            for line in file:
                name, _, rest = line.partition(":")
                if rest.endswith("kB\n"):
                    values[name] = int(rest.split()[0])
    except (FileNotFoundError, ProcessLookupError):
        pass
    if "Private_Dirty" not in values:
        raise common.Failure(f"process {pid} ended while its memory was measured")
    return values["Private_Dirty"], values["Pss"], values["Shared_Clean"] + values["Shared_Dirty"]


def attribution_of(pid, timeout_s):
    """What `neve cow` says of a worker: kB of private dirty pages by their main cause, and what was compared."""
    try:
        done = subprocess.run([COW, "cow", "--json", str(pid)], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=timeout_s, check=False)
    except FileNotFoundError:
        raise common.Failure("--attribution needs build/neve: `make build` makes it") from None
    except subprocess.TimeoutExpired:
        raise common.Failure(f"neve cow did not end within {timeout_s:.0f} s and was killed") from None
    if done.returncode:
        raise common.Failure(f"neve cow failed: {common.last_line(done.stderr) or done.returncode}")
    report = json.loads(done.stdout)
    page_kb = report["page_bytes"] / 1024
    return {"basis": report["basis"], "types": report["types"],
            "causes": {cause: sums["pages"] * page_kb for cause, sums in report["causes"].items()}}


class Load(Program):
    """wrk, which asks for pages until it is told to stop."""

    def __init__(self, made, port, page, connections, notes):
        environment = dict(os.environ, **made.variables, PREFORK_SITE_PAGE=page,
                           PREFORK_SITE_PAGES=str(made.pages))
        # It has no end by count; it is interrupted once the workers have answered enough.
        command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", "24h",
                   "--timeout", "60s", "--script", os.path.join(SITE, "requests.lua"),
                   f"http://127.0.0.1:{port}"]
        super().__init__(command, environment, os.path.join(notes, "wrk.log"), stdout=subprocess.PIPE, text=True)

    def check(self):
        if self.popen.poll() is not None:
            raise common.Failure(f"wrk ended: {self.last_words() or self.popen.stdout.read().strip()}")

    def finish(self, timeout_s):
        """Its report."""
        self.popen.send_signal(signal.SIGINT)
        self.wait(timeout_s, "wrk")
        try:
            report = json.loads(common.last_line(self.popen.stdout.read()))
        except ValueError:
            raise common.Failure(f"wrk reported nothing that can be read: {self.last_words()}") from None
        failed = {kind: count for kind, count in report["errors"].items() if count}
        if failed:
            raise common.Failure("requests failed: " + ", ".join(f"{count} x {kind}" for kind, count in failed.items()))
        return report


def expect_state(configuration, note):
    """What a worker noted at its end must fit its row, or the row would be a figure of something else."""
    on_neve = configuration in common.NEVE_MODES
    common.expect(note["neve"] == on_neve, f"a worker was {'not ' * on_neve}served by Neve")
    common.expect(note["collecting"] == (configuration != "off"), "a worker's collector was not as it should be")
    common.expect((note["frozen"] > 0) == (configuration in ("freeze", "prefork")),
                  f"a worker found {note['frozen']} frozen objects")
    if configuration == "prefork":
        common.expect(note["prefork"]["runs"] == 1, f"neve.prefork() ran {note['prefork']['runs']} times")


def measure(made, configuration, page, requests, connections, port, interval_s, timeout_s):
    """One server from its start to its end; at least so many requests of each worker are answered.

    Returns the samples of each worker, [seconds, requests, private dirty, Pss, shared] in kB, beginning before
    the first request; what wrk reports; and the notes.
    """
    notes = tempfile.mkdtemp(dir=made.folder)
    with Server(made, configuration, notes, port, timeout_s) as server:
        server.wait_until_ready()
        time.sleep(interval_s)
        pids = server.pids()
        start = time.monotonic()
        samples = {pid: [[0.0, *server.sample(pid)]] for pid in pids}
        with Load(made, server.port, page, connections, notes) as load:
            deadline = start + timeout_s
            while min(rows[-1][1] for rows in samples.values()) < requests:
                time.sleep(interval_s)
                server.check()
                load.check()
                if time.monotonic() > deadline:
                    done = min(rows[-1][1] for rows in samples.values())
                    raise common.Failure(f"a worker had answered {done} requests of {requests} after {timeout_s:.0f} s "
                                         "(--timeout)")
                for pid in pids:
                    samples[pid].append([time.monotonic() - start, *server.sample(pid)])
            report = load.finish(timeout_s)
        for pid in pids:
            samples[pid].append([time.monotonic() - start, *server.sample(pid)])
        parent = server.note("parent")
        attribution = attribution_of(pids[0], timeout_s) if made.has_attribution else None
        states = server.stop()
    for state in states:
        expect_state(configuration, state)
    shutil.rmtree(notes)
    return {"samples": list(samples.values()), "load": report, "parent": parent, "workers": states,
            "attribution": attribution}
