# SPDX-License-Identifier: MIT
"""Notes that the programs' processes leave: whether Neve served them, and what was collected.

A note is a line of JSON in the file that NEVE_PROGRAMS_NOTES names.  Programs call ``note`` with
the role that the process plays; every process notes by itself that it was forked and that it ends.
The same happens on the stock interpreter, so that both sides run the same code.  Notes are never
part of what is compared: the harness asks them which processes there were, and that none of them
ran on the wrong side.
"""

import atexit
import gc
import json
import os
import sys

NOTES = os.environ.get("NEVE_PROGRAMS_NOTES")


def collections():
    """How often each generation was collected in this process and those that it was forked from,
    whether it was Neve that did, and how often the heap was frozen for forks."""
    neve = sys.modules.get("neve")
    if neve is not None and neve.is_installed():
        stats = neve.stats()
        generations = stats["collector"]["generations"]
        return ([generation["collections"] for generation in generations], True,
                stats["prefork"]["runs"])
    return [generation["collections"] for generation in gc.get_stats()], False, 0


def note(role):
    """Leave a note; does nothing where nobody reads them."""
    if NOTES is None:
        return
    counts, is_neve, freezes = collections()
    line = json.dumps({"role": role, "pid": os.getpid(), "neve": is_neve, "collections": counts,
                       "freezes": freezes, "frozen": gc.get_freeze_count()})
    # One write to a file opened for appending: the lines of several processes do not mix.
    descriptor = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, line.encode() + b"\n")
    finally:
        os.close(descriptor)


def begin():
    """Have this process, and those forked from it, leave notes by themselves."""
    os.register_at_fork(after_in_child=lambda: note("fork"))
    atexit.register(note, "exit")
