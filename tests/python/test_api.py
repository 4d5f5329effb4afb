# SPDX-License-Identifier: MIT
"""The functions of ``import neve``: install, uninstall, stats, freeze; settings; the cost of
starting."""

import ast

import harness
import pytest


def test_names_and_documentation(runner):
    runner.plain_code("""
        import neve, re
        assert re.fullmatch(r"\\d+\\.\\d+\\.\\d+", neve.__version__), neve.__version__
        for name in neve.__all__:
            assert getattr(neve, name).__doc__, name
        assert neve.__all__ == ["install", "uninstall", "is_installed", "step", "stats",
                                "freeze", "unfreeze", "refreeze", "prefork",
                                "cow_reference", "cow_report"]
        assert not neve.is_installed()      # importing changes nothing
    """)


def test_the_stub_matches(runner):
    folder = harness.package_folder() / "neve"
    stub = ast.parse((folder / "__init__.pyi").read_text())
    signatures = {node.name: [argument.arg for argument in node.args.args]
                  for node in stub.body if isinstance(node, ast.FunctionDef)}
    module = ast.parse((folder / "__init__.py").read_text())
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            assert signatures.pop(node.name) == [argument.arg for argument in node.args.args]
    assert signatures == {}
    assert (folder / "py.typed").exists()


def test_install_collect_uninstall_reinstall(runner):
    result = runner.plain_code("""
        import gc, neve
        class Node:
            dead = 0
            def __init__(self): self.me = self
            def __del__(self): Node.dead += 1
        def leave(n):
            for _ in range(n): Node()
        def collect():
            before = Node.dead
            count = gc.collect()
            return count, Node.dead - before
        import time
        before = [Node() for _ in range(5)]
        gc.collect()
        for turn in range(3):
            neve.install()
            assert neve.is_installed()
            kept = [[i] for i in range(50000)]
            del before[:]
            print(collect())
            leave(7)
            print(collect())
            assert neve.stats()["heap"]["small_blocks"] > 50000
            leave(3)                     # left by Neve's time, collected by the interpreter
            before = [Node() for _ in range(5)]
            neve.uninstall()
            assert not neve.is_installed()
            print(collect())
            assert kept[777] == [777]
            more = [str(i) * 3 for i in range(50000)]
            kept[100:] = []
            leave(2)
            print(collect())
        del kept, more, before
        gc.collect()
        print(Node.dead)
    """)
    lines = result.out.splitlines()
    # A Node is two objects to the collector where its dictionary is one of its own.
    per_node = ast.literal_eval(lines[1])[0] // 7
    assert lines[1:] == [f"({7 * per_node}, 7)", f"({3 * per_node}, 3)", f"({2 * per_node}, 2)",
                         *lines[4:]]
    for turn in range(3):
        assert ast.literal_eval(lines[4 * turn])[1] == 5
        assert lines[4 * turn + 1:4 * turn + 4] == lines[1:4]
    assert lines[12] == str(5 * 4 + 3 * 12)


def test_what_the_interpreter_sees_is_whole_after_uninstall(runner):
    # The lists of the generations hold everything once, whatever Neve did with them.
    runner.plain_code("""
        import gc, neve
        at_start = gc.get_freeze_count()    # 3.12 itself freezes what is immortal
        kept = [[] for _ in range(1000)]
        neve.install()
        kept += [[] for _ in range(1000)]
        gc.collect()
        kept += [{1: []} for _ in range(1000)]
        gc.collect(1)
        kept += [[] for _ in range(100)]
        gc.freeze()
        kept += [[] for _ in range(100)]
        frozen = gc.get_freeze_count()
        assert frozen > 5000
        neve.uninstall()
        assert frozen - 5 < gc.get_freeze_count() <= frozen     # less what was Neve's own
        gc.unfreeze()
        ids = [id(o) for o in gc.get_objects()]
        assert len(ids) == len(set(ids))
        found = set(ids)
        assert all(id(o) in found for o in kept)
        assert gc.get_freeze_count() == 0
        gc.collect()
        assert gc.get_freeze_count() <= at_start
        assert all(gc.is_tracked(o) for o in kept)
    """)


def test_uninstall_without_install(runner):
    runner.plain_code("""
        import neve
        neve.uninstall(); neve.uninstall()
        assert not neve.is_installed()
        neve.install(); neve.uninstall(); neve.uninstall()
        assert not neve.is_installed()
    """)


def test_installing_twice(runner):
    runner.plain_code("""
        import gc, neve
        neve.install(); neve.install(); neve.install("generational"); neve.install(pause_us=500)
        callbacks = list(gc.callbacks)
        neve.install(mode="generational", pause_us=500)
        assert gc.callbacks == callbacks
        ring = []; ring.append(ring); gc.collect()
        del ring
        assert gc.collect() == 1
        try:
            neve.install(pause_us=400)
        except RuntimeError as error:
            assert len(str(error).split()) > 3, error
        else:
            raise AssertionError("other settings were accepted")
        assert neve.is_installed()
        neve.uninstall()
        neve.install(pause_us=400)
    """, env={"NEVE_MODE": "generational"})


def test_installing_under_the_runner(runner):
    runner.neve_code("""
        import neve
        assert neve.is_installed()
        neve.install()
        neve.uninstall()
        neve.install()
    """)


def test_settings_that_cannot_be(runner):
    runner.plain_code("""
        import neve
        for kind, arguments in ((ValueError, dict(mode="fast")), (ValueError, dict(mode="")),
                                (ValueError, dict(mode=5)), (ValueError, dict(pause_us=0)),
                                (ValueError, dict(pause_us=-1)),
                                (ValueError, dict(pause_us=10 ** 30)),
                                (TypeError, dict(pause_us="100")), (TypeError, dict(pause_us=1.5)),
                                (TypeError, dict(pause_us=True)), (TypeError, dict(speed=1)),
                                (ValueError, dict(timer_ms=-1)), (TypeError, dict(timer_ms="9")),
                                (ValueError, dict(timer_ms=10 ** 12)),
                                (TypeError, dict(timer_ms=False)), (TypeError, dict(timer_ms=0.5))):
            try:
                neve.install(**arguments)
            except kind as error:
                assert str(error)
            else:
                raise AssertionError(arguments)
        assert not neve.is_installed()
        neve.install("generational", 1, 0)
    """)


def test_settings_of_the_environment(runner):
    code = "import neve; neve.install(); print(neve.stats()['mode'])"
    for mode in ("generational", "incremental", "snapshot"):
        env = {"NEVE_MODE": mode, "NEVE_PAUSE_US": "100", "NEVE_TIMER_MS": "0",
               "NEVE_GC_STRESS": "0"}
        assert runner.plain_code(code, env=env).out == mode + "\n"
    assert runner.plain_code(code, env=dict.fromkeys(env, "")).out == harness.default_mode() + "\n"
    result = runner.plain_code(code, env={"NEVE_MODE": "fast"}, status=1)
    assert result.err.splitlines()[-1].startswith("ValueError: NEVE_MODE: ")


def test_needs_to_be_installed(runner):
    runner.plain_code("""
        import neve
        for function in (neve.stats, neve.freeze, neve.unfreeze, neve.refreeze, neve.prefork,
                         neve.step):
            try:
                function()
            except RuntimeError as error:
                assert "neve.install()" in str(error)
            else:
                raise AssertionError(function)
    """)


def test_stats_follow_the_collector(runner):
    runner.neve_code("""
        import gc, neve
        gc.disable()
        gc.collect()
        def generation(n): return neve.stats()["collector"]["generations"][n]
        before = [generation(n) for n in range(3)]
        assert generation(0)["objects"] < 200 and generation(1)["objects"] < 200, before
        kept = [[] for _ in range(1000)]
        for n in range(3):
            for _ in range(10):
                ring = []; ring.append(ring)
            del ring
            assert generation(0)["objects"] >= 10
            assert gc.collect(n) == 10
            after = generation(n)
            assert after["collections"] == before[n]["collections"] + 1, (n, before, after)
            assert after["collected"] == before[n]["collected"] + 10
            assert after["time_ns"] > before[n]["time_ns"]
            assert after["longest_pause_ns"] > 0
        # What died or was untracked since may still be counted, until the next full collection.
        counted, listed = generation(2)["objects"], len(gc.get_objects(2))
        assert listed <= counted + 10 and counted < listed * 1.1, (counted, listed)
        stock = [(s["collections"], s["collected"], s["uncollectable"]) for s in gc.get_stats()]
        ours = [(s["collections"], s["collected"], s["uncollectable"])
                for s in neve.stats()["collector"]["generations"]]
        print(stock, ours)
        for s, o in zip(stock, ours):
            assert all(a >= b for a, b in zip(s, o))
        neve.freeze()
        frozen = neve.stats()["collector"]["frozen"]
        assert 0 <= frozen - gc.get_freeze_count() < frozen * 0.1 and frozen > 1000
        neve.unfreeze()
        assert neve.stats()["collector"]["frozen"] == gc.get_freeze_count() == 0
        assert neve.stats() is not neve.stats()
    """)


def test_stats_follow_the_heap(runner):
    runner.neve_code("""
        import gc, neve
        def heap(): return neve.stats()["heap"]
        gc.collect()
        start = heap()
        kept = [bytes([i % 256]) * 100 for i in range(100000)]
        full = heap()
        assert full["small_blocks"] - start["small_blocks"] >= 100000 * 0.99
        assert full["small_bytes"] - start["small_bytes"] >= 100000 * 133
        big = [bytes(10000) for _ in range(100)]
        large = heap()
        assert large["malloc_bytes"] - full["malloc_bytes"] >= 1000000
        assert large["serves"] is True
        del kept, big
        gc.collect()
        end = heap()
        assert end["small_blocks"] < start["small_blocks"] + 5000
        assert end["malloc_bytes"] < start["malloc_bytes"] + 1000000
        assert end["returned_bytes"] > full["returned_bytes"] + 5000000, end
    """)


@pytest.mark.parametrize("how", ["runner", "install"])
def test_stress(runner, how):
    code = """
        import collections, json, re, weakref
        class Node:
            def __init__(self, n): self.n = n; self.me = self
        dead = []
        for n in range(200):
            node = Node(n)
            weakref.finalize(node, dead.append, n)
        del node
        data = json.loads(json.dumps({str(i): [i, {"k": (i,)}] for i in range(100)}))
        assert data["7"][1]["k"] == [7]
        assert len(re.findall("a+b", "aab ab b" * 50)) == 100
        import gc, neve
        collections = sum(g["collections"] for g in neve.stats()["collector"]["generations"])
        assert collections > 50, collections
        gc.collect()
        assert sorted(dead) == list(range(200))
    """
    env = {"NEVE_GC_STRESS": "1"}
    if how == "runner":
        runner.neve_code(code, env=env)
    else:
        runner.plain_code("import neve\nneve.install()\n" + harness.dedented(code), env=env)


def test_few_modules_are_imported(runner):
    result = runner.neve("-c", "import sys; print(*sorted(sys.modules))")
    runner.write("module.py", "import sys; print(*sorted(sys.modules))")
    stock = runner.stock("-m", "module")
    extra = set(result.out.split()) - set(stock.out.split())
    if harness.VERSION >= (3, 13):
        extra.discard("linecache")  # which -c imports on stock as well
    assert extra <= {"neve", "neve._cmdline", "neve._neve", "neve._run", "neve._start",
                     "neve._stock", "_tracemalloc", "atexit", "gc"}, extra
