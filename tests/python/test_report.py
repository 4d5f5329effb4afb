# SPDX-License-Identifier: MIT
"""``--stats`` and ``--stats-json``: what the report says, when it is written, when it cannot be."""

import json
import os
import re
import subprocess

import harness
import pytest

WORK = """
    import gc
    for i in range(3):
        ring = []
        ring.append(ring)
    del ring
    gc.collect()
    junk = []
    for i in range(20000):
        junk.append({"i": [i]})
"""


def assert_table(text, mode=None):
    """The report, as people see it."""
    mode = mode or harness.mode()
    lines = text.splitlines()
    assert re.match(r"Neve \d+\.\d+\.\d+ \(" + mode + r"\) on Python 3\.", lines[0]), text
    assert lines[1].split() == ["generation", "objects", "collections", "collected",
                                "uncollectable", "time", "longest", "pause"]
    cycles = {"generational": [], "incremental": ["cycles", "slices"],
              "snapshot": ["cycles", "slices", "snapshots"]}[mode]
    assert [line.split()[0] for line in lines[2:]] == ["young", "middle", "old", "permanent",
                                                       "pauses", *cycles, "memory"]
    for name, line in zip(("young", "middle", "old"), lines[2:]):
        assert re.match(name + r"( +[\d,]+){4}( +[\d,.]+ m?s){2}$", line), line
    assert re.match(r"pauses +p50 [\d,.]+ m?s, p99 .*, longest .*, in all .*", lines[6])
    if cycles:
        assert re.match(r"cycles +[\d,]+ ended, [\d,]+ abandoned(, one under way)?; [\d,]+ collected, "
                        r"largest group [\d,]+ in [\d.,]+ \S+$", lines[7])
        assert re.match(r"slices +[\d,]+, of these [\d,]+ late, longest [\d,.]+ m?s, in all [\d,.]+ "
                        r"m?s$", lines[8])
    if mode == "snapshot":
        assert re.match(r"snapshots +[\d,]+ begun, [\d,]+ taken(, [\d,]+ \w+)*; longest fork "
                        r"[\d,.]+ m?s, children [\d,.]+ m?s$", lines[9])
    assert re.match(r"memory +heap in use [\d,.]+ MiB, cached .*, returned .*, side tables .*, "
                    r"peak RSS [\d,.]+ MiB$", lines[-1])
    assert all(len(line) <= 120 for line in lines)


def test_table(runner):
    result = runner.neve_code(WORK, neve_options=["--stats"])
    assert result.out == ""
    assert_table(result.err)
    for mode in ("generational", "incremental", "snapshot"):
        result = runner.neve_code(WORK, neve_options=["--stats", "--mode", mode])
        assert_table(result.err, mode)


def test_nothing_unless_asked(runner):
    result = runner.neve_code(WORK)
    assert (result.out, result.err) == ("", "")


def test_json(runner):
    result = runner.neve_code(WORK, neve_options=["--stats-json", "stats.json"])
    assert result.err == ""
    figures = json.loads((runner.folder / "stats.json").read_text())
    assert figures["mode"] == harness.mode()
    collector, heap = figures["collector"], figures["heap"]
    assert [set(generation) for generation in collector["generations"]] == [{
        "objects", "collections", "collected", "uncollectable", "time_ns", "longest_pause_ns"}] * 3
    young, middle, old = collector["generations"]
    # Modes with cycles take in the middle generation whenever both are small.
    assert young["collections"] > middle["collections"] > 0 or \
        harness.mode() != "generational" and middle["collections"] > 0
    assert old["collections"] >= 1 and old["collected"] >= 3
    assert old["objects"] > 5000 and young["objects"] + middle["objects"] + old["objects"] > 40000
    assert 0 < collector["pause_p50_ns"] <= collector["pause_p99_ns"]
    assert collector["pause_max_ns"] <= collector["pause_total_ns"]
    longest = [generation["longest_pause_ns"] for generation in collector["generations"]]
    in_all = [generation["time_ns"] for generation in collector["generations"]]
    if harness.mode() != "generational":    # a pause holds a young collection and a slice
        assert sum(in_all[:2]) <= collector["pause_total_ns"]
        assert max(longest[:2]) <= collector["pause_max_ns"]
    else:
        assert collector["pause_max_ns"] == max(longest)
        assert collector["pause_total_ns"] == sum(in_all)
    assert heap["small_bytes"] > 20000 * (64 + 88) and heap["small_blocks"] > 40000
    assert heap["arena_bytes"] >= heap["small_bytes"]
    assert heap["side_table_bytes"] > 0 and heap["arenas"] > 0 and heap["pools_used"] > 0
    assert figures["process"]["peak_rss_bytes"] > heap["small_bytes"]
    assert os.listdir(runner.folder) == ["program_1.py", "stats.json"] or \
        sorted(os.listdir(runner.folder)) == ["program_1.py", "stats.json"]


def test_json_replaces_a_file_and_follows_a_link(runner):
    (runner.folder / "real.json").write_text("old")
    os.symlink("real.json", runner.folder / "link.json")
    runner.neve_code("import os; os.chdir('/')", neve_options=["--stats-json", "link.json"])
    assert (runner.folder / "link.json").is_symlink()
    assert json.loads((runner.folder / "real.json").read_text())["mode"] == harness.mode()


@pytest.mark.parametrize("code, status", [
    ("import sys; sys.exit(5)", 5), ("1 / 0", 1), ("import sys; sys.exit('text')", 1),
    ("raise KeyboardInterrupt", -2), ("pass", 0),
])
@pytest.mark.parametrize("kind", ["file", "code", "module"])
def test_after_every_end(runner, code, status, kind):
    runner.write("module.py", code)
    program = {"file": ["module.py"], "code": ["-c", code], "module": ["-m", "module"]}[kind]
    stock = runner.stock(*program)
    result = runner.neve(*program, neve_options=["--stats", "--stats-json=s.json"])
    assert result.status == stock.status == status
    assert result.out == stock.out and result.err.startswith(stock.err)
    assert_table(result.err[len(stock.err):])
    assert (runner.folder / "s.json").exists()


def test_after_the_programs_own_handlers(runner):
    result = runner.neve_code("""
        import atexit, sys, threading, time
        atexit.register(lambda: print("handler", file=sys.stderr))
        threading.Thread(target=lambda: (time.sleep(0.2), print("thread", file=sys.stderr))).start()
        print("main", file=sys.stderr)
    """, neve_options=["--stats"])
    lines = result.err.splitlines()
    assert lines[:3] == ["main", "thread", "handler"] and lines[3].startswith("Neve ")


def test_only_in_the_process_that_started(runner):
    result = runner.neve_code("""
        import os, sys
        for i in range(2):
            if os.fork() == 0:
                sys.exit(0)
        os.wait(); os.wait()
        import multiprocessing
        process = multiprocessing.get_context("fork").Process(target=print)
        process.start(); process.join()
    """, neve_options=["--stats"])
    assert_table(result.err)


def test_none_after_os_exit(runner):
    result = runner.neve_code("import os; os._exit(0)",
                              neve_options=["--stats", "--stats-json", "s.json"])
    assert result.err == "" and not (runner.folder / "s.json").exists()


def test_after_uninstall(runner):
    result = runner.neve_code("import neve; neve.uninstall()",
                              neve_options=["--stats", "--stats-json", "s.json"])
    assert result.err == "neve: no statistics, the program has uninstalled Neve\n"


def test_with_a_program_that_has_changed_its_streams(runner):
    result = runner.neve_code("""
        import io, sys
        sys.stderr = io.StringIO()
        sys.stdout = None
    """, neve_options=["--stats"])
    assert_table(result.err)
    result = runner.neve_code("import sys; sys.stderr.close(); sys.stderr = None",
                              neve_options=["--stats"])
    assert result.err == ""


@pytest.mark.parametrize("status", [0, 3])
def test_a_folder_that_goes_away(runner, status):
    (runner.folder / "lost").mkdir()
    result = runner.neve_code(f"""
        import os, sys
        os.rmdir("lost")
        sys.exit({status})
    """, neve_options=["--stats-json", "lost/s.json"], status=status)
    assert re.fullmatch(r"neve: cannot write the statistics to '.*lost/s\.json': No such .*\n",
                        result.err), result


def test_a_full_disk(runner):
    result = runner.neve_code("import sys; sys.exit(3)", status=3,
                              neve_options=["--stats-json", "/dev/full"])
    assert result.err == ("neve: cannot write the statistics to '/dev/full': "
                          "No space left on device\n")


def test_a_file_that_may_not_grow(runner):
    # The limit makes every write to a regular file fail half-way, as a full disk would.
    (runner.folder / "s.json").write_text("old")
    result = runner.neve_code("""
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    """, neve_options=["--stats-json", "s.json"])
    assert result.err.startswith("neve: cannot write the statistics to ")
    assert len(result.err.splitlines()) == 1
    assert (runner.folder / "s.json").read_text() == "old"
    assert sorted(os.listdir(runner.folder)) == ["program_1.py", "s.json"]


def test_devices_are_written_not_replaced(runner):
    done = subprocess.run([harness.PYTHON, "-m", "neve", "--stats-json", "/dev/stdout", "-c",
                           "print('{}')"], capture_output=True, text=True, cwd=runner.folder,
                          env=harness.environment())
    first, _, rest = done.stdout.partition("\n")
    assert done.returncode == 0 and first == "{}" and json.loads(rest)["mode"] == harness.mode()
    result = runner.neve("-c", "pass", neve_options=["--stats-json", "/dev/null"])
    assert (result.status, result.err) == (0, "")
    assert not os.path.isfile("/dev/null")
