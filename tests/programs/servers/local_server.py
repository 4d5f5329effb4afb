# SPDX-License-Identifier: MIT
"""A small HTTP server of threads for clients to ask, on a port that the system chooses.

Not one of the programs: it runs in the process that wants to be served.  As a script it is a process
of its own, which prints its URL and ends when its standard input does.
"""

import contextlib
import http.server
import json
import sys
import threading
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers /data/N?size=S, /redirect/N and POST /echo; nothing else is there."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def answer(self, status, body, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def do_GET(self):
        parts = urllib.parse.urlsplit(self.path)
        kind, _, number = parts.path.strip("/").partition("/")
        if kind == "data":
            size = int(urllib.parse.parse_qs(parts.query).get("size", ["100"])[0])
            body = (f"item {number} " * (size // 6 + 1))[:size].encode()
            self.answer(200, body, **{"Content-Type": "text/plain", "X-Number": number})
        elif kind == "redirect":
            self.answer(302, b"", Location=f"/data/{number}?size=50")
        else:
            self.answer(404, b"not here")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        told = {"json": json.loads(body), "length": len(body)}
        self.answer(200, json.dumps(told).encode(), **{"Content-Type": "application/json"})

    def log_message(self, *words):
        """Servers of tests are silent."""


@contextlib.contextmanager
def serving():
    """Serve while the context lasts; gives the URL."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with serving() as address:
        print(address, flush=True)
        sys.stdin.read()
