#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""List the interpreters to test with, one for each minor version, the first that is found of

    /usr/bin/python3 and /usr/bin/python3.X
    build/pythons (or --pythons DIR), which `make pythons` fills
    ~/.pyenv/versions (or $PYENV_ROOT/versions), the newest patch release first

that is a default build of CPython with C headers.  One line each: minor version, version, path,
what its installation lacks for the tests.  Versions that are not found, and interpreters that were
passed over, are named on standard error; the exit status is 0 all the same, and 1 if there is none.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTHONS = ROOT / "build/pythons"
VERSIONS = ["3.11", "3.12", "3.13", "3.14", "3.15"]

# Run by the interpreter in question: any Python must be able to parse it.
PROBE = """
import sys, sysconfig, os, json
def has(name):
    try:
        __import__(name)
    except Exception:
        return False
    return True
lacks = []
if getattr(getattr(sys, "implementation", None), "name", "") != "cpython":
    why = "is not CPython"
elif sysconfig.get_config_var("Py_GIL_DISABLED"):
    why = "is a free-threaded build"
elif hasattr(sys, "gettotalrefcount"):
    why = "is a debug build"
elif not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
    why = "has no C headers"
else:
    why = None
    lacks = [name for name, module in [("testsuite", "test.test_gc")] if not has(module)]
print(json.dumps(["%d.%d.%d" % tuple(sys.version_info[:3]), why, lacks]))
"""


def numbers(text):
    return tuple(int(part) for part in re.findall(r"\d+", text))


def candidates(pythons=PYTHONS, system="/usr/bin", pyenv=None):
    """Paths to look at, in order."""
    pyenv = pathlib.Path(pyenv or os.environ.get("PYENV_ROOT") or
                         pathlib.Path.home() / ".pyenv")
    paths = [pathlib.Path(system) / name
             for name in ["python3", *(f"python{version}" for version in VERSIONS)]]
    paths += [pathlib.Path(pythons) / version / f"usr/bin/python{version}"
              for version in VERSIONS]
    homes = [home for home in (pyenv / "versions").glob("3.*")
             if re.fullmatch(r"3\.\d+\.\d+", home.name)]
    paths += [home / "bin/python3" for home in
              sorted(homes, key=lambda home: numbers(home.name), reverse=True)]
    return [path for path in paths if path.exists()]


def probe(path):
    """(version, why it cannot be used or None, what it lacks)."""
    env = {name: value for name, value in os.environ.items()
           if not name.startswith(("NEVE", "PYTHON"))}
    try:
        done = subprocess.run([str(path), "-B", "-c", PROBE], capture_output=True, text=True,
                              env=env, timeout=60, cwd="/")
        version, why, lacks = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None, "does not run", []
    return version, why, lacks


def find(pythons=PYTHONS, system="/usr/bin", pyenv=None):
    """Returns the interpreters, a dict each with minor, version, path, lacks; and what was passed
    over, in sentences."""
    found, passed_over = {}, []
    for path in candidates(pythons, system, pyenv):
        version, why, lacks = probe(path)
        minor = ".".join(version.split(".")[:2]) if version else None
        if why:
            passed_over.append(f"{path} {why}")
        elif minor in VERSIONS and minor not in found:
            found[minor] = {"minor": minor, "version": version, "path": str(path),
                            "lacks": lacks}
    return [found[minor] for minor in VERSIONS if minor in found], passed_over


def missing(interpreters):
    """Minor versions of which there is none."""
    there = [one["minor"] for one in interpreters]
    return [version for version in VERSIONS if version not in there]


def how_to_get(version):
    """Words for a version that is missing."""
    if version in ("3.13", "3.14", "3.15"):
        return f"no CPython {version}: make pythons fetches it"
    return f"no CPython {version}: put one under ~/.pyenv/versions"


def main():
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pythons", default=PYTHONS, metavar="DIR", type=pathlib.Path)
    parser.add_argument("--json", action="store_true", help="a list of objects")
    args = parser.parse_args()
    found, passed_over = find(args.pythons)
    if args.json:
        print(json.dumps(found, indent=1))
    else:
        for one in found:
            lacks = f"  (no {', no '.join(one['lacks'])})" if one["lacks"] else ""
            print(f"{one['minor']:5} {one['version']:8} {one['path']}{lacks}")
    for line in [*passed_over, *map(how_to_get, missing(found))]:
        sys.stderr.write(f"neve: {line}\n")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
