# SPDX-License-Identifier: MIT
"""``NEVE=1`` in the environment: what the start of an interpreter does for which Neve is installed.

The interpreter is that of a virtual environment into whose site-packages the built package was put,
as a wheel puts it there.  What a wheel holds is tested in test_wheel.py.
"""

import json
import os
import shutil
import subprocess

import harness
import pytest

IS_ON = "import sys; n = sys.modules.get('neve'); print(bool(n) and n.is_installed())"
ON = {"NEVE": "1"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The interpreter of a virtual environment that holds Neve."""
    return harness.environment_with_neve(tmp_path_factory.mktemp("installed") / "env")


@pytest.fixture
def start(runner, installed):
    """Runs that interpreter; nothing is on its search path but what is installed."""

    def run(*words, env=ON, python=installed, **options):
        return runner.execute(words, env={"PYTHONPATH": None, **env}, python=python, **options)

    return run


def says(result, out, *parts, status=0):
    """The program ran, after one line of warning that has these parts."""
    assert (result.status, result.out) == (status, out), result
    lines = result.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("neve: "), result
    for part in parts:
        assert part in lines[0], result


def is_silent(result, out):
    assert (result.status, result.out, result.err) == (0, out, ""), result


# --- on and off ---------------------------------------------------------------------------------


def test_on(start, runner):
    runner.write("module.py", IS_ON)
    is_silent(start("-c", IS_ON), "True\n")
    is_silent(start("module.py"), "True\n")
    is_silent(start("-m", "module"), "True\n")
    is_silent(start("-", stdin=IS_ON), "True\n")
    result = start("-i", "-q", stdin=IS_ON + "\n")
    assert (result.status, result.out) == (0, "True\n"), result


@pytest.mark.parametrize("value", [None, "", "0"])
def test_off(start, value):
    show = "import sys; print(*(m for m in sys.modules if 'neve' in m))"
    # Unset, the variable costs no import; set, that of the module that looks at it.
    is_silent(start("-c", show, env={"NEVE": value}),
              "\n" if value is None else "_neve_startup\n")


@pytest.mark.parametrize("value", ["yes", "true", "2", " 1", "01", "off"])
def test_other_values(start, value):
    says(start("-c", IS_ON, env={"NEVE": value}), "False\n", repr(value), "1 (on)", "0 (off)")


@pytest.mark.parametrize("option, flags", [("-S", "no_site"), ("-I", "isolated"),
                                           ("-E", "ignore_environment"), ("-Es", "no_user_site")])
def test_where_the_environment_or_site_does_not_count(start, option, flags):
    is_silent(start(option, "-c", IS_ON), "False\n")
    is_silent(start(option, "-c", IS_ON, env={"NEVE": "nonsense"}), "False\n")
    if option != "-S":
        is_silent(start(option, "-m", "neve", "-c", IS_ON), "True\n")


def test_the_program_behaves_as_ever(start, runner):
    path = runner.script("""
        import gc, sys
        class Node:
            def __del__(self): print("dead")
        node = Node(); node.me = node; del node
        print(gc.collect(), gc.get_threshold(), gc.isenabled(), gc.callbacks, sys.argv)
        print(sys._getframe().f_back, sys.flags, sys.path[0])
        raise SystemExit(7)
    """)
    results = [start(path, "a", "--b", env=env) for env in ({}, ON)]
    assert results[0].text() == results[1].text() and results[0].status == 7
    results = [start("-c", "1 / 0", env=env) for env in ({}, ON)]
    assert results[0].text() == results[1].text() and results[0].status == 1


# --- the runner, settings, statistics -------------------------------------------------------------


def test_with_the_runner(start):
    # Its own command line counts, and nothing is installed before it.
    code = "import neve; print(neve.is_installed())"
    is_silent(start("-m", "neve", "--pause-us", "77", "-c", code), "True\n")
    is_silent(start("-mneve", "--pause-us=77", "-c", code, env={**ON, "NEVE_MODE": ""}), "True\n")
    is_silent(start("-um", "neve", "--pause-us=77", "-c", code), "True\n")
    result = start("-m", "neve", "-c", code, env={**ON, "NEVE_MODE": "fast"})
    assert result.status == 2 and result.out == "" and len(result.err.splitlines()) == 1, result


def test_installing_again(start):
    is_silent(start("-c", "import neve; neve.install(); neve.install(); print(neve.stats()['mode'])"),
              harness.mode() + "\n")
    is_silent(start("-c", "import neve; neve.uninstall(); neve.install(pause_us=9); "
                          "print(neve.is_installed())"), "True\n")
    result = start("-c", "import neve; neve.install(pause_us=9)")
    assert "other settings" in result.err.splitlines()[-1], result


@pytest.mark.parametrize("name, value", [("NEVE_MODE", "fast"), ("NEVE_PAUSE_US", "soon"),
                                         ("NEVE_PAUSE_US", "0"), ("NEVE_TIMER_MS", "soon"),
                                         ("NEVE_GC_STRESS", "maybe")])
def test_settings_that_cannot_be(start, name, value):
    says(start("-c", IS_ON, env={**ON, name: value}), "False\n", "going on without Neve", name)


def test_settings(start):
    for mode in ("generational", "incremental", "snapshot"):
        env = {**ON, "NEVE_MODE": mode, "NEVE_PAUSE_US": "321", "NEVE_GC_STRESS": "1"}
        is_silent(start("-c", "import gc, neve; neve.install(pause_us=321); "
                              "print(gc.get_threshold()[0], neve.stats()['mode'])",
                        env=env), f"1 {mode}\n")


CHILDREN = """
    import os, subprocess, sys
    print("a child of another kind", flush=True)
    subprocess.run([sys.executable, "-c", "import neve; assert neve.is_installed()"], check=True)
    if os.fork() == 0:
        sys.exit()
    os.wait()
"""


def test_statistics(start, runner):
    path = runner.script(CHILDREN)
    result = start(path, env={**ON, "NEVE_STATS": "1", "NEVE_STATS_JSON": "stats.json"})
    assert result.status == 0 and result.out == "a child of another kind\n", result
    # Once: neither for the forked child nor for the interpreter that was started.
    assert result.err.count("\npauses ") == 1 and result.err.startswith("Neve "), result
    assert json.loads((runner.folder / "stats.json").read_text())["mode"] == harness.mode()


def test_statistics_of_each_process(start, runner):
    path = runner.script(CHILDREN)
    is_silent(start(path, env={**ON, "NEVE_STATS_JSON": "stats-%p.json"}),
              "a child of another kind\n")
    files = sorted(runner.folder.glob("stats-*.json"))
    assert len(files) == 2
    for file in files:
        assert file.name == f"stats-{json.loads(file.read_text())['process']['pid']}.json"


def test_statistics_that_cannot_be_written(start):
    for name, value in (("NEVE_STATS", "maybe"), ("NEVE_STATS_JSON", "no/such/folder/x.json"),
                        ("NEVE_STATS_JSON", "/")):
        says(start("-c", IS_ON, env={**ON, name: value}), "True\n", name)


def test_statistics_of_the_runner(runner):
    env = {"NEVE_STATS": "1", "NEVE_STATS_JSON": "stats.json"}
    result = runner.neve("-c", "print('ran')", env=env)
    assert result.status == 0 and result.err.count("\npauses ") == 1, result
    assert (runner.folder / "stats.json").exists()
    result = runner.neve("-c", "print('ran')", env=env, neve_options=["--stats-json", "other.json"])
    assert (runner.folder / "other.json").exists()
    result = runner.neve("-c", "print('ran')", env={"NEVE_STATS": "maybe"})
    assert result.status == 2 and "NEVE_STATS" in result.err, result


# --- other processes and interpreters --------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(start, runner, method):
    path = runner.script(f"""
        import multiprocessing, sys
        def work(n):
            return n, sys.modules["neve"].is_installed()
        if __name__ == "__main__":
            with multiprocessing.get_context({method!r}).Pool(2) as pool:
                print(pool.map(work, range(3)))
    """)
    is_silent(start(path), "[(0, True), (1, True), (2, True)]\n")


def test_making_a_virtual_environment(start, runner):
    is_silent(start("-m", "venv", "--without-pip", "inner"), "")
    # Neve is not installed there, so the variable has no effect.
    is_silent(start("-c", IS_ON, python=runner.folder / "inner/bin/python"), "False\n")


SUBINTERPRETERS = """
    import sys
    code = '''if True:
        import gc, sys
        x = []; x.append(x); del x
        found = gc.collect()
        print("sub-interpreter", found > 0, flush=True)'''
    try:
        import _testcapi
        print([_testcapi.run_in_subinterp(code) for _ in range(2)])
    except ImportError:
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        for _ in range(2):
            one = interpreters.create()
            interpreters.run_string(one, code)
            interpreters.destroy(one)
    {check}
"""


def test_subinterpreters(start, runner):
    check = "assert sys.modules['neve'].is_installed()"
    results = [start(runner.script(SUBINTERPRETERS.format(check=check if env else "")), env=env)
               for env in ({}, ON)]
    assert results[0].text() == results[1].text()
    assert results[1].out.count("sub-interpreter True\n") == 2 and results[1].err == ""


def test_subinterpreters_that_have_handlers(broken, runner):
    """Another .pth file that imports signal makes them look like the main interpreter."""
    package, run = broken
    (package.parent / "a.pth").write_text("import signal\n")
    result = run(runner.script(SUBINTERPRETERS.format(
        check="assert sys.modules['neve'].is_installed()")))
    assert (result.status, result.err) == (0, "") and result.out.count("terpreter True\n") == 2, result


def test_no_module_is_loaded_to_know_the_main_interpreter(start):
    is_silent(start("-c", "import sys; print([m for m in sys.modules if 'interpreters' in m])"), "[]\n")


def test_tracemalloc(start):
    show = (IS_ON + "; import tracemalloc; print(tracemalloc.is_tracing(), "
            "tracemalloc.get_traceback_limit()); a = ['x' * n for n in range(9)]; "
            "print(tracemalloc.get_object_traceback(a) is not None); tracemalloc.stop(); del a")
    is_silent(start("-X", "tracemalloc=7", "-c", show), "True\nTrue 7\nTrue\n")
    is_silent(start("-c", show, env={**ON, "PYTHONTRACEMALLOC": "7"}), "True\nTrue 7\nTrue\n")


@pytest.mark.parametrize("how", [(["-X", "dev"], {}), ([], {"PYTHONMALLOC": "debug"}),
                                 ([], {"PYTHONMALLOC": "malloc"}), ([], {"PYTHONDEVMODE": "1"}),
                                 ([], {"PYTHONMALLOC": "malloc_debug"}),
                                 (["-X", "faulthandler"], {}), (["-X", "importtime", "-q"], {})])
def test_debugging_of_memory(start, how):
    words, env = how
    result = start(*words, "-c", IS_ON, env={**ON, **env})
    assert (result.status, result.out) == (0, "True\n"), result
    assert "neve:" not in result.err


EMBEDDING = r"""
#include <Python.h>
static int run(const char *program)
{
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    PyConfig_SetBytesString(&config, &config.program_name, program);
    if (PyStatus_Exception(Py_InitializeFromConfig(&config)))
        return 1;
    PyConfig_Clear(&config);
    const char *code = "import sys, gc; n = sys.modules.get('neve'); x = []; x.append(x); del x\n"
                       "print(bool(n) and n.is_installed(), gc.collect() > 0, flush=True)";
    int failed = PyRun_SimpleString(code);
    PyThreadState *main_state = PyThreadState_Get();
    PyThreadState *sub = Py_NewInterpreter();
    failed |= PyRun_SimpleString(code);
    Py_EndInterpreter(sub);
    PyThreadState_Swap(main_state);
    failed |= PyRun_SimpleString(code);
    failed |= Py_FinalizeEx();
    return failed != 0;
}
int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++)
        failed |= run(argv[i]);
    return failed;
}
"""


def test_an_embedded_interpreter(start, runner, installed):
    """As uWSGI has one: the program is not python, and it makes a sub-interpreter."""
    variables = harness.facts()["config"]
    library = [folder for folder in (variables["LIBDIR"], variables["LIBPL"])
               if os.path.exists(f"{folder}/libpython{variables['LDVERSION']}.so")]
    if not library or not shutil.which("gcc"):
        pytest.skip("no shared libpython to embed, or no compiler")
    source = runner.folder / "embed.c"
    source.write_text(EMBEDDING)
    subprocess.run(["gcc", "-o", runner.folder / "embed", source,
                    f"-I{harness.facts()['include']}", f"-L{library[0]}",
                    f"-Wl,-rpath,{library[0]}", f"-lpython{variables['LDVERSION']}"], check=True)
    for env, first in (({}, "False"), (ON, "True")):
        result = start(str(installed), python=runner.folder / "embed", env=env)
        is_silent(result, f"{first} True\nFalse True\n{first} True\n")
    # Initialized again after its finalization, it is on its own memory management, and says so.
    result = start(str(installed), str(installed), python=runner.folder / "embed")
    says(result, "True True\nFalse True\nTrue True\n" + 3 * "False True\n")


# --- what is broken ------------------------------------------------------------------------------


@pytest.fixture
def broken(start, tmp_path):
    """Another environment, in which the package may be damaged; returns its package and a
    runner."""
    python = harness.environment_with_neve(tmp_path / "broken", copy=True)
    package = next((tmp_path / "broken").glob("lib/python*/site-packages/neve"))

    def run(*words, **options):
        return start(*words, python=python, **options)

    return package, run


CODE = "print('ran'); raise SystemExit(3)"


def test_no_extension(broken):
    package, run = broken
    extension = next(package.glob("_neve.*.so"))
    name = extension.name
    extension.unlink()
    says(run("-c", CODE), "ran\n", "no extension module", "make PYTHON=", status=3)
    # One line from the runner, and none from the start of its interpreter.
    says(run("-m", "neve", "--stats", "-c", CODE), "ran\n", "no extension module", status=3)
    says(run("-m", "neve", "-c", CODE, env={}), "ran\n", "no extension module", status=3)
    result = run("-m", "neve", "--nonsense", "-c", CODE)
    assert result.status == 2 and "--nonsense" in result.err.splitlines()[-1], result
    is_silent(run("-c", "pass", env={}), "")
    result = run("-c", "import neve", env={})
    assert result.status == 1 and "ImportError" in result.err
    (package / name).write_bytes(b"\x7fELF" + bytes(100))
    says(run("-c", CODE), "ran\n", name, status=3)
    says(run("-m", "neve", "-c", CODE, env={}), "ran\n", name, status=3)


def test_no_extension_in_subinterpreters(broken, runner):
    package, run = broken
    next(package.glob("_neve.*.so")).unlink()
    result = run(runner.script(SUBINTERPRETERS.format(check="")))
    assert result.out.count("sub-interpreter True\n") == 2
    assert len(result.err.splitlines()) == 1 and "no extension module" in result.err, result


@pytest.mark.parametrize("name, text", [("__init__.py", "def broken("), ("_start.py", "1 / 0"),
                                        ("__init__.py", "raise MemoryError"),
                                        ("_start.py", "raise OSError(1, 'x')")])
def test_a_broken_package(broken, name, text):
    package, run = broken
    (package / name).write_text(text)
    says(run("-c", CODE), "ran\n", "going on without Neve", status=3)


def test_missing_parts(broken):
    package, run = broken
    shutil.rmtree(package)
    says(run("-c", CODE), "ran\n", "going on without Neve", "neve", status=3)
    (package.parent / "_neve_startup.py").unlink()
    says(run("-c", CODE), "ran\n", "going on without Neve", "_neve_startup", status=3)
    is_silent(run("-c", "print('ran')", env={}), "ran\n")


def test_standard_error_that_cannot_be_written(broken, installed):
    env = harness.environment({"PYTHONPATH": None, "NEVE": "nonsense"})
    for redirection in ("2>&-", "2>/dev/full"):
        done = subprocess.run(["sh", "-c", f'exec "$0" -c "print(1)" {redirection}',
                               str(installed)], env=env, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "1\n"), done


# --- what it costs --------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is missing: make deps")
def test_the_cost_where_the_variable_is_unset(broken, runner):
    """The line in neve.pth takes under 2% of the instructions of an interpreter that does nothing,
    beside those for any file of its kind (newer versions load a codec for the first one)."""
    package, _ = broken
    python = package.parents[3] / "bin/python"
    env = harness.environment({"PYTHONPATH": None})

    def instructions():
        subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=counts",
                        python, "-c", "pass"], cwd=runner.folder, env=env, check=True,
                       capture_output=True)
        lines = (runner.folder / "counts").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("totals:"))

    with_it = instructions()
    (package.parent / "neve.pth").write_text("# nothing\n")
    without = instructions()
    assert without < with_it < without * 1.02, (with_it, without)
