#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Build and run the benchmarks: bench/native/*.c, then bench/python/bench_*.py.

Each prints its own table.  The Python ones run under the interpreter given by --python with the
package in PYTHONPATH; what follows `--` is handed to every benchmark.  Those of APART take hours and
run only when --only names them.
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
import find_sources  # noqa: E402

APART = ("bench_pauses",)


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=build.DEFAULT_PYTHON)
    parser.add_argument("--only", default="", metavar="TEXT",
                        help="run the benchmarks whose name holds TEXT")
    parser.add_argument("arguments", nargs="*", help="after --: handed to every benchmark")
    args = parser.parse_args()
    native = [s for s in find_sources.find(build.ROOT, ["bench/native/*.c"]) if args.only in s]
    scripts = [s for s in find_sources.find(build.ROOT, ["bench/python/bench_*.py"])
               if args.only in s]
    scripts = [s for s in scripts if pathlib.Path(s).stem not in APART or args.only]
    if not native and not scripts:
        sys.stderr.write("neve: there is no such benchmark\n")
        return 2
    failed = []
    print(machine(), flush=True)
    try:
        commands = []
        env = dict(os.environ)
        if native:
            names = [f"bench/bench-{pathlib.Path(s).stem}" for s in native]
            # The same interpreter as for the package, or each would configure the other's away.
            folder = build.compile_preset("release", args.python, targets=names)
            commands += [(name, [str(folder / name)]) for name in names]
        if scripts:
            env["PYTHONPATH"] = str(build.package(args.python))
            commands += [(script, [args.python, script]) for script in scripts]
        for name, command in commands:
            print(f"\n== {name}", flush=True)
            if subprocess.run(command + args.arguments, cwd=build.ROOT, env=env).returncode != 0:
                failed.append(name)
    except build.BuildError as error:
        sys.stderr.write(f"neve: {error}\n")
        return 1
    for name in failed:
        sys.stderr.write(f"neve: {name} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
