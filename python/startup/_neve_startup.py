# SPDX-License-Identifier: MIT
"""What ``NEVE=1`` in the environment adds to the start of an interpreter.

Imported by the line in ``neve.pth``, which the module :mod:`site` carries out in every process of
an interpreter that Neve is installed for (twice in a virtual environment), and which does nothing
where ``NEVE`` is unset.
This module lies beside the package, not in it: it has to say in one line that the package is
broken, and what it decides (not here, not now) it must decide before the package is imported.

Whatever goes wrong here, the interpreter starts, on its own memory management.
"""

import os
import sys


def is_subinterpreter():
    """Whether this is not the main interpreter.  They run ``site`` too, and Neve does not serve
    them: silence is right."""
    try:
        import _thread
        return not _thread._is_main_interpreter()  # since Python 3.13
    except AttributeError:
        pass
    # The main interpreter alone imports this for its handlers, ahead of ``site``.  The module that
    # knows for certain is not looked at then: it would take 0.4 MB.
    if "_signal" in sys.modules and "signal" not in sys.modules:
        return False
    try:
        import _xxsubinterpreters as interpreters
        return interpreters.get_current() != interpreters.get_main()
    except ImportError:
        return False  # neve.install() will refuse


def is_runner():
    """Whether ``python -m neve`` follows, which installs Neve by its own command line and tells of
    its own failures."""
    if getattr(sys, "argv", [])[:1] != ["-m"]:
        return False
    words = getattr(sys, "orig_argv", [])
    before = words[:len(words) - len(sys.argv) + 1]  # it ends with the module's name
    return bool(before) and (before[-1] in ("neve", "neve.__main__")
                             or before[-1].endswith("mneve") and before[-1].startswith("-"))


def say(text):
    """One line on standard error, if there is one.  Not through its buffer: what could not be
    written would be found there when the interpreter exits, and change its exit status."""
    try:
        line = "neve: %s\n" % text
        os.write(sys.stderr.fileno(), line.encode(errors="backslashreplace"))
    except (AttributeError, OSError, ValueError):  # None, full, closed
        pass


def activate():
    value = os.environ.get("NEVE", "")
    # -E and -I: no variable of the environment counts.
    if value in ("", "0") or sys.flags.ignore_environment or is_subinterpreter() or is_runner():
        return
    try:
        if value != "1":
            raise ValueError("NEVE is %r, and should be 1 (on) or 0 (off)" % value)
        from neve import _start
        _start.from_environment(say)
    except Exception as error:
        is_memory = isinstance(error, MemoryError) and not str(error)
        say("going on without Neve: %s" % ("not enough memory" if is_memory else error))


activate()
