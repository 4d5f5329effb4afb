# SPDX-License-Identifier: MIT
"""neve.freeze(), with immortality and without: nothing is lost at exit, what must die dies, and the
gc module tells what it tells on stock.

Programs that run on both sides freeze by the function of PRELUDE, which does nothing on stock.
"""

import harness
import pytest

HAS_IMMORTALS = harness.VERSION >= (3, 12, 0)

PRELUDE = """
import atexit, gc, os, sys, tempfile, threading, weakref
def freeze():
    if "neve" in sys.modules:
        gc.collect()
        import neve
        assert neve.prefork()["frozen"] > (1000 if neve.stats()["prefork"]["runs"] == 1 else 0)
def log(*words):
    # Not through sys.stdout: it may be the stream under test.
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
"""


def both(runner, code, **options):
    """The same output on both sides, but for the order of lines: of finalizers of
    which neither's object holds the other's, the order is that of addresses."""
    text = PRELUDE + harness.dedented(code)
    return runner.both_code(text, edit=lambda said: "".join(sorted(said.splitlines(True))),
                            **options)


#: Name, program: what each leaves to its exit, or has die before it.
PROGRAMS = {
    "file": """
        class Holder: pass
        holder = Holder()
        holder.files = [open("unflushed", "w")]
        holder.files[0].write("one line, ")
        raw = open("raw", "wb"); raw.write(b"x" * 10)
        in_dict = {"text": {"deep": (open("deep", "w"), 1)}}
        in_dict["text"]["deep"][0].write("deep ")
        atexit.register(lambda: [log(name, repr(open(name).read())) for name in
                                 ("unflushed", "raw", "deep")])
        freeze()
        holder.files[0].write("another line")
        late = open("late", "w"); late.write("made after the freeze")
    """,
    "finalizer": """
        class Loud:
            def __init__(self, name): self.name = name
            def __del__(self): log("del", self.name, helper(self.name))
        def helper(name): return NAMES.get(name), sys is not None, len(os.sep)
        NAMES = {"global": 1, "in cycle": 2}
        plain = Loud("global")
        cycle = [Loud("in cycle")]; cycle.append(cycle)
        class Attribute: held = Loud("of a class")
        def closure():
            inner = Loud("of a closure")
            return lambda: inner
        function = closure()
        outer = Loud("outer"); outer.inner = Loud("inner"); outer.back = outer
        _private = Loud("with a private name")
        freeze()
        after = Loud("made after the freeze")
        plain.name = "global, renamed"
    """,
    "finalizer that dies before the end": """
        class Loud:
            def __init__(self, name): self.name = name
            def __del__(self): log("del", self.name)
        class Holder: pass
        holder = Holder(); holder.deep = {"list": [(Loud("deep"), "x")]}
        table = {"one": Loud("one"), "two": [Loud("two")]}
        ring = Holder(); ring.self = ring; ring.loud = Loud("ring")
        freeze()
        log("frozen")
        del table["one"]; log("one gone")
        table["two"].clear(); log("two gone")
        del holder.deep; log("deep gone")
        del ring
        if "neve" in sys.modules: gc.unfreeze()
        gc.collect(); log("ring gone")
    """,
    "generator": """
        def gen(name):
            try:
                yield 1
                yield 2
            finally:
                log("finally", name)
        class Context:
            def __enter__(self): return self
            def __exit__(self, *error): log("exit", error[0])
        def managed():
            with Context():
                yield
        async def coroutine():
            try:
                await Awaitable()
            finally:
                log("finally of a coroutine")
        class Awaitable:
            def __await__(self): yield
        suspended = gen("global"); next(suspended)
        held = {"list": [gen("held")]}; next(held["list"][0])
        fresh = gen("never started")
        m = managed(); next(m)
        c = coroutine(); c.send(None)
        early = gen("closed before the end"); next(early)
        freeze()
        log(next(suspended))
        early = None; log("closed")
    """,
    "weakref.finalize": """
        class Thing: pass
        kept, dropped, never = Thing(), Thing(), [Thing()]
        weakref.finalize(kept, log, "kept until the end")
        weakref.finalize(dropped, log, "dropped")
        quiet = weakref.finalize(never[0], log, "not at exit"); quiet.atexit = False
        seen = weakref.WeakValueDictionary(kept=kept, dropped=dropped)
        referrer = weakref.ref(dropped, lambda _: log("called back"))
        freeze()
        del dropped
        log(sorted(seen), referrer())
        log(quiet.alive)
    """,
    "temporary directory": """
        folder = tempfile.TemporaryDirectory(dir=".")
        early = tempfile.TemporaryDirectory(dir=".")
        file = tempfile.NamedTemporaryFile("w", dir="."); file.write("text")
        names = folder.name, early.name, file.name
        atexit.register(lambda: log("at exit", os.path.exists(names[0]), os.path.exists(names[1])))
        freeze()
        early.cleanup()
        log([os.path.exists(name) for name in names])
        file = None
        log([os.path.exists(name) for name in names])
    """,
    "socket and pipe": """
        import socket
        left, right = socket.socketpair()
        class Connection:
            def __init__(self, end): self.end = end
        connection = Connection(left); del left
        reader, writer = os.pipe()
        pipe = {"file": os.fdopen(writer, "wb")}
        pipe["file"].write(b"buffered")
        freeze()
        del connection          # closes the socket: the other end sees the end
        log(right.recv(10))
        del pipe["file"]        # flushes and closes
        log(os.read(reader, 100), os.read(reader, 100))
    """,
    "buffer": """
        data = bytearray(b"0123456789")
        views = {"view": memoryview(data)[2:5]}
        freeze()
        try: data.append(1)
        except BufferError: log("exported")
        views.clear()
        data.append(49); log(bytes(data))
    """,
    "threads": """
        local = threading.local(); local.value = [1]
        class Loud:
            def __del__(self): log("a thread's own is gone")
        lock, event, go = threading.RLock(), threading.Event(), threading.Event()
        def work():
            local.loud = Loud()
            event.set(); go.wait()
            with lock: log("worked", hasattr(local, "value"))
        thread = threading.Thread(target=work); thread.start(); event.wait()
        with lock: freeze()
        go.set(); thread.join()
        log(threading.active_count(), lock.acquire(False), local.value)
    """,
    "exceptions": """
        class Loud:
            def __del__(self): log("loud is gone")
        def fail():
            loud = Loud()
            raise ValueError("kept")
        try: fail()
        except ValueError as error: kept = error
        freeze()
        log(repr(kept), kept.__traceback__ is not None)
        del kept
        log("end")
    """,
    "interned": """
        names = [sys.intern("name %d" % n) for n in range(1000)]
        freeze()
        log(sys.intern("name " + str(7)) is names[7], hash("name 7") == hash(names[7]))
        again = sys.intern("late " + str(1)); log(again is sys.intern("late " + str(1)))
        names.clear()
    """,
    "types": """
        class Base:
            def method(self): return 1
        class Derived(Base): pass
        one = Derived()
        freeze()
        Base.method = lambda self: 2; log(one.method())
        one.new_attribute = 3; log(vars(one))
        class Late(Derived): pass
        log(Late().method(), [c.__name__ for c in Base.__subclasses__()])
        del Late; gc.collect()
        log([c.__name__ for c in Derived.__subclasses__()])
        log(isinstance(one, Base), Derived.__mro__[1].__name__)
    """,
    "code": """
        def function(a, b=(1, "two")):
            def nested(): return a, b, frozenset({1, 2})
            return nested
        freeze()
        for _ in range(100): result = function(1)()
        log(result, function.__code__.co_varnames, function.__code__ == function.__code__.replace())
        exec("x = 1\\nlog(x)", {"log": log})
        function.__code__ = (lambda a: a).__code__; log(function(5))
        import json.tool; log(json.dumps({"a": [1, 2.5, None]}))
    """,
    "exit by an exception": """
        class Loud:
            def __del__(self): log("del")
        loud = Loud()
        freeze()
        raise SystemExit(3)
    """,
    "the collector is off": """
        class Loud:
            def __del__(self): log("del", helper())
        def helper(): return "helped"
        loud = [Loud()]
        freeze()
        gc.disable()
    """,
    "children": """
        class Loud:
            def __init__(self, name): self.name = name
            def __del__(self): log("del", self.name, os.getpid() == PARENT)
        PARENT = os.getpid()
        loud = Loud("inherited")
        file = open("shared", "w")
        freeze()
        child = os.fork()
        if child == 0:
            mine = Loud("the child's")
            file.write("by the child")
            sys.exit(0)
        os.waitpid(child, 0)
        log(open("shared").read())
        child = os.fork()
        if child == 0: os._exit(0)
        os.waitpid(child, 0)
    """,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_nothing_is_lost(runner, name):
    result = both(runner, PROGRAMS[name], status=3 if "exception" in name and "exit" in name else 0)
    assert result.out, "the program said nothing"
    assert [path.name for path in runner.folder.iterdir() if path.name.startswith("tmp")] == []


@pytest.mark.skipif(not HAS_IMMORTALS, reason="no immortal objects up to CPython 3.11")
def test_what_is_immortal(runner):
    """Everything that a request reads; and nothing that has something to do when it dies."""
    runner.neve_code("""
        import collections, datetime, decimal, functools, gc, io, itertools, neve, operator, re
        import socket, sys, threading, types, weakref

        class Thing:
            "documentation of a class"
            attribute = ("constant", 10.5)
            def __init__(self, name): self.name = name; self.number = 12345678
            def method(self, a, b="default %d" % len("xx")):
                "documentation of a method"
                return [lambda: a, "a constant of nested code", b]
            @property
            def prop(self): return 1
        class Slots:
            __slots__ = ("a", "b")
            def __init__(self): self.a, self.b = "slot %d" % id(self), [1 << 80]
        def text(n): return "text %d" % n
        named = collections.namedtuple("Named", "x y")
        things = {
            "instance": Thing(text(1)), "slots": Slots(), "list": [text(2), 1 << 70, 2.5 * len("ab")],
            "set": {text(3)}, "frozenset": frozenset([text(4)]), "tuple": (text(5), (text(6),)),
            "bytes": text(7).encode(), "deque": collections.deque([text(8)]),
            "defaultdict": collections.defaultdict(list, {text(9): [text(10)]}),
            "ordered": collections.OrderedDict({text(11): 1}), "partial": functools.partial(text, 1),
            "pattern": re.compile("a+b"), "date": datetime.datetime(2020, 1, 1),
            "decimal": decimal.Decimal("1.25"), "method": Thing(1).method,
            "builtin": [].append, "getter": operator.itemgetter(1), "range": range(5, 1 << 70),
            "namespace": types.SimpleNamespace(x=text(12)), "weakref": weakref.ref(Thing),
            "exception": ValueError(text(13)), "complex": complex(len("a"), 3),
            "named": named(text(14), 2), "module": types.ModuleType("m"),
        }
        class Loud:
            def __del__(self): pass
        class Holder: pass
        seeds = {
            "file": open(sys.argv[0]), "bytesio": io.BytesIO(), "socket": socket.socket(),
            "generator": (x for x in [1]), "lock": threading.Lock(), "rlock": threading.RLock(),
            "iterator": iter([1]), "count": itertools.count(), "view": memoryview(b"abc"),
            "local": threading.local(), "finalizer": Loud(), "holder": Holder(), "held": Loud(),
        }
        seeds["holder"].x = {1: [Loud()]}
        seeds["held"].data = [[object() for _ in range(50)]]
        watched = Holder(); watched_ref = weakref.ref(watched, print)
        report = neve.freeze(immortal=True)

        def is_immortal(x): return sys.getrefcount(x) >= 1 << 31
        def all_immortal(x, depth=0, path=()):
            assert is_immortal(x), (path, type(x))
            if depth < 6 and not isinstance(x, (type, types.ModuleType)):
                for y in gc.get_referents(x):
                    if not isinstance(y, (type, types.ModuleType)) and y is not globals():
                        all_immortal(y, depth + 1, path + (type(x),))
        for name, thing in things.items():
            if name != "range":
                all_immortal(thing, 0, (name,))
        for key in (*vars(things["instance"]), *things["ordered"], *things["defaultdict"]):
            assert is_immortal(key), key
        code = Thing.method.__code__
        for x in (Thing, vars(Thing)["attribute"], Thing.__name__, Thing.__qualname__, Thing.__doc__,
                  Thing.__mro__, Slots.a, Slots.a.__name__, Thing.prop.fget, code,
                  code.co_consts, code.co_names, code.co_name, code.co_filename, code.co_linetable,
                  code.co_exceptiontable, *code.co_consts, Thing.method.__defaults__[0], globals(),
                  sys.modules, sys.modules["re"], vars(re), re.compile, dict.__dict__["get"],
                  *[k for k in globals() if type(k) is str]):
            assert is_immortal(x), x
        for name, seed in dict(seeds, watched=watched).items():
            assert not is_immortal(seed), name
        assert not is_immortal(seeds["holder"].x) and not is_immortal(seeds["holder"].x[1])
        assert not is_immortal(seeds["held"].data) and not is_immortal(seeds["held"].data[0])
        assert not is_immortal(sys.stdout) and not is_immortal(sys.stdout.buffer)
        assert not is_immortal(seeds), "it refers to what has to die with it"

        assert report["immortal"] > 5000 and 0 <= report["frozen"] - gc.get_freeze_count() < 10
        assert report["writes_counts"] is False
        reasons = report["mortal"]
        for reason, least in dict(finalizer=3, file=3, generator=1, weakref_callback=1, buffer=2,
                                  thread=3, transient=2, holder=4, held=2).items():
            assert reasons[reason] >= least, (reason, reasons)
        # Constant, whatever happens.
        before = [sys.getrefcount(x) for x in things.values()]
        copies = [list(things.values()) for _ in range(100)]
        assert [sys.getrefcount(x) for x in things.values()] == before
        del copies
        assert [sys.getrefcount(x) for x in things.values()] == before
    """)


@pytest.mark.skipif(not HAS_IMMORTALS, reason="no immortal objects up to CPython 3.11")
def test_what_holders_hold_is_immortal(runner):
    """A request reads it: only what dies with an object that has something to do stays mortal."""
    runner.neve_code("""
        import neve, sys
        class Loud:
            def __del__(self): pass
        class Resolver:
            def __init__(self):
                self.loud = Loud(); self.loud.own = [["own %d" % len("x")]]
                self.table = {"name %d" % n: [(n, "value %d" % n)] for n in range(10)}
        resolvers = [Resolver() for _ in range(3)]
        for resolver in resolvers: resolver.loud.shared = resolver.shared = [[]]
        report = neve.prefork()
        is_immortal = lambda x: sys.getrefcount(x) >= 1 << 31
        for resolver in resolvers:
            table = resolver.table
            for x in (table, *table, *table.values(), table["name 1"][0], resolver.shared[0]):
                assert is_immortal(x), x
            for x in (resolver, resolver.loud, resolver.loud.own, resolver.loud.own[0]):
                assert not is_immortal(x), x
        assert report["mortal"]["finalizer"] >= 3
    """)


#: Logs of two classes, and of one that derives from one of them.
LATE = """
    class Late:
        def __init__(self, name): self.name = name
        def __del__(self): log("del", self.name, len(TABLE))
    class Derived(Late): pass
    class Prompt:
        def __init__(self): self.late = Late("below a prompt one")
        def __del__(self): log("prompt", self.late.name, self.late in TABLE)
    class Holder: pass
    TABLE = {}
    holder = Holder(); holder.deep = [{"late": Late("deep")}]
    derived = [Derived("derived")]
    prompt = Prompt(); TABLE[prompt.late] = 1
    cycle = Late("cycle"); cycle.me = cycle
"""


@pytest.mark.skipif(not HAS_IMMORTALS, reason="no immortal objects up to CPython 3.11")
@pytest.mark.parametrize("freeze", ["neve.prefork(finalize_at_exit=[Late])",
                                    "neve.freeze(True, (Late, Late))"])
def test_finalized_at_exit(runner, freeze):
    """With what holds them; each once, after what refers to them; not those of derived classes."""
    def lines(freeze, code):
        parts = ("import neve\n", harness.dedented(LATE), freeze + "\n", harness.dedented(code))
        return runner.neve_code(PRELUDE + "".join(parts)).out.splitlines()

    said = lines(freeze, """
        for late in (holder.deep[0]["late"], holder, holder.deep, holder.deep[0], prompt.late):
            assert sys.getrefcount(late) >= 1 << 31, late
        for mortal in (derived, derived[0], prompt): assert sys.getrefcount(mortal) < 1 << 31
        holder.deep[0].clear(); late = None
        derived.clear()
        log("end")
    """)
    # The dict of modules still has its entry: this is before modules are taken apart.
    assert said[:3] == ["del derived 1", "end", "prompt below a prompt one True"]
    assert sorted(said[3:]) == ["del below a prompt one 1", "del cycle 1", "del deep 1"]
    # What is made after the freeze dies as ever; and so does everything that was not named.
    assert lines(freeze.replace("Late", "Holder"), """
        holder.deep.clear(); log("cleared")
        os._exit(0)
    """) == ["del deep 1", "cleared"]


@pytest.mark.skipif(not HAS_IMMORTALS, reason="no immortal objects up to CPython 3.11")
def test_finalized_at_exit_before_what_came_later(runner):
    """A worker's file, say, is open when the object that has got it writes to it."""
    said = runner.neve_code(PRELUDE + harness.dedented("""
        import neve
        class Late:
            def __del__(self): self.own[0].file.write("last words"); log("late")
        class Prompt:
            def __del__(self): log("prompt", self.late.own[0].file.closed)
        class Own:
            def __del__(self): log("own", self.file.closed)
        def hidden():
            late = Late(); late.own = []; prompt = Prompt(); prompt.late = late
            return lambda: (late, prompt)
        inner = hidden()
        neve.prefork(finalize_at_exit=[Late])
        late, _ = inner(); assert sys.getrefcount(late) >= 1 << 31
        own = Own(); own.file = open("words", "w"); late.own.append(own); del own, late, _
        log("end")
    """)).out.splitlines()
    assert said == ["end", "prompt False", "late", "own False"], said
    assert (runner.folder / "words").read_text() == "last words"


@pytest.mark.skipif(not HAS_IMMORTALS, reason="no immortal objects up to CPython 3.11")
@pytest.mark.parametrize("before_end", ["", "gc.disable()", "gc.collect()", "neve.install(); neve.uninstall()"])
def test_uninstalling_loses_no_finalizer(runner, before_end):
    """Of immortal objects and of what hangs on them: CPython's last collections do not find it."""
    said = runner.neve_code(PRELUDE + harness.dedented("""
        import gc, neve
        class Late:
            def __del__(self): log("late")
        class Prompt:
            def __del__(self): log("prompt", self.late.name)
        def hidden():
            late = Late(); late.name = "named"; prompt = Prompt(); prompt.late = late
            file = open("words", "w"); own = []
            return lambda: (late, prompt, file, own)
        inner = hidden()
        inner()[2].write("last words")
        neve.prefork(finalize_at_exit=[Late])
        neve.uninstall()
        inner()[3].append(inner)        # made later, on the interpreter's own heap
    """) + before_end + "\n" + harness.dedented("""
        assert not neve.is_installed()
        log("end")
    """)).out.splitlines()
    assert said == ["end", "prompt named", "late"], said
    assert (runner.folder / "words").read_text() == "last words"


def test_finalize_at_exit_is_checked_and_remembered(runner):
    runner.neve_code("""
        import gc, neve, sys, warnings
        warnings.simplefilter("ignore")         # of 3.11: no immortal objects
        class Late:
            def __del__(self): pass
        before = gc.get_freeze_count()          # 3.12 freezes some at its start
        for wrong in (["Late"], [Late()], None, 5, "Late"):
            for function in (neve.prefork, lambda x: neve.freeze(True, x)):
                try: function(wrong)
                except TypeError as error: assert wrong is None or wrong == 5 or "classes" in str(error)
                else: raise AssertionError(wrong)
        assert gc.get_freeze_count() == before
        neve.freeze(immortal=True, finalize_at_exit={Late})
        late = [Late()]
        neve.refreeze()
        assert (sys.getrefcount(late[0]) >= 1 << 31) == (sys.version_info >= (3, 12))
        del late[:]
        class Comparing(type):          # classes that cannot be hashed, and are equal
            def __eq__(self, other): return True
            __hash__ = None
        class One(metaclass=Comparing):
            def __del__(self): pass
        class Two(metaclass=Comparing):
            def __del__(self): pass
        both = [One(), Two()]
        for _ in range(3): neve.freeze(True, [One, Two, Late])
        assert all((sys.getrefcount(one) >= 1 << 31) == (sys.version_info >= (3, 12)) for one in both)
        known = __import__("neve._prefork")._prefork.State.finalized_at_exit
        assert [one is two for one, two in zip(known, (Late, One, Two), strict=True)] == [True] * 3
        after = [Late()]; gone = __import__("weakref").ref(after[0]); after.clear()
        assert gone() is None
    """)


@pytest.mark.skipif(not HAS_IMMORTALS, reason="no immortal objects up to CPython 3.11")
def test_known_class_that_is_finalized_at_exit(runner):
    """asgiref.local.Local, by its name."""
    module = runner.folder / "asgiref"
    module.mkdir()
    (module / "__init__.py").touch()
    (module / "local.py").write_text(
        "class Local:\n    def __del__(self): print('gone', self.name, flush=True)\n")
    result = runner.neve_code("""
        import neve, sys
        from asgiref.local import Local
        class Resolver: pass
        resolver = Resolver(); resolver.local = Local(); resolver.local.name = "inherited"
        neve.prefork()
        assert sys.getrefcount(resolver) >= 1 << 31
        del resolver.local; print("deleted")
        late = Local(); late.name = "late"; del late
    """)
    assert result.out.splitlines() == ["deleted", "gone late", "gone inherited"]


@pytest.mark.skipif(HAS_IMMORTALS, reason="has immortal objects")
def test_no_immortal_objects(runner):
    runner.neve_code("""
        import gc, neve, sys, warnings
        thing = ["a", 1]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            report = neve.freeze(immortal=True)
            count = sys.getrefcount(thing)
            assert neve.freeze()["writes_counts"] and neve.prefork()["writes_counts"]
        [warning] = caught
        assert warning.category is RuntimeWarning and warning.filename == __file__, warning
        assert "counts will still be written" in str(warning.message), warning
        assert report == {"frozen": report["frozen"], "immortal": 0, "mortal": {},
                          "writes_counts": True}, report
        assert report["frozen"] > 1000
        assert sys.getrefcount(thing) == count < 10
    """)


def test_without_immortality(runner):
    runner.neve_code("""
        import gc, neve, sys
        gc.collect()
        thing = ["a", [2]]
        count = sys.getrefcount(thing)
        report = neve.freeze()
        assert report["immortal"] == 0 and report["writes_counts"] and report["mortal"] == {}, report
        assert 0 <= report["frozen"] - gc.get_freeze_count() < 10
        assert sys.getrefcount(thing) == count
        # Later, what has been made since is added, and nothing else.
        more = [[n] for n in range(5000)]
        assert 5000 <= neve.freeze()["frozen"] - report["frozen"] < 5200
        neve.unfreeze()
        assert gc.get_freeze_count() == 0
    """)


def test_refreeze_reclaims(runner):
    runner.neve_code("""
        import gc, neve, sys, weakref
        class Ring: pass
        def ring():
            a, b = Ring(), Ring(); a.other, b.other = b, a
            return a
        gone, kept = ring(), ring()
        seen, also = weakref.ref(gone), weakref.ref(kept)
        neve.freeze()
        del gone
        gc.collect(); assert seen() is not None     # frozen
        report = neve.refreeze()
        assert seen() is None and also() is kept and not report["immortal"]
        assert 0 <= report["frozen"] - gc.get_freeze_count() < 10
        late = ring(); late_ref = weakref.ref(late)
        report = neve.prefork()
        immortal = sys.version_info >= (3, 12)
        assert (report["immortal"] > 1000) == immortal
        del late, kept
        report = neve.refreeze()                    # as frozen last, with immortality
        assert (report["immortal"] > 1000) == immortal
        assert (late_ref() is not None) == (also() is not None) == immortal
        neve.unfreeze(); gc.collect(); neve.unfreeze()
        assert gc.get_freeze_count() == 0
        assert (late_ref() is not None) == immortal
    """)


def test_a_freeze_that_follows(runner):
    """What is made later becomes immortal with the next freeze, also what hangs on immortal
    objects and is not tracked."""
    runner.neve_code("""
        import gc, neve, sys
        table, items = {}, []
        first = neve.prefork()
        is_immortal = sys.version_info >= (3, 12)
        least = 1 << 31 if is_immortal else 0
        table["key %d" % len(items)] = "value %d" % len(items)
        items.append([("x%d" % len(items), 1 << 90)])
        assert sys.getrefcount(items[0]) < 10
        second = neve.freeze(immortal=is_immortal)
        assert second["frozen"] > first["frozen"]
        [(key, value)] = table.items()
        for x in (key, value, items[0], items[0][0], *items[0][0]):
            assert sys.getrefcount(x) >= least
        assert second["immortal"] > first["immortal"] or not is_immortal
        third = neve.freeze(immortal=is_immortal)
        assert 0 <= third["immortal"] - second["immortal"] < 50, (second, third)
    """)


def test_programs_go_on(runner):
    """A program goes on as on stock, its collector included, after its heap has become immortal;
    also after Neve was uninstalled, and with everything thawed again."""
    both(runner, """
        class Node: pass
        def ring(n):
            nodes = [Node() for _ in range(n)]
            for a, b in zip(nodes, nodes[1:] + nodes[:1]): a.next, b.previous = b, a
            return nodes[0]
        kept = [ring(5) for _ in range(200)]
        table = {n: [str(n)] for n in range(1000)}
        def go_on(where):
            gc.collect()
            refs = [weakref.ref(ring(7)) for _ in range(100)]
            for n in range(1000): table[n].append(ring(3)); table[n].pop()
            for n in range(1000, 3000): table[n] = ring(2)
            for n in range(1000, 3000): del table[n]
            gc.collect()
            log(where, gc.collect(), sum(r() is not None for r in refs), len(gc.garbage))
            first = kept[0]; first.extra = [first]; first.next.text = "x" * 3
            del first.extra
            assert all(node.next.previous is node for node in kept)
        gc.collect()
        freeze(); go_on("frozen")
        gc.unfreeze(); go_on("thawed")
        # (CPython 3.12 itself moves some hundred immortal objects there.)
        log(gc.get_freeze_count() < 1000)
        freeze(); gc.collect()
        if "neve" in sys.modules:
            import neve
            neve.uninstall()
        go_on("uninstalled")
        gc.unfreeze(); go_on("uninstalled and thawed")
        if "neve" in sys.modules: neve.install()
        go_on("installed again"); freeze(); go_on("frozen again")
    """)


def test_sub_interpreters(runner):
    runner.neve_code("""
        import gc, neve, sys
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        code = '''if True:
            import gc, json, re
            class C:
                def __del__(self): pass
            kept = [C(), {"a": re.compile("x+")}, json.dumps([1, 2])]
            kept.append(kept); gc.collect(); assert kept[0] is not None and gc.isenabled()
        '''
        def run(interpreter):
            failed = interpreters.run_string(interpreter, code)
            assert failed is None, failed
        first = interpreters.create(); run(first)
        neve.prefork()
        run(first)
        second = interpreters.create(); run(second)
        gc.unfreeze(); gc.collect(); neve.prefork()
        run(first); run(second)
        interpreters.destroy(first); gc.collect(); run(second); interpreters.destroy(second)
    """)


def test_refused_in_a_finalizer(runner):
    runner.neve_code("""
        import gc, neve
        said = []
        class Ring:
            def __del__(self):
                for function in (neve.freeze, neve.prefork, neve.refreeze):
                    try: function()
                    except RuntimeError as error: said.append(str(error))
        ring = Ring(); ring.self = ring; del ring
        gc.collect()
        assert len(said) == 3, said
        neve.freeze(); gc.collect(); assert len(said) == 3
    """)


def test_stock_freeze_is_untouched(runner):
    """gc.freeze() does what it does on stock, at the exit too, where it loses finalizers."""
    result = both(runner, """
        class Loud:
            def __del__(self): log("del")
        ring = [Loud()]; ring.append(ring)
        gc.collect(); gc.freeze()
        log(gc.get_freeze_count() > 1000)
        del ring
    """)
    assert result.out == "True\n"


def test_collections_leave_frozen_tuples_tracked(runner):
    """A full collection untracks tuples that can be in no cycle, which writes to them; not those that are
    permanent, whose pages a forked child shares."""
    result = both(runner, """
        gc.disable()
        tuples = [tuple([i, "text"]) for i in range(1000)]
        gc.freeze()
        before = sum(map(gc.is_tracked, tuples)), gc.get_freeze_count()
        more = [[i] for i in range(20000)]  # so many that marking them is worth its while
        gc.collect()
        after = sum(map(gc.is_tracked, tuples)), gc.get_freeze_count()
        log(before[0] == after[0], before[1] - after[1] < 500)
    """)
    assert result.out == "True True\n"
