# SPDX-License-Identifier: MIT
"""``python -m neve PROGRAM`` against ``python PROGRAM``: arguments, search path, ``__main__``,
kinds of programs.  How programs end is in test_exit.py."""

import os
import subprocess
import zipfile

import harness
import pytest

SHOW_START = """
    import sys
    print(sys.argv)
    print(sys.path)
    print(__name__, list(globals()))
    print(repr(__doc__), __package__, __spec__, __loader__.__class__, __builtins__)
    print(globals().get("__file__"), globals().get("__cached__"),
          globals().get("__annotations__"))
    import __main__
    print(__main__.__dict__ is globals(), sys.modules["__main__"] is __main__)
"""


@pytest.mark.parametrize("arguments", [
    (), ("a", "b c", ""), ("-x", "--stats", "--mode", "x", "--", "-m", "-c"), ("é", "\N{SNOWMAN}"),
])
def test_arguments_of_a_script(runner, arguments):
    runner.both(runner.script(SHOW_START), *arguments)


@pytest.mark.parametrize("name", [
    "show.py", "./show.py", "sub/show.py", "./sub/show.py", "../{folder}/show.py", "sub/../show.py",
    "link.py", "sub/link.py", "{absolute}/show.py", "no_extension", "sub/far.py",
])
def test_names_of_a_script(runner, name):
    for path in ("show.py", "sub/show.py", "no_extension", "elsewhere/deep/real.py"):
        runner.write(path, SHOW_START)
    os.symlink("show.py", runner.folder / "link.py")
    os.symlink("../show.py", runner.folder / "sub/link.py")
    os.symlink(runner.folder / "elsewhere/deep/real.py", runner.folder / "sub/far.py")
    runner.both(name.format(folder=runner.folder.name, absolute=runner.folder), "x")


def test_a_script_in_a_folder_with_strange_names(runner):
    runner.both(runner.write("a b/caf\u00e9/x y.py", SHOW_START))


def test_two_dashes_end_the_options(runner):
    path = runner.script(SHOW_START)
    stock = runner.stock("--", path, "a")
    neve = runner.neve("--", path, "a")
    assert (stock.status, stock.out) == (0, neve.out)


@pytest.mark.parametrize("interpreter", [("-P",), ("-E", "-P"), ("-O",), ("-W", "error"), ("-s",)])
def test_interpreter_options(runner, interpreter, tmp_path):
    code = SHOW_START + """
    print([(name, getattr(sys.flags, name)) for name in dir(sys.flags) if name[0] != "_"])
    print(sys.warnoptions, sys._xoptions)
    """
    path = runner.script(code)
    if "-E" in interpreter:
        # PYTHONPATH is ignored: stand where the package is.
        for program in ((path,), ("-c", harness.dedented(code))):
            stock = runner.stock(*program, interpreter=("-P",))
            neve = runner.neve(*program, interpreter=("-P",))
            assert neve.out == stock.out and neve.status == stock.status == 0
        return
    runner.both(path, "a", interpreter=interpreter)
    runner.both("-c", harness.dedented(code), "a", interpreter=interpreter)
    runner.write("module.py", code)
    runner.both("-m", "module", "a", interpreter=interpreter, env={
        "PYTHONPATH": f"{harness.package_folder()}{os.pathsep}{runner.folder}"})


def test_isolated_in_a_virtual_environment(runner, tmp_path_factory):
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([harness.PYTHON, "-m", "venv", "--without-pip", folder], check=True,
                   env=harness.environment())
    python = folder / "bin/python3"
    site = next((folder / "lib").iterdir()) / "site-packages"
    (site / "neve.pth").write_text(f"{harness.package_folder()}\n")
    path = runner.script(SHOW_START)
    for interpreter in ((), ("-I",), ("-s", "-E")):
        runner.both(path, "a", interpreter=interpreter, python=python)
        runner.both("-c", harness.dedented(SHOW_START), "a", interpreter=interpreter,
                    python=python)


def test_code(runner):
    code = harness.dedented(SHOW_START)
    runner.both("-c", code)
    runner.both("-c", code, "a", "-c", "--help")
    runner.both("-c" + code, "a")
    assert runner.both("-c", "print('é \N{SNOWMAN}')").out == "é \N{SNOWMAN}\n"
    runner.both("-c", "# coding: latin-1\nprint('é')")
    runner.both("-c", "")
    runner.both("-c", "import sys; sys.exit(4)")
    runner.both("-c", "def f(:\n  pass")
    runner.both("-c", "    indented = 1")
    runner.both("-c", b"print('\xff')".decode("utf-8", "surrogateescape"))


def test_modules(runner):
    runner.write("module.py", SHOW_START)
    runner.write("package/__init__.py", "import sys; print('init', sys.argv, __name__)")
    runner.write("package/__main__.py", SHOW_START)
    runner.write("package/sub.py", SHOW_START + "\n    from . import sibling\n")
    runner.write("package/sibling.py", "print('sibling', __name__)")
    runner.write("bare/__init__.py", "")
    runner.write("broken.py", "import no_such_module_anywhere")
    runner.write("failing/__init__.py", "1 / 0")
    runner.write("failing/sub.py", "")

    assert runner.both("-m", "module", "a", "-m", "b").status == 0
    assert runner.both("-mmodule", "a").status == 0
    assert runner.both("-m", "package", "--stats").status == 0
    assert runner.both("-m", "package.sub").status == 0
    for name in ("package.missing", "missing", "bare", "broken", "failing", "failing.sub", "",
                 "module.py", ".relative", "sys"):
        assert runner.both("-m", name).status != 0


@pytest.mark.parametrize("module", [
    ("timeit", "-n1", "-r1", "print('timed')"), ("json.tool", "--help"), ("this",),
    ("unittest", "-h"), ("base64", "-t"), ("calendar", "2024", "2"), ("tokenize", "module.py"),
    ("compileall", "-q", "."), ("platform",),
])
def test_modules_of_the_library(runner, module):
    runner.write("module.py", "x = 1")

    def edit(text):
        return "\n".join(line for line in text.splitlines() if "loop" not in line)

    runner.both("-m", *module, edit=edit)


def test_running_the_tests_of_a_program(runner):
    runner.write("test_it.py", """
        import unittest
        class It(unittest.TestCase):
            def test_good(self): pass
            def test_bad(self): self.assertEqual(1, 2)
        if __name__ == "__main__": unittest.main()
    """)

    def edit(text):
        return "\n".join(line for line in text.splitlines() if not line.startswith("Ran "))

    assert runner.both("-m", "unittest", "-v", "test_it", edit=edit).status == 1
    assert runner.both("test_it.py", "-v", edit=edit).status == 1


def test_folders_and_archives(runner):
    runner.write("app/__main__.py", SHOW_START + "\n    import helper\n    helper.fail()\n")
    runner.write("app/helper.py", "def fail():\n    raise LookupError('from the helper')")
    runner.write("empty/other.py", "")
    with zipfile.ZipFile(runner.folder / "app.zip", "w") as archive:
        archive.write(runner.folder / "app/__main__.py", "__main__.py")
        archive.write(runner.folder / "app/helper.py", "helper.py")
    with zipfile.ZipFile(runner.folder / "empty.zip", "w") as archive:
        archive.write(runner.folder / "empty/other.py", "other.py")
    (runner.folder / "tool").write_bytes(
        b"#!/usr/bin/env python3\n" + (runner.folder / "app.zip").read_bytes())
    for name in ("app", "./app", "app/", str(runner.folder / "app"), "app.zip", "./app.zip",
                 "tool"):
        result = runner.both(name, "a", "b")
        assert result.status == 1 and "from the helper" in result.err
        runner.both(name, interpreter=("-P",))
    for name in ("empty", "empty.zip"):
        assert runner.both(name).status == 1


def test_compiled_script(runner):
    path = runner.write("module.py", SHOW_START)
    runner.stock("-c", "import py_compile, sys; py_compile.compile(sys.argv[1], sys.argv[2])",
                 path, "compiled.pyc")
    assert runner.both("compiled.pyc", "a").status == 0
    (runner.folder / "bad.pyc").write_bytes(b"not bytecode at all, whatever the name says")
    runner.both("bad.pyc")


def test_standard_input_as_the_script(runner):
    code = harness.dedented(SHOW_START)
    runner.both("-", stdin=code)
    runner.both("-", "a", "-c", stdin=code)
    runner.both("-", stdin="import sys\nsys.exit(9)\n")
    runner.both("-", stdin="import sys\nprint(sys.stdin.read())\n")
    runner.both("-", stdin="def f():\n    return 1 / 0\nf()\n")
    runner.both("-", stdin="def f(:\n")
    runner.both("-", stdin="")
    runner.both("-", stdin="raise KeyboardInterrupt")
    runner.both("-", stdin="# coding: latin-1\nprint('é')\n")


def test_script_from_a_pipe(runner):
    # What shells make of `python <(generator)`.
    path = runner.script("import sys\nprint(__name__, len(sys.argv))\nassert 0, 'at the end'")
    outcomes = []
    for words in ([], ["-m", "neve"]):
        with open(path) as script:
            done = subprocess.run(
                [harness.PYTHON, *words, f"/dev/fd/{script.fileno()}", "a"], text=True,
                capture_output=True, pass_fds=[script.fileno()], env=harness.environment(),
                cwd=runner.folder)
        outcomes.append((done.returncode, done.stdout, done.stderr.partition("File")[0],
                         done.stderr.splitlines()[-1]))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] == 1


def test_standard_input_of_the_program(runner):
    code = """
        import sys
        print(input("name? "), sys.stdin.readline(), sys.stdin.read())
        try:
            input()
        except EOFError as error:
            print("end:", error)
    """
    runner.both_code(code, stdin="one\ntwo\nthree\nfour")


def test_closed_standard_streams(runner):
    path = runner.script("""
        import sys
        with open("streams", "w") as out:
            print(sys.stdin, sys.stdout, sys.stderr, file=out)
        sys.exit(3)
    """)
    seen = []
    for words in ("", "-m neve"):
        done = subprocess.run(["sh", "-c", f'exec "$0" {words} "$1" <&- >&- 2>&-', harness.PYTHON,
                               str(path)], env=harness.environment(), cwd=runner.folder)
        seen.append((done.returncode, (runner.folder / "streams").read_text()))
    assert seen[0] == seen[1]


def test_prompt_after_the_program(runner):
    path = runner.script("x = 42\nclass C: pass\nprint('ran')")
    for stdin in ("print(x, __name__, C)\n", "1/0\nprint(globals().keys())\n",
                  "import sys; sys.exit(5)\n"):
        runner.both(path, stdin=stdin, interpreter=("-i", "-q"))
    failing = runner.script("y = 1\nraise LookupError('first')")
    runner.both(failing, stdin="print(y)\n", interpreter=("-i", "-q"))
    runner.both("-c", "z = 5", stdin="print(z)\n", interpreter=("-i", "-q"))


def test_no_frame_of_the_runner_is_visible(runner):
    code = """
        import inspect, sys, traceback, warnings
        frame = sys._getframe()
        print(frame.f_back, frame.f_code.co_name, len(inspect.stack()))
        traceback.print_stack()
        warnings.warn("to the caller", stacklevel=2)
        try:
            sys._getframe(1)
        except ValueError as error:
            print(error)
        import collections
        print(collections.namedtuple("N", "a").__module__)
        import logging
        logging.basicConfig(format="%(module)s %(lineno)d %(funcName)s %(message)s")
        logging.warning("here")
        def generator():
            yield sys._getframe().f_back.f_back
        print(next(generator()))
        print(sys.exc_info(), sys._current_frames().__len__())
    """
    runner.both_code(code)
    runner.both("-c", harness.dedented(code))
    runner.write("module.py", code)
    runner.both("-m", "module")


def test_recursion_limit(runner):
    runner.both_code("""
        import sys
        def depth(n=1):
            try:
                return depth(n + 1)
            except RecursionError:
                return n
        print(depth(), sys.getrecursionlimit())
        sys.setrecursionlimit(200)
        print(depth())
        sys.setrecursionlimit(5000)
        print(depth())
        def forever(): forever()
        forever()
    """, status=1)


def test_tracing_and_profiling(runner):
    runner.write("library.py", "def work(n):\n    return [i for i in range(n)]\n")
    code = """
        import sys
        import library
        events = []
        def trace(frame, event, argument):
            if frame.f_code.co_filename.endswith(("library.py", "program_1.py")):
                events.append((event, frame.f_lineno, frame.f_code.co_name))
            return trace
        sys.settrace(trace)
        library.work(2)
        sys.settrace(None)
        print(events)
        def profile(frame, event, argument):
            events.append((event, frame.f_code.co_name))
        events.clear()
        sys.setprofile(profile)
        library.work(1); len(())
        sys.setprofile(None)
        print(events)
    """
    runner.both_code(code)
    path = runner.script("import library\nlibrary.work(3)\nprint('done')")

    def edit(text):
        # The profiler sorts by time.
        return "\n".join(sorted(line.split()[-1] for line in text.splitlines()
                                if "library.py" in line))

    assert "work" in runner.both("-m", "cProfile", path, edit=edit).out
    assert "work" in runner.both("-m", "trace", "--listfuncs", path,
                                 edit=lambda text: "\n".join(
                                     line for line in text.splitlines() if "library" in line)).out


def test_pickling_what_main_defines(runner):
    runner.both_code("""
        import pickle, copy
        class Point:
            def __init__(self, x): self.x = x
        def function(): return 5
        data = pickle.dumps([Point(3), function, Point])
        print(data)
        point, again, kind = pickle.loads(data)
        print(point.x, again(), kind is Point, Point.__module__, copy.deepcopy(point).x)
    """)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(runner, method):
    code = f"""
        import multiprocessing
        class Job:
            def __init__(self, n): self.n = n
        def work(job): return job.n * 2
        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            with context.Pool(2) as pool:
                print(pool.map(work, [Job(n) for n in range(5)]))
            process = context.Process(target=print, args=("from a process",))
            process.start(); process.join(); print(process.exitcode)
        else:
            print("imported as", __name__) if {method == "spawn"} and __name__ == "never" else None
    """
    runner.both_code(code)
    runner.write("package/__init__.py", "")
    runner.write("package/jobs.py", code)
    runner.both("-m", "package.jobs")


def test_the_search_path_cannot_hide_the_library(runner):
    # A script's folder is not searched while Neve starts, nor is the working directory for a
    # script.
    for name in ("json", "types", "runpy", "tracemalloc", "resource"):
        runner.write(f"{name}.py", "print('the wrong', __name__)")
    runner.write("app/main.py", "print('main')")
    for words in (("app/main.py",), ("-c", "print('main')")):
        result = runner.neve(*words, interpreter=("-P",), neve_options=("--stats-json", "s.json"))
        assert (result.status, result.out) == (0, "main\n"), result


def test_modules_that_the_program_imports_are_its_own(runner):
    runner.write("app/json.py", "mine = True")
    runner.write("app/main.py", "import json\nprint(json.__file__, json.mine)")
    runner.both("app/main.py")


def test_working_directory_that_is_gone(runner):
    folder = runner.folder / "gone"
    path = runner.script("import sys\nprint(sys.path[0], sys.argv, __file__)")
    seen = []
    for words in ("", "-m neve"):
        folder.mkdir()
        done = subprocess.run(["sh", "-c", f'rmdir ../gone; exec "$0" {words} "$1" a',
                               harness.PYTHON, str(path)], cwd=folder, capture_output=True,
                              text=True, env=harness.environment())
        seen.append((done.returncode, done.stdout))
    assert seen[0] == seen[1] and seen[0][0] == 0, seen
