# SPDX-License-Identifier: MIT
"""The example VM: its language, errors and signals, collections at every safe point, allocations that
fail, the measuring programs. It is built with sanitizers and NEVE_DEBUG, and --check has it look at the end
whether any object was lost."""

import concurrent.futures
import pathlib
import re
import signal
import subprocess

import pytest
from conftest import ROOT, VM, environment

PROGRAMS = pathlib.Path(__file__).resolve().parent / "programs"
ADVICE = sorted((ROOT / "examples/vm/programs").glob("*.vm"))
MODES = ("generational", "incremental", "snapshot")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stress", ["0", "1"])
def test_language(vm, mode, stress):
    result = vm(PROGRAMS / "language.vm", "one", "two words", options=["--check", "--mode", mode],
                NEVE_GC_STRESS=stress, NEVE_SNAPSHOT_LEAST="1")
    assert result.returncode == 0, result.stderr
    assert result.stdout == (PROGRAMS / "language.out").read_text()
    assert re.fullmatch(r".*/language\.vm:\d+: ignored in drop: no\n  in drop, called from line \d+\n",
                        result.stderr)


@pytest.mark.parametrize("mode", ["generational", "incremental"])
def test_collector(vm, mode):
    """Cycles begin after young collections, and there are none: what is found is the same."""
    result = vm(PROGRAMS / "collector.vm", options=["--check", "--mode", mode])
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (PROGRAMS / "collector.out").read_text()


def test_each_allocation_fails_once(vm):
    """Either the program says that memory lacks, or it has caught the error, or a callback's was
    reported; nothing is lost, and the sanitizers find nothing."""
    program = PROGRAMS / "memory.vm"
    whole = vm(program)
    assert (whole.returncode, whole.stderr) == (0, "")

    def fail(number):
        # The heap frees what is left in it: --check sees that, the leak checker could not.
        return number, vm(program, NEVE_FAIL_ALLOC_AT=str(number),
                          ASAN_OPTIONS="detect_leaks=0:exitcode=86")

    seen = {"refused": 0, "went on": 0}
    number = 1
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        while True:
            results = list(pool.map(fail, range(number, number + 40)))
            for at, result in results:
                if result.returncode == 1:
                    assert "out of memory" in result.stderr, (at, result)
                    assert " are left" not in result.stderr, (at, result)
                    seen["refused"] += 1
                else:
                    assert result.returncode == 0, (at, result)
                    seen["went on"] += 1
            if all(result.stdout == whole.stdout and not result.stderr for _, result in results):
                break   # the program needs fewer allocations than these numbers
            number += 40
            assert number < 2000
    assert seen["refused"] > 100 and seen["went on"] > 40, seen


@pytest.mark.parametrize("text, line, message", [
    ("let", 1, "a variable's name is expected at the end of the text"),
    ("let x = 1\nprint(x", 2, "a ) after the arguments is expected at the end of the line"),
    ("let x = \"open\n", 1, "a string does not end on its line"),
    ("x = = 1", 1, "an expression is expected"),
    ("1 2", 1, "the end of the statement is expected before '2'"),
    ("\n\nif true { print(1) ]", 3, "brackets do not match, or are nested too deeply"),
    ("let x = 3x", 1, "a number is followed by a letter"),
    ("let x = 99999999999999999999", 1, "an integer is too large"),
    ("break", 1, "break outside of a loop"),
    ("fn f() { for x in 3 { fn g() { continue } } }", 1, "continue outside of a loop"),
    ("class A { x }", 1, "a method or a } after the class's body is expected before 'x'"),
    ("let x = $", 1, "a character that no program has"),
    ("print(" + "-" * 200 + "1)", 1, "this is nested too deeply"),
    ("\n{ [ }", 2, "brackets do not match, or are nested too deeply"),
    ("fn f() {" + "\n".join(f"let v{i} = {i}" for i in range(181)) + "}", 181,
     "a function has too many variables"),
    ("fn f() {" + "f()\n" * 30000 + "}", None, "a function is too long"),
    ("print(" + ", ".join("1" for _ in range(101)) + ")", 1,
     "an expression needs too many temporary values"),
], ids=range(17))
def test_errors_of_the_text(vm, text, line, message):
    result = vm(text)
    assert result.returncode == 1 and result.stdout == ""
    where, _, rest = result.stderr.rstrip("\n").partition(": error: ")
    assert rest == message and "\n" not in rest
    assert where.startswith("p.vm:") and (line is None or where == f"p.vm:{line}")


def test_errors_name_the_line_and_the_calls(vm):
    result = vm("fn inner(x) {\n    return x + nil\n}\nfn outer() {\n    inner(1)\n}\n\nouter()\n")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == ("p.vm:2: error: integer and nil have no +\n"
                             "  in inner, called from line 5\n  in outer, called from line 8\n")
    # Through a `with` it keeps its origin, and any value can be thrown.
    result = vm("class R {\n fn enter(self) { return 1 }\n fn exit(self) { print(\"out\") }\n}\n"
                "with R() {\n throw [1]\n}\n")
    assert (result.returncode, result.stdout) == (1, "out\n")
    assert result.stderr == "p.vm:6: error: thrown: [1]\n"


def test_exit(vm):
    program = ("class R {\n fn enter(self) { return 1 }\n fn exit(self) { print(\"out\") }\n}\n"
               "try { with R() { exit(STATUS) } } catch e { print(\"caught\", e) }\nprint(\"on\")\n")
    result = vm(program.replace("STATUS", "7"))
    assert (result.returncode, result.stdout, result.stderr) == (7, "out\n", "")
    result = vm(program.replace("STATUS", ""))
    assert (result.returncode, result.stdout) == (0, "out\n")
    result = vm(program.replace("STATUS", "256"))
    assert result.stdout == "out\ncaught exit() wants a status from 0 to 255\non\n"


def test_finalizers(vm):
    """Each of a long chain runs, without recursion in proportion; exit() in one is an error."""
    result = vm("let count = 0\nclass N {\n slots next\n fn drop(self) { count = count + 1 }\n}\n"
                "let first = nil\nfor i in 5000 {\n let one = N()\n one.next = first\n first = one\n}\n"
                "first = nil\nprint(count)\n")
    assert (result.returncode, result.stdout, result.stderr) == (0, "5000\n", "")
    result = vm("class A { fn drop(self) { exit(3) } }\nA()\nprint(\"on\")\n")
    assert (result.returncode, result.stdout) == (0, "on\n")
    assert "exit() where the program cannot be left" in result.stderr


WAITING = """class R {
    fn enter(self) { print("ready") }
    fn exit(self) { print("out") }
}
let rounds = 0
fn work() {
    with R() {
        while rounds < 1 { [[]] }
    }
    print("end")
}
"""


@pytest.mark.parametrize("stress", ["0", "1"])
@pytest.mark.parametrize("handler, status, lines, error", [
    ("", 130, ["ready", "out"], "error: interrupted"),
    ("on_interrupt(fn() { rounds = rounds + 1 })\n", 0, ["ready", "out", "end"], ""),
    ("on_interrupt(fn() { throw \"stop\" })\n", 1, ["ready", "out"], "error: stop"),
])
def test_interrupts_share_the_breaker_with_collections(tmp_path, handler, status, lines, error, stress):
    (tmp_path / "p.vm").write_text(WAITING + handler + "gc.set_threshold(10)\nwork()\n")
    process = subprocess.Popen([VM, "--check", "p.vm"], cwd=tmp_path, text=True,
                               env=environment({"NEVE_GC_STRESS": stress}),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert ([first, *rest.splitlines(True)], process.returncode) == ([f"{x}\n" for x in lines], status)
    assert error in err and (error or not err)


@pytest.mark.parametrize("program", ADVICE, ids=lambda path: path.stem)
def test_the_measuring_programs(vm, program):
    """They assert what does not depend on the machine: bytes and results."""
    result = vm(program, "1500")
    assert (result.returncode, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) >= 2


def test_the_program_of_the_manual(vm):
    section = (ROOT / "docs/vm.md").read_text().split("## The language in one program")[1]
    program, printed = re.findall(r"^```\n(.*?)^```", section, re.S | re.M)[:2]
    result = vm(program)
    assert (result.returncode, result.stderr, result.stdout) == (0, "", printed)


def test_there_are_measuring_programs():
    assert len(ADVICE) >= 8


@pytest.mark.parametrize("words, message", [
    ([], "no program"),
    (["--nonsense", "p.vm"], "unknown option '--nonsense'"),
    (["--mode", "fast", "p.vm"], "--mode is"),
    (["--mode"], "--mode is"),
    (["--pause-us", "0", "p.vm"], "--pause-us is"),
    (["--pause-us", "-1", "p.vm"], "--pause-us is"),
    (["--pause-us", "5x", "p.vm"], "--pause-us is"),
])
def test_command_lines(words, message):
    done = subprocess.run([VM, *words], capture_output=True, text=True, env=environment({}))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("vm: " + message) and len(done.stderr.splitlines()) == 1


def test_files(vm, tmp_path):
    done = vm(tmp_path / "missing.vm")
    assert done.returncode == 1 and done.stderr.startswith("vm: cannot read ")
    done = vm(tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("vm: cannot read ")
    (tmp_path / "zero.vm").write_bytes(b"let x = 1\0")
    done = vm(tmp_path / "zero.vm")
    assert done.returncode == 1 and "zero byte" in done.stderr
    assert vm("").returncode == 0
    assert vm("# nothing\n\n").stdout == ""


def test_options(vm):
    done = vm("fn f() { return 1 }\nprint(f())", options=["--code"])
    assert done.returncode == 0 and "MAKE_CLOSURE" in done.stdout and "f:\n" in done.stdout
    done = vm("print(gc.collect() >= 0)", options=["--stats"])
    assert done.stdout == "true\n" and len(done.stderr.splitlines()) == 4
    done = subprocess.run([VM, "--help"], capture_output=True, text=True, env=environment({}))
    assert done.returncode == 0 and done.stdout.startswith("usage: vm ")
    done = subprocess.run(["sh", "-c", '"$0" --help >/dev/full', VM], capture_output=True, text=True,
                          env=environment({}))
    assert done.returncode == 1
