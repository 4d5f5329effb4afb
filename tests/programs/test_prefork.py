# SPDX-License-Identifier: MIT
"""NEVE_PREFORK under the servers that it knows: the heap is frozen once, before the first worker is
forked, and what the program says is what it says on stock."""

import re
import signal

import harness
import test_celery as celery
import test_web as web

REQUESTS = [("GET", f"/?page={number}") for number in range(4)] + [
    ("GET", "/item/7/"), ("GET", "/cycles/50/"), ("GET", "/report.json"), ("GET", "/broken/"),
    ("GET", "/export.csv"), ("GET", "/search/?q=amber")]


def check_frozen(sides, role, others=()):
    """The workers found the heap frozen by their parent, once; nobody else froze anything."""
    workers = [note for note in sides["neve"].notes() if note["role"] == role]
    assert workers
    for note in workers:
        assert note["freezes"] == 1 and note["frozen"] > 10_000, note
    assert not any(note["freezes"] or note["frozen"] for note in sides["stock"].notes())
    for other in others:
        for note in sides["neve"].notes():
            assert note["role"] != other or note["freezes"] <= 1, note


def ask_all_workers(side, server, path):
    texts = {"answers": harness.fetch_all(path, REQUESTS * 3)}

    def all_workers():
        harness.fetch_all(path, [("GET", "/whoami/"), ("GET", "/collect/")] * 4, threads=4)
        return len(side.pids("worker")) == web.WORKERS

    server.until(all_workers, "answered by all workers")
    return texts


def test_gunicorn(tmp_path):
    """Also a worker that replaces one which ended by itself, and a reload of all of them."""
    def run(side):
        side.env["NEVE_PREFORK"] = "gunicorn"
        path = side.sockets / "web"
        command = side.python(
            "-m", "gunicorn", "--preload", "--workers", web.WORKERS, "--bind", f"unix:{path}",
            "--worker-tmp-dir", side.sockets, "--graceful-timeout", 20, "wsgi:application")
        with side.start(*command) as server:
            server.until_listening(path)
            texts = ask_all_workers(side, server, path)
            server.popen.send_signal(signal.SIGHUP)
            server.until(lambda: server.err().count("Booting worker") == 2 * web.WORKERS
                         and server.err().count("Worker exiting") == web.WORKERS, "reloaded")
            texts["answers after the reload"] = harness.fetch_all(path, REQUESTS)
            assert server.stop() == 0, server.story()
            # How many workers the signal of the end meets before they have handlers is chance, on
            # stock as well.
            log = "".join(line for line in server.err().splitlines(keepends=True)
                          if "was terminated due to signal 15" not in line)
            texts["log"] = harness.sorted_lines(side.without_pids(side.normalised(log)))
            texts["out"] = server.out()
        return texts

    sides = harness.compare(tmp_path, run, "environment", application=[web.SITE])
    check_frozen(sides, "worker", ["master"])


def test_uwsgi(tmp_path):
    def run(side):
        side.env["NEVE_PREFORK"] = "uwsgi"
        path = side.sockets / "web"
        with web.uwsgi(side, path, "--module", "wsgi:application") as server:
            server.until_listening(path)
            texts = ask_all_workers(side, server, path)
            assert server.stop() == 0, server.story()
            texts["log"] = web.uwsgi_log(side, server)
        return texts

    sides = harness.compare(tmp_path, run, "environment", application=[web.SITE])
    check_frozen(sides, "worker")


def test_celery(tmp_path):
    def run(side):
        side.env["NEVE_PREFORK"] = "celery"
        return celery.worker_and_client(side)

    sides = harness.compare(tmp_path, run, "environment", application=[celery.JOBS])
    check_frozen(sides, "worker")


def test_multiprocessing(tmp_path):
    def run(side):
        side.env["NEVE_PREFORK"] = "multiprocessing"
        out, err = side.run(harness.HERE / "pool" / "pools.py", "fork")
        return {"out": out, "err": err}

    sides = harness.compare(tmp_path, run, "environment")
    check_frozen(sides, "collect")
