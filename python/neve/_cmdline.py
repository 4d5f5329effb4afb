# SPDX-License-Identifier: MIT
"""The command line of ``python -m neve``: what its words mean.

Parses on any Python, as neve/__init__.py does: on an interpreter that Neve cannot serve, the
program is run without it, and to do so its name must be found.
"""

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
  --mode MODE       the collector: generational; or incremental, whose pauses do not grow with the
                    heap; or snapshot, for which a child process marks on a copy of the memory
                    (default: $NEVE_MODE, or else generational)
  --pause-us N      the pause that the incremental and the snapshot collector aim at, in
                    microseconds (default: $NEVE_PAUSE_US, or else 500)
  --stats           print at exit, to standard error, what was collected, with pauses and memory
                    (default: $NEVE_STATS, 1 or 0)
  --stats-json FILE write the same to FILE as JSON at exit (default: $NEVE_STATS_JSON)
  -h, --help        print this and exit
  -V, --version     print the versions of Neve and of Python and exit

Options of the interpreter come first: python -X dev -m neve script.py

The exit status is the program's, or 2 if the command line cannot be followed.  Where Neve cannot be
set up, the program runs on Python's own memory management, after one line that says so.
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
    rest = list(arguments)

    def value_of(name, glued):
        if glued is not None:
            return glued
        if not rest:
            raise CommandLineError("option %s needs a value: %s" % (name, SEE_HELP))
        return rest.pop(0)

    while rest:
        word = rest[0]
        if word == "-" or not word.startswith("-") or word == "--":
            break
        del rest[0]
        if word.startswith("--"):
            name, has_value, glued = word.partition("=")
            glued = glued if has_value else None
            if name == "--mode":
                options.mode = value_of(name, glued)
            elif name == "--pause-us":
                text = value_of(name, glued)
                try:
                    options.pause_us = int(text if text.isdigit() else "")
                except ValueError:
                    raise CommandLineError(
                        "option --pause-us needs a whole number of microseconds, not '%s'" % text)
            elif name == "--stats-json":
                options.stats_json = value_of(name, glued)
            elif name in ("--stats", "--help", "--version"):
                if glued is not None:
                    raise CommandLineError("option %s takes no value: %s" % (name, SEE_HELP))
                if name == "--stats":
                    options.stats = True
                else:
                    options.kind = name[2:]
                    return options
            else:
                raise CommandLineError("unknown option %s: %s" % (name, SEE_HELP))
        elif word in ("-h", "-V"):
            options.kind = "help" if word == "-h" else "version"
            return options
        elif word[1] in "mc":
            options.kind = "module" if word[1] == "m" else "code"
            options.target = value_of(word[:2], word[2:] or None)
            options.argv = [word[:2]] + rest
            return options
        else:
            raise CommandLineError("unknown option %s: options of the interpreter come before "
                                   "-m neve, %s" % (word, SEE_HELP))
    if rest[:1] == ["--"]:
        del rest[0]
    if not rest:
        raise CommandLineError("no program to run: give a script, -m module or -c code, "
                               "- to read one from standard input")
    options.target = rest[0]
    options.kind = "stdin" if options.target == "-" else "file"
    options.argv = rest
    return options
