# SPDX-License-Identifier: MIT
"""What a worker tells the benchmark: how many requests it has answered, and at its end what its
collector did. Both go into files of the folder PREFORK_SITE_NOTES, because whoever measures memory
must not add to it: a request costs one system call."""

import gc
import json
import os
import sys
import time

NOTES = os.environ.get("PREFORK_SITE_NOTES")


class Counter:
    """Of the requests of this process, and its collections; nobody reads it until it was opened."""
    requests = 0
    descriptor = None
    inherited = [0, 0, 0]
    # Of the longest full collection, processor time.
    began = longest_s = 0.0


def open_counter():
    path = os.path.join(NOTES, f"requests.{os.getpid()}")
    Counter.requests = 0
    Counter.inherited = state()["collections"]
    Counter.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.pwrite(Counter.descriptor, bytes(8), 0)
    gc.callbacks.append(note_collection)


def note_collection(phase, info):
    if phase == "start":
        Counter.began = time.thread_time()
    elif info["generation"] == 2:
        Counter.longest_s = max(Counter.longest_s, time.thread_time() - Counter.began)


class CountingMiddleware:
    """Counts answers."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        Counter.requests += 1
        if Counter.descriptor is not None:
            os.pwrite(Counter.descriptor, Counter.requests.to_bytes(8, "little"), 0)
        return response


def state():
    """Of this process: who collects, how often each generation was collected since the fork, and
    what was frozen."""
    neve = sys.modules.get("neve")
    stats = neve.stats() if neve is not None and neve.is_installed() else None
    generations = stats["collector"]["generations"] if stats else gc.get_stats()
    return {"neve": stats is not None, "mode": stats and stats["mode"],
            "prefork": stats and stats["prefork"], "collecting": gc.isenabled(),
            "frozen": gc.get_freeze_count(), "longest_full_ms": Counter.longest_s * 1e3,
            "collections": [generation["collections"] - inherited
                            for generation, inherited in zip(generations, Counter.inherited)]}


def write_note(name, **values):
    """One note as a whole: whoever sees the file can read it."""
    path = os.path.join(NOTES, name)
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(dict(state(), **values), file)
    os.rename(path + ".new", path)
