# SPDX-License-Identifier: MIT
"""Command lines, environments and interpreters that cannot be used: one line that says what to
do."""

import os
import pathlib
import shutil
import subprocess

import harness
import pytest


def assert_refused(result, *parts):
    """One line on standard error, ``neve: ...``, status 2, nothing else."""
    assert result.status == 2, result
    assert result.out == "", result
    lines = result.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("neve: "), result
    for part in parts:
        assert part in lines[0], result


@pytest.mark.parametrize("words, parts", [
    ([], ["no program", "-m module"]),
    (["--stats"], ["no program"]),
    (["--"], ["no program"]),
    (["missing.py"], ["missing.py", "No such file", "-m module"]),
    (["folder/missing.py"], ["folder/missing.py", "No such file"]),
    (["program.py/x"], ["program.py/x"]),
    (["--mode"], ["--mode", "value"]),
    (["--mode", "fast", "program.py"], ["'fast'", "generational"]),
    (["--mode=", "program.py"], ["mode", "generational"]),
    (["--mode=concurrent", "program.py"], ["'concurrent'", "generational", "incremental",
                                           "snapshot"]),
    (["--pause-us", "fast", "program.py"], ["--pause-us", "'fast'", "microseconds"]),
    (["--pause-us", "-1", "program.py"], ["--pause-us", "microseconds"]),
    (["--pause-us", "0", "program.py"], ["0", "microseconds"]),
    (["--pause-us", "99999999999999999999", "program.py"], ["microseconds"]),
    (["--pause-us"], ["--pause-us", "value"]),
    (["--unknown", "program.py"], ["--unknown", "--help"]),
    (["--stats=yes", "program.py"], ["--stats", "--help"]),
    (["--sta", "program.py"], ["--sta", "--help"]),
    (["-u", "program.py"], ["-u", "before -m neve"]),
    (["-x"], ["-x"]),
    (["-m"], ["-m", "value"]),
    (["-c"], ["-c", "value"]),
    (["--stats-json"], ["--stats-json", "value"]),
    (["--stats-json", "", "program.py"], ["--stats-json"]),
    (["--stats-json", "no/such/folder/x.json", "program.py"], ["no such folder", "--stats-json"]),
    (["--stats-json", "folder", "program.py"], ["it is a folder", "--stats-json"]),
    (["--stats-json", "program.py/x.json", "program.py"], ["no such folder"]),
])
def test_command_lines(runner, words, parts):
    runner.write("program.py", "print('must not run')")
    (runner.folder / "folder").mkdir()
    assert_refused(runner.execute(["-m", "neve", *words]), *parts)


@pytest.mark.parametrize("name, value, parts", [
    ("NEVE_MODE", "fast", ["NEVE_MODE", "'fast'", "generational"]),
    ("NEVE_PAUSE_US", "soon", ["NEVE_PAUSE_US", "'soon'"]),
    ("NEVE_PAUSE_US", "-5", ["NEVE_PAUSE_US"]),
    ("NEVE_PAUSE_US", "0", ["NEVE_PAUSE_US"]),
    ("NEVE_TIMER_MS", "soon", ["NEVE_TIMER_MS", "'soon'", "milliseconds"]),
    ("NEVE_TIMER_MS", "-1", ["NEVE_TIMER_MS"]),
    ("NEVE_TIMER_MS", "99999999999", ["NEVE_TIMER_MS", "milliseconds"]),
    ("NEVE_GC_STRESS", "maybe", ["NEVE_GC_STRESS", "'maybe'"]),
])
def test_environment(runner, name, value, parts):
    assert_refused(runner.neve("-c", "print('must not run')", env={name: value}), *parts)


def test_the_command_line_overrides_the_environment(runner):
    env = {"NEVE_MODE": "nonsense", "NEVE_PAUSE_US": "nonsense"}
    for mode in ("generational", "incremental"):
        result = runner.neve("-c", "import neve; print(neve.stats()['mode'])", env=env,
                             neve_options=["--mode", mode, "--pause-us=200"])
        assert (result.status, result.out, result.err) == (0, mode + "\n", "")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read and write everything")
def test_permissions(runner):
    path = runner.script("print('must not run')")
    path.chmod(0)
    assert_refused(runner.neve(path), "Permission denied")
    path.chmod(0o600)
    locked = runner.folder / "locked"
    locked.mkdir(mode=0o500)
    assert_refused(runner.neve(path, neve_options=["--stats-json", "locked/x.json"]),
                   "cannot be written")


def test_unreadable_scripts(runner):
    os.symlink("loop.py", runner.folder / "loop.py")
    assert_refused(runner.neve("loop.py"), "loop.py")
    os.symlink("nowhere.py", runner.folder / "dangling.py")
    assert_refused(runner.neve("dangling.py"), "No such file")
    assert_refused(runner.neve("x" * 5000), "name too long")


def test_help_and_version(runner):
    for words in (["--help"], ["-h"], ["--stats", "--help", "--nonsense"]):
        result = runner.execute(["-m", "neve", *words])
        assert result.status == 0 and result.err == ""
        assert result.out.startswith("usage: python -m neve")
        for option in ("--mode", "--pause-us", "--stats", "--stats-json", "--version"):
            assert option in result.out
        assert max(map(len, result.out.splitlines())) <= 100
    for word in ("--version", "-V"):
        result = runner.execute(["-m", "neve", word])
        assert result.status == 0 and result.out.startswith("Neve ")


def assert_goes_on(result, *parts):
    """The program ran without Neve, after one line that says why."""
    assert (result.status, result.out) == (3, "ran\n"), result
    lines = result.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("neve: going on without Neve: "), result
    for part in parts:
        assert part in lines[0], result


GOES_ON = ("-c", "import sys; sys.stdout.write('ran\\n'); sys.exit(3)")


def package_without_extension(folder):
    """A copy of the package as another interpreter sees it: nothing that it can load."""
    target = folder / "copy/neve"
    shutil.copytree(harness.package_folder() / "neve", target,
                    ignore=shutil.ignore_patterns("_neve.*", "__pycache__"))
    return target


def test_no_extension_at_all(runner):
    package = package_without_extension(runner.folder)
    result = runner.neve(*GOES_ON, search_path=package.parent)
    assert_goes_on(result, harness.PYTHON, "CPython 3.", "no extension module",
                   f"make PYTHON={harness.PYTHON}")
    result = runner.stock("-c", "import neve", search_path=package.parent)
    assert result.status == 1
    assert result.err.splitlines()[-1].startswith(f"ImportError: {harness.PYTHON} is CPython")
    # Another module that happens to be run with -m gets the exception.
    runner.write("module.py", "import neve")
    result = runner.stock("-m", "module", search_path=package.parent)
    assert result.status == 1 and "ImportError" in result.err


def test_an_extension_for_others_only(runner):
    package = package_without_extension(runner.folder)
    for tag in ("cpython-399-x86_64-linux-gnu", "cpython-398-aarch64-linux-gnu"):
        (package / f"_neve.{tag}.so").write_bytes(b"")
    result = runner.neve(*GOES_ON, search_path=package.parent)
    assert_goes_on(result, "built for CPython 3.98, CPython 3.99", "make PYTHON=")


def test_an_extension_that_cannot_be_loaded(runner):
    package = package_without_extension(runner.folder)
    source = next((harness.package_folder() / "neve").glob("_neve.*.so"))
    (package / source.name).write_bytes(b"\x7fELF" + bytes(100))
    assert_goes_on(runner.neve(*GOES_ON, search_path=package.parent), source.name)


SHOW_START = """
    import sys
    print(sys.argv, sys.flags, sys.path, __name__, list(globals()), sys.warnoptions, sys._xoptions)
    print(sys._getframe().f_back, sys.stdin.read())
    raise SystemExit(4)
"""


def test_the_program_on_an_interpreter_without_extension(runner):
    """All kinds of programs, and the interpreter's own options, are as without the runner."""
    package = package_without_extension(runner.folder)
    runner.write("show.py", SHOW_START)
    runner.write("app/__main__.py", SHOW_START)
    runner.write("-x.py", SHOW_START)
    code = harness.dedented(SHOW_START)

    def compare(stock, neve, runs=("-m", "neve"), interpreter=(), stdin="input"):
        results = [runner.execute([*interpreter, *words], search_path=package.parent, stdin=stdin)
                   for words in (stock, [*runs, *neve])]
        assert results[0].status == 4, results[0]
        assert len(results[1].err.splitlines()) == 1, results[1]
        assert (results[0].status, results[0].out) == (results[1].status, results[1].out)

    options = ["--mode", "x", "--stats", "--pause-us=5"]
    compare(["show.py", "a", "-m", "neve"], [*options, "show.py", "a", "-m", "neve"])
    compare(["show.py"], ["--", "show.py"])
    compare(["./-x.py", "-y"], ["--", "-x.py", "-y"])
    compare(["app", "a"], ["app", "a"])
    compare(["-m", "show", "-c", "x"], ["-m", "show", "-c", "x"])
    compare(["-mshow", "a"], ["-mshow", "a"])
    compare(["-c", code, "--stats"], ["--stats", "-c", code, "--stats"])
    compare(["-", "a"], ["-", "a"], stdin=code)
    compare(["show.py"], ["show.py"], runs=["-mneve"])
    compare(["-u", "show.py"], ["show.py"], runs=["-um", "neve"])
    compare(["-u", "show.py"], ["show.py"], runs=["-umneve"])
    compare(["show.py"], ["show.py"], interpreter=["-X", "utf8", "-OW", "ignore"])


def test_command_lines_without_extension(runner):
    package = package_without_extension(runner.folder)

    def run(*words):
        return runner.execute(["-m", "neve", *words], search_path=package.parent)

    assert_refused(run("--stast", "-c", "print('must not run')"), "--stast")
    assert_refused(run(), "no program")
    result = run("--help")
    assert result.status == 0 and result.out.startswith("usage: ") and result.err == ""
    result = run("--version")
    assert result.status == 1 and "no extension module" in result.err and result.out == ""
    result = run("missing.py")
    assert result.status == 2 and "missing.py" in result.err.splitlines()[-1]


def other_interpreters():
    """Interpreters that this package was not built for."""
    folder = pathlib.Path.home() / ".pyenv/versions"
    ours = "%d.%d." % harness.VERSION[:2]
    return sorted(path / "bin/python" for path in folder.glob("*")
                  if not path.name.startswith(ours) and (path / "bin/python").exists())


def test_other_interpreters(runner):
    interpreters = other_interpreters()
    if not interpreters:
        pytest.skip("no other interpreter in ~/.pyenv/versions")
    for python in interpreters:
        result = runner.neve(*GOES_ON, python=python)
        assert_goes_on(result, str(python), "make PYTHON=")
        done = subprocess.run([python, "-c", "import neve"], capture_output=True, text=True,
                              env=harness.environment())
        assert done.returncode == 1, done
        assert done.stderr.splitlines()[-1].startswith("ImportError: "), done
