# SPDX-License-Identifier: MIT
"""Servers and clients that run for long in one process: asyncio, aiohttp, httpx."""

import socket
import sys

import harness

SERVERS = harness.HERE / "servers"
sys.path.insert(0, str(SERVERS))

import local_server  # noqa: E402

SESSIONS = 60
ROUNDS = 60
COMMANDS = ["login ann", "set a 1 2 3", "get a", "get nothing", "gather 20", "generate 80",
            "thread hello", "timeout", "group", "nonsense", "set b", "get b"]


def talk(path, lines):
    """One connection to the asyncio server, lines sent at once; returns its answers."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(path))
        connection.sendall("".join(line + "\n" for line in lines).encode())
        with connection.makefile("r") as answers:
            return "".join(answers)


def test_asyncio_server(tmp_path):
    def run(side):
        path = side.sockets / "server"
        with side.start(*side.python(SERVERS / "asyncio_server.py", path)) as server:
            server.until_listening(path)
            said = []
            for number in range(SESSIONS):
                # Every third leaves without a word of farewell.
                end = ["quit"] if number % 3 else []
                said.append(talk(path, COMMANDS + ([""] if not end else end)))
                if number % 10 == 9:
                    said.append(talk(path, ["collect", "quit"]))
            assert server.stop() == 0, server.story()
            return {"said": "\n".join(said), "out": server.out(), "err": server.err()}

    sides = harness.compare(tmp_path, run, "environment")
    text = (tmp_path / "neve.program.out").read_text()
    assert text == "stopped 1 task\n"
    for side in sides.values():
        [pid] = side.pids("server")
        assert side.full_collections(pid) >= SESSIONS // 10


def test_aiohttp_server_and_client(tmp_path):
    def run(side):
        path = side.sockets / "server"
        with side.start(*side.python(SERVERS / "aiohttp_server.py", path), name="server") as server:
            server.until_listening(path)
            out, err = side.run(SERVERS / "aiohttp_client.py", path, ROUNDS, name="client")
            assert server.stop() == 0, server.story()
            return {"client": out, "client's errors": err, "server": server.out(),
                    "server's errors": side.normalised(server.err())}

    sides = harness.compare(tmp_path, run, "runner")
    for side in sides.values():
        for role in ("server", "client"):
            [pid] = side.pids(role)
            assert side.full_collections(pid) >= ROUNDS // 10
    # The handler that is broken wrote its tracebacks, and nothing else did.
    errors = (tmp_path / "neve.server.err").read_text()
    assert errors.count("Traceback") == errors.count("RuntimeError: this handler") == ROUNDS


def test_httpx_client_loop(tmp_path):
    with local_server.serving() as url:
        def run(side):
            out, err = side.run(SERVERS / "httpx_client.py", url, 80)
            return {"out": out.replace(url, "URL"), "err": err}

        sides = harness.compare(tmp_path, run, "runner")
    for side in sides.values():
        [pid] = side.pids("client")
        assert side.full_collections(pid) >= 2
