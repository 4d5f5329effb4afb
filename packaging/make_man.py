#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Write the manual page neve(1) from what the program says of itself: make_man.py PROGRAM.

The help texts are the only description of the commands that is kept by hand; the page is these
texts, one section for each command that `neve --help` names, in the layout of a manual page.
"""

import re
import subprocess
import sys


def roff(text):
    """The text with nothing in it that the formatter would take for a request or an escape."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return "\n".join("\\&" + line if line.startswith(".") else line for line in text.split("\n"))


def section(title, text):
    return f".SH {roff(title).upper()}\n.nf\n{roff(text.strip())}\n.fi\n"


def ask(program, *words):
    return subprocess.run([program, *words], check=True, capture_output=True, text=True).stdout


def commands_of(text):
    """(name, summary) of each command, in the order of the help text."""
    listed = re.search(r"^commands\n((?:  \S.*\n)+)", text, re.M).group(1)
    return [line.split(None, 1) for line in listed.splitlines()]


def page(program):
    top = ask(program, "--help")
    version = ask(program, "--version").split()[-1]
    parts = [f'.TH NEVE 1 "" "Neve {version}" "User commands"\n',
             ".SH NAME\nneve \\- memory manager for CPython and other runtimes that count references\n",
             section("Synopsis", re.match(r"usage: (.*(?:\n       .*)*)", top).group(1)),
             section("Description", re.split(r"\n\n", top, maxsplit=1)[1])]
    for name, _ in commands_of(top):
        parts.append(section(f"neve {name}", ask(program, name, "--help")))
    parts.append(".SH SEE ALSO\n.BR libneve (3),\n.BR fork (2)\n")
    return "".join(parts)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_man.py PROGRAM")
    sys.stdout.write(page(sys.argv[1]))
