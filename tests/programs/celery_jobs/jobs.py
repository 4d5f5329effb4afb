# SPDX-License-Identifier: MIT
"""The Celery application: a broker and results in folders of the working directory, and its tasks.

The benchmark runs the tasks in its own process.
"""

import gc
import json
import os
import time
import uuid
import weakref

import celery
from celery import signals
from kombu.transport import filesystem

import witness


def put_whole(channel, queue, payload, **_):
    """Puts a message into its folder, complete.  Kombu's own function shows the file before it has
    content, and a reader that comes just then loses the message, whatever the memory manager."""
    name = os.path.join(channel.data_folder_out, f"{time.monotonic_ns():020}_{uuid.uuid4()}")
    with open(name + ".new", "w", encoding="utf-8") as file:
        file.write(json.dumps(payload))
    os.rename(name + ".new", f"{name}.{queue}.msg")


filesystem.Channel._put = put_whole

app = celery.Celery("jobs")
app.conf.update(
    broker_url="filesystem://",
    broker_transport_options={"data_folder_in": "queue", "data_folder_out": "queue",
                              "store_processed": False, "polling_interval": 0.02},
    result_backend=f"file://{os.path.abspath('results')}",
    task_serializer="json", result_serializer="json", accept_content=["json"],
    # The broker is asked again after two seconds at the soonest when a limit was reached.
    worker_prefetch_multiplier=0,
    task_store_errors_even_if_ignored=True, timezone="UTC",
    worker_log_format="%(levelname)s %(message)s",
    worker_task_log_format="%(levelname)s %(task_name)s %(message)s")

# What the pool's processes inherit.
TABLE = {number: [str(number), {"square": number * number}] for number in range(20_000)}


class Part:
    """A part of a tree whose parts refer to their parents."""

    def __init__(self, parent, depth):
        self.parent = parent
        self.parts = [Part(self, depth - 1) for _ in range(3)] if depth else []

    def count(self):
        return 1 + sum(part.count() for part in self.parts)


@signals.worker_process_init.connect
def started(**_):
    witness.note("worker")


@signals.worker_init.connect
def before_fork(**_):
    witness.note("master")


@app.task
def add(*numbers):
    return sum(numbers)


@app.task
def tree(depth):
    """Builds a tree, which is garbage in cycles afterwards."""
    return Part(None, depth).count()


@app.task
def lookup(keys):
    return [TABLE[key][1]["square"] for key in keys]


@app.task
def collect():
    """How much of a tree survives a collection."""
    top = Part(None, 5)
    watched = [weakref.ref(part) for part in top.parts]
    del top
    gc.collect()
    witness.note("worker")
    return sum(reference() is not None for reference in watched)


@app.task(bind=True, max_retries=3)
def flaky(self, number):
    """Fails until its second retry."""
    if self.request.retries < 2:
        raise self.retry(exc=ValueError(number), countdown=0)
    return [number, self.request.retries]


@app.task
def fail(number):
    raise ValueError(f"{number} cannot be done", number)


@app.task
def meet(folder, count):
    """Waits until `count` processes have come: each has run a task then."""
    witness.note("worker")
    os.makedirs(folder, exist_ok=True)
    open(os.path.join(folder, str(os.getpid())), "w").close()
    deadline = time.monotonic() + 60
    while len(os.listdir(folder)) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(folder)
        time.sleep(0.02)
    gc.collect()
    witness.note("worker")
    return True
