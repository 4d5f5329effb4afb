#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Build and run the benchmarks: bench/native/*.c, then bench/python/bench_*.py.

Each prints its own table.  The Python ones run under the interpreter given by --python with the
package in PYTHONPATH, or under each of --versions; what follows `--` is handed to every benchmark.
Those of APART take an hour and more and run only when --only names them.
"""

import argparse
import os
import pathlib
import platform
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import build  # noqa: E402
import find_pythons  # noqa: E402
import find_sources  # noqa: E402

APART = ("bench_pauses", "bench_prefork")


def machine():
    """One line: date, processor, cores, kernel; no table without them."""
    model = platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as handle:
            model = next((line.split(":")[1].strip() for line in handle
                          if line.startswith("model name")), model)
    except OSError:
        pass
    return (f"{time.strftime('%Y-%m-%d')}, {model}, {os.cpu_count()} cores, "
            f"Linux {platform.release()}")


def chosen(sources, text):
    """The benchmark of this name, or all whose names hold the text."""
    exact = [source for source in sources if pathlib.Path(source).stem == text]
    return exact or [source for source in sources if text in source]


def versions(text):
    """An argparse type: paths of the interpreters for `3.11,3.13,newest`; those that are not found
    are named and left out."""
    found = {one["minor"]: one["path"] for one in find_pythons.find()[0]}
    paths = []
    for word in text.split(","):
        if word != "newest" and word not in find_pythons.VERSIONS:
            raise argparse.ArgumentTypeError(f"'{word}' is neither newest nor one of "
                                             f"{', '.join(find_pythons.VERSIONS)}")
        path = list(found.values())[-1] if word == "newest" and found else found.get(word)
        if path is None:
            sys.stderr.write(f"neve: {find_pythons.how_to_get(word)}; it is left out\n")
        elif path not in paths:
            paths.append(path)
    if not paths:
        raise argparse.ArgumentTypeError("none of these interpreters is found: make pythons")
    return paths


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=build.DEFAULT_PYTHON)
    parser.add_argument("--versions", type=versions, metavar="LIST",
                        help="interpreters instead of --python, as in 3.11,3.13,newest")
    parser.add_argument("--only", default="", metavar="TEXT",
                        help="run the benchmark TEXT, or those whose name holds TEXT")
    parser.add_argument("arguments", nargs="*", help="after --: handed to every benchmark")
    args = parser.parse_args()
    native = chosen(find_sources.find(build.ROOT, ["bench/native/*.c"]), args.only)
    scripts = chosen(find_sources.find(build.ROOT, ["bench/python/bench_*.py"]), args.only)
    scripts = [s for s in scripts if pathlib.Path(s).stem not in APART or args.only]
    if not native and not scripts:
        sys.stderr.write("neve: there is no such benchmark\n")
        return 2
    failed = []
    print(machine(), flush=True)
    try:
        commands = []
        if native:
            names = [f"bench/bench-{pathlib.Path(s).stem}" for s in native]
            # The same interpreter as for the package, or each would configure the other's away.
            folder = build.compile_preset("release", args.python, targets=names)
            commands += [(name, [str(folder / name)], {}) for name in names]
        for python in (args.versions or [args.python]) if scripts else []:
            package = {"PYTHONPATH": str(build.package(python))}
            commands += [(script, [python, script], package) for script in scripts]
        for name, command, package in commands:
            print(f"\n== {name}", flush=True)
            if subprocess.run(command + args.arguments, cwd=build.ROOT,
                              env=dict(os.environ, **package)).returncode != 0:
                failed.append(name)
    except build.BuildError as error:
        sys.stderr.write(f"neve: {error}\n")
        return 1
    for name in failed:
        sys.stderr.write(f"neve: {name} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
