# SPDX-License-Identifier: MIT
"""The runner: ``python -m neve [options] program`` behaves as ``python program`` would.

This file is responsible for the command line, for what the interpreter's own main function
prepares before it runs a program (``sys.argv``, ``sys.path[0]``, ``__main__``), and for the report
at exit.  The program itself is run by C code (``_neve.run_*``), so that no frame of ours is below
it.

Everything is imported before the program's folder is put on ``sys.path``, where its files could
hide the standard library's; and little is, since its time is added to the start of every program.
"""

import atexit
import os
import sys

import neve
from neve import _neve

USAGE = """\
usage: python -m neve [options] PROGRAM [argument ...]

Runs a Python program as python itself would, with Neve as its object allocator and cycle collector.

PROGRAM is one of
  script.py         a script
  folder, file.zip  a directory or an archive that holds __main__.py
  -m module         a module or a package
  -c code           a piece of code
  -                 a script that is read from standard input

options
  --mode MODE       the collector: generational (default: $NEVE_MODE, or else generational)
  --pause-us N      the pause to aim at, in microseconds (default: $NEVE_PAUSE_US, or else 500); the
                    generational collector takes no notice of it
  --stats           print at exit, to standard error, what was collected, with pauses and memory
  --stats-json FILE write the same to FILE as JSON at exit
  -h, --help        print this and exit
  -V, --version     print the versions of Neve and of Python and exit

Options of the interpreter come first: python -X dev -m neve script.py

The exit status is the program's, or 2 if the command line cannot be followed.
"""

SEE_HELP = "see python -m neve --help"


class CommandLineError(Exception):
    """Carries the one line that tells the user what to do; the exit status becomes 2."""


class Options:
    """The command line, parsed.  ``kind`` is one of file, stdin, module, code, help, version;
    ``target`` what is to be run, ``argv`` the program's ``sys.argv``."""

    def __init__(self):
        self.mode = None
        self.pause_us = None
        self.stats = False
        self.stats_json = None
        self.kind = None
        self.target = None
        self.argv = []


def parse(arguments):
    """Options from the words after ``python -m neve``; CommandLineError."""
    options = Options()
    position = 0

    def value_of(name, glued):
        nonlocal position
        if glued is not None:
            return glued
        if position == len(arguments):
            raise CommandLineError(f"option {name} needs a value: {SEE_HELP}")
        position += 1
        return arguments[position - 1]

    while position < len(arguments):
        word = arguments[position]
        if word == "-" or not word.startswith("-") or word == "--":
            break
        position += 1
        if word.startswith("--"):
            name, has_value, glued = word.partition("=")
            glued = glued if has_value else None
            if name == "--mode":
                options.mode = value_of(name, glued)
            elif name == "--pause-us":
                text = value_of(name, glued)
                if not text.isdecimal():
                    raise CommandLineError(
                        f"option --pause-us needs a whole number of microseconds, not '{text}'")
                options.pause_us = int(text)
            elif name == "--stats-json":
                options.stats_json = value_of(name, glued)
            elif name in ("--stats", "--help", "--version"):
                if glued is not None:
                    raise CommandLineError(f"option {name} takes no value: {SEE_HELP}")
                if name == "--stats":
                    options.stats = True
                else:
                    options.kind = name[2:]
                    return options
            else:
                raise CommandLineError(f"unknown option {name}: {SEE_HELP}")
        elif word in ("-h", "-V"):
            options.kind = "help" if word == "-h" else "version"
            return options
        elif word[1] in "mc":
            options.kind = "module" if word[1] == "m" else "code"
            options.target = value_of(word[:2], word[2:] or None)
            options.argv = [word[:2], *arguments[position:]]
            return options
        else:
            raise CommandLineError(f"unknown option {word}: options of the interpreter come before "
                                   f"-m neve, {SEE_HELP}")
    if arguments[position:position + 1] == ["--"]:
        position += 1
    if position == len(arguments):
        raise CommandLineError("no program to run: give a script, -m module or -c code, "
                               "- to read one from standard input")
    options.target = arguments[position]
    options.kind = "stdin" if options.target == "-" else "file"
    options.argv = arguments[position:]
    return options


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
        main.__annotations__ = {}
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
    """Install Neve by the options; tracemalloc, if it is tracing, starts afresh on top of it."""
    import _tracemalloc
    frames = _tracemalloc.get_traceback_limit() if _tracemalloc.is_tracing() else 0
    if frames:
        _tracemalloc.stop()
    try:
        neve.install(options.mode, options.pause_us)
    except (ValueError, TypeError, RuntimeError) as error:
        raise CommandLineError(str(error)) from error
    except MemoryError as error:
        raise CommandLineError("not enough memory to install Neve") from error
    if frames:
        _tracemalloc.start(frames)


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
    if options.stats_json is not None:
        options.stats_json = checked_destination(options.stats_json)

    install(options)
    if options.stats or options.stats_json is not None:
        # The handler that is registered first runs last, after the program's own.
        from neve import _report
        atexit.register(_report.write, os.getpid(), options.stats, options.stats_json)

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


def checked_destination(path):
    """Where the JSON report goes, as an absolute path; CommandLineError if it cannot go there."""
    if not path:
        raise CommandLineError("option --stats-json needs a file name")
    if os.path.isdir(path):
        raise CommandLineError(f"cannot write the statistics to {path!r}, it is a folder: "
                               "choose another --stats-json FILE")
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
    raise CommandLineError(f"cannot write the statistics to {path!r}, {problem}: "
                           "choose another --stats-json FILE")


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
        sys.stderr.write(f"neve: {error}\n")
        return 2
    try:
        return run(options)
    except OSError as error:
        # Only from opening the script: what the program raises is printed, not raised here.
        sys.stderr.write(f"neve: {cannot_open(options.target, error)}\n")
        return 2
