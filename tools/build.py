#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Configure and compile presets of the build, and assemble the importable Python package.

This file owns the presets and the folders under build/.  It configures a preset again whenever
something that Meson looks at only then has changed: the set of source files, the options, the
interpreter, the compiler.  A lock serializes builds that run at the same time.

    build.py compile PRESET...           build everything that the presets hold
    build.py package [--debug]           build _neve and assemble the package; prints its folder;
                                         without --debug, the program build/neve as well
    build.py install [--prefix DIR] [--python-only]
                                         build and install library, headers, neve.pc, the program
                                         and the package, or the package alone
    build.py vm                          build the example VM, build/vm, and print its path
    build.py wheel, build.py sdist       the wheel, the source archive in build/dist; prints its path
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cross  # noqa: E402
import find_sources  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
DEFAULT_PYTHON = "/usr/bin/python3"

# -O2 with symbols, no assert(), link-time optimization.
RELEASE = ["--buildtype=debugoptimized", "-Db_ndebug=true", "-Db_lto=true"]

# Each preset: compiler (None: the default one), whether the extension is part of it, options.
PRESETS = {
    "release": (None, True, RELEASE + ["-Dtests=false", "-Dbench=true"]),
    "debug": (None, True, ["--buildtype=debug", "-Ddebug_checks=3"]),
    "asan": (None, False, ["--buildtype=debugoptimized", "-Ddebug_checks=2",
                           "-Db_sanitize=address,undefined"]),
    "tsan": (None, False, ["--buildtype=debugoptimized", "-Ddebug_checks=1",
                           "-Db_sanitize=thread"]),
    "stress": (None, False, ["--buildtype=debugoptimized", "-Ddebug_checks=2",
                             "-Dgc_stress=true"]),
    "valgrind": (None, False, ["--buildtype=debugoptimized"]),
    "fuzz": ("clang", False, ["--buildtype=debugoptimized", "-Ddebug_checks=2", "-Dfuzz=true",
                              "-Dtests=false", "-Db_sanitize=address,undefined",
                              "-Db_lundef=false"]),
    # The installed static library also serves linkers that know nothing of GCC's LTO.
    "install": (None, False, RELEASE + ["-Dtests=false", "-Dc_args=-ffat-lto-objects"]),
    # Other machines, by the names of their cross files (tools/cross.py).
    **{machine: (None, False, ["--buildtype=debugoptimized", "-Ddebug_checks=2",
                               f"--cross-file=tools/cross/{machine}.ini"])
       for machine in cross.machines()},
}

# What the build finds at configure time.
FOUND = ["meson.build", "meson_options.txt", "*/meson.build", "*/*/meson.build", "src/*/*.c",
         "tests/*/*.c", "bench/native/*.c", "python/src/**/*.c", "include/**/*.h"]


class BuildError(Exception):
    """Carries one line for the user; long output has been printed already."""


def python_info(python):
    """Lines of tools/python_info.py from the interpreter, or BuildError with what to do."""
    path = shutil.which(python)
    if path is None:
        raise BuildError(f"no interpreter '{python}': install python3 (make deps) or choose one "
                         "with make PYTHON=/path/to/python3")
    path = os.path.abspath(path)    # links stay: a virtual environment is known by its own
    done = subprocess.run([path, "-B", "-E", str(ROOT / "tools/python_info.py")],
                          capture_output=True, text=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"neve: {path} does not run"]
        raise BuildError(lines[-1].removeprefix("neve: "))
    return [path] + done.stdout.strip().splitlines()


@contextlib.contextmanager
def build_lock():
    """Serialize builds in this checkout; waiting is silent and usually short."""
    BUILD.mkdir(exist_ok=True)
    with open(BUILD / ".lock", "w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def run_quiet(command, env, what):
    """Run a command; print its output only when it fails."""
    try:
        done = subprocess.run(command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
    except FileNotFoundError as error:
        raise BuildError(f"{command[0]} is not installed: run make deps") from error
    if done.returncode != 0:
        sys.stderr.write(done.stdout)
        raise BuildError(f"{what} failed")
    return done.stdout


def configure(preset, python=None, werror=False, extra=()):
    """Bring the preset's folder up to date with the tree and the options; returns folder and
    environment.

    The folder is build/PRESET, or build/PRESET-<cache tag> for presets that hold the extension, so
    that another interpreter rebuilds nothing.  The stamp is removed first, so that a configuration
    that failed is begun afresh.
    """
    compiler, with_extension, options = PRESETS[preset]
    env = dict(os.environ)
    if compiler:
        env["CC"] = compiler
    info = python_info(python) if with_extension and python else []
    options = list(options) + [f"-Dwerror={'true' if werror else 'false'}",
                               f"-Dpython={info[0] if info else ''}", *extra]
    if preset in cross.machines():
        try:
            options.append(f"-Dpkg_config_path={cross.fetch(preset)}")
        except cross.CrossError as error:
            raise BuildError(str(error)) from error
    folder = BUILD / (f"{preset}-{info[1]}" if info else preset)
    # A change of these needs a fresh folder (Meson caches them, and never forgets an option); a
    # change of the rest needs only another look.
    names = [option.split("=")[0] for option in options]
    fixed = json.dumps([env.get("CC"), env.get("CFLAGS"), env.get("LDFLAGS"), info[1:], names]
                       + ([cross.text(preset)] if preset in cross.machines() else []))
    loose = json.dumps([options, find_sources.find(ROOT, FOUND)])
    stamp = [hashlib.sha256(text.encode()).hexdigest() for text in (fixed, loose)]
    stamp_file = folder / ".neve-stamp"
    old = stamp_file.read_text(encoding="utf-8").split() if stamp_file.exists() else None
    is_configured = (folder / "build.ninja").exists()
    if old == stamp and is_configured:
        return folder, env
    mode = ["--reconfigure"]
    if old is None or old[0] != stamp[0] or not is_configured:
        mode = []
        if folder.exists():
            shutil.rmtree(folder)
    if folder.exists():
        stamp_file.unlink(missing_ok=True)
    out = run_quiet(["meson", "setup", *mode, str(folder), str(ROOT), *options], env,
                    f"configuring build/{folder.name}")
    for line in out.splitlines():
        # Meson has no built-in option for libFuzzer, whatever it recommends.
        if "WARNING:" in line and "fuzzer-no-link" not in line:
            sys.stderr.write(line + "\n")
    stamp_file.write_text("\n".join(stamp), encoding="utf-8")
    return folder, env


def compile_preset(preset, python=None, werror=False, targets=(), extra=()):
    """Configure and compile; compiler warnings are shown, progress is not."""
    with build_lock():
        folder, env = configure(preset, python, werror, extra)
        done = subprocess.run(["ninja", "--quiet", "-C", str(folder), *targets], env=env, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.stdout.strip() != "ninja: no work to do.":
            sys.stderr.write(done.stdout)
        if done.returncode != 0:
            raise BuildError(f"building build/{folder.name} failed")
    return folder


def copy_if_changed(source, target):
    """Copy without touching an identical target: it may be mapped by a running program."""
    data = source.read_bytes()
    if not target.exists() or target.read_bytes() != data:
        # Replace, never overwrite, for the same reason.
        temporary = target.with_name(target.name + ".new")
        temporary.write_bytes(data)
        os.chmod(temporary, 0o755 if os.access(source, os.X_OK) else 0o644)
        os.replace(temporary, target)


def package(python=DEFAULT_PYTHON, debug=False, werror=False):
    """Build _neve and assemble build/python[-debug]/<cache_tag>/neve; returns the folder to import
    from."""
    _, tag, _, suffix = python_info(python)[:4]
    preset = "debug" if debug else "release"
    name = f"_neve.{suffix}"
    if not find_sources.find(ROOT, ["python/src/**/*.c"]):
        raise BuildError("there are no sources under python/src")
    programs = [] if debug else ["cli/neve"]
    folder = compile_preset(preset, python, werror, [f"python/{name}", *programs])
    top = BUILD / ("python-debug" if debug else "python") / tag
    target = top / "neve"
    with build_lock():
        for program in programs:
            copy_if_changed(folder / program, BUILD / pathlib.Path(program).name)
        target.mkdir(parents=True, exist_ok=True)
        wanted = {}
        source = ROOT / "python/neve"
        for path in sorted(source.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                wanted[target / path.relative_to(source)] = path
        wanted[target / name] = folder / "python" / name
        for path in (ROOT / "python/startup").iterdir():
            if path.is_file():
                wanted[top / path.name] = path  # what NEVE=1 needs, in a folder of site-packages
        for path in sorted(target.rglob("*")):
            if path.is_file() and path not in wanted and path.suffix != ".pyc":
                path.unlink()
        for path, origin in wanted.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            copy_if_changed(origin, path)
        # Start-up must not depend on whether the first user may write here.
        run_quiet([python, "-m", "compileall", "-q", str(target)], None, "compiling the package")
    return top


def example(name, python=DEFAULT_PYTHON, preset="release", werror=False):
    """Build a program of examples/; returns its path: build/NAME, of other presets in their folders."""
    target = f"examples/{name}"
    folder = compile_preset(preset, python if PRESETS[preset][1] else None, werror, [target])
    if preset != "release":
        return folder / target
    with build_lock():
        copy_if_changed(folder / target, BUILD / name)
    return BUILD / name


# Run by the interpreter: the folder for packages below a prefix.  Without one, or if the folder
# that the interpreter looks into lies below it, that one; otherwise where pip would install to.
SITE_FOLDER = """
import os, sys, sysconfig
prefix = sys.argv[1] and os.path.realpath(sys.argv[1])
own = sysconfig.get_path("platlib")
if prefix and os.path.commonpath([prefix, os.path.realpath(own)]) != prefix:
    own = sysconfig.get_path("platlib", "posix_prefix", {"base": prefix, "platbase": prefix})
print(own)
"""


def install_package(python, prefix):
    """Install the Python package below the prefix (None: where the interpreter looks for its
    packages); DESTDIR is honoured."""
    source = package(python)
    path = shutil.which(python)
    site = run_quiet([path, "-c", SITE_FOLDER, prefix or ""], None,
                     f"asking {path} for its folder of packages").strip()
    folder = pathlib.Path(os.environ.get("DESTDIR", "") + site)
    try:
        shutil.rmtree(folder / "neve", ignore_errors=True)
        for origin in sorted(source.rglob("*")):
            if origin.is_file() and origin.suffix != ".pyc":
                target = folder / origin.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                copy_if_changed(origin, target)
    except OSError as error:
        raise BuildError(f"cannot install into {folder}: {error.strerror}: choose another place "
                         "with PREFIX=, or a virtual environment's interpreter with PYTHON=")
    for name in ("neve", "_neve_startup.py"):
        run_quiet([path, "-m", "compileall", "-q", "-d", os.path.join(site, name)
                   if name == "neve" else site, str(folder / name)], None,
                  "compiling the installed package")
    print(f"Installing the package neve for {path} to {folder}")


def install(prefix, python, python_only):
    """Install library, headers, neve.pc, program and package; DESTDIR is honoured."""
    if not python_only:
        install_library(prefix or "/usr/local")
    install_package(python, prefix and os.path.abspath(prefix))


def install_library(prefix):
    with build_lock():
        folder, env = configure("install", extra=[f"--prefix={os.path.abspath(prefix)}",
                                                  "--libdir=lib"])
        run_quiet(["ninja", "--quiet", "-C", str(folder)], env, "building build/install")
        out = run_quiet(["meson", "install", "--no-rebuild", "--strip", "-C", str(folder)], env,
                        "installing")
    for line in out.splitlines():
        if line.startswith("Installing"):
            print(line)


def distribution(python, kind):
    """Have meson-python build the wheel or the sdist into build/dist; returns its path."""
    path, version = python_info(python)[0::2][:2]
    if subprocess.run([path, "-c", "import mesonpy"], capture_output=True).returncode != 0:
        raise BuildError(f"{path} ({version}) has no meson-python to build a {kind} with: run make "
                         f"deps, or make PYTHON={path} install, which needs none")
    folder = BUILD / "dist"
    with build_lock():
        folder.mkdir(exist_ok=True)
        out = run_quiet([path, "-c", "import sys, mesonpy; print(getattr(mesonpy, 'build_' + "
                         "sys.argv[1])(sys.argv[2]))", kind, str(folder)], None,
                        f"building the {kind}")
    return folder / out.splitlines()[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("compile")
    one.add_argument("presets", nargs="+", choices=sorted(PRESETS), metavar="PRESET")
    two = commands.add_parser("package")
    two.add_argument("--debug", action="store_true")
    for sub in (one, two):
        sub.add_argument("--werror", action="store_true")
    three = commands.add_parser("install")
    three.add_argument("--prefix")
    three.add_argument("--python-only", action="store_true")
    kinds = [commands.add_parser(kind) for kind in ("wheel", "sdist", "vm")]
    for sub in (one, two, three, *kinds):
        sub.add_argument("--python", default=DEFAULT_PYTHON)
    args = parser.parse_args()
    try:
        if args.command == "compile":
            for preset in args.presets:
                compile_preset(preset, args.python, args.werror)
        elif args.command == "package":
            print(package(args.python, args.debug, args.werror))
        elif args.command == "install":
            install(args.prefix, args.python, args.python_only)
        elif args.command == "vm":
            print(example("vm", args.python))
        else:
            print(distribution(args.python, args.command))
    except BuildError as error:
        sys.stderr.write(f"neve: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
