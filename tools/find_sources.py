#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Print the files below ROOT that match the patterns, sorted, one a line, relative to ROOT.

The build calls it at configure time: tests, benchmarks and sources of the extension are found by
their names and never listed twice.
"""

import pathlib
import sys


def find(root, patterns):
    """The matching regular files as sorted POSIX paths relative to root."""
    base = pathlib.Path(root)
    found = {p.relative_to(base).as_posix()
             for pattern in patterns for p in base.glob(pattern) if p.is_file()}
    return sorted(found)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: find_sources.py ROOT PATTERN...")
    for name in find(sys.argv[1], sys.argv[2:]):
        print(name)
