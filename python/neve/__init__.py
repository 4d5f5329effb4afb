# SPDX-License-Identifier: MIT
"""Neve: an object allocator and a cycle collector for stock CPython.

    import neve
    neve.install()          # from here on, Neve allocates objects and collects cycles
    ...
    print(neve.stats()["collector"]["pause_p99_ns"])

or, with no change to a program, ``python -m neve app.py``.  The functions of the :mod:`gc` module
keep working as documented, on Neve's collector.

This file is responsible for the public functions, for their defaults from the environment, and for
refusing an interpreter that no extension was built for.  All work is done by the extension
``_neve``.

Environment: ``NEVE=1`` (install Neve when the interpreter starts; where the package is installed),
``NEVE_MODE`` (the default of ``mode``), ``NEVE_PAUSE_US`` (of ``pause_us``), ``NEVE_TIMER_MS`` (of
``timer_ms``), ``NEVE_GC_STRESS=1`` (testing: collect as often as possible), ``NEVE_PREFORK`` (with
``NEVE=1`` and ``python -m neve``: call :func:`prefork` before the workers of a server are forked),
``NEVE_COW_REFERENCE=1`` (have :func:`prefork` call :func:`cow_reference`).
"""

# This file must parse, and stay cheap to import, on any Python: it is what tells the users of a
# wrong one so.  Hence no annotations here (they are in __init__.pyi) and hardly any imports.
import os as _os
import sys as _sys

__all__ = ["install", "uninstall", "is_installed", "step", "stats", "freeze", "unfreeze",
           "refreeze", "prefork", "cow_reference", "cow_report"]

#: The collectors that exist, and the one that nobody has to choose.
_MODES = ("generational", "incremental", "snapshot")
_DEFAULT_MODE = "generational"
_DEFAULT_PAUSE_US = 500
_MAX_PAUSE_US = 60 * 1000 * 1000
#: 0: no timer.
_DEFAULT_TIMER_MS = 0
_MAX_TIMER_MS = 24 * 60 * 60 * 1000

_mode_is_chosen = False  # by the caller of install() or NEVE_MODE: prefork() leaves it as it is
_settings = None  # what Neve runs with, or last did: mode, pause_us, timer_ms, stress


def _no_extension():
    """Says which interpreter is running, which ones this folder serves, and how to build
    another."""
    implementation = getattr(_sys, "implementation", None)
    name = {"cpython": "CPython", "pypy": "PyPy"}.get(
        getattr(implementation, "name", "cpython"), "this Python")
    folder = _os.path.dirname(_os.path.abspath(__file__))
    built = set()
    for entry in _os.listdir(folder):
        parts = entry.split(".")
        if parts[0] == "_neve" and parts[-1] == "so" and len(parts) == 3:
            tag = "-".join(parts[1].split("-")[:2])  # cpython-311-x86_64-linux-gnu
            digits = tag[len("cpython-"):]
            if tag.startswith("cpython-") and digits.isdigit():
                tag = "CPython %s.%s" % (digits[0], digits[1:])
            built.add(tag)
    return "%s is %s %d.%d.%d, and %s: build Neve for it with make PYTHON=%s" % (
        _sys.executable or "the interpreter", name, _sys.version_info[0], _sys.version_info[1],
        _sys.version_info[2],
        "this copy of Neve was built for " + ", ".join(sorted(built)) if built
        else "no extension module of Neve has been built",
        _sys.executable or "/path/to/python3")


def _is_runner():
    """Whether this import is the first step of ``python -m neve``."""
    # runpy, which looks for the module, tells that step from imports while the interpreter starts.
    if not _sys.argv or _sys.argv[0] not in ("-m", "-c") or "runpy" not in _sys.modules:
        return False  # "-c" up to Python 3.2
    from . import _stock
    words = _stock.command_line() or []
    return any(word[:1] == "-" and word[-1:] == "m" and following in ("neve", "neve.__main__")
               for word, following in zip(words, words[1:])) or any(
        word[:1] == "-" and word.endswith("mneve") for word in words)


def _refuse(problem):
    """Ends this import: for the runner by running the program without Neve, otherwise with an
    ImportError."""
    if _is_runner():
        from . import _stock
        _stock.run(problem)
    raise ImportError(problem)


try:
    from ._neve import version as __version__
    _problem = None
except ImportError as _error:
    # The extension's own refusals are sentences already.
    _problem = (_no_extension()
                if getattr(_error, "name", "neve._neve") in ("neve._neve", "_neve")
                and getattr(_error, "path", None) is None
                else str(_error))
except MemoryError:
    _problem = "not enough memory"
if _problem:
    _refuse(_problem)
del _problem

from . import _neve  # noqa: E402


def _chosen_mode(mode):
    source = ""
    if mode is None:
        mode = _os.environ.get("NEVE_MODE") or _DEFAULT_MODE
        source = "NEVE_MODE: "
    if mode in _MODES:
        return mode
    raise ValueError("%sunknown mode %r: choose %s" % (source, mode, " or ".join(_MODES)))


def _checked_number(value, source, unit, least, most):
    """A whole number between these two, or TypeError or ValueError."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("%s must be a whole number of %s, not %s"
                        % (source, unit, type(value).__name__))
    if not least <= value <= most:
        raise ValueError("%s: %d is not between %d and %d %s" % (source, value, least, most, unit))
    return value


def _chosen_number(value, name, default, unit, least, most):
    """The argument ``name``, or else its variable in the environment, or else its default."""
    if value is not None:
        return _checked_number(value, name, unit, least, most)
    variable = "NEVE_" + name.upper()
    text = _os.environ.get(variable)
    if not text:
        return default
    if not text.strip().isdecimal():
        raise ValueError("%s: '%s' is not a whole number of %s" % (variable, text, unit))
    return _checked_number(int(text), variable, unit, least, most)


def _chosen_settings(mode, pause_us, timer_ms):
    return (_chosen_mode(mode),
            _chosen_number(pause_us, "pause_us", _DEFAULT_PAUSE_US, "microseconds",
                           1, _MAX_PAUSE_US),
            _chosen_number(timer_ms, "timer_ms", _DEFAULT_TIMER_MS, "milliseconds",
                           0, _MAX_TIMER_MS),
            _stress())


def _stress():
    value = _os.environ.get("NEVE_GC_STRESS", "")
    if value not in ("", "0", "1"):
        raise ValueError("NEVE_GC_STRESS: '%s' is neither 0 nor 1" % value)
    return value == "1"


def install(mode=None, pause_us=None, timer_ms=None):
    """Make Neve the object allocator and the cycle collector of this interpreter.

    ``mode`` names the collector.  ``"generational"`` (the default) collects young, middle and old
    generations by the thresholds of :func:`gc.get_threshold`, as the interpreter's own collector
    does; its pauses are as long as its generations are large.  ``"incremental"`` collects the old
    generation in slices of about ``pause_us`` microseconds (default 500), after each collection
    of the young one and on the way to the next, and when the program calls :func:`step`.  ``"snapshot"`` is the same,
    but a child process looks for what is unreachable, on a copy of the memory: for large heaps on
    machines with idle cores; the program stands still while the system makes the child, longer the
    more memory it has.  ``timer_ms`` has both go on while nothing is allocated: whenever no slice
    has run for so many milliseconds, the main thread runs one; 0 (the default) is never.  The
    generational collector takes no notice of the two.

    Objects that exist already stay where they are and are collected by Neve from now on.
    Installing again with the same settings does nothing; to change them, call :func:`uninstall`
    first.

    Raises ``ValueError`` or ``TypeError`` for a setting that cannot be, ``RuntimeError`` with a
    sentence if this cannot be done now (another allocator is in place, Neve is installed with other
    settings, the interpreter is not as expected), ``MemoryError``.  Nothing has changed then.  If
    the timer alone cannot be had, one line on standard error says so.
    """
    global _mode_is_chosen, _settings
    settings = _chosen_settings(mode, pause_us, timer_ms)
    is_chosen = bool(mode or _os.environ.get("NEVE_MODE"))
    if _neve.is_installed():
        # A mode that nobody has chosen may be another by now: prefork() changes it.
        if settings[1:] == _settings[1:] and (settings[0] == _settings[0]
                                              or not (is_chosen or _mode_is_chosen)):
            _mode_is_chosen |= is_chosen
            return
        raise RuntimeError("Neve is installed already, with other settings (mode %s, pause_us %d, "
                           "timer_ms %d): call neve.uninstall() first" % _settings[:3])
    _neve.install(*settings)
    _mode_is_chosen = is_chosen
    _settings = settings


def uninstall():
    """Give collection, and the allocation of new objects, back to the interpreter.

    What Neve has allocated stays valid and is freed by Neve; what it has made immortal is finalized
    at exit all the same.  May be followed by :func:`install`.
    Does nothing if Neve is not installed.  Raises ``RuntimeError`` during a collection.
    """
    _neve.uninstall()


def is_installed():
    """Whether Neve is the allocator and the collector of this interpreter now."""
    return _neve.is_installed()


def _require_installed():
    if not _neve.is_installed():
        raise RuntimeError("Neve is not installed: call neve.install() first")


def step(budget_us=None):
    """Go on with the cycle of the incremental or the snapshot mode for about ``budget_us``
    microseconds (default: the ``pause_us`` of :func:`install`), or begin one if there may be
    something to find.

    Call it in idle time, between two requests for example.  Returns whether there is more to do,
    now, or later when a snapshot's child has ended, for which it does not wait:
    always false in the generational mode, and in a finalizer or a callback that the collector called.
    Runs whether or not automatic collection is enabled, as :func:`gc.collect` does.

    Raises ``ValueError`` or ``TypeError`` for a budget that cannot be, ``RuntimeError`` if Neve is
    not installed.
    """
    _require_installed()
    if budget_us is None:
        budget_us = _settings[1]
    return _neve.step(_checked_number(budget_us, "budget_us", "microseconds", 1, _MAX_PAUSE_US))


def stats():
    """What the collector and the heap have done so far, as a new dictionary of plain values.

    ``"mode"`` is the collector's name.  ``"collector"`` holds ``"generations"``, a list of three
    (young, middle, old) with ``objects`` (in it now), ``collections``, ``collected``,
    ``uncollectable``, ``time_ns`` and ``longest_pause_ns`` each; ``frozen`` (objects in the
    permanent generation); ``long_lived_total``, ``long_lived_pending``; ``failed`` (collections
    given up for want of memory); ``pause_p50_ns``, ``pause_p99_ns`` (to within 12.5%),
    ``pause_max_ns``, ``pause_total_ns``; ``timer``, with ``is_running`` and ``slices`` (that ran
    because the timer asked for them); ``snapshot``, what the snapshot mode did besides: ``begun``
    (children, or attempts to make one), ``taken`` (whose findings were used), and why others were
    not, so that marking went on in slices: ``refused`` (by the system), ``died``, ``late``,
    ``forked`` (this process is the child of a fork, the snapshot was its parent's), ``abandoned``
    (by a full collection, a freeze, an end); ``fork_ns`` and ``longest_fork_ns`` (for which the
    program stood still for children to be made), ``child_ns`` (their processor time); and
    ``cycle``, what the cycles did: ``cycles``
    (that came to their end), ``abandoned`` (by a full collection, a freeze, a fork), ``slices``,
    ``late_slices`` (that were given more than ``pause_us``, to keep memory bounded), ``time_ns``,
    ``longest_slice_ns``, ``collected``, ``suspects`` and ``false_suspects`` (of the last cycle: not
    reached by its marking, and of these alive), ``largest_group`` (objects that had to be verified
    in one go), ``largest_group_ns`` (processor time of that), ``is_running`` (a cycle is under
    way).  ``"heap"`` holds ``serves`` (whether new small
    blocks come from it: not under ``PYTHONMALLOC=malloc``), ``small_blocks``, ``small_bytes``
    (blocks up to 512 bytes), ``arenas``, ``arena_bytes`` (address space), ``pools_used``,
    ``pools_cached``, ``cached_bytes`` (kept for the next allocations), ``returned_bytes`` (given
    back to the system so far), ``side_table_bytes`` (the collector's own tables), and what
    glibc's malloc, which serves larger blocks and everybody else, has in use and keeps:
    ``malloc_bytes``, ``malloc_cached_bytes``.  ``"prefork"`` holds ``runs`` and ``skipped`` (calls
    of :func:`prefork` that did their work, and that had nothing to do), ``immortal`` and ``mortal``
    (objects, of the last report).  Times are in nanoseconds.  The numbers of old and of frozen objects
    may include some hundreds that the interpreter keeps on its free lists, or has stopped
    tracking, until the next full collection; ``gc.get_freeze_count()`` and ``gc.get_objects()``
    are exact.

    Costs a walk over the young objects and over the descriptors of the heap's memory.  Raises
    ``RuntimeError`` if Neve is not installed.
    """
    _require_installed()
    figures = _neve.stats()
    # Not imported here: that would make what is being counted.
    prefork_module = _sys.modules.get(__name__ + "._prefork")
    figures["prefork"] = (prefork_module.stats() if prefork_module is not None else
                          {"runs": 0, "skipped": 0, "immortal": 0, "mortal": 0})
    return figures


def freeze(immortal=False, finalize_at_exit=()):
    """Move all objects into the permanent generation, which is never collected: :func:`gc.freeze`.

    Meant for the moment before a program forks its workers.  Called again later, it adds what has
    been made since.

    With ``immortal=True``, on CPython 3.12 and later, what hangs on the permanent generation gets
    immortal reference counts, which are never written, not even by those who read the objects:
    strings, code objects, constants and the keys of dicts included; and what readers would fill in
    lazily (hashes, versions of types) is filled in.  **That is for good**: immortal objects are
    never freed.  What has something to do when it dies stays mortal, with all that refers to it
    up to the next module or class, and with what only it refers to: objects with finalizers, files,
    sockets, generators and coroutines, exported buffers, referents of weak references with a
    callback, objects of unknown C types; by themselves, locks and iterators.  When the
    interpreter exits, their finalizers are run, before modules are taken apart.  On CPython 3.11
    there is a ``RuntimeWarning``: counts will still be written.

    ``finalize_at_exit`` names classes whose finalizers need not run before the interpreter exits.
    What is an instance of just such a class now becomes immortal like everything else, with what
    holds it, and is finalized then. For what is undone in time by nobody's wish: that a class of
    Django's (``asgiref.local.Local``) is one, Neve knows. Later calls need not name them again.

    Returns a report, a new dictionary: ``frozen`` (tracked objects in the permanent generation),
    ``immortal`` (objects made immortal so far, strings and the like included), ``mortal`` (how
    many objects stay mortal, by reason), ``writes_counts`` (whether reading the heap still
    writes to it).

    Raises ``RuntimeError`` if Neve is not installed, and in a finalizer or a callback that the
    collector called; ``MemoryError``; ``TypeError`` if ``finalize_at_exit`` holds anything but
    classes.
    """
    _require_installed()
    from . import _prefork
    _prefork.note_finalized_at_exit(finalize_at_exit)
    if immortal and not _prefork.HAS_IMMORTALS:
        _prefork.warn_of_counts(2)
    return _prefork.freeze(bool(immortal))


def unfreeze():
    """Move the permanent generation back into the old one: :func:`gc.unfreeze`.

    Objects that are immortal stay so.  Raises ``RuntimeError`` if Neve is not installed.
    """
    _require_installed()
    import gc
    gc.unfreeze()


def refreeze():
    """Unfreeze, collect everything, and freeze again, as :func:`freeze` or :func:`prefork` last
    did: for the rare reclaim of what has died in the permanent generation.  Immortal objects stay.

    Costs a full collection over all that was frozen.  Returns and raises what :func:`freeze` does.
    """
    _require_installed()
    import gc
    from . import _prefork
    gc.unfreeze()
    gc.collect()
    return _prefork.freeze(_prefork.State.is_immortal)


def prefork(finalize_at_exit=()):
    """Get this process ready for forking workers, right before it does: collect, freeze the heap,
    make it immortal (CPython 3.12 and later), and set the collector for what the workers will add:
    if nobody has chosen a mode, it goes on in the incremental one.

    Call it as often as you like, before each fork for example: the work is done the first time,
    and again once the heap has grown by a quarter.  Everything that :func:`freeze` says of
    ``immortal=True`` and of ``finalize_at_exit`` holds; on CPython 3.11 the report alone says that
    counts will still be written.

    Returns the report of :func:`freeze`, with ``is_new``: whether anything was done this time.
    ``NEVE_PREFORK`` has it called where the program cannot be changed (docs/prefork.md).

    Raises what :func:`freeze` does.
    """
    _require_installed()
    from . import _prefork
    _prefork.note_finalized_at_exit(finalize_at_exit)
    return _prefork.prefork()


def cow_reference(keep=True):
    """Have a paused child process keep the memory as it is now, for :func:`cow_report` and the
    program ``neve cow`` to compare workers with; returns its process number.

    Call it right before the workers are forked, after :func:`prefork`;
    ``NEVE_COW_REFERENCE=1`` has :func:`prefork` do so. A copy that this process made before ends.
    It costs about as much time as a fork, and as long as it lives the old contents of every page
    that this process writes: for finding out what dirties pages, not for everyday production. It
    takes part in nothing and ends with this process, or by ``cow_reference(False)``, which
    returns 0, before an ``exec()`` for example.

    Raises ``OSError`` if the system refuses.
    """
    return _neve.cow_reference(bool(keep))


def cow_report(pid=None, against=None, pages=False):
    """How much of a process's memory is shared, and what made the rest private, as a new dictionary.

    ``pid`` is the process to look at (default: this one), a worker; it is compared with the copy
    of :func:`cow_reference`, or else with its parent as that is now, or with the process
    ``against``. With ``pages=True`` there is a ``"page_list"`` of every page that is present.
    docs/cow.md names the fields; they are those of ``neve cow --json``.

    Does not need Neve to be installed, but knows objects only on Neve's heap. Reads, and stops
    nobody; takes some 15 microseconds for each dirty page.

    Raises ``ProcessLookupError`` if there is no such process or it cannot be compared,
    ``PermissionError`` if the system does not permit to look at it, ``RuntimeError`` where there is
    no /proc, ``MemoryError``; each with a sentence that says what to do.
    """
    report = _neve.cow_look(
        _os.getpid() if pid is None else _checked_number(pid, "pid", "a process", 1, 2 ** 31 - 1),
        0 if against is None else _checked_number(against, "against", "a process", 1, 2 ** 31 - 1),
        bool(pages))
    import json
    return json.loads(report)
