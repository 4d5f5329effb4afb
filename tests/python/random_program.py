# SPDX-License-Identifier: MIT
"""Random programs that exercise a collector, generated from a seed, whose output does not depend on
anything but the behaviour that CPython promises.

    /usr/bin/python3 tests/python/random_program.py SEED > program.py

A program is a fixed preamble and a list of operations on a few variables, one a line: a failing
one is reduced by deleting lines.  After each operation it prints which of the watched objects have
died since and what finalizers and callbacks have said, sorted: the order in which a collection
treats its garbage is no promise.  Automatic collections are off in most programs.  In the others
(every fourth seed) the log is printed at the end only, since it may not depend on the moment.
"""

import random
import sys

PREAMBLE = '''
import collections, functools, gc, sys, types, weakref

gc.disable()
gc.collect()

AUTOMATIC = {automatic}
VARIABLES = {variables}
v = [None] * VARIABLES
events = []         # what finalizers and callbacks say
kept = {{}}           # what finalizers revive
made = []           # weak references that finalizers make
watched = {{}}        # number -> weak reference
strong_refs = []    # weak references with a callback that live
pile = []           # what finalizers drop
dead = set()


class Node:
    def __init__(self, number):
        self.number = number


class Slots:
    __slots__ = ("number", "one", "two", "__weakref__")

    def __init__(self, number):
        self.number = number


class Sizes(tuple):
    pass


class List(list):
    pass


class Dict(dict):
    pass


class Set(set):
    pass


class Final(Node):
    def __init__(self, number, manner):
        self.number = number
        self.manner = manner

    def __del__(self):
        events.append(f"final {{self.number}} {{self.manner}}")
        if self.manner == "revive":
            kept[self.number] = self
        elif self.manner == "revive links":
            kept[self.number] = list(self.__dict__.values())
        elif self.manner == "reference":
            made.append((self.number, weakref.ref(self)))
        elif self.manner == "collect":
            inner = []; inner.append(inner)
            del inner
            if not AUTOMATIC:
                events.append(f"collected inside: {{gc.collect()}}")
        elif self.manner == "raise":
            raise LookupError(self.number)
        elif self.manner == "drop":
            if pile:
                pile.pop()
        elif self.manner == "clear":
            number = self.number
            self.__dict__.clear()
            self.number, self.manner = number, "cleared"
        elif self.manner == "allocate":
            junk = [[i] for i in range(200)]
            junk.append(junk)
        elif self.manner == "look":
            for value in list(self.__dict__.values()):
                repr(type(value)), getattr(value, "number", None)


def hook(unraisable):
    events.append(f"unraisable {{unraisable.exc_type.__name__}} {{unraisable.exc_value}}")


sys.unraisablehook = hook


def holder():
    held = []
    while True:
        held.append((yield held))


async def waiter(held):
    await sleeper()
    return held


@types.coroutine
def sleeper():
    yield


def make_closure():
    cell = []

    def inner():
        return cell, inner
    inner.cell = cell
    return inner


def fail(number, values):
    local = Node(number)
    local.me = local
    watch(local, number)
    try:
        raise ValueError("inner")
    except ValueError as error:
        raise KeyError("outer") from error


def watch(thing, number):
    try:
        watched[number] = weakref.ref(thing)
    except TypeError:
        pass


def attach(a, b):
    if a is None:
        return
    if isinstance(a, (list, collections.deque)):
        a.append(b)
    elif isinstance(a, dict):
        a[len(a)] = b
    elif isinstance(a, set):
        try:
            a.add(b)
        except TypeError:
            pass
    elif isinstance(a, types.GeneratorType):
        try:
            a.send(b)
        except (StopIteration, TypeError, ValueError):  # not started, ended, running
            pass
    elif isinstance(a, Slots):
        a.two, a.one = getattr(a, "one", None), b
    elif isinstance(a, functools.partial):
        a.__dict__[f"x{{len(a.__dict__)}}"] = b
    else:
        try:
            setattr(a, f"x{{len(a.__dict__)}}", b)
        except (AttributeError, TypeError):
            pass


def detach(a):
    if isinstance(a, set):
        a.clear()       # what pop() takes out depends on addresses
    elif isinstance(a, (list, collections.deque, dict)):
        if len(a):
            a.pop() if not isinstance(a, dict) else a.popitem()
    elif hasattr(a, "__dict__"):
        for name in [n for n in a.__dict__ if n[0] == "x"][:1]:
            delattr(a, name)


def make(i, kind, number):
    """A new object of a kind into variable i; it may refer to its neighbours."""
    left, right = v[i - 1], v[(i + 1) % VARIABLES]
    if kind == "node": o = Node(number)
    elif kind == "slots": o = Slots(number)
    elif kind.startswith("final"): o = Final(number, kind[6:])
    elif kind == "list": o = List([left])
    elif kind == "plain list": o = [left, number]
    elif kind == "dict": o = Dict(left=left)
    elif kind == "plain dict": o = {{"left": left, number: right}}
    elif kind == "set": o = Set([number])
    elif kind == "tuple": o = Sizes((left, right, number))
    elif kind == "plain tuple": o = (left, (right, number), [number])
    elif kind == "closure": o = make_closure()
    elif kind == "lambda": o = (lambda x=left: (x, right))
    elif kind == "generator": o = holder(); next(o)
    elif kind == "expression": o = (x for x in [left, right])
    elif kind == "coroutine":
        o = waiter([left]); o.send(None)
    elif kind == "method": o = types.MethodType(lambda self: self, left if left is not None else [])
    elif kind == "partial": o = functools.partial(print, left, right)
    elif kind == "class": o = type(f"C{{number}}", (Node,), {{"left": left}})
    elif kind == "module": o = types.ModuleType("m"); o.left = left
    elif kind == "deque": o = collections.deque([left] * 3)
    elif kind == "namespace": o = types.SimpleNamespace(left=left)
    elif kind == "property": o = type("P", (property,), {{}})(left)
    elif kind == "iterator": o = iter([left, right])
    elif kind == "weak dict": o = weakref.WeakValueDictionary()
    elif kind == "error":
        try:
            fail(-number, [left])
        except KeyError as error:
            o = error
    else: raise AssertionError(kind)
    watch(o, number)
    v[i] = o


def link(i, j):
    attach(v[i], v[j])


def unlink(i):
    detach(v[i])


def drop(i):
    v[i] = None


def ring(kind, n, number):
    """A ring of n objects that nothing else refers to."""
    saved = v[0]
    made_here = []
    for k in range(n):
        make(0, kind, number + k)
        made_here.append(v[0])
    for a, b in zip(made_here, made_here[1:] + made_here[:1]):
        attach(a, b)
    v[0] = saved


def self_reference(i, number, where):
    """A weak reference with a callback, kept by the program or by its own referent."""
    def callback(r, number=number):
        events.append(f"callback {{number}} {{r() is None}}")
        if number % 7 == 0:
            raise ArithmeticError(number)
        if number % 5 == 0:
            junk = [[k] for k in range(50)]; junk.append(junk)
    try:
        r = weakref.ref(v[i], callback)
    except TypeError:
        return
    if where == "outside":
        strong_refs.append(r)
    elif where == "inside":
        attach(v[i], r)
    else:
        attach(v[where], r)


def finalize(i, number):
    try:
        weakref.finalize(v[i], events.append, f"finalize {{number}}").atexit = False
    except TypeError:
        pass


def collect(generation):
    events.append(f"collect({{generation}}) = {{gc.collect(generation)}}")


def collect_deep(n, i):
    local = [v[i], None]
    local[1] = local
    if n:
        collect_deep(n - 1, (i + 1) % VARIABLES)
    else:
        collect(2)


def listing():
    for generation in (0, 1, 2, None):
        numbers = sorted(o.number for o in gc.get_objects(generation)
                         if isinstance(o, (Node, Slots)))
        events.append(f"listed {{generation}} {{numbers}}")


def referrers(i):
    if v[i] is not None:
        events.append(f"referrers {{sorted(type(o).__name__ for o in gc.get_referrers(v[i]))}}")
        events.append(f"referents {{sorted(type(o).__name__ for o in gc.get_referents(v[i]))}}")


def heap(i, number):
    """A pile of many objects, part of it garbage."""
    pile.append([Node(number) for _ in range(100)])
    for a, b in zip(pile[-1], pile[-1][1:]):
        a.next, b.back = b, a
    del pile[-1][::3]


def forget():
    kept.clear()


def freeze():
    gc.freeze()


def unfreeze():
    gc.unfreeze()


def step(text):
    if AUTOMATIC:
        return
    gone = {{number for number, r in watched.items() if r() is None}}
    print(text, "dead", sorted(gone - dead), "events", sorted(events), "kept", sorted(kept),
          "made", sorted((n, r() is None) for n, r in made), flush=True)
    dead.update(gone)
    events.clear()
    made.clear()


def end():
    v[:] = [None] * VARIABLES
    pile.clear()
    kept.clear()
    gc.unfreeze()
    for _ in range(4):
        gc.collect()
        kept.clear()
    print("end: alive", sorted(n for n, r in watched.items() if r() is not None), "events",
          sorted(events), "garbage", gc.garbage, flush=True)
'''

KINDS = ["node", "node", "slots", "final log", "final log", "final revive", "final revive links",
         "final reference", "final collect", "final raise", "final drop", "final clear",
         "final allocate", "final look", "list", "plain list", "dict", "plain dict", "set", "tuple",
         "plain tuple", "closure", "lambda", "generator", "expression", "coroutine", "method",
         "partial", "class", "module", "deque", "namespace", "property", "iterator", "weak dict",
         "error"]

# Of an object whose end depends on when it is collected, the log may say nothing.
AUTOMATIC_KINDS = [kind for kind in KINDS
                   if kind not in ("final revive", "final revive links", "final drop",
                                   "final collect")]

RING_KINDS = ["node", "slots", "final log", "final revive", "final reference", "list", "dict",
              "closure", "generator", "plain list", "class", "deque"]


def is_automatic(seed):
    """Whether the program of this seed runs with automatic collection."""
    return seed % 4 == 3


def generate(seed, length=150):
    """The text of a program; the same for the same seed."""
    rng = random.Random(seed)
    automatic = is_automatic(seed)
    variables = rng.randrange(3, 12)
    kinds = rng.sample(AUTOMATIC_KINDS if automatic else KINDS, rng.randrange(4, 20))
    ring_kinds = [kind for kind in RING_KINDS if not automatic or kind in AUTOMATIC_KINDS]
    lines = []
    number = 0

    def variable():
        return rng.randrange(variables)

    def new_number():
        nonlocal number
        number += 1
        return number

    def make():
        return f"make({variable()}, {rng.choice(kinds)!r}, {new_number()})"

    def link():
        return f"link({variable()}, {variable()})"

    def make_ring():
        nonlocal number
        count = rng.choice([1, 2, 3, 10, 40])
        first = number + 1
        number += count
        return f"ring({rng.choice(ring_kinds)!r}, {count}, {first})"

    def reference():
        where = rng.choice(["'outside'", "'outside'", "'inside'", str(variable())])
        if automatic:  # whether a callback outlives its reference depends on the moment
            where = "'outside'"
        return f"self_reference({variable()}, {new_number()}, {where})"

    choices = [
        (30, make), (35, link), (4, lambda: f"unlink({variable()})"),
        (18, lambda: f"drop({variable()})"), (6, make_ring), (8, reference),
        (2, lambda: f"finalize({variable()}, {new_number()})"),
        (2, lambda: f"heap({variable()}, {new_number()})"),
    ]
    if not automatic:
        choices += [
            (10, lambda: f"collect({rng.choice([0, 0, 1, 2, 2])})"),
            (2, lambda: f"collect_deep({rng.randrange(4)}, {variable()})"),
            (3, lambda: "listing()"), (2, lambda: f"referrers({variable()})"),
            (3, lambda: "forget()"), (1, lambda: "freeze()"), (1, lambda: "unfreeze()"),
        ]
    weights = [weight for weight, _ in choices]
    if automatic:
        threshold = rng.choice([1, 5, 20, 100])
        lines.append(f"gc.set_threshold({threshold}, {rng.choice([1, 3, 10])}, "
                     f"{rng.choice([1, 3, 10])}); gc.enable()")
    for _ in range(length * (4 if automatic else 1)):
        text = rng.choices(choices, weights)[0][1]()
        lines.append(f"{text}; step({text!r})")
    lines.append("end()")
    head = PREAMBLE.format(automatic=automatic, variables=variables)
    return f"# Seed {seed}." + head + "\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(generate(int(sys.argv[1])))
