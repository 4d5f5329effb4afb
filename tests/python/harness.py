# SPDX-License-Identifier: MIT
"""Runs program texts on the stock interpreter and on Neve, in processes of their own, and compares.

Nothing here or in the tests imports Neve into the process that runs the tests: a crash must be the
result of a test, not the end of all of them.  The interpreter is the one that NEVE_TEST_PYTHON
names, or else the one that runs pytest (older ones and newer ones have no pytest of their own); the
package is found where PYTHONPATH says, or else where the build puts it.  Neve's mode is that of
NEVE_TEST_MODE, or else the default one; a test that is about the setting takes it out by
``{"NEVE_MODE": None}``.
"""

import difflib
import functools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("NEVE_TEST_PYTHON") or sys.executable
TIMEOUT_S = 120
#: What the tests of semantics run in; None: Neve's default.
TEST_MODE = os.environ.get("NEVE_TEST_MODE") or None

ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
# What Python 3.15 tells callbacks and in gc.get_stats(), beyond what can be compared.
FIGURE = re.compile(r"'(candidates|duration)': [0-9][0-9.e-]*")


@functools.lru_cache(maxsize=None)
def ask(expression):
    """The value of an expression in the interpreter under test, as text."""
    return subprocess.run([PYTHON, "-I", "-c", f"import sys, importlib.util; print({expression})"],
                          check=True, capture_output=True, text=True).stdout.strip()


CACHE_TAG = ask("sys.implementation.cache_tag")
#: Of the interpreter under test, like (3, 14, 5).
VERSION = tuple(int(part) for part in ask("'%d.%d.%d' % sys.version_info[:3]").split("."))


def has_module(name):
    """Whether the interpreter under test can import this module; its tests are packaged apart."""
    package = name.split(".")[0]
    return ask(f"bool(importlib.util.find_spec({package!r}) and "
               f"importlib.util.find_spec({name!r}))") == "True"


def package_folder():
    """The folder to put on the search path so that ``import neve`` works, or None."""
    folders = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    folders.append(str(ROOT / "build/python" / CACHE_TAG))
    for folder in folders:
        package = pathlib.Path(folder).resolve() / "neve"
        if (package / "__init__.py").exists() and list(package.glob("_neve.*.so")):
            return package.parent
    return None


@functools.lru_cache(maxsize=None)
def default_mode():
    """Neve's mode where nobody chooses one."""
    return re.search(r'^_DEFAULT_MODE = "(\w+)"$',
                     (package_folder() / "neve/__init__.py").read_text(), re.M).group(1)


def mode():
    """The mode that the programs of the tests run in, unless they choose one."""
    return TEST_MODE or default_mode()


def environment(changes=None, search_path=None):
    """The environment for a test's process: nothing of the caller's that would change Python or
    Neve."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "NEVE", "LD_PRELOAD"))}
    kept["PYTHONPATH"] = str(search_path or package_folder())
    kept["PYTHONHASHSEED"] = "0"
    kept["PYTHONDONTWRITEBYTECODE"] = "1"
    kept["LC_ALL"] = "C.UTF-8"
    if TEST_MODE:
        kept["NEVE_MODE"] = TEST_MODE
    if TEST_MODE == "snapshot":
        kept["NEVE_SNAPSHOT_LEAST"] = "1"  # or else these small programs would make no snapshot
    for name, value in (changes or {}).items():
        if value is None:
            kept.pop(name, None)
        else:
            kept[name] = value
    return kept


@functools.lru_cache(maxsize=None)
def facts():
    """What the interpreter under test says of itself: version, cache_tag, config, include."""
    code = ("import json, sys, sysconfig; print(json.dumps(dict("
            "version=sys.version_info[:3], cache_tag=sys.implementation.cache_tag, "
            "config=sysconfig.get_config_vars(), include=sysconfig.get_paths()['include'])))")
    done = subprocess.run([PYTHON, "-I", "-c", code], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def environment_with_neve(folder, copy=False):
    """A virtual environment in which Neve is installed, as far as its interpreter can tell: links
    to the built package, or a copy of it.  Returns the interpreter."""
    # Not by importing venv: the environment must be that of the interpreter under test, whatever
    # environment that itself is in.
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", str(folder)], check=True,
                   env=environment({"PYTHONPATH": None}))
    site = next(pathlib.Path(folder).glob("lib/python*/site-packages"))
    source = package_folder()
    for name in ("neve", "neve.pth", "_neve_startup.py"):
        if not copy:
            os.symlink(source / name, site / name)
        elif (source / name).is_dir():
            shutil.copytree(source / name, site / name,
                            ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source / name, site / name)
    return pathlib.Path(folder) / "bin/python"


class Result:
    """How a process ended: ``status`` (negative: the signal), ``out`` and ``err``, without
    addresses and other figures that differ from run to run."""

    def __init__(self, done):
        self.status = done.returncode
        self.out, self.err = (FIGURE.sub(r"'\1': FIGURE", ADDRESS.sub("0xADDRESS", text))
                              for text in (done.stdout, done.stderr))

    def text(self):
        return f"status {self.status}\n--- stdout\n{self.out}--- stderr\n{self.err}"

    def __repr__(self):
        return self.text()


def dedented(code):
    return textwrap.dedent(code).lstrip("\n")


def imports_first(code):
    """The program with its import statements repeated at its start, so that what importing leaves
    to the collector, which differs with what is loaded already, is gone before anything is
    counted."""
    return "".join(re.findall(r"^import .*\n", code, re.MULTILINE)) + code


class Runner:
    """Runs programs in a folder of its own."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.count = 0

    def write(self, name, text):
        """A file of the test's folder; returns its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedented(text))
        return path

    def execute(self, words, *, stdin="", env=None, cwd=None, python=PYTHON, timeout=TIMEOUT_S,
                search_path=None):
        """Run the interpreter with these words."""
        done = subprocess.run([str(python), *map(str, words)], input=stdin, text=True,
                              errors="backslashreplace", capture_output=True, timeout=timeout,
                              cwd=cwd or self.folder, env=environment(env, search_path))
        return Result(done)

    def stock(self, *program, interpreter=(), **options):
        """``python PROGRAM``."""
        return self.execute([*interpreter, *program], **options)

    def neve(self, *program, interpreter=(), neve_options=(), **options):
        """``python -m neve PROGRAM``."""
        return self.execute([*interpreter, "-m", "neve", *neve_options, *program], **options)

    def both(self, *program, edit=None, **options):
        """Run on both; the outcomes must be the same.  ``edit`` maps output that may differ to
        something that may not.  Returns the outcome on stock."""
        stock = self.stock(*program, **options)
        neve = self.neve(*program, **options)
        if edit is not None:
            for result in (stock, neve):
                result.out, result.err = edit(result.out), edit(result.err)
        if stock.text() != neve.text():
            diff = "\n".join(difflib.unified_diff(stock.text().splitlines(),
                                                  neve.text().splitlines(),
                                                  "stock", "neve", lineterm="", n=8))
            raise AssertionError(f"{' '.join(map(str, program))}: Neve behaves otherwise:\n{diff}")
        return stock

    def script(self, code):
        """A new file with this program text."""
        self.count += 1
        return self.write(f"program_{self.count}.py", code)

    def both_code(self, code, *arguments, status=0, **options):
        """Run a program text as a script on both; it must end with ``status`` on both."""
        result = self.both(self.script(code), *arguments, **options)
        assert result.status == status, result
        return result

    def neve_code(self, code, *arguments, status=0, **options):
        """Run a program text as a script on Neve only."""
        result = self.neve(self.script(code), *arguments, **options)
        assert result.status == status, result
        return result

    def plain_code(self, code, *arguments, status=0, **options):
        """Run a program text as a script on plain Python: it installs Neve itself."""
        result = self.stock(self.script(code), *arguments, **options)
        assert result.status == status, result
        return result
