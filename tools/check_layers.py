#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prove that includes point down the layers only.

    object -> observe -> collect -> heap -> platform        src/<layer>/, include/neve/<layer>.h
    python/, cli/, examples/, tests/python/                 programs: see include/ only
    bench/models/                                           likewise; part of the program in cli/

Further: nothing but python/ and its tests includes CPython's headers, and CPython's version is compared under
python/src/compat/ only.  Each violation is printed as file:line and a sentence; exit status 1.
"""

import argparse
import pathlib
import re
import sys

# From the bottom to the top.
LAYERS = ["platform", "heap", "collect", "observe", "object"]
# Public headers: "base" lies below every layer, neve.h is the whole.
BASE = -1
HEADERS = {"version": BASE, "base": BASE, "heap": 1, "host": 2, "collect": 2, "observe": 3, "cow": 3,
           "object": 4, "handle": 4, "dump": 4}
WHOLE = len(LAYERS) - 1
PUBLIC_ONLY = ["python", "cli", "examples", "tests/python", "bench/models"]
# What else one of those may see.
BESIDES = {"cli": ("bench/models/",)}
COMPAT = "python/src/compat/"

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
CPYTHON = re.compile(r"(^|/)(Python\.h|pyconfig\.h|patchlevel\.h|structmember\.h|frameobject\.h"
                     r"|pycore_\w+\.h)$|^cpython/")
VERSION = re.compile(r"\bPY_(VERSION_HEX|MAJOR_VERSION|MINOR_VERSION|MICRO_VERSION)\b")


def without_comments(text):
    """The text with comments blanked, its lines kept; string literals stay as they are."""
    token = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.S)

    def blank(match):
        found = match.group(0)
        return found if found[0] == '"' else re.sub(r"[^\n]", " ", found)

    return token.sub(blank, text)


def name_of(rank):
    return "base" if rank == BASE else LAYERS[rank]


class Checker:
    """Walks one tree; `problems` collects (file, line, sentence)."""

    def __init__(self, root):
        self.root = pathlib.Path(root).resolve()
        self.problems = []

    def rank(self, path):
        """The layer of a file of the core as a number, or None outside the core."""
        parts = path.split("/")
        if path == "include/neve.h":
            return WHOLE
        if parts[:2] == ["include", "neve"] and len(parts) == 3:
            return HEADERS.get(parts[2].removesuffix(".in").removesuffix(".h"))
        if parts[0] == "src" and len(parts) > 2 and parts[1] in LAYERS:
            return LAYERS.index(parts[1])
        return None

    def resolve(self, path, quote, name):
        """The included file's path in the tree, or None when it is not one of ours."""
        where = [self.root / "include", self.root / "src", self.root]
        if quote == '"':
            where.insert(0, (self.root / path).parent)
        if path.startswith("python/"):
            where.insert(1, self.root / "python/src")
        # The build makes version.h from version.h.in.
        for folder, suffix in [(folder, suffix) for suffix in ("", ".in") for folder in where]:
            candidate = (folder / (name + suffix)).resolve()
            if candidate.is_file() and candidate.is_relative_to(self.root):
                return candidate.relative_to(self.root).as_posix()
        return None

    def check_include(self, path, line, quote, name):
        in_core = path.startswith(("src/", "include/"))
        if CPYTHON.search(name) and not path.startswith(("python/", "tests/python/")):
            return f"includes {name}: only python/ knows CPython"
        target = self.resolve(path, quote, name)
        if target is None:
            first = name.split("/")[0].removesuffix(".h")
            if in_core and (quote == '"' or first == "neve"):
                return f"includes {name}, which is not in include/ or src/"
            return None
        if any(path.startswith(top + "/") for top in PUBLIC_ONLY):
            own = next(top for top in PUBLIC_ONLY if path.startswith(top + "/"))
            if not target.startswith(("include/", own + "/", *BESIDES.get(own, ()))):
                return f"includes {target}: {own}/ sees include/ only"
            return None
        if not in_core:
            return None     # C tests and benchmarks may reach into src/
        if not target.startswith(("src/", "include/")):
            return f"includes {target}: the core sees include/ and src/ only"
        if path.startswith("include/") and not target.startswith("include/"):
            return f"includes {target}: public headers include public headers only"
        mine, other = self.rank(path), self.rank(target)
        if mine is not None and other is not None and other > mine:
            return (f"includes {target}: {name_of(mine)} lies below {name_of(other)}, "
                    "and includes point down only")
        return None

    def check_file(self, path):
        text = without_comments((self.root / path).read_text(encoding="utf-8", errors="replace"))
        if path.startswith(("src/", "include/")) and self.rank(path) is None:
            self.problems.append((path, 1, "belongs to no layer: move it, or name it in "
                                  "tools/check_layers.py"))
        for number, line in enumerate(text.split("\n"), 1):
            match = INCLUDE.match(line)
            if match:
                sentence = self.check_include(path, number, *match.groups())
                if sentence:
                    self.problems.append((path, number, sentence))
            match = VERSION.search(line)
            if match and not path.startswith(COMPAT):
                self.problems.append((path, number, f"uses {match.group(0)}: versions are told "
                                      f"apart under {COMPAT} only"))

    def run(self):
        """Check every C file of the tree; returns the number of files seen."""
        seen = 0
        for path in sorted(self.root.rglob("*.[ch]")):
            relative = path.relative_to(self.root).as_posix()
            if relative.split("/")[0] == "build" or relative.startswith("."):
                continue
            seen += 1
            self.check_file(relative)
        return seen


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", nargs="?",
                        default=str(pathlib.Path(__file__).resolve().parent.parent))
    checker = Checker(parser.parse_args().root)
    seen = checker.run()
    for path, line, sentence in checker.problems:
        print(f"{path}:{line}: {sentence}.")
    if not seen:
        print("layers: no C files found.")
        return 1
    if checker.problems:
        return 1
    print(f"layers: {seen} files, includes point down only")
    return 0


if __name__ == "__main__":
    sys.exit(main())
