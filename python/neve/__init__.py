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
``NEVE_MODE`` (the default of ``mode``), ``NEVE_PAUSE_US`` (of ``pause_us``), ``NEVE_GC_STRESS=1``
(testing: collect as often as possible).
"""

# This file must parse, and stay cheap to import, on any Python: it is what tells the users of a
# wrong one so.  Hence no annotations here (they are in __init__.pyi) and hardly any imports.
import os as _os
import sys as _sys

__all__ = ["install", "uninstall", "is_installed", "stats", "freeze", "unfreeze"]

#: The collectors that exist, the default first.
_MODES = ("generational",)
_PLANNED_MODES = ("incremental", "snapshot")
_DEFAULT_PAUSE_US = 500
_MAX_PAUSE_US = 60 * 1000 * 1000

_settings = None  # what Neve was last installed with: mode, pause_us, stress


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
        mode = _os.environ.get("NEVE_MODE") or _MODES[0]
        source = "NEVE_MODE: "
    if mode in _MODES:
        return mode
    if mode in _PLANNED_MODES:
        raise ValueError("%smode '%s' is not built yet: choose %s"
                         % (source, mode, " or ".join(_MODES)))
    raise ValueError("%sunknown mode %r: choose %s" % (source, mode, " or ".join(_MODES)))


def _chosen_pause(pause_us):
    source = "pause_us"
    if pause_us is None:
        pause_us = _os.environ.get("NEVE_PAUSE_US") or _DEFAULT_PAUSE_US
        source = "NEVE_PAUSE_US"
        if isinstance(pause_us, str):
            if not pause_us.strip().isdecimal():
                raise ValueError("NEVE_PAUSE_US: '%s' is not a whole number of microseconds"
                                 % pause_us)
            pause_us = int(pause_us)
    if not isinstance(pause_us, int) or isinstance(pause_us, bool):
        raise TypeError("pause_us must be a whole number of microseconds, not %s"
                        % type(pause_us).__name__)
    if not 1 <= pause_us <= _MAX_PAUSE_US:
        raise ValueError("%s: %d is not between 1 and %d microseconds"
                         % (source, pause_us, _MAX_PAUSE_US))
    return pause_us


def _stress():
    value = _os.environ.get("NEVE_GC_STRESS", "")
    if value not in ("", "0", "1"):
        raise ValueError("NEVE_GC_STRESS: '%s' is neither 0 nor 1" % value)
    return value == "1"


def install(mode=None, pause_us=None):
    """Make Neve the object allocator and the cycle collector of this interpreter.

    ``mode`` names the collector: ``"generational"`` (the default) collects young, middle and old
    generations by the thresholds of :func:`gc.get_threshold`, as the interpreter's own collector
    does. ``pause_us`` is the longest pause to aim at, in microseconds (default 500); the
    generational collector, whose pauses are as long as its generations are large, takes no notice
    of it.

    Objects that exist already stay where they are and are collected by Neve from now on.
    Installing again with the same settings does nothing.

    Raises ``ValueError`` or ``TypeError`` for a setting that cannot be, ``RuntimeError`` with a
    sentence if this cannot be done now (another allocator is in place, Neve is installed with other
    settings, the interpreter is not as expected), ``MemoryError``.  Nothing has changed then.
    """
    global _settings
    settings = _chosen_mode(mode), _chosen_pause(pause_us), _stress()
    if _neve.is_installed():
        if settings == _settings:
            return
        raise RuntimeError("Neve is installed already, with other settings (mode %s, pause_us %d): "
                           "call neve.uninstall() first" % _settings[:2])
    _neve.install(*settings)
    _settings = settings


def uninstall():
    """Give collection, and the allocation of new objects, back to the interpreter.

    What Neve has allocated stays valid and is freed by Neve.  May be followed by :func:`install`.
    Does nothing if Neve is not installed.  Raises ``RuntimeError`` during a collection.
    """
    _neve.uninstall()


def is_installed():
    """Whether Neve is the allocator and the collector of this interpreter now."""
    return _neve.is_installed()


def _require_installed():
    if not _neve.is_installed():
        raise RuntimeError("Neve is not installed: call neve.install() first")


def stats():
    """What the collector and the heap have done so far, as a new dictionary of plain values.

    ``"mode"`` is the collector's name.  ``"collector"`` holds ``"generations"``, a list of three
    (young, middle, old) with ``objects`` (in it now), ``collections``, ``collected``,
    ``uncollectable``, ``time_ns`` and ``longest_pause_ns`` each; ``frozen`` (objects in the
    permanent generation); ``long_lived_total``, ``long_lived_pending``; ``failed`` (collections
    given up for want of memory); ``pause_p50_ns``, ``pause_p99_ns`` (to within 12.5%),
    ``pause_max_ns``, ``pause_total_ns``. ``"heap"`` holds ``serves`` (whether new small
    blocks come from it: not under ``PYTHONMALLOC=malloc``), ``small_blocks``, ``small_bytes``
    (blocks up to 512 bytes), ``arenas``, ``arena_bytes`` (address space), ``pools_used``,
    ``pools_cached``, ``cached_bytes`` (kept for the next allocations), ``returned_bytes`` (given
    back to the system so far), ``side_table_bytes`` (the collector's own tables), and what
    glibc's malloc, which serves larger blocks and everybody else, has in use and keeps:
    ``malloc_bytes``, ``malloc_cached_bytes``.  Times are in nanoseconds.  The numbers of old and of frozen objects
    may include some hundreds that the interpreter keeps on its free lists, or has stopped
    tracking, until the next full collection; ``gc.get_freeze_count()`` and ``gc.get_objects()``
    are exact.

    Costs a walk over the young objects and over the descriptors of the heap's memory.  Raises
    ``RuntimeError`` if Neve is not installed.
    """
    _require_installed()
    return _neve.stats()


def freeze():
    """Move all objects into the permanent generation, which is never collected: :func:`gc.freeze`.

    Meant for the moment before a program forks its workers.  Raises ``RuntimeError`` if Neve is not
    installed.
    """
    _require_installed()
    import gc
    gc.freeze()


def unfreeze():
    """Move the permanent generation back into the old one: :func:`gc.unfreeze`.

    Raises ``RuntimeError`` if Neve is not installed.
    """
    _require_installed()
    import gc
    gc.unfreeze()
