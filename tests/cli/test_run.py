# SPDX-License-Identifier: MIT
"""`neve run`: which interpreter, which package, which kind of program."""

import os
import shutil
import signal
import subprocess

import harness
import pytest
from support import PROGRAM

IS_ON = "import sys; n = sys.modules.get('neve'); print(bool(n) and n.is_installed())"
SHOW = """
    import os, sys
    import neve
    print(neve.is_installed(), __name__, sys.argv[1:], os.environ.get("PYTHONPATH"),
          [name for name in os.environ if name.startswith("NEVE")])
"""


def refused(result, status, *parts):
    assert (result.status, result.out) == (status, ""), result
    lines = result.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("neve: "), result
    for part in parts:
        assert part in lines[0], result


def is_silent(result, out, status=0):
    assert (result.status, result.out, result.err) == (status, out, ""), result


# --- Python programs ---------------------------------------------------------------------------


def test_kinds_of_programs(neve, runner):
    runner.write("show.py", SHOW)
    runner.write("app/__main__.py", SHOW)
    out = "True __main__ ['a', '--python', '-m'] None []\n"
    words = ["a", "--python", "-m"]
    is_silent(neve("run", "show.py", *words), out)
    is_silent(neve("run", "./show.py", *words), out)
    is_silent(neve("run", "app", *words), out)
    is_silent(neve("run", "-m", "show", *words), out)
    is_silent(neve("run", "-mshow", *words), out)
    is_silent(neve("run", "-c", harness.dedented(SHOW), *words), out)
    is_silent(neve("run", "-", *words, stdin=harness.dedented(SHOW)), out)


def test_options_are_passed_on(neve, runner):
    result = neve("run", "--stats", "--mode=generational", "--pause-us", "77", "--stats-json", "s.json",
                  "-c", "import neve; neve.install(pause_us=77); print('ran')")
    assert (result.status, result.out) == (0, "ran\n") and "\npauses " in result.err, result
    assert (runner.folder / "s.json").exists()
    for mode in ("generational", "incremental"):
        is_silent(neve("run", "--mode", mode, "-c", "import neve; print(neve.stats()['mode'])"),
                  mode + "\n")
    refused(neve("run", "--mode", "fast", "-c", "print('must not run')"), 2, "'fast'")
    refused(neve("run", "--pause-us=", "-c", "print('must not run')"), 2, "--pause-us")


@pytest.mark.parametrize("words, parts", [
    ([], ["no program to run"]),
    (["--"], ["no program to run"]),
    (["--stats"], ["no program to run"]),
    (["--nonsense", "x.py"], ["--nonsense", "neve run --help"]),
    (["-u", "x.py"], ["-u"]),
    (["--stats=1", "x.py"], ["--stats takes no value"]),
    (["--mode"], ["--mode needs a value"]),
    (["--python"], ["--python needs a value"]),
    (["--pytho", "python3", "x.py"], ["--pytho:"]),
    (["--python", "no-such-python", "-c", "1"], ["--python", "'no-such-python'", "in PATH"]),
    (["--python", "./x.py", "-c", "1"], ["--python", "'./x.py'"]),
    (["--python=", "-c", "1"], ["--python", "''"]),
    (["--python", "/bin/true", "-c", "1"], ["/bin/true", "Python interpreter"]),
    (["--python", "/", "-c", "1"], ["'/'"]),
    (["missing.py"], ["'missing.py'", "neither a file nor a program in PATH"]),
    (["no/such/file.py"], ["'no/such/file.py'"]),
    (["--", "x.py"], ["'x.py'", "not a program"]),
    (["--python", "python3", "--", "/bin/echo"], ["/bin/echo", "--python has no effect"]),
    (["-m"], ["-m", "value"]),
])
def test_command_lines(neve, runner, words, parts):
    runner.write("x.py", "print('must not run')")
    refused(neve("run", *words), 2, *parts)


def test_the_program_takes_the_process_over(neve, runner):
    is_silent(neve("run", "-c", "raise SystemExit(17)"), "", status=17)
    assert neve("run", "-c", "import os; os.kill(os.getpid(), 9)").status == -9
    path = runner.write("wait.py", """
        import os, signal, sys
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(33))
        print(os.getpid(), flush=True)
        signal.pause()
    """)
    env = harness.environment({"PYTHONPATH": None, "NEVE_PYTHON": harness.PYTHON})
    with subprocess.Popen([PROGRAM, "run", path], stdout=subprocess.PIPE, text=True,
                          env=env) as process:
        assert int(process.stdout.readline()) == process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 33


def test_standard_streams_that_are_closed(neve, runner):
    path = runner.write("show.py", """
        import os, sys
        with open("streams", "w") as file:
            print(sys.stdin, sys.stdout, sys.stderr, sys.modules["neve"].is_installed(), file=file)
    """)
    env = harness.environment({"PYTHONPATH": None, "NEVE_PYTHON": harness.PYTHON})
    done = subprocess.run(["sh", "-c", 'exec "$0" run "$1" <&- >&- 2>&-', PROGRAM, path], env=env,
                          cwd=runner.folder)
    assert done.returncode == 0
    assert (runner.folder / "streams").read_text() == "None None None True\n"


def test_descriptors_are_not_left_open(neve):
    code = "import os; print(sorted(int(n) for n in os.listdir('/proc/self/fd'))[:4])"
    stock = neve("-c", code, program=harness.PYTHON)
    is_silent(neve("run", "-c", code), stock.out)


# --- which interpreter ----------------------------------------------------------------------------


def test_which_interpreter(neve, runner, installed, tmp_path):
    code = "import sys; print(sys.prefix)"
    environment = f"{installed.parents[1]}\n"
    base = neve("-c", code, program=harness.PYTHON).out
    is_silent(neve("run", "-c", code), base)
    is_silent(neve("run", "-c", code, env={"VIRTUAL_ENV": str(installed.parents[1])}), environment)
    is_silent(neve("run", "-c", code, env={"NEVE_PYTHON": str(installed)}), environment)
    is_silent(neve("run", "--python", installed, "-c", code, env={"NEVE_PYTHON": "nonsense"}),
              environment)
    is_silent(neve("run", "--python", "python3", "-c", code,
                   env={"VIRTUAL_ENV": str(installed.parents[1])}), base)
    is_silent(neve("run", "-c", code, env={"VIRTUAL_ENV": "/no/such/folder"}), base)
    refused(neve("run", "-c", code, env={"NEVE_PYTHON": "nonsense"}), 2, "NEVE_PYTHON", "nonsense")
    refused(neve("run", "-c", code, env={"PATH": str(tmp_path)}), 1, "no python3 in PATH")
    # A program that was installed into a virtual environment belongs to it, active or not.
    own = harness.environment_with_neve(tmp_path / "own")
    program = shutil.copy(PROGRAM, own.parent / "neve")
    os.symlink(program, tmp_path / "link")
    for path in (program, tmp_path / "link"):
        is_silent(neve("run", "-c", code, program=path,
                       env={"VIRTUAL_ENV": str(installed.parents[1])}), f"{own.parents[1]}\n")


def test_noise_at_the_start_of_the_interpreter(neve, runner):
    runner.write("site/sitecustomize.py", """
        import sys
        print("noise " * 2000); print("neve-answer 1 2 3 4", file=sys.stderr)
    """)
    result = neve("run", "-c", "print('ran')", env={"PYTHONPATH": str(runner.folder / "site")})
    assert result.status == 0 and result.out.endswith("\nran\n"), result


# --- which package ---------------------------------------------------------------------------------


def test_beside_the_program(neve, runner):
    """PYTHONPATH is for the interpreter that is started, and for nothing that it starts."""
    path = runner.write("show.py", SHOW)
    for before in (None, "", "/a:/b"):
        env = {"PYTHONPATH": before}
        is_silent(neve("run", path, env=env), f"True __main__ [] {before} []\n")
    is_silent(neve("run", "-c", "import os; os.system('env | grep -c NEVE')"), "0\n")
    # Spawned processes find the package as their parent did, by its search path.
    path = runner.write("spawn.py", """
        import multiprocessing
        def work(n):
            import neve
            return n
        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.map(work, [1, 2]))
    """)
    is_silent(neve("run", path), "[1, 2]\n")


def test_where_it_is_installed(neve, installed, elsewhere):
    is_silent(neve("run", "--python", installed, "-c", IS_ON, program=elsewhere), "True\n")
    # Neither a variable nor a search path is needed then.
    is_silent(neve("run", "--python", installed, "-c",
                   "import os; print([n for n in os.environ if 'PYTHONPATH' in n])",
                   program=elsewhere), "[]\n")


@pytest.mark.parametrize("folder", ["site-packages", "dist-packages"])
def test_below_a_common_prefix(neve, tmp_path, folder):
    version = "%d.%d" % tuple(harness.facts()["version"][:2])
    (tmp_path / "prefix/bin").mkdir(parents=True)
    program = shutil.copy(PROGRAM, tmp_path / "prefix/bin/neve")
    refused(neve("run", "-c", IS_ON, program=program), 1, "no Neve for it")
    site = tmp_path / f"prefix/lib/python{version}" / folder
    shutil.copytree(harness.package_folder() / "neve", site / "neve")
    is_silent(neve("run", "-c", IS_ON, program=program), "True\n")


def test_no_package(neve, elsewhere):
    result = neve("run", "-c", "print('must not run')", program=elsewhere)
    refused(result, 1, str(neve.path / "python3"), "Python " + ".".join(map(str, harness.facts()["version"])),
            harness.facts()["cache_tag"], "install", "--python")


def test_other_versions(neve):
    """An interpreter that no package was built for is named, with its version."""
    others = [path for path in (harness.pathlib.Path.home() / ".pyenv/versions").glob("*")
              if (path / "bin/python").exists() and not (harness.ROOT / "build/python" /
                  "cpython-{}{}".format(*path.name.split(".")[:2])).exists()]
    if not others:
        pytest.skip("no other interpreter in ~/.pyenv/versions")
    for path in others:
        refused(neve("run", "--python", path / "bin/python", "-c", "print('must not run')"), 1,
                f"Python {path.name}", "no Neve for it")


# --- any program ----------------------------------------------------------------------------------


def program_in_path(neve, name, first_line, code=IS_ON):
    path = neve.path / name
    path.write_text(f"{first_line}\n{harness.dedented(code)}\n")
    path.chmod(0o755)
    return path


SHOW_PROGRAM = """
    import os, sys
    n = sys.modules.get("neve")
    print(bool(n) and n.is_installed(), sys.argv, sys.flags.no_user_site,
          os.environ.get("NEVE"), os.environ.get("NEVE_PAUSE_US"), sys.orig_argv[1:-2])
"""


@pytest.mark.parametrize("flags", ["", " -s"])
@pytest.mark.parametrize("dashes", [(), ("--",)])
def test_a_script_in_path(neve, installed, flags, dashes):
    """The interpreter of its first line; as the system starts it where NEVE=1 has an effect, and by
    the runner elsewhere."""
    bare = int(bool(flags))
    path = program_in_path(neve, "server", f"#!{installed}{flags}", SHOW_PROGRAM)
    words = flags.split()
    is_silent(neve("run", "--pause-us", "9", *dashes, "server", "app:app", "-w2"),
              f"True ['{path}', 'app:app', '-w2'] {bare} 1 9 {words + [str(path)]}\n")
    path = program_in_path(neve, "server", f"#!{harness.PYTHON}{flags}", SHOW_PROGRAM)
    is_silent(neve("run", "--pause-us", "9", *dashes, "server", "app:app", "-w2"),
              f"True ['{path}', 'app:app', '-w2'] {bare} 1 9 "
              f"{words + ['-m', 'neve', '--pause-us=9', str(path)]}\n")


def test_first_lines(neve, installed, tmp_path):
    python = os.path.basename(harness.PYTHON)
    env = {"PATH": f"{installed.parent}:{neve.path}:{os.environ['PATH']}"}
    for line in (f"#!/usr/bin/env {installed.name}", f"#! /usr/bin/env -S {installed.name} -E",
                 f"#!{installed} -Es", f"#!{installed} -I", "#!/usr/bin/env python3"):
        program_in_path(neve, "server", line)
        is_silent(neve("run", "server", env=env), "True\n")
    program_in_path(neve, "server", f"#!/no/such/{python}")
    refused(neve("run", "server", env=env), 1, "cannot start", "server")
    env["VIRTUAL_ENV"] = str(installed.parents[1])
    program_in_path(neve, "server", "#!/bin/sh", 'echo "sh $NEVE $1"')
    is_silent(neve("run", "server", "a", env=env), "sh 1 a\n")
    program_in_path(neve, "server", "#!", "echo nothing")
    refused(neve("run", "server", env=env), 1, "cannot start")


def test_a_script_by_another_interpreter(neve, installed):
    program_in_path(neve, "server", "#!/usr/bin/python-that-is-not-there",
                    "import sys; print(sys.prefix, sys.modules['neve'].is_installed())")
    program_in_path(neve, "server", f"#!{harness.PYTHON} -I",
                    "import sys; print(sys.prefix, sys.modules['neve'].is_installed(), "
                    "sys.flags.isolated)")
    is_silent(neve("run", "--python", installed, "server"), f"{installed.parents[1]} True 0\n")


def test_a_script_without_package(neve, elsewhere):
    program_in_path(neve, "server", f"#!{harness.PYTHON}")
    refused(neve("run", "server", program=elsewhere), 1, harness.PYTHON, "no Neve for it")


def test_other_programs(neve, runner, installed):
    """They get NEVE=1, and so does what they start."""
    code = "import sys; print(sys.modules['neve'].is_installed(), *sys.argv[1:])"
    env = {"VIRTUAL_ENV": str(installed.parents[1])}
    is_silent(neve("run", "env", installed, "-c", code, "a", env=env), "True a\n")
    runner.write("show.py", IS_ON)
    result = neve("run", "--stats", "--stats-json", "s.json", "sh", "-c",
                  f"'{installed}' show.py; exit 5", env=env)
    assert (result.status, result.out) == (5, "True\n") and "\npauses " in result.err, result
    assert (runner.folder / "s.json").exists()
    # A file of the name is a script; after -- it is a program.
    runner.write("env", "print('the file')")
    is_silent(neve("run", "env", "A=B"), "the file\n")
    is_silent(neve("run", "--", "env", "sh", "-c", "echo $NEVE", env=env), "1\n")
    (runner.folder / "env").chmod(0o755)
    refused(neve("run", "--", "./env", env=env), 1, "cannot start ./env")


def test_other_programs_where_the_variable_has_no_effect(neve, installed):
    """A line tells of the interpreter that they most likely use."""
    for env, python in (({}, neve.path / "python3"), ({"NEVE_PYTHON": harness.PYTHON},
                                                      harness.PYTHON)):
        result = neve("run", "sh", "-c", "echo ran; exit 6", env=env)
        assert (result.status, result.out) == (6, "ran\n"), result
        assert result.err.count("\n") == 1 and f"not installed for {python}" in result.err, result
