# SPDX-License-Identifier: MIT
"""A second WSGI application for uWSGI, which gives it a sub-interpreter of its own: its objects come
from the allocator that the process has, its cycles are collected by the interpreter."""

import gc
import weakref

import witness

watched = []


class Ring:
    def __init__(self):
        self.self = self
        self.rows = [{"number": number, "ring": self} for number in range(50)]


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    for _ in range(20):
        watched.append(weakref.ref(Ring()))
    if environ["PATH_INFO"].endswith("/collect"):
        gc.collect()
        left = sum(reference() is not None for reference in watched)
        watched.clear()
        witness.note("sub-interpreter")
        return [f"left {left}".encode()]
    return [f"second {environ['QUERY_STRING']} ".encode() * 100]
