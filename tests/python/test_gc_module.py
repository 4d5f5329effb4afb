# SPDX-License-Identifier: MIT
"""The functions of the gc module under Neve, against stock: listings, counters, thresholds, debug
flags, freezing, callbacks, untracking."""

import re

import harness
import pytest

PRELUDE = """
    import gc, sys, weakref
    gc.disable()
    gc.collect()
    class Node:
        def __init__(self, name=None): self.name = name
        def __repr__(self): return f"<{self.name}>"
    def ring(n):
        nodes = [Node(i) for i in range(n)]
        for a, b in zip(nodes, nodes[1:] + nodes[:1]): a.link = b
        return nodes[0]
    def log(*words): print(*words, flush=True)
"""


def both(runner, code, **options):
    program = harness.dedented(PRELUDE) + harness.dedented(code)
    return runner.both_code(harness.imports_first(program), **options)


def test_signatures_and_errors(runner):
    both(runner, """
        import inspect
        for name in sorted(dir(gc)):
            f = getattr(gc, name)
            if callable(f) and name[0] != "_":
                try: signature = str(inspect.signature(f))
                except ValueError as error: signature = "none"
                log(name, signature, type(f).__name__, f.__module__, f.__qualname__)
                log(f.__self__ is gc)
                log(f.__doc__)
        for call in ("gc.collect(3)", "gc.collect(-1)", "gc.collect('x')", "gc.collect(1, 2)",
                     "gc.collect(generation=0)", "gc.collect(gen=0)", "gc.collect(1.5)",
                     "gc.collect(None)", "gc.freeze(1)", "gc.unfreeze(1)", "gc.get_freeze_count(1)",
                     "gc.get_objects(3)", "gc.get_objects(-1)", "gc.get_objects('x')",
                     "gc.get_objects(generation=None)", "gc.get_objects(1, 2)", "gc.get_stats(1)",
                     "gc.get_count(1)", "gc.get_referrers()", "gc.get_referents()",
                     "gc.get_referents(1, [2], (3,))", "gc.is_tracked()", "gc.is_finalized()",
                     "gc.set_threshold()", "gc.set_threshold('x')", "gc.set_debug('x')",
                     "gc.collect(True)", "gc.collect(10 ** 30)"):
            try: result = eval(call)
            except Exception as error: log(call, type(error).__name__, error)
            else: log(call, type(result).__name__)
    """)


def test_functions_that_were_imported_before(runner):
    result = runner.plain_code("""
        from gc import (collect, freeze, unfreeze, get_objects, get_freeze_count, get_stats,
                        get_referrers)
        import gc, neve, operator
        saved = {name: getattr(gc, name) for name in dir(gc)}
        neve.install()
        assert all(getattr(gc, name) is f for name, f in saved.items() if callable(f))
        gc.disable()
        collect()
        x = []; x.append(x); del x
        print(collect(), collect(2), collect(generation=0))
        kept = [[]]; collect()
        assert any(o is kept for o in get_objects())
        assert any(o is kept for o in get_objects(2))
        assert any(o is kept for o in get_objects(generation=2))
        holder = [kept]
        assert any(r is holder for r in get_referrers(kept))
        freeze(); frozen = get_freeze_count(); assert frozen > 1000, frozen
        unfreeze(); assert get_freeze_count() == 0
        assert get_stats()[2]["collections"] >= 4
        print(operator.methodcaller("collect")(gc), list(map(collect, [0, 1, 2])))
    """)
    assert result.out == "1 0 0\n0 [0, 0, 0]\n"


def test_enable_and_disable(runner):
    both(runner, """
        log(gc.isenabled()); gc.enable(); log(gc.isenabled()); gc.disable(); log(gc.isenabled())
        ring(3); log(gc.collect(), gc.isenabled())
    """)


def test_counts(runner):
    both(runner, """
        gc.collect(); log(gc.get_count()[1:])
        kept = [[] for _ in range(500)]
        log(500 <= gc.get_count()[0] <= 520)
        del kept
        log(gc.get_count()[0] < 50)
        for generation in (0, 0, 0, 1, 1, 0, 2, 0):
            gc.collect(generation)
            log(gc.get_count()[1:], gc.get_count()[0] < 10)
    """)


def test_thresholds(runner):
    both(runner, f"""
        MODE = {harness.mode()!r}
    """ + """
        log(gc.get_threshold())
        gc.set_threshold(100); log(gc.get_threshold())
        gc.set_threshold(200, 5); log(gc.get_threshold())
        gc.set_threshold(50, 3, 2); log(gc.get_threshold())
        gc.enable()
        def stats(): return [s["collections"] for s in gc.get_stats()]
        before = stats()
        kept = [[] for _ in range(5000)]
        after = [a - b for a, b in zip(stats(), before)]
        log(90 <= sum(after) <= 110)
        # Where cycles collect the old generation, only what is due of the young ones can be compared.
        if "incremental" not in MODE: log(20 <= after[1] + after[2] <= 30, 5 <= after[2] <= 15)
        gc.set_threshold(0, 10, 10)
        before = stats()
        kept += [[] for _ in range(5000)]
        log([a - b for a, b in zip(stats(), before)])
        gc.set_threshold(1, 1, 1)
        kept += [[] for _ in range(500)]
        log([a > b for a, b in zip(stats(), before)][:2])
        gc.set_threshold(-1); log(gc.get_threshold())
    """, env={"NEVE_MODE": "generational"})     # in the incremental mode the older ones are paced


def test_thresholds_of_the_young_generation(runner):
    # Of all modes: how often there is a collection of whatever age, and none.
    both(runner, """
        gc.enable()
        def total(): return sum(s["collections"] for s in gc.get_stats())
        gc.set_threshold(50, 3, 2)
        before = total()
        kept = [[] for _ in range(5000)]
        log(90 <= total() - before <= 110 or total() - before)
        gc.set_threshold(0, 10, 10)
        before = total()
        kept += [[] for _ in range(5000)]
        log(total() - before)
    """)


def test_stats(runner):
    both(runner, """
        def total(): return gc.get_stats()
        log([list(s) for s in total()], len(total()))
        for generation in range(3):
            before = total()
            for n in (0, 3, 5): ring(n or 1); gc.collect(generation)
            log([{k: a[k] - b[k] for k in a} for a, b in zip(total(), before)])
    """)


def test_listings(runner):
    both(runner, """
        def where(o):
            return [g for g in range(3) if any(x is o for x in gc.get_objects(generation=g))]
        o = [Node("o")]
        log(where(o), where(o[0]), where(3), where("text"), where(None), where(()))
        for g in (0, 0, 1, 1, 2):
            log(g, gc.collect(g), where(o), where(o[0]), where(sys.modules))
        log(sum(x is o for x in gc.get_objects()), sum(x is o for x in gc.get_objects(None)))
        ids = [id(x) for x in gc.get_objects()]
        log(len(ids) == len(set(ids)), len(ids) > 3000)
        del ids
        parts = [len(gc.get_objects(g)) for g in range(3)]
        log(abs(sum(parts) - len(gc.get_objects())) < 20, parts[1])
        log(all(gc.is_tracked(x) for x in gc.get_objects()))
        new = [Node(i) for i in range(1000)]
        found = {id(x) for x in gc.get_objects()}
        log(sum(id(n) in found for n in new))
        gc.collect()
        found = {id(x) for x in gc.get_objects(2)}
        log(sum(id(n) in found for n in new), sum(id(x) in found for x in gc.get_objects(0)))
        log(any(type(x) is list and x is gc.get_objects() for x in gc.get_objects()))
        # What dies is not listed any more.
        del new, found
        log(sum(type(x) is Node for x in gc.get_objects()))
    """)


def test_listing_while_garbage_waits(runner):
    both(runner, """
        class Look(Node):
            def __del__(self):
                log(sum(type(x) is Look for x in gc.get_objects()),
                    len(gc.get_objects(2)) > 100, len(gc.get_referrers(self)))
        a, b = Look("a"), Node("b"); a.b = b; b.a = a; del a, b
        log(gc.collect())
        class Clear:
            def __init__(self): self.me = self; self.others = [ring(3) for _ in range(5)]
        class Late:
            def __del__(self):
                seen = [x for x in gc.get_objects() if isinstance(x, (Clear, Node))]
                log("while clearing", len(seen) if not seen else sorted(map(repr, seen))[:3])
        c = Clear(); c.late = Late(); del c
        log(gc.collect())
    """)


def test_referrers_and_referents(runner):
    both(runner, """
        o = Node("o"); l = [o]; d = {"o": o}; t = (o, l); s = {1, o}
        def names(found): return sorted(type(x).__name__ for x in found)
        for g in (None, 0, 1, 2):
            if g is not None: gc.collect(g)
            log(names(gc.get_referrers(o)), names(gc.get_referrers(l)))
            log(names(gc.get_referrers(o, l)))
        log(names(gc.get_referents(o)), names(gc.get_referents(l, d, t)), gc.get_referents(5, "x"))
        gc.freeze()
        log(names(gc.get_referrers(o)))
        gc.unfreeze()
        log(names(gc.get_referrers(o)))
        log(gc.get_referrers(), gc.get_referents())
    """)


def test_tracking(runner):
    # Nested tuples are untracked from the inside out, which may take several collections: how many
    # is the order's accident, so these are looked at after the last.
    both(runner, """
        def tracked(*objects): log([gc.is_tracked(o) for o in objects])
        tracked(1, "s", b"b", None, 1.5, (), [], {}, set(), object(), Node(), Node, len)
        tracked((1,), ([],))
        t = (1, 2, "x"); nested = (t, (t, t)); live = ([], t); mixed = (1, {}, {"a": 1})
        t2 = tuple([1, 2]); n2 = tuple([t2, 5]); l2 = tuple([[], 5])
        deep = tuple([tuple([tuple([1])])])
        tracked(t, nested, live, mixed, t2, n2, l2, deep)
        for g in (0, 0, 1): gc.collect(g); tracked(t, live, t2, l2)
        for g in (2, 2, 2): gc.collect(g)
        tracked(t, nested, live, mixed, t2, n2, l2, deep)
        d1 = {}; d2 = {"a": 1}; d3 = {"a": []}; d4 = {"a": tuple([1, 2])}; d5 = {1: {2: {3: 4}}}
        d6 = dict.fromkeys("abc"); d7 = {"t": tuple([1, 2])}; d8 = {i: str(i) for i in range(100)}
        tracked(d1, d2, d3, d4, d5, d6, d7, d8)
        for g in (0, 1): gc.collect(g); tracked(d1, d2, d3, d5, d6, d8)
        for g in (2, 2, 2): gc.collect(g)
        tracked(d1, d2, d3, d4, d5, d6, d7, d8)
        d3["a"] = 5; d8["list"] = []; live[0].append(1)
        tracked(d3, d8)
        gc.collect(); tracked(d3, d8)
        del d8["list"]
        gc.collect(); tracked(d3, d8)
        d3["b"] = []; tracked(d3); gc.collect(); tracked(d3)
        o = Node("x"); tracked(o.__dict__); o.y = []; tracked(o.__dict__); o.y = 1
        gc.collect(); tracked(o.__dict__)
        class S: __slots__ = ()
        class I(int): pass
        class T(tuple): pass
        tracked(S(), I(), T(), T((1,)), frozenset(), frozenset([1]))
        # Old objects that become atomic are untracked by a full collection only.
        old = [tuple([[i]]) for i in range(5)], {i: [i] for i in range(5)}
        gc.collect(); gc.collect()
        for i in range(5): old[1][i] = i
        gc.collect(0); gc.collect(1); tracked(old[1])
        gc.collect(2); tracked(old[1])
        old[1]["new"] = ring(3); tracked(old[1]); gc.collect(0); tracked(old[1])
        del old; log(gc.collect())
    """)


def test_tuples_whose_last_item_is_in_a_cycle(runner):
    # The items in front cannot be in any, and the tuples beside these hold no others.
    both(runner, """
        gc.collect()
        kept = []
        for n in range(100):
            o = Node(n); o.me = tuple([n] * (n % 5) + [o]); o.leaves = tuple([n] * (n % 5 + 1))
            if n % 10 == 0: kept.append(o.leaves)
        del o
        log(gc.collect(0)); log(gc.collect())
        log([gc.is_tracked(t) for t in kept], len(kept))
    """)


@pytest.mark.parametrize("is_frozen", [False, True])
def test_tracking_of_what_was_revived(runner, is_frozen):
    both(runner, f"""
        if {is_frozen}: gc.freeze()
        kept = []
        class Revive:
            def __del__(self): kept.append(self)
        r = Revive(); r.me = r; t = tuple([1]); r.t = t; r.d = {{"a": 1, "b": t}}
        del t, r
        for i in range(4): gc.collect()
        log(gc.is_tracked(kept[0].t), gc.is_tracked(kept[0].d))
        kept.clear(); log(gc.collect())
    """)


def test_freeze(runner):
    both(runner, """
        def count():  # CPython 3.12 has some hundred immortal objects there
            found = gc.get_freeze_count()
            return found if found > 500 else 0
        log(count())
        before = ring(5); kept = [[] for _ in range(1000)]
        gc.freeze()
        frozen = gc.get_freeze_count()
        log(frozen > 1000, [len(gc.get_objects(g)) < 20 for g in range(3)])
        log(len(gc.get_objects()) < 50)
        ref = weakref.ref(before)
        del before
        log(gc.collect(), ref() is not None, gc.get_freeze_count() == frozen)
        after = ring(5); del after
        log(gc.collect(), gc.get_freeze_count() == frozen)
        kept[0].append(ring(4)); kept[1].append(kept); log(gc.collect())
        del kept[:500]; log(frozen - gc.get_freeze_count())
        late = [ring(3), ring(3)]
        gc.freeze(); log(gc.get_freeze_count() > frozen - 500)
        gc.unfreeze()
        log(count(), ref() is not None)
        log(gc.collect(), ref() is None, count())
        gc.freeze(); gc.freeze(); gc.unfreeze(); gc.unfreeze(); log(count())
        young = [Node(i) for i in range(100)]
        gc.freeze(); gc.unfreeze()
        found = {id(o) for o in gc.get_objects(2)}
        log(sum(id(n) in found for n in young))
        del young, late; log(gc.collect())
    """)


def test_freeze_and_most_dies(runner):
    both(runner, """
        kept = [ring(3) for _ in range(3000)]
        gc.collect(); gc.freeze()
        new = [ring(2) for _ in range(1000)]
        for i, n in enumerate(new): n.frozen = kept[i]; kept[i].new = n
        log(gc.collect(), gc.get_freeze_count() > 9000)
        for k in kept: k.__dict__.pop("new", None)
        del k, n
        log(gc.collect()); del new; log(gc.collect())
        del kept; log(gc.collect()); gc.unfreeze(); log(gc.collect())
    """)


def test_freeze_inside_a_finalizer(runner):
    # Done, or refused with a sentence; nothing is lost.
    runner.neve_code(harness.dedented(PRELUDE) + harness.dedented("""
        outcomes = []
        def attempt(function):
            try: function()
            except RuntimeError as error: outcomes.append(str(error))
            else: outcomes.append("done")
        class Freezer(Node):
            def __del__(self): attempt(gc.freeze); attempt(gc.unfreeze)
        class Frozen(Node):
            def __del__(self): attempt(gc.freeze)
        kept = [[] for _ in range(1000)]
        for kind in (Freezer, Frozen):
            nodes = [kind("a") for _ in range(5)]
            refs = []
            for n in nodes:
                n.me = n; x = Node("x"); x.me = x; x.n = n; refs.append(weakref.ref(n))
            del n, x, nodes
            gc.collect(); gc.unfreeze(); gc.collect()
            assert [r() for r in refs] == [None] * 5
            assert gc.get_freeze_count() == 0
            ids = [id(o) for o in gc.get_objects()]
            assert len(ids) == len(set(ids)) and len(ids) > 4000
        assert len(outcomes) == 15, outcomes
        assert all(o == "done" or len(o.split()) > 3 for o in outcomes), outcomes
    """))


def edit_debug(text):
    """Figures that depend on what is loaded, and times."""
    text = re.sub(r"(objects in each generation:).*", r"\1 N N N", text)
    # CPython 3.12 has some hundred immortal objects in the permanent generation.
    text = re.sub(r"(objects in permanent generation:) \d{1,3}\b", r"\1 0", text)
    text = re.sub(r"(objects in permanent generation:) [1-9]\d*", r"\1 N", text)
    return re.sub(r"\d+\.\d+s elapsed", "T elapsed", text)


@pytest.mark.parametrize("flags", ["DEBUG_STATS", "DEBUG_COLLECTABLE", "DEBUG_UNCOLLECTABLE",
                                   "DEBUG_SAVEALL", "DEBUG_LEAK", "DEBUG_STATS | gc.DEBUG_LEAK"])
def test_debug_flags(runner, flags):
    both(runner, f"""
        gc.set_debug(gc.{flags})
        log(gc.get_debug())
        ring(2); x = []; x.append(x); del x
        log(gc.collect(0), len(gc.garbage), sorted(type(o).__name__ for o in gc.garbage))
        ring(3); log(gc.collect())
        log(gc.collect(1), gc.collect(2))
        gc.freeze(); gc.collect(); gc.unfreeze()
        gc.set_debug(0)
        log(len(gc.garbage)); gc.garbage.clear(); log(gc.collect(), gc.collect())
    """, edit=edit_debug)


@pytest.mark.skipif(harness.VERSION < (3, 15), reason="3.15 tells candidates and duration")
def test_candidates_and_duration(runner):
    runner.neve_code("""
        import gc, time
        gc.disable(); gc.collect()
        told = []
        gc.callbacks.append(lambda phase, info: told.append(dict(info)))
        for generation in range(3):
            kept = [[] for _ in range(1000)]
            for i in range(20000): x = []; x.append(x)
            before = gc.get_stats()[generation]
            start = time.perf_counter()
            gc.collect(generation)
            elapsed = time.perf_counter() - start
            after = gc.get_stats()[generation]
            stop = told[-1]
            assert 20000 <= stop["candidates"] < 22000 + (generation == 2) * 20000, stop
            assert 0 < stop["duration"] < elapsed, stop
            assert after["candidates"] - before["candidates"] == stop["candidates"], after
            assert abs(after["duration"] - before["duration"] - stop["duration"]) < 1e-9, after
            assert after["collected"] - before["collected"] == stop["collected"], after
            assert after["collections"] == before["collections"] + 1
    """)


def test_debug_stats_of_generations(runner):
    # The figures of what was in the generations are right, whatever the list heads hold meanwhile.
    result = runner.neve_code("""
        import gc
        gc.disable(); gc.collect()
        gc.set_debug(gc.DEBUG_STATS)
        kept = [[] for _ in range(1000)]
        gc.collect(0); gc.collect(1); gc.collect(2)
        gc.freeze(); gc.collect(2)
        gc.set_debug(0)
    """)
    lines = re.findall(r"each generation: (\d+) (\d+) (\d+)\n.*permanent generation: (\d+)",
                       result.err)
    figures = [[int(n) for n in line] for line in lines]
    assert len(figures) == 4, result
    assert 1000 <= figures[0][0] < 1100 and figures[0][1] < 50, result
    assert figures[1][0] < 50 and 1000 <= figures[1][1] < 1100, result
    assert figures[2][0] < 50 and figures[2][1] < 50 and figures[2][2] > 4000, result
    assert figures[3][2] < 50 and figures[3][3] > 4000, result


def test_saveall_keeps_everything_usable(runner):
    both(runner, """
        class Final(Node):
            def __del__(self): log("del", self.name)
        gc.set_debug(gc.DEBUG_SAVEALL)
        a, b = Final("a"), Node("b"); a.b = b; b.a = a
        ref = weakref.ref(b, lambda r: log("callback"))
        del a, b
        log(gc.collect(), ref() is None)
        nodes = {o.name: o for o in gc.garbage if isinstance(o, Node)}
        log(sorted(nodes), nodes["a"].b is nodes["b"], nodes["b"].a is nodes["a"])
        log([gc.is_tracked(o) for o in gc.garbage])
        gc.set_debug(0); gc.garbage.clear(); nodes.clear()
        log(gc.collect(), gc.garbage)
    """)


def test_callbacks(runner):
    both(runner, """
        seen = []
        first = lambda phase, info: seen.append(("first", phase, dict(info)))
        second = lambda phase, info: seen.append(("second", phase, dict(info)))
        gc.callbacks.append(first); gc.callbacks.append(second)
        for g in range(3):
            ring(4); gc.collect(g); log(seen); seen.clear()
        gc.collect(); log(seen); seen.clear()
        gc.callbacks.remove(first); gc.collect(); log(seen); seen.clear()
        gc.callbacks.insert(0, first); ring(2); gc.collect(); log(seen); seen.clear()
        gc.callbacks.remove(first); gc.callbacks.remove(second)
        ring(2); log(gc.collect(), seen)
    """)


def test_callbacks_of_automatic_collections(runner):
    both(runner, f"""
        MODE = {harness.mode()!r}
    """ + """
        seen = []
        gc.callbacks.append(lambda phase, info: seen.append((phase, info["generation"])))
        gc.enable()
        kept = [[] for _ in range(100000)]
        gc.disable()
        log(set(seen) >= {("start", 0), ("stop", 0), ("start", 1), ("stop", 1)}, len(seen) % 2)
        log(all(a == ("start", b[1]) and b[0] == "stop" for a, b in zip(seen[::2], seen[1::2])))
        # In the incremental mode a slow collector comes between young sets as well.
        log(120 <= len(seen) // 2 <= (1600 if "incremental" in MODE else 160))
    """)


def test_callbacks_that_keep_the_info(runner):
    both(runner, """
        kept = []
        def callback(phase, info): kept.append((phase, info))
        gc.callbacks.append(callback)
        ring(3); gc.collect(); ring(5); gc.collect(1)
        log(kept, [sorted(info) for _, info in kept], [type(info) is dict for _, info in kept])
        def spoil(phase, info): info.clear(); info["generation"] = "spoilt"
        gc.callbacks.insert(0, spoil)
        ring(2); log(gc.collect()); log(kept[-2:])
    """)


def test_callbacks_that_time(runner):
    # Other callbacks see the pause: what Neve does lies between their start and their stop.
    result = runner.neve_code("""
        import gc, time, neve
        def spent(): return neve.stats()["collector"]["generations"][2]["time_ns"]
        gc.disable()
        kept = [[{i: [i]}] for i in range(200000)]
        gc.collect()
        times = []
        gc.callbacks.append(lambda phase, info: times.append((phase, time.perf_counter_ns())))
        for i in range(0, 200000, 10): kept[i].append(kept[i])
        del kept
        before = spent()
        gc.collect()
        (start, began), (stop, ended) = times
        assert (start, stop) == ("start", "stop")
        print((ended - began) > 0.5 * (spent() - before), spent() > before)
    """)
    assert result.out == "True True\n"


def test_callbacks_that_raise(runner):
    both(runner, """
        def bad(phase, info): raise ValueError(phase)
        gc.callbacks.append(bad)
        seen = []
        gc.callbacks.append(lambda phase, info: seen.append((phase, info["collected"])))
        ring(3); log(gc.collect()); log(seen)
        gc.callbacks.append(5)
        ring(3); log(gc.collect()); log(seen)
    """)


def test_callbacks_that_collect_and_allocate(runner):
    both(runner, """
        seen = []
        def callback(phase, info):
            ring(3)
            seen.append((phase, gc.collect(), gc.collect(0)))
            junk = [[i] for i in range(3000)]
        gc.callbacks.append(callback)
        ring(5); first = gc.collect()
        log(seen)
        gc.callbacks.remove(callback)
        log(first, gc.collect())
        gc.enable(); gc.callbacks.append(callback)
        kept = [[] for _ in range(5000)]
        gc.callbacks.remove(callback)
        log(all(s[1:] == (0, 0) for s in seen)); gc.collect(); log(gc.collect())
    """)


def test_callbacks_that_look(runner):
    both(runner, """
        kept = ring(5)
        def callback(phase, info):
            if phase == "stop":
                log(phase, sum(isinstance(o, Node) for o in gc.get_objects()), gc.get_count()[1:],
                    gc.get_stats()[2]["collections"] - start)
        gc.callbacks.append(callback)
        start = gc.get_stats()[2]["collections"]
        ring(3); log(gc.collect())
        log(sum(isinstance(o, Node) for o in gc.get_objects()))
    """)


@pytest.mark.parametrize("change", [
    "gc.callbacks.clear()", "del gc.callbacks[:]", "gc.callbacks[:] = []", "gc.callbacks.reverse()",
    "gc.callbacks.append(print)", "gc.callbacks.insert(0, callback)", "gc.callbacks = []",
    "del gc.callbacks", "gc.callbacks.pop(0)",
])
@pytest.mark.parametrize("phase", ["start", "stop", "before"])
def test_callbacks_that_change_the_list(runner, change, phase):
    # A program may take our callback out.  Nothing is lost then, and cycles are still collected,
    # by us or by the interpreter.
    result = runner.neve_code(f"""
        import gc, sys, weakref
        gc.disable(); gc.collect()
        class Node: pass
        def ring():
            node = Node(); node.me = node
            return weakref.ref(node)
        kept = [[i] for i in range(1000)]
        old = Node(); old.me = old; old_ref = weakref.ref(old)
        gc.collect()
        print = lambda *words: None
        done = []
        def callback(phase, info):
            if phase == {phase!r} and not done:
                done.append(True)
                {change}
        gc.callbacks.append(callback)
        if {phase == "before"}:
            {change}
        refs = [ring() for _ in range(10)]
        gc.collect()
        refs += [ring() for _ in range(10)]
        del old
        gc.collect(); gc.collect()
        assert [r() for r in refs] == [None] * 20
        assert old_ref() is None
        ids = [id(o) for o in gc.get_objects()]
        assert len(ids) == len(set(ids)) and len(ids) > 4000, len(ids)
        found = set(ids)
        assert all(id(k) in found for k in kept)
        assert done or {phase == "before"}
        gc.freeze(); gc.unfreeze(); gc.enable()
        more = [[i] for i in range(50000)]
        refs = [ring() for _ in range(10)]
        gc.collect()
        assert [r() for r in refs] == [None] * 10
        assert gc.get_freeze_count() == 0 and len(gc.get_objects()) > 54000
    """)
    assert result.err == "", result


def test_uninstall_inside_a_collection(runner):
    runner.neve_code("""
        import gc, neve, weakref
        gc.disable(); gc.collect()
        class Node: pass
        def attempt():
            try:
                neve.uninstall()
            except RuntimeError as error:
                outcomes.append(str(error))
            else:
                outcomes.append("done")
        outcomes = []
        class Final:
            def __del__(self): attempt()
        def callback(phase, info): attempt()
        for make in ("finalizer", "callback", "weakref"):
            neve.install()
            f = Final() if make == "finalizer" else Node(); f.me = f
            if make == "callback": gc.callbacks.append(callback)
            if make == "weakref": ref = weakref.ref(f, lambda r: attempt())
            del f
            gc.collect()
            if make == "callback": gc.callbacks.remove(callback)
            kept = [[i] for i in range(1000)]
            x = Node(); x.me = x; ref = weakref.ref(x); del x
            gc.collect(); gc.collect()
            assert ref() is None
            ids = [id(o) for o in gc.get_objects()]
            assert len(ids) == len(set(ids)) and len(ids) > 4000
        assert outcomes, outcomes
        assert all(o == "done" or len(o.split()) > 3 for o in outcomes), outcomes
        neve.uninstall()
        assert gc.collect() == 0 or True
    """)


def test_stress_of_gc_functions_in_a_finalizer(runner):
    both(runner, """
        class Busy(Node):
            def __del__(self):
                gc.get_objects(); gc.get_objects(0); gc.get_stats(); gc.get_referrers(self)
                gc.get_count(); gc.set_threshold(*gc.get_threshold()); gc.enable(); gc.disable()
                gc.is_tracked(self); gc.get_referents(self); gc.collect(0)
                log(gc.is_finalized(self), gc.is_tracked(self))
        for _ in range(3):
            a = Busy("a"); a.me = a; a.pile = [ring(3) for _ in range(10)]; del a
            log(gc.collect())
    """)
