# SPDX-License-Identifier: MIT
"""``python -m neve program`` on an interpreter that Neve cannot serve: one line of warning, and
then the interpreter starts again with the same program and without Neve.

Starting again, in the same process, is what makes the program run exactly as ``python program``:
what runs programs on Neve is the extension, which is what is missing here.  Parses on any Python.
"""

import os
import sys

from . import _cmdline


def say(text):
    try:
        sys.stderr.write("neve: %s\n" % text)
    except (AttributeError, IOError, OSError, ValueError):  # None, full, closed
        pass


def command_line():
    """The words that this process was started with, or None."""
    words = getattr(sys, "orig_argv", None)  # since Python 3.10
    if words is None:
        try:
            with open("/proc/self/cmdline") as lines:
                words = lines.read().split("\0")[:-1]
        except (OSError, IOError):
            return None
    return list(words)


def interpreter_words(words, arguments):
    """What precedes ``-m neve ARGUMENTS`` in the words: the interpreter and its options."""
    before = words[:len(words) - len(arguments)]
    if before and before[-1] in ("neve", "neve.__main__"):
        before.pop()
        option = before.pop()[:-1]  # -m, or the end of -um
    else:
        option = before.pop().rpartition("m")[0]  # -mneve
    return before + [option] if option != "-" else before


def program_words(options):
    """The program and its arguments, as the interpreter itself expects them."""
    if options.kind in ("module", "code"):
        return [options.argv[0], options.target] + options.argv[1:]
    target = options.target
    if target != "-" and target.startswith("-"):
        target = "./" + target
    return [target] + options.argv[1:]


def restore_search_path():
    """Take what ``neve run`` put in front of PYTHONPATH, so that Neve could be imported, out
    again: it is for this process alone."""
    added = os.environ.pop("NEVE_RUN_PYTHONPATH", None)
    if added is None:
        return
    first, colon, rest = os.environ.get("PYTHONPATH", "").partition(os.pathsep)
    if first == added:
        if colon:
            os.environ["PYTHONPATH"] = rest
        else:
            del os.environ["PYTHONPATH"]


def run(problem):
    """Run the program of this command line on the interpreter as it is; does not return.
    ``problem`` says why."""
    arguments = sys.argv[1:]
    try:
        options = _cmdline.parse(arguments)
    except _cmdline.CommandLineError as error:
        say(error)
        raise SystemExit(2)
    if options.kind == "help":
        sys.stdout.write(_cmdline.USAGE)
        raise SystemExit(0)
    words = command_line()
    if options.kind == "version" or words is None or not sys.executable:
        say(problem)
        raise SystemExit(1)
    restore_search_path()
    # With NEVE=1 the start of the interpreter will say it, if it carries out neve.pth.
    if os.environ.get("NEVE") != "1" or "_neve_startup" not in sys.modules:
        say("going on without Neve: %s" % problem)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (AttributeError, IOError, OSError, ValueError):
        pass
    try:
        os.execv(sys.executable, interpreter_words(words, arguments) + program_words(options))
    except OSError as error:
        say("cannot start %s again: %s" % (sys.executable, error.strerror))
        raise SystemExit(1)
