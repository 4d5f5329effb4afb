#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fetch the interpreters that this Debian lacks, for tests only: nothing is installed.

Each VERSION (3.13, ...) is unpacked below DIR/VERSION from Debian's newer suites, with all that it
links to down to the C library, its headers and its test suite; the interpreter is then told to use
the dynamic loader and the libraries of its own tree.  A version that is there already is left
alone, and one that was interrupted is resumed.  Prints the path of each interpreter.
"""

import argparse
import fcntl
import glob
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
INTO = ROOT / "build/pythons"
VERSIONS = ["3.13", "3.14", "3.15"]
SUITES = ["trixie", "forky", "sid", "experimental"]
FALLBACK_MIRROR = "http://deb.debian.org/debian"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# Raised when a tree that was fetched by an older text of this file would lack something.
RECIPE = 1

# Pulled in by dependencies, of no use in a tree that is never installed.
NOT_UNPACKED = re.compile(r"^(gcc-.*-base|debconf|net-tools|libc6-dev|libc-dev-bin|linux-libc-dev|"
                          r"libexpat1-dev|zlib1g-dev|readline-common|netbase)$")

# What a complete tree can do.  Those that Debian packages apart (tkinter, dbm.gnu) are left out.
SMOKE_TEST = """
import sys, sysconfig, os
tree = os.path.realpath(sys.argv[1])
import bz2, ctypes, curses, hashlib, lzma, readline, socket, sqlite3, ssl, uuid, zlib
import xml.parsers.expat, zoneinfo, multiprocessing, decimal, test.test_gc, test.support
if sys.version_info >= (3, 14):
    import compression.zstd
for module in (os, test.test_gc):
    assert os.path.realpath(module.__file__).startswith(tree), module
assert os.path.realpath(sys.executable).startswith(tree), sys.executable
include = sysconfig.get_path("include")
assert os.path.realpath(include).startswith(tree), include
for header in ("Python.h", "internal/pycore_gc.h", "pyconfig.h"):
    assert os.path.exists(os.path.join(include, header)), header
assert not sysconfig.get_config_var("Py_GIL_DISABLED")
assert sysconfig.get_config_var("EXT_SUFFIX").startswith(
    ".cpython-%d%d" % sys.version_info[:2]), sysconfig.get_config_var("EXT_SUFFIX")
with open("/proc/self/maps") as maps:
    paths = {line.split()[-1] for line in maps if ".so" in line}
foreign = sorted(path for path in paths if not path.startswith(tree))
assert not foreign, foreign
print("%d.%d.%d" % sys.version_info[:3])
"""


class FetchError(Exception):
    """Carries one line for the user."""


class NoNetwork(FetchError):
    """Nothing else need be tried."""


def run(command, what, env=None):
    """Run a command; its output is shown only when it fails."""
    try:
        done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL, env=env)
    except FileNotFoundError as error:
        raise FetchError(f"{command[0]} is not installed: run make deps") from error
    if done.returncode != 0:
        sys.stderr.write(done.stdout)
        raise FetchError(f"{what} failed")
    return done.stdout


def codename():
    """The name of this machine's own release; empty if it has none."""
    try:
        lines = pathlib.Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return dict(line.split("=", 1) for line in lines
                if "=" in line).get("VERSION_CODENAME", "").strip('"')


def mirror():
    """The archive that this machine's own release comes from."""
    own = codename()
    try:
        done = subprocess.run(["apt-get", "indextargets", "--format",
                               "$(CODENAME) $(RELEASE) $(COMPONENT) $(REPO_URI)"],
                              capture_output=True, text=True)
    except OSError:
        return FALLBACK_MIRROR
    for line in done.stdout.splitlines():
        words = line.split()
        if len(words) >= 3 and words[-2] == "main" and words[-3] == own:
            return words[-1].rstrip("/")
    return FALLBACK_MIRROR


class Apt:
    """apt with lists, a cache and a state of its own, to which nothing is installed."""

    def __init__(self, folder, suites=tuple(SUITES), architecture=None):
        self.folder = folder
        for name in ("lists/partial", "cache/archives/partial", "state"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "state/status").write_text("")
        signed = f"[signed-by={KEYRING}] " if os.path.exists(KEYRING) else ""
        archive = mirror()
        (folder / "sources.list").write_text("".join(
            f"deb {signed}{archive} {suite} main\n" for suite in suites), encoding="utf-8")
        self.options = [
            "-q",
            "-o", f"Dir::Etc::sourcelist={folder}/sources.list",
            "-o", "Dir::Etc::sourceparts=/dev/null",
            "-o", "Dir::Etc::preferences=/dev/null",
            "-o", "Dir::Etc::preferencesparts=/dev/null",
            "-o", f"Dir::State={folder}/state",
            "-o", f"Dir::State::lists={folder}/lists",
            "-o", f"Dir::State::status={folder}/state/status",
            "-o", f"Dir::Cache={folder}/cache",
            "-o", f"Dir::Cache::archives={folder}/cache/archives",
            "-o", "Acquire::Languages=none",
            "-o", "Acquire::Retries=3",
            "-o", "APT::Sandbox::User=root",
            "-o", "APT::Install-Recommends=false",
        ]
        if architecture is not None:
            self.options += ["-o", f"APT::Architecture={architecture}",
                             "-o", f"APT::Architectures={architecture}"]

    def call(self, tool, *words):
        """Status and output."""
        try:
            done = subprocess.run([tool, *self.options, *words], text=True, cwd=self.folder,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  stdin=subprocess.DEVNULL, env=dict(os.environ, LC_ALL="C"))
        except FileNotFoundError as error:
            raise FetchError("this is not a Debian system (no apt-get): put interpreters under "
                             "~/.pyenv/versions instead") from error
        return done.returncode, done.stdout

    def update(self):
        """Read the suites' lists; one that the archive lacks is no error."""
        _, output = self.call("apt-get", "update")
        if not glob.glob(f"{self.folder}/lists/*_Packages*"):
            sys.stderr.write("".join(line for line in output.splitlines(True)
                                     if line.startswith(("E:", "W:"))))
            raise NoNetwork("no list of packages could be read: is there a network?")

    def available(self):
        """Minor versions with a test suite in some suite."""
        _, output = self.call("apt-cache", "pkgnames", "libpython3.")
        return sorted(set(re.findall(r"^libpython(3\.\d+)-testsuite$", output, re.M)),
                      key=lambda text: int(text.split(".")[1]))

    def download(self, version):
        """Fetch an interpreter's packages with all that they depend on; returns the files."""
        if version not in self.available():
            raise FetchError(f"no python{version} in Debian's {', '.join(SUITES)}: there are "
                             f"{', '.join(self.available())}; others are found under "
                             "~/.pyenv/versions")
        wanted = [f"python{version}", f"libpython{version}-dev", f"libpython{version}-testsuite"]
        # The newest that can be had; an unstable suite may be broken for a while, and the next
        # one is not.
        for target in ([], *(["-t", suite] for suite in SUITES[-2::-1])):
            status, output = self.call("apt-get", *target, "--simulate", "install", *wanted)
            if status == 0:
                break
        else:
            sys.stderr.write(output)
            raise FetchError(f"the packages of python{version} cannot be had together")
        # Not --print-uris: that leaves out what has been downloaded already.
        packages = [package for package in re.findall(r"^Inst (\S+) \((\S+) .*\[(\w+)\]\)",
                                                      output, re.M)
                    if not NOT_UNPACKED.match(package[0])]
        status, output = self.call("apt-get", *target, "-y", "--download-only", "install", *wanted)
        return self.files(f"python{version}", self.folder / "cache/archives", packages, status,
                          output)

    @staticmethod
    def files(what, folder, packages, status, output):
        """Where apt left these (name, version, architecture), or an error if it did not."""
        files = [folder / "{}_{}_{}.deb".format(name, version.replace(":", "%3a"), architecture)
                 for name, version, architecture in packages]
        if status != 0 or not files or not all(file.exists() for file in files):
            sys.stderr.write(output)
            raise FetchError(f"{what} could not be downloaded: is there a network?  What came is "
                             "kept, run this again")
        return files


def relocate(tree, final, version):
    """Make the interpreter of `tree`, which is to become `final`, use the tree's libraries."""
    python = tree / f"usr/bin/python{version}"
    loader = run(["patchelf", "--print-interpreter", str(python)], "patchelf").strip()
    # Packages lay the loader at its merged or at its unmerged place.
    places = [tree / loader.lstrip("/"), tree / "usr" / loader.lstrip("/")]
    places += sorted(tree.glob(f"usr/lib/*/{os.path.basename(loader)}"))
    found = [place for place in places if place.exists() or place.is_symlink()]
    if not found:
        raise FetchError(f"no {os.path.basename(loader)} among the packages of python{version}")
    folders = sorted({str(final / file.parent.relative_to(tree))
                      for file in [*tree.glob("usr/lib/*.so.*"), *tree.glob("usr/lib/*/lib*.so.*"),
                                   *tree.glob("lib/*/lib*.so.*")]})
    # A DT_RPATH, unlike a DT_RUNPATH, holds for what extension modules load as well.
    run(["patchelf", "--set-interpreter", str(final / found[0].relative_to(tree)),
         "--force-rpath", "--set-rpath", ":".join(folders), str(python)], "patchelf")
    # Debian's header only names the one of the architecture, below an include folder that
    # compilers look into when it is the system's.
    header = tree / f"usr/include/python{version}/pyconfig.h"
    real = sorted(tree.glob(f"usr/include/*/python{version}/pyconfig.h"))
    if real:
        header.unlink(missing_ok=True)
        shutil.copyfile(real[0], header)


def interpreter(into, version):
    """Where the interpreter of a tree is."""
    return into / version / f"usr/bin/python{version}"


def is_complete(into, version):
    """Whether a tree was finished, at this very place, by this recipe."""
    try:
        stamp = json.loads((into / version / "stamp.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (stamp.get("recipe") == RECIPE and stamp.get("path") == str(into / version)
            and interpreter(into, version).exists())


def fetch(apt, into, version):
    """Fetch one version; leaves a stamp as the last thing."""
    final = into / version
    work = into / f"{version}.new"
    for folder in (work, final):
        if folder.exists():
            shutil.rmtree(folder)
    files = apt.download(version)
    work.mkdir()
    for file in files:
        try:
            run(["dpkg-deb", "-x", str(file), str(work)], f"unpacking {file.name}")
        except FetchError:
            # Cut short by a full disk, say: the next run downloads it again.
            file.unlink(missing_ok=True)
            raise
    relocate(work, final, version)
    work.rename(final)
    python = interpreter(into, version)
    env = {name: value for name, value in os.environ.items()
           if not name.startswith(("PYTHON", "NEVE", "LD_"))}
    # As the packages' own installation does: without, each start compiles what it imports.
    run([str(python), "-m", "compileall", "-q", "-x", r"/test/|lib2to3/tests|/idlelib/",
         str(final / f"usr/lib/python{version}")],
        f"compiling the library of python{version}", env)
    full = run([str(python), "-B", "-c", SMOKE_TEST, str(final)],
               f"trying out python{version}", env).strip().splitlines()[-1]
    stamp = {"recipe": RECIPE, "path": str(final), "version": full,
             "packages": [file.name for file in files]}
    (final / "stamp.json").write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")


def version_name(text):
    if not re.fullmatch(r"3\.\d{1,2}", text):
        raise argparse.ArgumentTypeError(f"'{text}' is no version, write 3.14")
    return text


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message):
        sys.stderr.write(f"{self.prog}: {message}; --help lists the options\n")
        sys.exit(2)


def main():
    parser = Parser(prog="fetch_pythons.py", description=__doc__, allow_abbrev=False,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=pathlib.Path, default=INTO, metavar="DIR",
                        help="default: build/pythons of this checkout")
    parser.add_argument("versions", nargs="*", type=version_name, metavar="VERSION",
                        help=f"default: {' '.join(VERSIONS)}")
    args = parser.parse_args()
    into = args.into.resolve()
    into.mkdir(parents=True, exist_ok=True)
    failures = 0
    with open(into / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        apt = None
        for version in args.versions or VERSIONS:
            try:
                if not is_complete(into, version):
                    for tool in ("patchelf", "dpkg-deb"):
                        if not shutil.which(tool):
                            raise FetchError(f"{tool} is not installed: run make deps")
                    if apt is None:
                        apt = Apt(into / "apt")
                        apt.update()
                    fetch(apt, into, version)
                print(interpreter(into, version), flush=True)
            except FetchError as error:
                sys.stderr.write(f"neve: {error}\n")
                failures += 1
                if isinstance(error, NoNetwork):
                    break
        # Kept for the next try only: lists and packages take as much room as a tree.
        if not failures and (into / "apt").exists():
            shutil.rmtree(into / "apt")
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
