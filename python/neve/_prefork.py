# SPDX-License-Identifier: MIT
"""Freezing a process before it forks its workers: what :func:`neve.freeze`, :func:`neve.refreeze`
and :func:`neve.prefork` do, and ``NEVE_PREFORK``, which has it done with no change to a program.

This file is responsible for the order of the steps, for doing them once and not at each fork, and
for recognising the forks of the servers that it knows.
"""

import gc
import os
import sys
import warnings

import neve
from neve import _neve, _stock

#: Who forks, by the value of NEVE_PREFORK: module and name of the function that calls os.fork().
#: uWSGI forks in C.
FORKERS = {
    "gunicorn": {("gunicorn.arbiter", "spawn_worker")},
    "uwsgi": set(),
    "celery": {("billiard.popen_fork", "_launch"), ("billiard.forkserver", "main")},
    "multiprocessing": {("multiprocessing.popen_fork", "_launch"),
                        ("multiprocessing.forkserver", "main")},
}

#: Classes with a finalizer for which the exit is soon enough, by module and name: what it undoes is of
#: use to nobody but the object. Of Local, values that it has put into threads and tasks under a name
#: of its own; every URL resolver of Django's holds one.
FINALIZED_AT_EXIT = (("asgiref.local", "Local"),)

#: The work is done again once the heap has grown by this part since.
GROWTH = 0.25

HAS_IMMORTALS = sys.version_info >= (3, 12)


class State:
    """What has been done so far in this process and those that it was forked from."""
    runs = 0            # how often prefork() did its work
    skipped = 0         # how often there was nothing to be done
    heap_bytes = 0      # in use after the last time
    is_immortal = False     # how freeze() was called last
    finalized_at_exit = ()  # classes that freeze() was told of so far
    report = None       # of the last freeze


def note_finalized_at_exit(classes):
    """More classes for State.finalized_at_exit.  TypeError."""
    classes = tuple(classes)
    for one in classes:
        if not isinstance(one, type):
            raise TypeError("finalize_at_exit: classes are expected, not %s" % type(one).__name__)
    # By identity: a metaclass may define equality.
    known = {id(one): one for one in (*State.finalized_at_exit, *classes)}
    State.finalized_at_exit = tuple(known.values())


def finalized_at_exit():
    """All such classes that the program has."""
    known = (getattr(sys.modules.get(module), name, None) for module, name in FINALIZED_AT_EXIT)
    return (*State.finalized_at_exit, *(one for one in known if isinstance(one, type)))


def freeze(immortal):
    """Freeze what there is; returns the report."""
    gc.freeze()
    _neve.note_freeze()
    report = {"frozen": gc.get_freeze_count(), "immortal": 0, "mortal": {},
              "writes_counts": not (immortal and HAS_IMMORTALS)}
    if immortal:
        report.update(_neve.make_immortal(finalized_at_exit()))
        if not HAS_IMMORTALS:
            report["mortal"] = {}
    State.is_immortal = immortal
    State.report = report
    return dict(report, mortal=dict(report["mortal"]))


def warn_of_counts(depth):
    """Say that this version has no immortal objects."""
    warnings.warn("CPython %d.%d has no immortal objects (3.12 and later have): the heap is frozen, "
                  "and reference counts will still be written into it" % sys.version_info[:2],
                  RuntimeWarning, depth + 1)


def heap_bytes():
    """What Neve's heap holds in small blocks; where it serves none, the number of blocks."""
    return _neve.stats()["heap"]["small_bytes"] or sys.getallocatedblocks()


def is_done():
    """Whether the work of prefork() has been done, and neither outgrown nor undone by
    unfreezing or by installing Neve afresh."""
    return (State.runs > 0 and heap_bytes() <= State.heap_bytes * (1 + GROWTH)
            and _neve.stats()["collector"]["frozen"] > State.report["frozen"] // 2
            and (neve._mode_is_chosen or neve._settings[0] != "generational"))


def prefork():
    """All that is to be done before a fork, unless it has been; returns the report."""
    if is_done():
        State.skipped += 1
        return dict(State.report, mortal=dict(State.report["mortal"]), is_new=False)
    # A full collection empties the interpreter's free lists as well, and what it frees lies in
    # pools from which a child of Neve's does not allocate: it costs the children no page. Garbage
    # that stayed would be frozen for good. What the parent allocates later fills the holes.
    gc.collect()
    report = freeze(True)
    # A worker's full collections would stop it for as long as it has kept much; and workers that
    # were forked together have theirs together.
    _neve.prefork_settle(not neve._mode_is_chosen, neve._settings[2])
    if not neve._mode_is_chosen:
        neve._settings = ("incremental", *neve._settings[1:])
    State.runs += 1
    State.heap_bytes = heap_bytes()
    report = dict(report, is_new=True)
    if os.environ.get("NEVE_COW_REFERENCE") == "1":
        keep_reference()
    return report


def keep_reference():
    """The copy that workers are compared with. Last, so that it is as the workers find it."""
    try:
        _neve.cow_reference(True)
    except OSError as error:
        _stock.say("NEVE_COW_REFERENCE: %s" % error)


def stats():
    """A part of :func:`neve.stats`."""
    report = State.report or {"immortal": 0, "mortal": {}}
    return {"runs": State.runs, "skipped": State.skipped, "immortal": report["immortal"],
            "mortal": sum(report["mortal"].values())}


# --- NEVE_PREFORK --------------------------------------------------------------------------------


def checked_server():
    """The value of NEVE_PREFORK, or None; ValueError with a sentence."""
    server = os.environ.get("NEVE_PREFORK")
    if not server:
        return None
    if server not in FORKERS:
        raise ValueError("NEVE_PREFORK: there is no '%s'; choose %s, or call neve.prefork() before "
                         "the fork" % (server, ", ".join(sorted(FORKERS))))
    return server


class Watch:
    """Sees the forks of one process and of those that are not workers."""

    def __init__(self, server):
        self.server = server
        self.forkers = FORKERS[server]
        self.is_worker = False
        self.is_python_fork = False     # os.fork() is under way
        self.is_recognised = False      # ... and the server's

    def work(self):
        """Never raises: the program has asked for nothing."""
        try:
            if _neve.is_installed():
                prefork()
        except Exception as error:
            _stock.say("NEVE_PREFORK=%s: the heap is not frozen: %s"
                       % (self.server, error or type(error).__name__))

    def before(self):
        """Called by os.fork(), before the first handler of anybody who came later."""
        self.is_python_fork = True
        try:
            caller = sys._getframe(1)
            self.is_recognised = (caller.f_globals.get("__name__"),
                                  caller.f_code.co_name) in self.forkers
        except ValueError:  # called by C code with no frame below
            self.is_recognised = self.server == "uwsgi"
        if self.is_recognised and not self.is_worker:
            self.work()

    def before_c_fork(self):
        """Called by fork(), whoever calls it."""
        if not self.is_python_fork:
            self.work()

    def after_in_parent(self):
        self.is_python_fork = False

    def after_in_child(self):
        self.is_python_fork = False
        # What a worker forks in its turn are not the server's workers. (uWSGI's are not seen.)
        self.is_worker = self.is_worker or self.is_recognised


def watch(server):
    """Have prefork() called before the server forks its workers."""
    watching = Watch(server)
    os.register_at_fork(before=watching.before, after_in_parent=watching.after_in_parent,
                        after_in_child=watching.after_in_child)
    if server == "uwsgi":
        _neve.prefork_watch(watching.before_c_fork)


def from_environment():
    """What NEVE_PREFORK asks for.  ValueError."""
    server = checked_server()
    if server is not None:
        watch(server)
