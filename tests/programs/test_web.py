# SPDX-License-Identifier: MIT
"""Pre-fork web servers: a Django site under gunicorn and uWSGI, with its cache built before the
fork."""

import re
import shutil
import urllib.parse

import harness
import pytest

SITE = harness.HERE / "django_site"
WORKERS = 2
ROUNDS = 12

# Drawn at random for each visitor.
TOKEN = re.compile(r"(csrfmiddlewaretoken\" value=\"|csrftoken=|sessionid=|messages=)[\w:.\"\\-]+")
EXPIRES = re.compile(r"(?i)(expires[=:] ?)[^;\n]+")


def requests():
    """What visitors ask for; every answer is the same whoever gives it."""
    asked = []
    for number in range(ROUNDS):
        asked += [("GET", f"/?page={number}"), ("GET", f"/item/{number * 31 % 400 + 1}/"),
                  ("GET", f"/search/?q={['amber', 'larch', 'none', 'e'][number % 4]}"),
                  ("GET", f"/review/{number + 1}/"), ("GET", f"/cycles/{number * 50}/"),
                  ("GET", f"/item/{number + 1}/", None, {"Accept-Encoding": "gzip"})]
        if number % 4 == 0:
            asked += [("GET", "/report.json"), ("GET", "/export.csv"), ("GET", "/item/9999/"),
                      ("GET", "/broken/"), ("POST", "/review/1/", "stars=3&text=no+token"),
                      ("GET", "/collect/"), ("HEAD", "/"), ("GET", "/admin/")]
    return asked


def cookies_of(response):
    return dict(value.split(";")[0].split("=", 1) for name, value in response[1]
                if name.lower() == "set-cookie")


def visit(path):
    """One visitor who logs in, reviews an item, and edits it: pages with forms and tokens."""
    jar, told = {}, []

    def ask(method, target, fields=None):
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}
        body = None
        if fields is not None:
            body = urllib.parse.urlencode(fields)
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        response = harness.fetch(path, method, target, body, headers)
        jar.update(cookies_of(response))
        told.append(f"== {method} {target}\n{harness.told(response)}")
        token = re.search(rb'csrfmiddlewaretoken" value="(\w+)"', response[2])
        return token.group(1).decode() if token else None

    token = ask("GET", "/admin/login/?next=/admin/")
    ask("POST", "/admin/login/?next=/admin/",
        {"username": "ann", "password": "secret", "csrfmiddlewaretoken": token})
    assert "sessionid" in jar, told[-1]
    ask("GET", "/admin/")
    ask("GET", "/admin/catalogue/item/?q=amber&shelf__id__exact=3")
    token = ask("GET", "/admin/catalogue/item/7/change/")
    assert token, told[-1]
    token = ask("GET", "/review/7/")
    for number, stars in enumerate([5, 9, ""]):
        ask("POST", "/review/7/", {"id": 20_000 + number, "stars": stars, "text": "good",
                                   "csrfmiddlewaretoken": token})
    ask("GET", "/item/7/")
    return "\n\n".join(told)


def visitors(side, server, path):
    """Everything that is asked of a server; returns texts by name."""
    # The visitor first: no session or token has been given out.
    texts = {"a visitor": visit(path), "visitors": harness.fetch_all(path, requests())}

    def all_workers():
        harness.fetch_all(path, [("GET", "/whoami/")] * 6, threads=4)
        return len(side.pids("worker")) == WORKERS

    server.until(all_workers, "answered by all workers")
    # As often as needed for each worker to have collected after it had left garbage.
    def all_collected():
        harness.fetch_all(path, [("GET", "/collect/")] * 4 + [("GET", "/whoami/")] * 2, threads=4)
        return all(side.full_collections(pid) > 0 for pid in side.pids("worker"))

    server.until(all_collected, "collected by all workers")
    return {name: EXPIRES.sub(r"\1DATE", TOKEN.sub(r"\1TOKEN", text))
            for name, text in texts.items()}


def check_workers(sides):
    for side in sides.values():
        [master] = side.pids("master")
        workers = side.pids("worker")
        assert len(workers) == WORKERS and master not in workers
        assert all(side.full_collections(pid) > 0 for pid in workers)


@pytest.mark.parametrize("kind, how", [("sync", "runner"), ("gthread", "environment")])
def test_gunicorn(tmp_path, kind, how):
    def run(side):
        path = side.sockets / "web"
        command = side.python(
            "-m", "gunicorn", "--preload", "--workers", WORKERS, "--worker-class", kind,
            "--threads", 2 if kind == "gthread" else 1, "--bind", f"unix:{path}",
            "--worker-tmp-dir", side.sockets, "--graceful-timeout", 20, "wsgi:application")
        with side.start(*command) as server:
            server.until_listening(path)
            texts = visitors(side, server, path)
            assert server.stop() == 0, server.story()
            # A worker that dies of a signal is replaced, and the log says so.
            texts["log"] = harness.sorted_lines(side.without_pids(side.normalised(server.err())))
            texts["out"] = server.out()
        return texts

    sides = harness.compare(tmp_path, run, how, application=[SITE])
    check_workers(sides)
    log = (tmp_path / "neve.program.err").read_text()
    assert log.count("Booting worker") == WORKERS
    assert log.count("Traceback") == log.count("RuntimeError: this page is broken") == ROUNDS // 4


def uwsgi(side, path, *options):
    """uWSGI with its own interpreter: a master that loads the site and forks two workers, each
    with two threads."""
    return side.start(
        shutil.which("uwsgi"), "--plugin", "python3", "--http-socket", path, "--master",
        "--processes", WORKERS, "--enable-threads", "--threads", 2, "--need-app", "--die-on-term",
        "--disable-logging", "--vacuum", *options)


def uwsgi_log(side, server):
    """Its log, without the date of its start and the seconds that things took."""
    text = side.without_pids(side.normalised(server.out() + server.err()))
    text = re.sub(r"on \[[^]]*\]|\b(in|after) \d+ seconds", "", text)
    return harness.sorted_lines(text)


def test_uwsgi(tmp_path):
    def run(side):
        path = side.sockets / "web"
        with uwsgi(side, path, "--module", "wsgi:application") as server:
            server.until_listening(path)
            texts = visitors(side, server, path)
            assert server.stop() == 0, server.story()
            texts["log"] = uwsgi_log(side, server)
        return texts

    sides = harness.compare(tmp_path, run, "environment", application=[SITE])
    check_workers(sides)
    log = (tmp_path / "neve.program.out").read_text() + (tmp_path / "neve.program.err").read_text()
    assert log.count("spawned uWSGI worker") == WORKERS
    assert "respawned" not in log and "DAMN" not in log
    assert log.count("Traceback") == log.count("RuntimeError: this page is broken") == ROUNDS // 4


def test_uwsgi_with_sub_interpreters(tmp_path):
    """The second application of a process has a sub-interpreter: Neve's allocator serves it, and
    the interpreter's own collector collects it."""
    def run(side):
        path = side.sockets / "web"
        # Without its handler for the end of Python, which has a fatal error with sub-interpreters
        # whatever the memory manager.
        with uwsgi(side, path, "--manage-script-name", "--mount", "/=wsgi:application",
                   "--mount", "/second=second:application", "--skip-atexit") as server:
            server.until_listening(path)
            # What dies at once and what a collection has to find, in both interpreters.
            first = [("GET", "/cycles/50/"), ("GET", "/?page=2"), ("GET", "/collect/")]
            second = [("GET", f"/second/x?{number}") for number in range(10)]
            texts = {"answers": harness.fetch_all(
                path, (first + second + [("GET", "/second/collect")]) * 10, threads=1)}
            assert server.stop() == 0, server.story()
            texts["log"] = uwsgi_log(side, server)
        return texts

    sides = harness.compare(tmp_path, run, "environment", application=[SITE],
                            elsewhere=["sub-interpreter"])
    for side in sides.values():
        assert side.pids("sub-interpreter") and side.pids("worker")
    answers = (tmp_path / "neve.program.out").read_text()
    assert "multiple interpreter mode" in answers + (tmp_path / "neve.program.err").read_text()
