# SPDX-License-Identifier: MIT
"""A Celery worker with a pool of forked processes, its broker a folder."""

import re
import signal

import harness

JOBS = harness.HERE / "celery_jobs"
PROCESSES = 2
TASK_ID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


def worker_and_client(side):
    """Runs a worker and a client that has it do jobs; returns texts by name."""
    for name in ("queue", "results"):
        (side.folder / name).mkdir()
    # Processes that end after some tasks are replaced by others forked later.
    worker = side.python(
        "-m", "celery", "--app", "jobs", "worker", "--pool", "prefork", "--concurrency",
        PROCESSES, "--max-tasks-per-child", 20, "--loglevel", "INFO", "--hostname", "worker@h",
        "--without-gossip", "--without-mingle", "--without-heartbeat")
    with side.start(*worker, name="worker") as process:
        process.until(lambda: "ready." in process.err(), "ready")
        out, err = side.run(JOBS / "client.py", name="client")
        assert process.stop(signal.SIGTERM) == 0, process.story()
        log = side.without_pids(side.normalised(process.err()))
        # Which process of the pool ran a task, and when a retry was due.
        log = re.sub(r"ForkPoolWorker-\d+", "ForkPoolWorker", TASK_ID.sub("TASK", log))
        # Which of the last messages were acknowledged, too, depends on when the end came.
        log = re.sub(r"WARNING Restoring \d+ unack.*\n", "", log)
        # How often a line comes depends on how many processes came to have tasks.
        log = "\n".join(sorted(set(log.splitlines())))
        return {"client": TASK_ID.sub("TASK", out), "client's errors": err,
                "worker": log,
                "banner": side.normalised(process.out())}


def test_celery_worker(tmp_path):
    sides = harness.compare(tmp_path, worker_and_client, "runner", application=[JOBS])
    log = (tmp_path / "neve.worker.err").read_text()
    assert len(re.findall(r"succeeded in", log)) == 2 + 12 * 4 + 3 + 3 + 5
    assert "exited prematurely" not in log and "signal" not in log
    for side in sides.values():
        [master] = side.pids("master")
        workers = side.pids("worker")
        assert master not in workers and len(workers) > PROCESSES
        # Those that met; some of the later ones may have had no task that collects.
        assert sum(side.full_collections(pid) > 0 for pid in workers) >= PROCESSES
