# SPDX-License-Identifier: MIT
"""What gc.collect() finds, against stock: each program prints the number of objects that
collections returned and what is left."""

import harness
import pytest

PRELUDE = """
    import gc, sys, weakref
    gc.disable()
    gc.collect()
    class Node:
        def __init__(self, *links): self.links = list(links)
    class Slots:
        __slots__ = ("link", "__weakref__")
    def ring(n, make=Node):
        nodes = [make() for _ in range(n)]
        for a, b in zip(nodes, nodes[1:] + nodes[:1]):
            a.link = b
        return nodes[0]
"""

SHAPES = {
    "nothing": "pass",
    "list": "x = []; x.append(x); del x",
    "lists": "a = []; b = [a]; a.append(b); del a, b",
    "dict": "d = {}; d['d'] = d; del d",
    "dict as key holder": "class K: pass\nk = K(); d = {k: k}; k.d = d; del k, d",
    "tuple": "x = []; t = (x,); x.append(t); del x, t",
    "nested tuples": "x = []; t = ((((x,),),),); x.append(t); del x, t",
    "set": "class H: pass\nh = H(); s = {h}; h.s = s; del h, s",
    "frozenset": "class H: pass\nh = H(); h.s = frozenset([h]); del h",
    "instance": "n = Node(); n.me = n; del n",
    "instance with values": "class V: pass\nv = V(); v.me = v; v.a = 1; v.b = []; del v",
    "instance with dict": "n = Node(); n.__dict__['x'] = n; del n",
    "instance dict cycle": "n = Node(); n.d = n.__dict__; del n",
    "slots": "s = Slots(); s.link = s; del s",
    "slot of a base": "class B:\n    __slots__ = 'a',\nclass D(B):\n    __slots__ = 'b', 'c'\n"
                      "d = D(); d.a = d; e = D(); e.c = e; e.b = [e]; del d, e",
    "slots behind a weakref": "class B:\n    __slots__ = 'a', '__weakref__'\n"
                              "class D(B):\n    __slots__ = 'b',\nd = D(); d.b = d; del d",
    "slots and dict": "class D:\n    __slots__ = 'a', '__dict__'\n"
                      "d = D(); d.a = d; e = D(); e.x = e; f = D(); f.__dict__['y'] = f; del d, e, f",
    "slots of a list": "class L(list):\n    __slots__ = 'a',\n"
                       "x = L(); x.a = x; y = L(); y.append(y); del x, y",
    "attributes of a list": "class L(list): pass\nx = L(); x.a = x; y = L(); y.append(y); del x, y",
    "attributes of a derived class": "class B: pass\nclass D(B): pass\nd = D(); d.a = d; del d",
    "deleted attributes": "n = Node(); n.a = n; n.b = []; del n.b; n.c = [n]; del n",
    "attributes of two orders": "a = Node(); b = Node(); a.x = b; a.y = a; b.y = a; b.x = b; del a, b",
    "instance and its class": "class C: pass\nc = C(); C.c = c; del C, c",
    "ring": "ring(10)",
    "ring of slots": "ring(10, Slots)",
    "big ring": "ring(20000)",
    "rings": "for i in range(1, 30): ring(i)",
    "class": "class C: pass\ndel C",
    "classes": "class A: pass\nclass B(A): x = A\ndel A, B",
    "class with slots": "class C: __slots__ = 'a', 'b'\nC.c = C()\ndel C",
    "metaclass": "class M(type): pass\nclass C(metaclass=M): pass\ndel C, M",
    "function": "def f():\n    def g(): return g\n    return g\nf()",
    "lambda": "f = lambda: f\nf.f = f\ndel f",
    "default": "def f(x=[]): pass\nf.__defaults__[0].append(f)\ndel f",
    "method": "n = Node(); n.method = n.__init__; del n",
    "builtin method": "x = []; x.append(x.append); del x",
    "partial": "import functools\np = functools.partial(print); p.p = p; del p",
    "lru_cache": "import functools\n@functools.lru_cache\ndef f(x): return f\nf(1)\ndel f",
    "property": "class C: pass\nclass P(property): pass\np = P(); p.p = p; del p, C, P",
    "cell": "def f():\n    x = [1]\n    x.append(lambda: x)\nf()",
    "closure ring": "def f():\n    a = lambda: b\n    b = lambda: a\nf()",
    "frame": "def f():\n    frame = sys._getframe()\n    local = []\nf()",
    "frames": "def f(n):\n    frame = sys._getframe()\n    return f(n - 1) if n else 0\nf(5)",
    "traceback": "def f():\n    try:\n        1 / 0\n    except Exception as e:\n"
                 "        kept = e\nf()",
    "chained": "def f():\n    try:\n        try: 1 / 0\n"
               "        except Exception as e: raise KeyError from e\n"
               "    except Exception as e:\n        kept = e\nf()",
    "exception group": "e = ExceptionGroup('g', [ValueError()]); e.exceptions[0].up = e; del e",
    "generator": "def g():\n    me = yield\n    yield me\nx = g(); next(x); x.send(x); del x",
    "generator not started": "def g(x): yield\nl = []; l.append(g(l)); del l",
    "generator expression": "l = []; l.append(i for i in l); del l",
    "yield from": "def i():\n    me = yield\n    yield me\ndef o():\n    yield from i()\n"
                  "x = o(); next(x); x.send(x); del x",
    "coroutine": "import types\n@types.coroutine\ndef wait(): return (yield)\n"
                 "async def c():\n    me = await wait()\n    await wait()\n"
                 "x = c(); x.send(None); x.send(x); del x",
    "async generator": "async def a():\n    me = yield\n    yield\n"
                       "x = a(); l = [x]; s = x.asend(None)\n"
                       "try: s.send(None)\nexcept StopIteration: pass\n"
                       "s = x.asend(x)\ntry: s.send(None)\nexcept StopIteration: pass\ndel x, l, s",
    "iterator": "l = []; l.append(iter(l)); del l",
    "enumerate": "l = []; l.append(enumerate(l)); del l",
    "zip and map": "l = []; l.append(zip(l, map(len, l), filter(None, l), reversed(l))); del l",
    "dict views": "d = {}; d['k'] = d.keys(); d['v'] = d.values(); d['i'] = iter(d.items()); del d",
    "itertools": "import itertools\nl = []; l.append(itertools.chain(l, itertools.tee(l)[0], "
                 "itertools.cycle(l))); del l",
    "deque": "import collections\nd = collections.deque(); d.extend([d] * 200); del d",
    "defaultdict": "import collections\nd = collections.defaultdict(list); d[1].append(d); del d",
    "OrderedDict": "import collections\nd = collections.OrderedDict(); d[1] = d; del d",
    "namedtuple": "import collections\nN = collections.namedtuple('N', 'a')\n"
                  "l = []; l.append(N(l)); del l",
    "dataclass": "import dataclasses\n@dataclasses.dataclass\nclass D:\n    x: object = None\n"
                 "d = D(); d.x = d; del d",
    "mappingproxy": "import types\nd = {}; d['p'] = types.MappingProxyType(d); del d",
    "SimpleNamespace": "import types\nn = types.SimpleNamespace(); n.n = n; del n",
    "module": "import types\nm = types.ModuleType('m'); m.m = m; del m",
    "weakref to itself": "n = Node(); n.w = weakref.ref(n); n.me = n; del n",
    "weakref only": "n = Node(); n.w = weakref.ref(n); del n",
    "proxy": "n = Node(); n.w = weakref.proxy(n); n.me = n; del n",
    "memoryview": "class B(bytearray): pass\nb = B(10); b.v = memoryview(b); del b",
    "slice": "l = []; l.append(slice(l)); del l",
    "bound super": "class A:\n    def f(self): self.s = super()\na = A(); a.f(); del a",
    "generic alias": "class G(list): pass\nG.alias = list[G]; del G",
    "code with constants": "exec('def f():\\n    return f')\ndel f",
    "exec globals": "d = {}; exec('def f(): return f\\nclass C: pass', d); del d",
    "thread local": "import threading\nl = threading.local(); l.l = l; del l",
    "context": "import contextvars\nv = contextvars.ContextVar('v')\n"
               "c = contextvars.copy_context()\n"
               "l = [c]; c.run(v.set, l); del l, c",
    "io": "import io\nclass S(io.StringIO): pass\ns = S(); s.s = s; del s\n"
          "b = io.BytesIO(); b.b = b; del b",
    "element tree": "import xml.etree.ElementTree as E\ne = E.Element('a'); e.text = e; del e",
    "deep list": "l = []\nfor i in range(100000): l = [l]\n"
                 "l2 = l\nwhile l2: l2 = l2[0]\nl2.append(l); del l, l2",
    "live through one": "a = ring(10); b = Node(a); del a; kept = b",
    "live and dead": "a = ring(10); ring(10).links.append(a)",
    "dead and live share": "shared = [Node()]\nfor i in range(5): ring(4).links.append(shared)",
    "all held outside": "a = ring(10)\nb = [a]",
    "reached late": "a = ring(5); b = ring(5); a.links.append(b); c = b; del a, b",
    "many to one": "hub = Node()\nfor i in range(2000): hub.links.append(Node(hub))\ndel hub",
    "star from outside": "hub = Node()\nleaves = [Node(hub) for i in range(2000)]\n"
                         "hub.links.extend(leaves)\ndel hub",
    "many to one dict": "d = {i: [] for i in range(50)}\nfor v in d.values(): v.append(d)\n"
                        "del d, v",
    "strings": "x = ['s' * 100, b'b' * 1000, 1.5, 10 ** 50]; x.append(x); del x",
    "large blocks": "x = [None] * 100000; x.append(x)\n"
                    "d = dict.fromkeys(range(50000)); d[0] = d; del x, d",
}

EPILOGUE = """
    print("collected", gc.collect({generation}))
    print("again", gc.collect(), gc.collect())
    print("garbage", gc.garbage)
"""


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(runner, name):
    """Each shape as young garbage, and as garbage that was alive in older generations first."""
    text = harness.dedented(PRELUDE)
    for generation in (0, 2):
        text += SHAPES[name] + "\n" + harness.dedented(EPILOGUE.format(generation=generation))
    runner.both_code(harness.imports_first(text))


def test_garbage_of_each_generation(runner):
    runner.both_code(PRELUDE + """
    for age in range(4):
        for generation in range(3):
            rings = [ring(10) for _ in range(5)]
            for a in range(age):
                gc.collect(min(a, 2))
            links = len(rings)
            del rings
            print(age, generation, gc.collect(generation), gc.collect())
    """)


def test_garbage_across_generations(runner):
    runner.both_code(PRELUDE + """
    def link(a, b): a.links.append(b); b.links.append(a)
    for first in range(3):
        for second in range(3):
            old = ring(3)
            for g in range(first): gc.collect(g)
            middle = ring(3); link(old, middle)
            for g in range(second): gc.collect(g)
            new = ring(3); link(new, old)
            seen = [weakref.ref(o) for o in (old, middle, new)]
            del old, middle, new
            print([(gc.collect(g), [r() is None for r in seen]) for g in range(3)])
    """)


def test_objects_that_refuse_to_be_freed(runner):
    # A reference from a place that no traversal reports keeps all that hangs on it.
    runner.both_code(PRELUDE + """
    import itertools
    n = ring(5)
    held = zip([1, 2], itertools.repeat(n))
    iterator = iter([n])
    del n
    print(gc.collect(), next(held)[1].link is not None)
    del held, iterator
    print(gc.collect())
    """)


def test_collecting_while_a_program_runs(runner):
    # Live structures in use by frames, iterators and generators stay whole at any point.
    runner.both_code(PRELUDE + """
    def walk(tree, depth):
        if depth == 0:
            gc.collect()
            return 1
        local = {"tree": tree, "me": None}; local["me"] = local
        return sum(walk(branch, depth - 1) for branch in tree) + len(local) - 2
    def tree(depth): return [tree(depth - 1) for _ in range(3)] if depth else []
    print(walk(tree(4), 4))
    print(gc.collect())
    def produce(n):
        for i in range(n):
            cell = [i]; cell.append(cell)
            gc.collect(i % 3)
            yield cell[0]
    print(sum(produce(50)))
    print(sorted([[3], [1], [2]], key=lambda x: (gc.collect(), x[0])[1]))
    print([x for x in [[1], [2]] if gc.collect() >= 0])
    d = {i: [i] for i in range(10)}
    for k, v in d.items():
        gc.collect(); assert v == [k]
    gc.collect()
    print(gc.collect())
    """)


def test_automatic_collection(runner):
    # When it comes may differ; that it comes, and what it frees, may not.
    runner.both_code("""
        import gc, weakref
        assert gc.isenabled()
        class Node: pass
        alive = []
        seen = []
        for i in range(20000):
            node = Node(); node.me = node
            seen.append(weakref.ref(node))
            if i % 100 == 0: alive.append(node)
        del node
        living = sum(r() is not None for r in seen)
        print(living < 4000, len(alive))
        gc.collect()
        print(sum(r() is not None for r in seen))
        before = gc.get_stats()[0]["collections"]
        kept = [[] for _ in range(70000)]
        print(90 <= gc.get_stats()[0]["collections"] - before <= 110)
        gc.disable()
        before = gc.get_stats()[0]["collections"]
        more = [[] for _ in range(70000)]
        print(gc.get_stats()[0]["collections"] - before)
        gc.enable()
        [[]]
        print(gc.get_stats()[0]["collections"] - before >= 1)
    """)


@pytest.mark.skipif(harness.mode() != "generational", reason="only explicit collections are full")
def test_the_25_percent_rule(runner):
    runner.both_code("""
        import gc
        class Node: pass
        def full(): return gc.get_stats()[2]["collections"]
        gc.collect()
        kept = [[] for _ in range(300000)]
        gc.collect()
        start = full()
        more = [[] for _ in range(60000)]      # less than a quarter: no full collection
        print(full() - start)
        more += [[] for _ in range(300000)]    # much more: some, in a geometric progression
        print(1 <= full() - start <= 4, full() - start)
    """, env={"NEVE_MODE": "generational"})     # the incremental mode has a pace of its own


def test_a_large_heap(runner):
    runner.both_code("    import random" + PRELUDE + """
    kept = [[i, {"k": (i, [i])}] for i in range(200000)]
    random.Random(5).shuffle(kept)
    print(gc.collect(), gc.collect())
    for i in range(0, 200000, 100):
        kept[i].append(kept[i]); kept[i] = None
    print(gc.collect(), sum(k is None for k in kept))
    print(sum(k[0] for k in kept if k), sum(len(k[1]["k"][1]) for k in kept if k))
    kept.append(kept)
    del kept
    print(gc.collect() >= 1)
    """)


def test_attributes_are_reported_once(runner):
    # An instance and its dict may share one array of values: were both to report it, an object that
    # somebody else holds would seem dead.
    runner.neve_code("""
        import gc, itertools, weakref
        class Plain: pass
        class Slots: __slots__ = ("x", "me", "__dict__")
        class Many:
            def __init__(self):
                for i in range(40): setattr(self, f"a{i}", None)
        class Held(list): pass
        for generation in (0, 1, 2):
            for cls in (Plain, Slots, Many):
                # One object for one reference from elsewhere, so that the sums come out even.
                for shape, turns in itertools.product(range(4), (1, 50)):
                    held = Held([1, 2, 3])
                    watch = weakref.ref(held)
                    for turn in range(turns):
                        a = cls()
                        a.x = held
                        a.me = a
                        if shape >= 1: d = a.__dict__
                        if shape >= 2: d["more"] = held; a.d = d
                        if shape == 3: del a.x; a.y = [held]; d[turn] = held
                        if shape == 3: a.__dict__ = dict(d)
                        a = d = None
                    gc.collect(generation)
                    assert watch() is held and held == [1, 2, 3], (generation, cls, shape)
                    gc.collect()
                    assert watch() is held and held == [1, 2, 3], (generation, cls, shape)
                    del held
                    gc.collect()
                    assert watch() is None, (generation, cls, shape)
    """)


def test_collections_at_the_recursion_limit(runner):
    # There the interpreter cannot call us: it collects by itself and moves objects to generation 2.
    result = runner.neve_code("""
        import gc
        class Deep:
            def __repr__(self):
                return "{!r}".format(self)
        gc.set_threshold(1, 1, 1000000)
        reached = 0
        for _ in range(10):
            try:
                repr(Deep())
            except RecursionError:
                reached += 1
        kept = [[i] for i in range(2000)]
        for _ in range(4):
            gc.collect(1)
        kept.clear()
        gc.collect()
        print("reached the limit", reached)
    """)
    assert result.out == "reached the limit 10\n", result
