# SPDX-License-Identifier: MIT
"""Switching Neve on for a whole program that does not do so itself: shared by ``python -m neve``
and by ``NEVE=1`` in the environment.

This file is responsible for the statistics at exit and their variables in the environment, and for
what is said when Neve cannot be installed.
"""

import atexit
import os
import sys

import neve


def sentence(error):
    """What an exception of :func:`neve.install` says, in any case something."""
    if str(error):
        return str(error)
    return "not enough memory" if isinstance(error, MemoryError) else type(error).__name__


def checked_destination(path, source, advice):
    """Where the JSON report goes, as an absolute path; ValueError with a sentence if it cannot go
    there.  ``source`` names what the path was given to, ``advice`` what to choose another of."""
    if not path:
        raise ValueError(f"{source} needs a file name")
    if os.path.isdir(path):
        raise ValueError(f"cannot write the statistics to {path!r}, it is a folder: "
                         f"choose another {advice}")
    if os.path.exists(path) and not os.path.isfile(path):
        return os.path.abspath(path)  # a device or a pipe: written to, not replaced
    path = os.path.realpath(path)
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        problem = "there is no such folder"
    elif not os.access(folder, os.W_OK | os.X_OK):
        problem = "its folder cannot be written to"
    else:
        return path
    raise ValueError(f"cannot write the statistics to {path!r}, {problem}: choose another {advice}")


def report_from_environment():
    """``NEVE_STATS`` and ``NEVE_STATS_JSON``: whether to print a table at exit, and the path of a
    JSON file or None.  ValueError.

    The report is about the process that was started and not about the Python processes that it
    starts in turn (``multiprocessing`` alone starts two), which would write over one another's
    files.  So the variables are taken out of the environment here, except for a file name with
    ``%p`` in it, the process id, which gives each its own.
    """
    table = os.environ.pop("NEVE_STATS", "")
    if table not in ("", "0", "1"):
        raise ValueError(f"NEVE_STATS: '{table}' is neither 0 nor 1")
    path = os.environ.get("NEVE_STATS_JSON") or None
    if path is not None and "%p" not in path:
        del os.environ["NEVE_STATS_JSON"]
    if path is not None:
        path = checked_destination(path.replace("%p", str(os.getpid())), "NEVE_STATS_JSON",
                                   "NEVE_STATS_JSON")
    return table == "1", path


def report_at_exit(as_table, json_path):
    """Have the statistics written when this process ends, if any are wanted."""
    if as_table or json_path is not None:
        # The handler that is registered first runs last, after the program's own.
        from neve import _report
        atexit.register(_report.write, os.getpid(), as_table, json_path)


def from_environment(say):
    """What NEVE=1 does.  Raises what :func:`neve.install` raises; a report that cannot be written
    is no reason to go without Neve, and costs one line."""
    if neve.is_installed():
        return
    try:
        report = report_from_environment()
    except ValueError as error:
        say(error)
        report = False, None
    neve.install()
    report_at_exit(*report)
    watch_forks(say)


def check_prefork():
    """ValueError with a sentence if the value of ``NEVE_PREFORK`` cannot be."""
    if os.environ.get("NEVE_PREFORK"):
        from neve import _prefork
        _prefork.checked_server()


def watch_forks(say):
    """What ``NEVE_PREFORK`` asks for, once Neve is installed; a wrong value costs one line."""
    if os.environ.get("NEVE_PREFORK"):
        from neve import _prefork
        try:
            _prefork.from_environment()
        except ValueError as error:
            say(error)
