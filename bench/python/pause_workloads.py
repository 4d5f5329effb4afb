# SPDX-License-Identifier: MIT
"""The measured programs of bench_pauses. Each is `run_<kind>(parameters)`, in a process of its own, and returns what a
Recorder reported and what the program itself counted.

Where garbage is counted, every object of a ring refers to MARKER, and the marker's own count says how many of them have
not been cleared. So the collector has no finalizer and no weak reference to look after, and no object more to track.
"""

import asyncio
import collections
import gc
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

import bench_programs
import common
import heaps
import pause_client
from pause_recorder import Recorder, make_old, percentile

HERE = os.path.dirname(os.path.abspath(__file__))
RING_SIZES = range(3, 11)
LISTS_PER_TICK = 5
# Every second ring that a request leaves dies at once, the others when so many have come after them.
RINGS_HELD = 200
RINGS_PER_TICK = 10
COUNT_EVERY = 1000
MARKER = object()


class Node:
    """The program that broke CPython's incremental collector is made of these."""

    def __init__(self, next=None, prev=None):
        self.next = next
        self.prev = prev
        if next is not None:
            next.prev = self
        if prev is not None:
            prev.next = self


def live_heap(order, size):
    """The containers of a live heap, all of them old."""
    heap = heaps.build("lists", order, size)[0]
    make_old()
    return heap


class Requests:
    """Requests that keep lists and now and then leave a ring of lists."""

    def __init__(self, parameters, heap):
        self.kept = []
        self.is_shuffled = parameters["order"] == "shuffled"
        self.heap = heap
        self.lists = parameters["lists"]
        self.every = max(1, round(1 / parameters["garbage_share"]))
        self.held = collections.deque(maxlen=RINGS_HELD)
        self.rng = random.Random(2)
        self.count = 0

    def serve(self, tick):
        kept, heap, is_shuffled, draw = self.kept, self.heap, self.is_shuffled, self.rng.random
        size = len(heap)
        last = kept[-1] if kept else heap[-1]
        for number in range(self.lists):
            last = [heap[int(draw() * size)] if is_shuffled else last]
            kept.append(last)
            if number % LISTS_PER_TICK == 0:
                tick()
        self.count += 1
        if self.count % self.every == 0:
            ring = heaps.list_ring(RING_SIZES[self.count // self.every % len(RING_SIZES)])
            if self.count // self.every % 2:
                self.held.append(ring[0])
        tick()


def run_heap(parameters):
    """Requests over a live heap, in a busy loop; as a control with the collector off."""
    gc.disable()
    requests = Requests(parameters, live_heap(parameters["order"], parameters["size"]))
    recorder = Recorder()
    if not parameters.get("control"):
        gc.enable()
    recorder.begin()
    tick = recorder.make_ticker()
    for _ in range(parameters["requests"]):
        requests.serve(tick)
        recorder.lap()
    gc.disable()
    report = recorder.finish()
    common.expect(len(requests.kept) == parameters["requests"] * parameters["lists"], "lists were lost")
    return report


def run_server(parameters):
    """An asyncio server; the client measures."""
    gc.disable()
    requests = Requests(parameters, live_heap(parameters["order"], parameters["size"]))
    recorder = Recorder()

    async def serve(folder):
        done = asyncio.Event()
        open_connections = 0

        async def connection(reader, writer):
            nonlocal open_connections
            open_connections += 1
            while line := await reader.readline():
                requests.serve(tick)
                writer.write(line)
            writer.close()
            open_connections -= 1
            if not open_connections:
                done.set()

        path = os.path.join(folder, "server")
        server = await asyncio.start_unix_server(connection, path, backlog=64)
        command = [sys.executable, pause_client.__file__, path, str(parameters["rate"]), str(parameters["seconds"])]
        with open(os.path.join(folder, "answer"), "w+b") as answer, \
             subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=answer, stderr=subprocess.PIPE,
                              env=common.environment_for("stock")) as client:
            try:
                gc.enable()
                recorder.begin()
                tick = recorder.make_ticker()
                waiting = asyncio.ensure_future(done.wait())
                while not waiting.done():
                    # A client that could not even connect never ends a connection.
                    await asyncio.wait([waiting], timeout=0.5)
                    if client.poll() not in (None, 0):
                        break
                gc.disable()
                status = client.wait(60)
            finally:
                if client.poll() is None:
                    client.kill()
            server.close()
            errors = client.stderr.read().decode(errors="replace")
            common.expect(status == 0, common.last_line(errors) or f"the client ended with status {status}")
            answer.seek(0)
            return json.load(answer)

    with tempfile.TemporaryDirectory(prefix="neve-") as folder:
        answer = asyncio.run(serve(folder))
    report = recorder.finish()
    # The loop waits for requests, so its gaps mean nothing.
    report["gap_ms"] = None
    report["samples"]["gaps"] = [[], []]
    latencies = answer["latency_us"]
    report["requests"] = len(latencies)
    for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1)):
        report[f"latency_{name}_ms"] = percentile(latencies, share) / 1000
    report["client_late_ms"] = percentile(answer["sent_late_us"], 0.999) / 1000
    report["samples"]["latencies"] = [answer["at_us"], latencies]
    common.expect(requests.count == len(latencies), "the server did not serve as many requests as were sent")
    return report


def linked_list(count):
    head = Node()
    for _ in range(count):
        head = Node(head, head.prev)
    return head


def run_linked(parameters):
    """Linked lists, each replacing the one before and referring to the first."""
    recorder = Recorder()
    recorder.begin()
    tick = recorder.make_ticker()
    head = linked_list(parameters["first"])
    made = parameters["first"]
    while made < parameters["objects"]:
        new = linked_list(parameters["list"])
        new.surprise = head
        made += parameters["list"]
        tick()
    report = recorder.finish()
    # One tick is a whole list.
    report["gap_ms"] = None
    report["samples"]["gaps"] = [[], []]
    return dict(report, made=made)


def run_rings(parameters):
    """Large rings that are held for a while, and die old, beside a live heap."""
    gc.disable()
    heap = live_heap("shuffled", parameters["size"])
    ring_objects = parameters["ring_objects"]
    held = collections.deque()
    recorder = Recorder()
    gc.enable()
    recorder.begin()
    tick = recorder.make_ticker()
    unused = sys.getrefcount(MARKER)
    worst = 0
    for _ in range(parameters["rings"]):
        first = last = [None, MARKER]
        for number in range(2, ring_objects + 1):
            last = [last, MARKER]
            if number % LISTS_PER_TICK == 0:
                tick()
            if number % COUNT_EVERY == 0:
                worst = max(worst, sys.getrefcount(MARKER) - unused - number - len(held) * ring_objects)
        first[0] = last
        held.append(first)
        first = last = None
        if len(held) > parameters["held"]:
            held.popleft()
            worst = max(worst, sys.getrefcount(MARKER) - unused - len(held) * ring_objects)
        tick()
    gc.disable()
    report = recorder.finish()
    common.expect(len(heap) == parameters["size"] and len(held) == parameters["held"], "the heap changed its size")
    return dict(report, garbage=worst)


def run_program(parameters):
    """One of the programs of bench_programs; the garbage that is left is counted at its end."""
    recorder = Recorder()
    recorder.begin(samples_in_callbacks=True)

    def finish():
        report = recorder.finish()
        gc.disable()
        report["garbage"] = gc.collect()
        return report

    digest, report = bench_programs.run_program(bench_programs.RUN[parameters["program"]], finish)
    report["gap_ms"] = None
    return dict(report, digest=digest.sum.hexdigest(), answers=digest.lines)


def run_sphinx(parameters):
    """Sphinx over pages of Python's manual."""
    for name in parameters["pages"]:
        path = os.path.join(parameters["sources"], name + ".rst.txt")
        common.expect(os.path.exists(path), f"there is no {path}: `sh tools/deps.sh bench` installs Python's manual")

    def build(digest):
        from sphinx.cmd.build import build_main
        os.mkdir("source")
        for name in parameters["pages"]:
            shutil.copy(os.path.join(parameters["sources"], name + ".rst.txt"), f"source/{name}.rst")
        shutil.copy(os.path.join(HERE, "pause_manual_conf.py"), "source/conf.py")
        with open("source/index.rst", "w", encoding="utf-8") as index:
            index.write("Pages\n=====\n\n.. toctree::\n\n" + "".join(f"   {name}\n" for name in parameters["pages"]))
        status = build_main(["-q", "-b", "html", "-d", "doctrees", "source", "html"])
        common.expect(status == 0, f"Sphinx ended with status {status}")
        for name in sorted(os.listdir("html")):
            if name.endswith((".html", ".js", ".inv")):
                with open(os.path.join("html", name), "rb") as file:
                    digest.say(name)
                    digest.say(file.read())

    recorder = Recorder()
    recorder.begin(samples_in_callbacks=True)
    digest, report = bench_programs.run_program(build, recorder.finish)
    report["gap_ms"] = None
    common.expect(digest.lines >= 2 * len(parameters["pages"]), "not every page was written")
    return dict(report, digest=digest.sum.hexdigest(), answers=digest.lines)


def run_churn(parameters):
    """Rings of four lists that die young, aged, or referring to the live heap."""
    gc.disable()
    heap = live_heap("shuffled", parameters["size"])
    kind = parameters["churn"]
    held = collections.deque(maxlen=parameters["aged"]) if kind == "aged" else None
    is_linked = kind == "linked"
    recorder = Recorder()
    gc.enable()
    recorder.begin()
    tick = recorder.make_ticker()
    size = len(heap)
    for number in range(parameters["rings"]):
        a, b, c, d = [], [], [], []
        a.append(b)
        b.append(c)
        c.append(d)
        d.append(a)
        if is_linked:
            a.append(heap[number * 7919 % size])
            c.append(heap[number * 104729 % size])
        elif held is not None:
            held.append(a)
        if number % RINGS_PER_TICK == 0:
            tick()
    gc.disable()
    report = recorder.finish()
    # Wall time would also count what else the machine did.
    return dict(report, rings_per_s=parameters["rings"] / report["cpu_s"])


def run_created(parameters):
    """No cycle, ever: lists that live for good."""
    recorder = Recorder()
    recorder.begin()
    tick = recorder.make_ticker()
    kept = []
    for number in range(parameters["objects"]):
        kept.append([number])
        if number % LISTS_PER_TICK == 0:
            tick()
    gc.disable()
    return recorder.finish()


def run_garbage(parameters):
    """Pairs of lists that die at once beside a live heap; what waits to be collected, at worst."""
    gc.disable()
    heap = live_heap("shuffled", parameters["size"])
    recorder = Recorder()
    gc.enable()
    recorder.begin()
    tick = recorder.make_ticker()
    unused = sys.getrefcount(MARKER)
    worst = 0
    for number in range(parameters["pairs"]):
        a = [MARKER]
        b = [a, MARKER]
        a.append(b)
        a = b = None
        waiting = sys.getrefcount(MARKER) - unused
        if waiting > worst:
            worst = waiting
        if number % RINGS_PER_TICK == 0:
            tick()
    gc.disable()
    report = recorder.finish()
    common.expect(len(heap) == parameters["size"], "the heap changed its size")
    return dict(report, garbage=worst)


RUN = {"heap": run_heap, "server": run_server, "linked": run_linked, "rings": run_rings, "program": run_program,
       "sphinx": run_sphinx, "churn": run_churn, "created": run_created, "garbage": run_garbage}
