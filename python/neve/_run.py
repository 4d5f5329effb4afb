# SPDX-License-Identifier: MIT
"""The runner: ``python -m neve [options] program`` behaves as ``python program`` would.

This file is responsible for what the interpreter's own main function prepares before it runs a
program (``sys.argv``, ``sys.path[0]``, ``__main__``), and for going on without Neve where it cannot
be installed.  The program itself is run by C code (``_neve.run_*``), so that no frame of ours is
below it.

Everything is imported before the program's folder is put on ``sys.path``, where its files could
hide the standard library's; and little is, since its time is added to the start of every program.
"""

import os
import sys

import neve
from neve import _neve, _start, _stock
from neve._cmdline import USAGE, CommandLineError, parse

# --- what the interpreter's main function does before it runs a program ------------------------


def absolute(path):
    """As the interpreter makes a script's name absolute: nothing is normalised."""
    if path.startswith("/"):
        return path
    try:
        return os.getcwd() + "/" + path
    except OSError:  # the working directory is gone
        return path


def importer_exists(path):
    """Whether the interpreter would import ``__main__`` from the path: a directory or an
    archive."""
    for hook in sys.path_hooks:
        try:
            hook(path)
        except ImportError:
            continue
        return True
    return False


def script_folder(script):
    """What the interpreter puts at ``sys.path[0]`` for a script: the folder that holds the file
    itself when the script is a symbolic link."""
    path = script
    try:
        link = os.readlink(path)
    except OSError:
        link = ""
    if "/" in link:
        path = os.path.join(os.path.dirname(path), link)
    try:
        path = os.path.realpath(path, strict=True)
    except OSError:
        pass
    head, slash, _ = path.rpartition("/")
    return head or slash


def take_working_directory():
    """Remove from ``sys.path`` the working directory that ``-m neve`` put there; returns it, or
    None where nothing was put there (-P, -I, or there is no working directory any more)."""
    if not sys.flags.safe_path:
        try:
            if sys.path[:1] == [os.getcwd()]:
                return sys.path.pop(0)
        except OSError:
            pass
    return None


def fresh_main():
    """Put a new module in the place of ``__main__``, as the interpreter makes it at its start."""
    main = type(sys)("__main__")
    if "__annotations__" in vars(sys.modules["__main__"]):  # up to Python 3.13
        # Not as an attribute: its setter is in a part of the interpreter that is not used otherwise,
        # and would be in memory for this alone.
        vars(main)["__annotations__"] = {}
    main.__builtins__ = sys.modules["builtins"]
    main.__loader__ = sys.modules["_frozen_importlib"].BuiltinImporter
    sys.modules["__main__"] = main


def dedented(code):
    """What the interpreter makes of the text after -c (Python 3.14, gh-103998): without the white
    space that all lines begin with; lines of white space become empty."""
    if sys.version_info < (3, 14):
        return code
    lines = ["" if not line.strip(" \t") else line for line in code.split("\n")]
    full = [line for line in lines if line] or [""]
    margin = full[0][:len(full[0]) - len(full[0].lstrip(" \t"))]
    while not all(line.startswith(margin) for line in full):
        margin = margin[:-1]
    return "\n".join(line[len(margin):] for line in lines)


def greet():
    """What precedes the prompt when standard input is a terminal."""
    sys.stderr.write(f"Python {sys.version} on {sys.platform}\n")
    hook = getattr(sys, "__interactivehook__", None)
    if hook is not None:
        hook()


def install(options):
    """Install Neve by the options.  Returns whether it is installed: settings that cannot be are
    the command line's fault, and whatever else is in the way costs a line and no more."""
    try:
        neve.install(options.mode, options.pause_us)
    except (ValueError, TypeError) as error:
        raise CommandLineError(str(error)) from error
    except Exception as error:
        # Unless the start of the interpreter installed it, with other settings.
        _stock.say(("" if neve.is_installed() else "going on without Neve: ")
                   + _start.sentence(error))
    return neve.is_installed()


def run(options):
    """Run the program; returns its exit status or does not return."""
    # The program must not inherit an exception that is being handled.
    if options.kind == "module":
        return _neve.run_module(options.target, True)
    if options.kind == "code":
        return _neve.run_string(dedented(options.target))
    if options.kind == "folder":
        return _neve.run_module("__main__", False)
    if options.kind == "stdin" and sys.stdin is not None and sys.stdin.isatty():
        greet()
    return _neve.run_file(options.target)


def prepare(options):
    """Check what can be checked, install Neve, and set the scene for the program."""
    entry = take_working_directory()
    if options.kind == "file":
        options.target = absolute(options.target)
        if importer_exists(options.target):
            options.kind = "folder"
        else:
            try:
                os.stat(options.target)
            except OSError as error:
                raise CommandLineError(cannot_open(options.target, error)) from error
    try:
        as_table, json_path = _start.report_from_environment()
        _start.check_prefork()
        if options.stats_json is not None:
            json_path = _start.checked_destination(options.stats_json, "option --stats-json",
                                                   "--stats-json FILE")
    except ValueError as error:
        raise CommandLineError(str(error)) from error
    _stock.restore_search_path()

    if install(options):
        _start.report_at_exit(options.stats or as_table, json_path)
        _start.watch_forks(_stock.say)

    if options.kind == "folder":
        entry = options.target
    elif sys.flags.safe_path:
        entry = None
    elif options.kind == "file":
        entry = script_folder(options.target)
    elif options.kind != "module":
        entry = ""
    if entry is not None:
        sys.path.insert(0, entry)
    sys.argv[:] = options.argv
    fresh_main()


def cannot_open(path, error):
    """One line about a program that cannot be read."""
    reason = getattr(error, "strerror", None) or str(error)
    return f"cannot open {path!r}: {reason}: give a script, -m module or -c code"


def main(arguments):
    """Run ``python -m neve`` with these arguments; returns the exit status."""
    try:
        options = parse(arguments)
        if options.kind == "help":
            print(USAGE, end="")
            return 0
        if options.kind == "version":
            print(f"Neve {neve.__version__} (Python {sys.version.split()[0]})")
            return 0
        prepare(options)
    except CommandLineError as error:
        _stock.say(error)
        return 2
    try:
        return run(options)
    except OSError as error:
        # Only from opening the script: what the program raises is printed, not raised here.
        _stock.say(cannot_open(options.target, error))
        return 2
