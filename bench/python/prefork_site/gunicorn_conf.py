# SPDX-License-Identifier: MIT
"""gunicorn's configuration: what the benchmark's configurations of stock CPython do around the fork
(PREFORK_SITE_CONFIGURATION), and the notes for the benchmark.

Neve's configurations do nothing here: the recipe of docs/prefork.md is one variable.
"""

import gc
import os

CONFIGURATION = os.environ["PREFORK_SITE_CONFIGURATION"]
preload_app = True
workers = int(os.environ["PREFORK_SITE_WORKERS"])

# The recipe of the gc module's documentation: no collection in the parent, which would leave holes,
# gc.freeze() right before the fork, and the collector on again in the children.
if CONFIGURATION in ("freeze", "off"):
    gc.disable()


def when_ready(server):
    import counting
    counting.write_note("parent", objects=len(gc.get_objects()))
    if CONFIGURATION == "freeze":
        gc.freeze()


def post_fork(server, worker):
    if CONFIGURATION == "freeze":
        gc.enable()


def post_worker_init(worker):
    import counting
    counting.open_counter()


def worker_exit(server, worker):
    import counting
    counting.write_note(f"worker.{os.getpid()}")
